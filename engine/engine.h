// SPDX-License-Identifier: Apache-2.0
// engine.h — the small door: keep KV blocks hot in RAM and cold on NVMe, give them back
// byte for byte, also after a crash.
//
//   auto store = cairn::open_store({.directory = "/var/lib/cairn"});     // tiers/open.h
//   cairn::Engine& engine = store.value()->engine();
//   auto ns = engine.open_namespace({.name = "llama-8b"});
//   const cairn::PutBlock block{.key = key, .payload = bytes};
//   engine.put_sync(*ns, {&block, 1}, {.durability = cairn::Durability::durable});
//   const cairn::KeyRef ref{key};
//   auto lease = engine.acquire_sync(*ns, {&ref, 1});  // a prefix: the blocks that are there
//   lease->blocks()[0].bytes;                          // readable while the lease lives
//
// A lookup is a hint, a lease is a promise. match() says what is there now and touches
// nothing; acquire() pins it and brings it into hot memory by its deadline; load() copies
// it into memory of the caller's. Every read is a prefix read: keys are a chain in order,
// and the answer is the longest run from its beginning (Read::each asks for single blocks).
//
// The engine knows no device, no codec and no socket: it is handed its tiers.
//
// Threading:  thread-safe.
// Blocking:   what ends in _sync waits for media; open_namespace, clear, flush, close and
//             evict_unused wait for disk; nothing else waits for anything. Completions run on
//             engine threads: they must not block, and may call the engine.
// Failure:    a miss is a value. After a failed put the key holds its old block, its new one,
//             or none, never a mixture, and other keys are untouched. Wrong bytes are never
//             given: a block that fails a check is a miss, quarantined and counted.
// Lifetime:   keys and payloads given to asynchronous calls are borrowed until done runs,
//             unless a call says that it copies. Leases may outlive close(), not the Engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/hash128.h"
#include "engine/block.h"
#include "engine/layers.h"
#include "engine/namespace.h"
#include "engine/options.h"
#include "engine/stats.h"
#include "engine/tier.h"

namespace cairn {

struct KeyRef {
  std::string_view key;
  Part part = 0;
};

/// How the end of a run is looked for.
enum class Search : std::uint8_t {
  forward,  // from its beginning
  bisect,   // in halves: for runs that are closed under parents, as chains are whose blocks are
            // only ever evicted; one with a hole may be answered with any of its runs' ends
};

/// How parents of a batch are known.
enum class Links : std::uint8_t {
  inferred = 0,  // each block's parent is the block before it in the batch
  given,         // from PutBlock::parent
  absent,        // none
};

enum class TierKind : std::uint8_t { none = 0, hot, warm, cold };
std::string_view tier_kind_name(TierKind tier);

struct MatchedBlock {
  TierKind tier = TierKind::none;  // the hottest that has it
  std::uint32_t plain_bytes = 0;
};

struct Match {
  std::size_t prefix_blocks = 0;     // length of the run that is there
  std::uint64_t prefix_bytes = 0;    // its payload
  bool incomplete = false;           // not is_recovered: more may be there than is said
  std::vector<MatchedBlock> blocks;  // of the run
};

/// The key space of a prompt: whatever beside its tokens its KV depends on.
struct TokenSpace {
  /// LoRA adapter, salt, images behind placeholder tokens: for example the XXH3-128 of all of it,
  /// as PutOptions::token_root said when the blocks were put. Null: nothing.
  Hash128 root;
  Part part = 0;  // each part of a chain is a chain of its own
};

/// The blocks that hold the beginning of a prompt, for acquire.
struct TokenRun {
  std::uint64_t tokens = 0;  // in them
  std::vector<std::string> keys;
  Part part = 0;
  bool incomplete = false;           // not is_recovered: more may be there than is said
  std::vector<KeyRef> refs() const;  // into keys
};

enum class Read : std::uint8_t {
  prefix = 0,  // stop at the first miss
  each,        // every key for itself
};

struct AcquireOptions {
  Deadline deadline = TimePoint::never();  // by then each block is delivered or a miss
  std::optional<Duration> hold_limit;      // default EngineOptions::lease_hold_limit
  Read read = Read::prefix;
};

struct LeasedBlock {
  ByteSpan bytes;  // empty data() for a miss (Read::each)
  bool found = false;
  TierKind served_from = TierKind::none;
  std::uint64_t sequence = 0;   // the version, in mutable namespaces
  std::uint64_t plain_sum = 0;  // XXH3-64 of the bytes, taken when they were put
};

/// In bytes; 0: none but the tier's. Hot counts slots, cold the payload of what is listed and on
/// its way.
struct NamespaceLimits {
  std::uint64_t hot_bytes = 0, cold_bytes = 0;
};

class LeaseState;

/// A pinned set of blocks in hot memory. Released on destruction. Movable, one owner.
class Lease {
 public:
  Lease();
  explicit Lease(std::shared_ptr<LeaseState> state);
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();

  std::span<const LeasedBlock> blocks() const;
  /// Starts the hold limit anew. `deadline` if it has already run out.
  absl::Status renew();
  void release();

 private:
  std::shared_ptr<LeaseState> state_;
};

struct SubtreeBlock {
  std::string key;
  Part part = 0;
  std::uint32_t depth = 0;  // below the root that was asked for
  std::uint32_t plain_bytes = 0;
  TierKind tier = TierKind::none;
  bool pinned = false, leased = false;
};

struct PinOptions {
  Durability durability = Durability::memory;  // more: it also survives a restart, without owner
  std::string owner;                           // who may unpin it
};

struct LoadTarget {
  KeyRef key;
  MutableByteSpan buffer;  // as large as what is loaded of the block, or larger
  LayerRange layers;       // load: these alone, from the buffer's beginning on
  // out:
  bool found = false;
  std::uint32_t bytes = 0;  // filled
  std::uint64_t sequence = 0;
  TierKind served_from = TierKind::none;
  absl::Status status;  // why a block that exists was not delivered
};

struct LayerOptions {
  LayerRange layers;                       // of each block; default: all of them
  std::uint32_t group = 1;                 // how many are told together
  Deadline deadline = TimePoint::never();  // by then it is over, whatever has come
  Read read = Read::prefix;
};

/// One group of layers is in the buffers.
struct LoadedLayers {
  LayerRange layers;
  std::size_t blocks = 0;  // that have them and all before: with Read::prefix, the run's length
  /// OK while these are the blocks that it began with; else why the first of them was lost.
  absl::Status status;
};

struct PutBlock {
  std::string_view key;
  Part part = 0;
  ByteSpan payload;
  std::string_view parent;  // with Links::given; empty: a root
  WallMicros expiry = 0;    // mutable namespaces only; 0: never
  /// For a namespace with a token index, else ignored: the token ids of the chain from its
  /// beginning to the end of this block, whole blocks. Blocks of one prompt share one array.
  /// Empty: the index does not learn of the block.
  std::span<const std::uint32_t> token_prefix;
};

struct PutOptions {
  std::optional<Durability> durability;  // unset: what the namespace's write policy says
  Links links = Links::inferred;
  Hash128 token_root;  // TokenSpace::root of what is put
};

enum class PutOutcome : std::uint8_t {
  stored = 0,       // new
  already_present,  // content-addressed: the first bytes were kept
  replaced,         // mutable: a newer version
  failed,           // see status
};

struct PutResult {
  PutOutcome outcome = PutOutcome::failed;
  std::uint64_t sequence = 0;
  Durability durability = Durability::memory;  // acknowledged: what was asked for, or more
  absl::Status status;
};

/// Room for a batch in hot memory, to be filled in place: zero copy, in any order, and so also
/// layer by layer as they are computed: layers_of(buffer(i), descriptor, {layer, 1}).
class PutBatch {
 public:
  virtual ~PutBatch() = default;  // without commit: nothing has happened
  virtual MutableByteSpan buffer(std::size_t index) = 0;
  virtual void commit(std::function<void(std::vector<PutResult>)> done) = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  /// Finds the namespace or makes it; `mismatch` where it exists with another descriptor.
  /// `options` count until the engine is closed; the first that ask for something decide it.
  virtual absl::StatusOr<NamespaceId> open_namespace(const NamespaceDescriptor& descriptor,
                                                     const NamespaceOptions& options = {}) = 0;
  virtual std::vector<NamespaceInfo> namespaces() const = 0;
  /// What a put is acknowledged at that names no durability, and when its blocks go to cold:
  ///   through    `written`. They are there before.
  ///   back       `memory`. They stay dirty until they leave memory in the background, or flush(),
  ///              close() or a put that asks for more. For want of room all else goes before them.
  ///   selective  `memory`. A block goes to cold in the background when it is put a second time or
  ///              delivered to a reader; seen once, it may be dropped, and close() does not keep
  ///              it.
  /// A durability that is named is kept under each. Applies to puts that come after, also while
  /// others run; switched to `through`, what is dirty is written in the background. Until the
  /// engine is closed: the store does not keep it. Without cold all acknowledge `memory`.
  virtual absl::Status set_write_policy(NamespaceId ns, WritePolicy policy) = 0;
  /// Limits of its own, inside those of the tiers, until the engine is closed. At a limit a put
  /// or a promotion evicts blocks of this namespace and no other. Lowered, what is beyond goes at
  /// once, but for what is leased or pinned; until that has gone nothing new comes in.
  virtual absl::Status set_limits(NamespaceId ns, const NamespaceLimits& limits) = 0;

  // --- lookup ---------------------------------------------------------------------------
  /// No side effects, no waiting. A lower bound until the catalog is loaded (is_recovered);
  /// acquire and load look into the index meanwhile.
  virtual Match match(NamespaceId ns, std::span<const KeyRef> keys) const = 0;
  /// Only the length of the run: what a scheduler asks. No allocation.
  virtual std::size_t match_length(NamespaceId ns, std::span<const KeyRef> keys,
                                   Search search = Search::forward) const = 0;
  /// The same for many requests in one call; `lengths` has one element for each.
  virtual void match_lengths(NamespaceId ns, std::span<const std::span<const KeyRef>> requests,
                             std::span<std::size_t> lengths) const = 0;
  /// The longest beginning of the prompt, in whole blocks, of which the token index knows the
  /// blocks and the catalog lists them; never one that is not there. `invalid_argument` where the
  /// namespace has no such index. Renews no block's recency. What a put has told of its tokens is
  /// found once it is acknowledged; after a kill, what was put since the index was saved is not
  /// until it is put again (EngineOptions::hot_list_interval).
  virtual absl::StatusOr<TokenRun> match_tokens(NamespaceId ns,
                                                std::span<const std::uint32_t> tokens,
                                                const TokenSpace& space = {}) const = 0;
  /// The index for people: one line for each edge, at most so many. Costs a walk of it.
  virtual absl::StatusOr<std::string> token_tree_picture(NamespaceId ns,
                                                         std::size_t lines_max) const = 0;
  /// Whether the block is there and nothing but the policy keeps it: no lease and no pin.
  virtual bool is_freeable(NamespaceId ns, const KeyRef& key) const = 0;
  /// A block and what is below it by the links that are known, parents before their children; at
  /// most `blocks_max`. `busy` unless is_recovered. Costs about a microsecond a block.
  virtual absl::StatusOr<std::vector<SubtreeBlock>> subtree(NamespaceId ns, const KeyRef& root,
                                                            std::size_t blocks_max) const = 0;

  // --- reading --------------------------------------------------------------------------
  /// All-or-nothing admission: `busy` when the run does not fit into what may be leased.
  virtual void acquire(NamespaceId ns, std::span<const KeyRef> keys, const AcquireOptions& options,
                       std::function<void(absl::StatusOr<Lease>)> done) = 0;
  absl::StatusOr<Lease> acquire_sync(NamespaceId ns, std::span<const KeyRef> keys,
                                     const AcquireOptions& options = {});
  /// Into memory of the caller's, window by window, so that a chain longer than hot streams.
  /// Targets stay alive until done. Read::prefix: targets behind the first miss are not found.
  virtual void load(NamespaceId ns, std::span<LoadTarget> targets, const AcquireOptions& options,
                    std::function<void(absl::Status)> done) = 0;
  absl::Status load_sync(NamespaceId ns, std::span<LoadTarget> targets,
                         const AcquireOptions& options = {});
  /// The same layer by layer, in order, so that the first can be computed with while the next are
  /// on their way. A buffer receives the layers asked for in the block's own order. Which blocks
  /// are loaded is decided once, at the beginning: of each that version and no other. Those in hot
  /// are held until the end, as far as leases may hold hot. Others may leave meanwhile: such a
  /// block is lost, with Read::prefix also those behind it, and the groups that follow say so and
  /// go on without. Nothing is promoted.
  /// on_layers runs once for each group, in order, never inside the call and not after done; not
  /// at all where no block is found. At the deadline the rest is not told, and no target `found`.
  /// Found at the end are the blocks of which every layer came. `invalid_argument` where the
  /// namespace has no layout, or not these layers.
  virtual void load_layers(NamespaceId ns, std::span<LoadTarget> targets,
                           const LayerOptions& options,
                           std::function<void(const LoadedLayers&)> on_layers,
                           std::function<void(absl::Status)> done) = 0;
  /// Wanted soon: fetched into hot ahead of demand, as far as room and bandwidth allow. Keys
  /// are copied. Returns how many blocks were accepted; the rest is told `later` by omission.
  virtual std::size_t announce(NamespaceId ns, std::span<const KeyRef> keys, Deadline deadline) = 0;
  /// Renews recency without reading. Returns how many blocks were there.
  virtual std::size_t touch(NamespaceId ns, std::span<const KeyRef> keys) = 0;

  // --- writing --------------------------------------------------------------------------
  /// A run of a chain. Keys and payloads are borrowed until done; results are in order.
  virtual void put(NamespaceId ns, std::span<const PutBlock> blocks, const PutOptions& options,
                   std::function<void(std::vector<PutResult>)> done) = 0;
  std::vector<PutResult> put_sync(NamespaceId ns, std::span<const PutBlock> blocks,
                                  const PutOptions& options = {});
  /// reserve → fill → commit. Payload spans are ignored but for their sizes; keys are copied.
  virtual absl::StatusOr<std::unique_ptr<PutBatch>> reserve(NamespaceId ns,
                                                            std::span<const PutBlock> blocks,
                                                            const PutOptions& options) = 0;

  // --- removing -------------------------------------------------------------------------
  /// Acknowledged at the durability of what it removes. done gets, for each key, whether it
  /// was there. A block under lease disappears for new readers at once.
  virtual void erase(NamespaceId ns, std::span<const KeyRef> keys,
                     std::function<void(absl::StatusOr<std::vector<bool>>)> done) = 0;
  absl::StatusOr<std::vector<bool>> erase_sync(NamespaceId ns, std::span<const KeyRef> keys);
  /// A block and all below it, also what is put there meanwhile. Returns how many were erased.
  absl::StatusOr<std::uint64_t> erase_subtree(NamespaceId ns, const KeyRef& root);
  /// Every block of the namespace, for good. Blocks: disk.
  virtual absl::Status clear(NamespaceId ns) = 0;
  /// Gives up blocks nobody needs any more (a sliding window has passed them): first to go.
  virtual std::size_t demote_early(NamespaceId ns, std::span<const KeyRef> keys) = 0;
  /// Evicts what is not leased, pinned or promised until `tier` uses at most `target_bytes`.
  /// Returns bytes freed. Blocks: disk, where cold is meant, or something is to be written first.
  virtual absl::StatusOr<std::uint64_t> evict_unused(TierKind tier, std::uint64_t target_bytes) = 0;

  // --- promises against eviction --------------------------------------------------------
  /// Exempt until everyone who has pinned has unpinned. `no_space` beyond half of a tier.
  virtual absl::Status pin(NamespaceId ns, std::span<const KeyRef> keys,
                           const PinOptions& options) = 0;
  /// Ends the pins of one owner; those of former processes, too, when nobody else has any.
  virtual absl::Status unpin(NamespaceId ns, std::span<const KeyRef> keys,
                             std::string_view owner = {}) = 0;
  /// A block and what is below it now. All or none are pinned.
  absl::Status pin_subtree(NamespaceId ns, const KeyRef& root, const PinOptions& options);
  absl::Status unpin_subtree(NamespaceId ns, const KeyRef& root, std::string_view owner = {});

  // --- life -----------------------------------------------------------------------------
  virtual EngineStats stats() const = 0;
  virtual void reset_stats() = 0;
  /// Whether the catalog holds everything the store holds.
  virtual bool is_recovered() const = 0;
  /// Waits for is_recovered, at most until the deadline. Where the index could not be read to its
  /// end that error, and `no_space` where metadata_bytes has no room for all that is there: then it
  /// stays so, and all is served, but what is not listed is looked up in the index.
  virtual absl::Status wait_recovered(Deadline deadline) = 0;
  /// Everything acknowledged as `written` before is durable when it returns, and so is what was
  /// dirty of namespaces that write back, and what was seen a second time. What could not be
  /// written is dirty still, counted, and the first reason is returned.
  virtual absl::Status flush() = 0;
  /// Refuses new work, finishes what is under way, writes what flush() would, saves the hot list,
  /// marks the store clean. What cannot be written then is lost, counted and logged.
  /// Waits for the device where it owes an answer: the kernel writes into the buffers until then.
  /// Idempotent; also called by the destructor.
  virtual absl::Status close() = 0;

 protected:
  /// Runs the loops once, for the _sync calls, where no thread runs them (simulation). False:
  /// threads do.
  virtual bool pump() { return false; }
};

}  // namespace cairn
