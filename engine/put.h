// SPDX-License-Identifier: Apache-2.0
// put.h — one put under way. A part of write_path.
//
// A name that stands in the batch twice is written once: the first of a content-addressed
// namespace, the last of a mutable one; the others share its result.
//
// Threading:  one thread at a time: the caller's, then the loop's or a tier's, each handing on
//             to the next. The groups of one put are written at the same time and share only
//             the count of those that are left.
// Lifetime:   kept alive by what it waits for. Keys and payloads are the caller's until done.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/write_path.h"

namespace cairn::detail {

class WritePath::Put final : public std::enable_shared_from_this<WritePath::Put> {
 public:
  using Callback = std::function<void(std::vector<PutResult>)>;

  Put(WritePath& path, NamespaceState& ns, const PutOptions& options, std::uint64_t charge);
  /// Gives back what it holds of hot and of the bytes in flight.
  ~Put();

  /// Takes the blocks in. `slots` are reserved already, one for each block, or empty.
  void prepare(std::span<const PutBlock> blocks, std::vector<Location> slots);
  /// Instead of prepare(): blocks that memory has and cold is to have, as they are.
  void prepare_write_back(std::vector<OwnedName> names);
  /// The keys are copied, because the caller's may go before commit.
  void own_keys(std::span<const PutBlock> blocks, std::vector<PutBlock>* owned);
  MutableByteSpan slot_bytes(std::size_t index);
  /// All of it, from the gates on. The caller has entered core.operations and the namespace.
  void start(Callback done);

 private:
  struct Item {
    std::size_t index = 0;  // in the request
    BlockName name;
    BlockId id;
    ByteSpan payload;
    BlockFacts facts;
    PutTokens tokens;            // with a prefix: for the token index
    Location slot;               // ours until published
    bool filled = false;         // the slot holds the payload already
    bool settled = false;        // nothing more to do
    bool to_sync = false;        // in cold, not known to be durable
    std::uint32_t replaces = 0;  // payload bytes of the version in cold that goes
    bool upgrade = false;        // listed in memory alone, and held by us while it is written:
    BlockHandle pinned = 0;      // in hot, by a lease
    StoredImagePtr image;        // or as warm has it
    PutOutcome outcome = PutOutcome::stored;
    Durability acknowledged = Durability::memory;
    absl::Status status;
  };
  struct Group {
    std::vector<std::size_t> items;
    std::vector<TierWrite> writes;
    std::uint64_t bytes = 0;
    std::uint64_t growth = 0;  // of the namespace in cold, while it is being written
    TimePoint give_up;
    std::uint32_t displaced = 0;  // how often it was admitted and then found no place
    // Since when nothing that might make room has been seen to end.
    TimePoint still_since;
    std::uint64_t ended_seen = 0;
  };

  void check(const PutBlock& block, Item& item) const;
  void own_tokens(std::vector<PutBlock>* owned);
  BlockId parent_of(std::span<const PutBlock> blocks, std::size_t index) const;
  void resolve_unknown();
  void classify();
  void classify_one(Item& item);
  void classify_present(Item& item, const Residency& listed);
  void classify_write_back(Item& item, const Residency& listed);
  bool hold_for_upgrade(Item& item, const Residency& listed);
  void place();
  bool place_one(Item& item);
  void fill(Item& item);
  void publish_in_memory();
  void put_back(const Item& item, const Residency& old);
  void add_to_group(std::size_t index);
  void launch_group();
  void end_groups();
  void write_group(const std::shared_ptr<Group>& group);
  void no_room(const std::shared_ptr<Group>& group, const absl::Status& status);
  bool others_may_make_room(Group& group) const;
  void try_later(const std::shared_ptr<Group>& group);
  void fail_group(const std::shared_ptr<Group>& group, const absl::Status& status);
  void group_written(const std::shared_ptr<Group>& group);
  void publish_written(Item& item, TierWrite& write);
  void group_done();
  void sync_if_asked();
  void let_go(Item& item);
  void settle(Item& item, absl::Status status);
  void finish();
  void index_tokens();
  std::vector<PutResult> results_of_put();
  std::vector<PutResult> results_of_write_back() const;
  void tell_kept_in_memory() const;
  void count(const std::vector<PutResult>& results);

  WritePath& path_;
  NamespaceState& ns_;
  const Links links_;
  const Hash128 token_root_;
  const Durability durability_;
  const bool by_policy_;  // it named none
  bool writes_back_ = false;
  std::uint64_t charge_;
  bool takes_turn_ = false;
  Recovery::Asking asking_;                         // until what is unknown has been looked up
  std::vector<std::string> keys_;                   // when owned
  std::vector<std::vector<std::uint32_t>> tokens_;  // likewise
  std::vector<OwnedName> names_;                    // of what is written back
  std::vector<Item> items_;                         // one for each name
  std::vector<std::size_t> item_of_;                // by index in the request
  std::vector<std::uint32_t> sizes_;                // likewise
  std::vector<Location> slots_;                     // likewise, when reserved beforehand
  std::vector<BlockId> gates_;                      // held, sorted
  std::uint64_t metadata_reserved_ = 0;
  std::shared_ptr<Group> filling_;           // not launched yet
  std::atomic<std::size_t> groups_left_{1};  // under way, and one until all are launched
  TimePoint began_;
  Callback done_;
};

}  // namespace cairn::detail
