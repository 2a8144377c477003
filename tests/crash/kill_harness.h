// SPDX-License-Identifier: Apache-2.0
// kill_harness.h — fork, run, SIGKILL, reopen, judge.
//
// The child opens a real store in a real directory and works on it; the parent kills it from
// outside (or the child's own device kills it at the n-th write), then opens what is left and
// holds it against the journal. fork() happens before any thread exists, so the child is a
// fresh process in all that matters here.
//
// A block that was promised and is not there is excused by one thing alone: that the store said
// of this block, in this version or a later one, that it would be evicted.
//
// Threading: the parent never opens a store, so that it has no threads when it forks.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/support/journal.h"
#include "tiers/open.h"

namespace cairn::test {

/// How the scenario names and sizes its blocks: key i of a namespace.
std::string journal_key(std::size_t slot);
std::size_t journal_bytes(std::size_t slot);

/// A namespace with what was promised of its blocks.
struct Journalled {
  std::string name = "journal";
  NamespaceKind kind = NamespaceKind::mutable_;
  Journal* journal = nullptr;
  std::size_t (*bytes_of)(std::size_t) = journal_bytes;
};

/// Small limits, so that sealing, cleaning and eviction happen within a few hundred puts.
StoreOptions small_store(const std::string& directory, std::uint64_t cold_bytes);

/// Evictions go to the journals. A store without this must not lose a block.
void report_evictions(StoreOptions& options, std::span<const Journalled> namespaces);
/// Opens the namespace, whose blocks' evictions are then known by name. Before its first put.
absl::StatusOr<NamespaceId> open_journalled(Store& store, const Journalled& of);

struct Verdict {
  std::uint64_t acknowledged = 0;  // blocks whose last acknowledged word was a put
  std::uint64_t found = 0;
  std::uint64_t missing_memory = 0;   // allowed
  std::uint64_t missing_evicted = 0;  // allowed: the block's own eviction was told of
  std::uint64_t missing = 0;          // `written` or `durable`, not there and nothing said
  std::uint64_t pinned_evicted = 0;   // told of as evicted although pinned, in any life
  std::uint64_t wrong_bytes = 0;
  std::uint64_t resurrected = 0;    // erased, acknowledged, and there again
  std::uint64_t stale = 0;          // an older version than the acknowledged one
  std::uint64_t bytes_on_disk = 0;  // before the opening: segments and index
  bool sound() const { return missing + pinned_evicted + wrong_bytes + resurrected + stale == 0; }
};
std::string describe(const Verdict& verdict);

/// Opens the store in a child of its own and reads every slot of the journals. Slots that a
/// death took away are forgotten, so that the next round expects nothing of them. Empty when the
/// store did not open or the child died; stderr then says why.
///
/// In a child, because RocksDB keeps background threads for the life of a process, and a
/// process with threads must not fork the next victim.
std::optional<Verdict> judge(const std::function<StoreOptions()>& options,
                             std::span<const Journalled> namespaces);

/// Forks; the child runs `work` and leaves with _exit. Returns its wait status.
int run_child(const std::function<void()>& work, const std::function<void(pid_t)>& meanwhile);

}  // namespace cairn::test
