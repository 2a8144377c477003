// SPDX-License-Identifier: Apache-2.0
// replay_store.h — the store a replay works on, and what it reports of evictions.
//
// Threading: open and close on one thread; evictions arrive on the engine's.
// Blocking:  disk.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "tiers/open.h"
#include "tools/cairn/replay_journal.h"
#include "tools/cairn/replay_options.h"
#include "tools/cairn/replay_reader.h"

namespace cairn::tools {

/// Writes evictions into the journal. Until it knows the numbers of the blocks it only counts.
class EvictionLog {
 public:
  explicit EvictionLog(ReplayJournal& journal) : journal_(journal) {}
  /// Once, before the first put of this process.
  void learn(const ReplayPlan& plan, NamespaceId ns, std::uint64_t secret);
  void report(std::span<const Eviction> evictions);

 private:
  ReplayJournal& journal_;
  absl::flat_hash_map<BlockId, BlockNumber> numbers_;  // immutable once known_
  std::atomic<bool> known_{false};
};

struct ReplayStore {
  // The store goes first when this is destroyed: it reports to the log until then.
  std::unique_ptr<EvictionLog> evictions;
  NamespaceId namespace_id{};
  std::string namespace_name;
  std::unique_ptr<Store> store;
};

/// Makes the store, or opens it; read-only it changes no byte.
absl::StatusOr<ReplayStore> open_replay_store(const ReplayOptions& options, const ReplayPlan& plan,
                                              const workload::KvModel& model,
                                              ReplayJournal& journal, tiers::StoreMode mode);

}  // namespace cairn::tools
