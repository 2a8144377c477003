// SPDX-License-Identifier: Apache-2.0
// tier.h — one storage medium, as the engine sees it.
//
// A Tier keeps blocks on one medium under locations that it alone can read; the catalog
// holds them. It never decides what should move or who deserves space: it says whether it
// has room, and the policy decides. It never calls another tier.
//
// Every operation is a batch of caller-owned structs. A batch is handed over by the call,
// stays alive and untouched until `done` has run, and comes back with a status in each
// element. `done` runs exactly once, on a thread of the tier's choosing (also on the
// caller's, before the call returns); it must not block and may call the tier again.
//
// Threading:  thread-safe.
// Blocking:   never, except where a method says so.
// Failure:    per element. After a failed write the location is null and nothing of the block
//             can be read; other elements are untouched. A durable tier whose index failed may
//             show such a block, whole, after a restart that learns from what was written.
// Lifetime:   close() runs every outstanding `done` (with `closed` where it must).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/block.h"
#include "engine/namespace.h"

namespace cairn {

using Done = absl::AnyInvocable<void()>;

/// A block as a durable tier stores it, encoded and summed. The engine hands it from tier to tier
/// and does not look inside (tiers/record/stored_image.h). It stays as it is while it is held, also
/// when the location it came from is freed.
class StoredImage;
using StoredImagePtr = std::shared_ptr<const StoredImage>;

struct TierWrite {
  BlockName name;  // the key is borrowed until done
  BlockId id;
  BlockFacts facts;      // facts.plain_bytes == payload.size(), or that of the image
  ByteSpan payload;      // the plain bytes; unchanged until done
  StoredImagePtr image;  // instead of the payload: kept as it is, under these facts
  Location location;     // in: what reserve() gave; out: where the block is, null on failure
  std::uint32_t stored_bytes = 0;  // out: what it takes on the medium, as in StoredBlock
  absl::Status status;
};

struct TierRead {
  Location location;
  BlockName name;                 // verified against what is stored: another key is `corruption`
  std::uint64_t sequence = 0;     // verified: another version is `corruption`
  MutableByteSpan destination;    // receives the whole payload, exactly its plain length; or a part
  std::uint32_t offset = 0;       // of a part: where in the payload it begins
  std::uint32_t plain_bytes = 0;  // of a part: the payload's length. 0: the whole is wanted
  std::uint64_t plain_sum = 0;    // of the payload; checked, where the whole is read, by tiers that
                                  // keep no sums of their own
  Deadline deadline = TimePoint::never();
  absl::Status status;  // ok, `corruption`, `deadline`, `io`, `closed`, `invalid_argument`

  std::uint32_t payload_bytes() const {
    return plain_bytes != 0 ? plain_bytes : static_cast<std::uint32_t>(destination.size());
  }
  bool is_part() const { return payload_bytes() != destination.size(); }
};
/// `invalid_argument` where a part does not lie inside its payload.
absl::Status check_part(const TierRead& read);

/// A block asked for as it is stored.
struct ImageRead {
  Location location;
  BlockName name;              // verified, as in TierRead; borrowed until done
  std::uint64_t sequence = 0;  // verified
  StoredImagePtr image;        // out: null on failure
  absl::Status status;         // as in TierRead
};

struct TierUsage {
  std::uint64_t capacity_bytes = 0;  // what users may fill
  std::uint64_t used_bytes = 0;      // live blocks with their overhead, and reservations
  std::uint64_t dead_bytes = 0;      // waiting to be cleaned
  std::uint64_t blocks = 0;
};

class Tier {
 public:
  virtual ~Tier() = default;

  /// Sets room aside for blocks of these plain sizes, all or none: `no_space` (make room and
  /// come again), `busy` (room is being made), `too_large` (never), `degraded`, `read_only`.
  /// Each location must go into one write() or one free().
  virtual absl::Status reserve(NamespaceId namespace_id, std::span<const std::uint32_t> plain_sizes,
                               std::span<Location> locations) = 0;

  /// On success the block can be read at once, and by every later read of its location.
  /// Durability beyond what the medium has is `invalid_argument`. Sizes differ, and room is
  /// promised in advance: what was reserved may find no place after all, and is `busy` (make room,
  /// reserve and come again).
  virtual void write(std::span<TierWrite> batch, Durability durability, Done done) = 0;

  /// A deadline that has passed ends the element with `deadline`; its destination may still
  /// be written to until done runs.
  /// A part is any bytes of a payload, also none: name and version are verified as ever. A tier
  /// that keeps chunks with sums reads, checks and decodes those that the part lies in and leaves
  /// the others alone, so damage elsewhere in the block is not noticed; one that keeps the sum of
  /// the whole checks no part. A part outside its payload is `invalid_argument`.
  virtual void read(std::span<TierRead> batch, Done done) = 0;

  /// Gives the room of written or reserved locations back. Reads that began before still end
  /// well or as `corruption`, never with other bytes.
  virtual void free(std::span<const Location> locations) = 0;

  virtual TierUsage usage() const = 0;

  /// Finishes what is under way and refuses the rest. May block: disk.
  virtual void close() = 0;
};

/// A tier that keeps blocks as a durable tier stores them: warm. What goes from one to the other is
/// not coded again; write() takes images too, once their chunks' sums have been checked.
class ImageTier : public Tier {
 public:
  /// Lends what is stored there. `corruption` where nothing is, or where its header's sum says so;
  /// the chunks are not looked at.
  virtual absl::StatusOr<StoredImagePtr> image(Location location) = 0;
  /// Changes the limit while running; shrinks at once by what is free, and then by what is freed.
  virtual void set_capacity(std::uint64_t bytes) = 0;
};

/// A tier whose blocks lie in memory that the process can address: hot.
class AddressableTier : public Tier {
 public:
  /// The bytes at a reserved or written location, its exact plain length. Filling is the
  /// caller's business until the block is published, and forbidden afterwards.
  virtual MutableByteSpan bytes(Location location) = 0;
  /// The same for who knows the plain length, and so need not wait for the slot's own to come
  /// from memory.
  virtual MutableByteSpan bytes(Location location, std::uint32_t plain_bytes) = 0;
  /// Changes the limit while running; shrinks as regions become empty.
  virtual void set_capacity(std::uint64_t bytes) = 0;
  /// A limit for the slots of one namespace: reserve() says `no_space` rather than pass it, and
  /// what is there already stays until it is freed. 0: none of its own.
  virtual void set_limit(NamespaceId ns, std::uint64_t bytes) = 0;
  /// Bytes of the namespace's slots, as they count against its limit.
  virtual std::uint64_t used_bytes(NamespaceId ns) const = 0;
  /// Whether the limit, and not the capacity, is in the way of blocks of these plain sizes.
  virtual bool is_limited(NamespaceId ns, std::span<const std::uint32_t> plain_sizes) const = 0;
};

// ---------------------------------------------------------------------------------------
// What a durable tier offers beyond Tier: it survives the process, so it also keeps the
// names. All of the following is keyed by name because it is asked where no catalog entry
// exists yet, or to make sure that none comes back.

/// One durable entry, as recovery and `ls` see it.
struct StoredBlock {
  BlockName name;  // borrows from the visitor's call, or from `key` of StoredLookup
  BlockId id;
  BlockFacts facts;
  Location location;
  std::uint32_t stored_bytes = 0;  // record with header, rounded as on the medium
  std::uint32_t heat = 0;          // uses at the last save
};

struct StoredLookup {
  BlockName name;                    // in; borrowed until done
  std::optional<StoredBlock> found;  // out; its name borrows from `name`
  absl::Status status;
};

enum class RemovalReason : std::uint8_t { erased, evicted, expired, overwritten, corrupt };
std::string_view removal_reason_name(RemovalReason reason);

struct Removal {
  BlockName name;              // borrowed until done
  std::uint64_t sequence = 0;  // removes this version and older ones; a newer one stays
  RemovalReason reason = RemovalReason::erased;
  absl::Status status;
};

/// A change of facts that needs no new payload.
struct Note {
  BlockName name;  // borrowed until done
  std::uint64_t sequence = 0;
  std::optional<WallMicros> expiry;
  std::optional<bool> pinned;
  absl::Status status;
};

/// A block that moved inside its tier. The catalog swaps `from` for `to` if it still holds
/// `from` and returns true; false means the block is gone and `to` is garbage at once.
using Relocated = std::function<bool(BlockId id, Location from, Location to)>;

/// A block that the tier removed by itself, because what lies at `location` fails its checks.
/// Nobody asked, so nobody else will take it out of the catalog, and a catalog that goes on
/// listing it answers puts with `already_present` and gives up hot copies for nothing. Runs after
/// the names are gone and before the location can name anything else. Whoever lists `location`
/// stops listing it; any other location of the block is a newer version's and stays. A scan that
/// began earlier may still show what was removed, as it may show what relocated() moved. The
/// version is buried: who has its bytes elsewhere writes them under a new sequence, or a write is
/// acknowledged that nothing names.
using Removed = std::function<void(BlockId id, std::uint64_t sequence, Location location)>;

struct DurableHealth {
  bool degraded = false;  // writes are off; reads may go on
  std::string reason;     // what to tell the operator
  std::uint64_t corruptions = 0, quarantined_segments = 0, poisoned_segments = 0;
  std::uint64_t read_errors = 0, write_errors = 0, sync_failures = 0, short_transfers = 0;
  std::uint64_t refused_by_write_budget = 0;
};

enum class CodecUse : std::uint8_t {
  off,
  on,
  automatic,  // unless decoding is slower than the disk
};
std::string_view codec_use_name(CodecUse use);

/// How new blocks are stored. Since the opening; a rate is 0 until there was work to measure.
struct CodecReport {
  CodecUse use = CodecUse::off;
  bool is_held_off = false;  // automatic, and decoding is the slower one
  double disk_bytes_per_second = 0, decode_bytes_per_second = 0;
  std::uint64_t plain_bytes = 0, stored_bytes = 0;  // of the blocks that were encoded
};

/// Of all of the store's lives. A crash may lose what the medium took since the last sync.
struct DurableCounters {
  std::uint64_t payload_bytes_written = 0;  // as put
  std::uint64_t media_bytes_written = 0;    // all of it: records, footers, cleaning, index
  std::uint64_t cleaned_segments = 0, cleaner_moved_bytes = 0;
  std::uint64_t evicted_ever = 0, erased_ever = 0, expired_ever = 0;
  std::uint64_t dirty_openings = 0;  // after a stop that was not clean, and repairs
};

class DurableTier : public Tier {
 public:
  /// Called before anything else moves. The callback is called from tier threads.
  virtual void set_relocated(Relocated relocated) = 0;
  /// Likewise. Blocks that remove() was asked for are not told here.
  virtual void set_removed(Removed removed) = 0;

  /// What the store is. Immutable after open.
  virtual std::uint64_t block_id_secret() const = 0;
  /// The next number in the store's order of writes. Thread-safe; never repeats, also not
  /// after a crash.
  virtual std::uint64_t next_sequence() = 0;

  /// Blocks: disk. The namespace is in the superblock, synced, when this returns.
  virtual absl::StatusOr<NamespaceInfo> open_namespace(const NamespaceDescriptor& descriptor) = 0;
  virtual std::vector<NamespaceInfo> namespaces() const = 0;
  /// Raises the namespace's epoch, synced; every block of it is gone. Blocks: disk.
  virtual absl::Status clear_namespace(NamespaceId id) = 0;

  /// Blocks as they are stored, every check made that needs no decoding. The image keeps memory of
  /// the tier's: let go of it soon.
  virtual void read_images(std::span<ImageRead> batch, Done done) = 0;

  virtual void lookup(std::span<StoredLookup> batch, Done done) = 0;
  /// Removals are acknowledged at the durability given. An erased, expired or overwritten
  /// block never comes back, not after a crash, not after a rebuild of the index.
  virtual void remove(std::span<Removal> batch, Durability durability, Done done) = 0;
  virtual void annotate(std::span<Note> batch, Durability durability, Done done) = 0;

  /// Visits up to `limit` live entries in key order, starting behind `cursor` (empty: the
  /// beginning), and sets `cursor` to go on from; empty again at the end. Blocks: disk. Ends
  /// with `corruption` where the index is damaged: never taken for the end of the data.
  /// Consistent within one call only.
  virtual absl::Status scan(std::string& cursor, std::size_t limit,
                            const std::function<void(const StoredBlock&)>& visit) = 0;

  /// Everything written before the call is durable when done runs.
  virtual void sync(std::function<void(absl::Status)> done) = 0;

  /// A small named state file (the hot list, learned statistics): replaced whole, synced,
  /// checksummed. Blocks: disk.
  virtual absl::Status save_state(std::string_view name, ByteSpan content) = 0;
  virtual absl::StatusOr<std::string> load_state(std::string_view name) = 0;

  /// Whether the last process closed the store, or was stopped.
  virtual bool opened_clean() const = 0;
  virtual bool is_read_only() const = 0;
  /// The largest block that one segment holds.
  virtual std::uint64_t block_bytes_max() const = 0;
  virtual DurableHealth health() const = 0;
  virtual DurableCounters counters() const = 0;
  virtual CodecReport codec() const { return {}; }
  /// Moves live blocks out of the poorest segments until at most `dead_fraction` of the
  /// space in use is dead.
  virtual void compact(double dead_fraction, std::function<void(absl::Status)> done) = 0;
};

}  // namespace cairn
