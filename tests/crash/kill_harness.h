// SPDX-License-Identifier: Apache-2.0
// kill_harness.h — fork, run, SIGKILL, reopen, judge.
//
// The child opens a real store in a real directory and works on it; the parent kills it from
// outside (or the child's own device kills it at the n-th write), then opens what is left and
// holds it against the journal. fork() happens before any thread exists, so the child is a
// fresh process in all that matters here.
//
// Threading: the parent never opens a store, so that it has no threads when it forks.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "tests/support/journal.h"
#include "tiers/open.h"

namespace cairn::test {

/// How the scenario names and sizes its blocks: key i of a namespace.
std::string journal_key(std::size_t slot);
std::size_t journal_bytes(std::size_t slot);

/// Small limits, so that sealing, cleaning and eviction happen within a few hundred puts.
StoreOptions small_store(const std::string& directory, std::uint64_t cold_bytes);

struct Verdict {
  std::uint64_t acknowledged = 0;  // blocks whose last acknowledged word was a put
  std::uint64_t found = 0;
  std::uint64_t missing_memory = 0;  // allowed
  std::uint64_t missing = 0;         // `written` or `durable`, not there
  std::uint64_t evicted = 0;         // by the store's own persistent count since the start
  std::uint64_t wrong_bytes = 0;
  std::uint64_t resurrected = 0;  // erased, acknowledged, and there again
  std::uint64_t stale = 0;        // an older version than the acknowledged one
};

/// Opens the store in a child of its own and reads every slot of the journal (mutable namespace
/// `journal`). Slots that a death took away are forgotten, so that the next round expects nothing
/// of them. Empty when the store did not open or the child died; stderr then says why.
///
/// In a child, because RocksDB keeps background threads for the life of a process, and a
/// process with threads must not fork the next victim.
std::optional<Verdict> judge(const std::function<StoreOptions()>& options, Journal& journal,
                             std::size_t (*bytes_of)(std::size_t) = journal_bytes);

/// Forks; the child runs `work` and leaves with _exit. Returns its wait status.
int run_child(const std::function<void()>& work, const std::function<void(pid_t)>& meanwhile);

}  // namespace cairn::test
