// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/kill_harness.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <new>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "tests/support/payload.h"

namespace cairn::test {

std::string journal_key(std::size_t slot) {
  return "key-" + std::to_string(slot);
}

std::size_t journal_bytes(std::size_t slot) {
  // Both sides of every boundary that the format has: empty, below and above a page, a chunk,
  // the large-record limit.
  constexpr std::size_t kSizes[] = {0,     1,     100,    4096,   4097,  8192,
                                    65536, 65537, 262143, 262144, 300001};
  return kSizes[slot % (sizeof(kSizes) / sizeof(kSizes[0]))];
}

StoreOptions small_store(const std::string& directory, std::uint64_t cold_bytes) {
  StoreOptions options;
  options.directory = directory;
  options.engine.hot_bytes = 8 * kMiB;
  options.engine.metadata_bytes = 8 * kMiB;
  options.cold.cold_bytes = cold_bytes;
  return options;
}

namespace {

struct SharedVerdict {
  std::atomic<bool> is_complete{false};
  Verdict verdict;
};

/// What may be read of a slot: any version that was ever begun.
std::uint32_t version_of(std::string_view key, ByteSpan bytes, std::size_t expected_bytes,
                         std::uint32_t newest) {
  if (bytes.size() != expected_bytes) return 0;
  for (std::uint32_t version = newest; version >= 1; --version) {
    if (is_payload(key, version, bytes)) return version;
  }
  return 0;
}

void judge_slot(Engine& engine, NamespaceId ns, JournalSlot& slot, const std::string& key,
                std::size_t expected_bytes, Verdict& verdict) {
  const std::uint32_t acknowledged = slot.acknowledged_version.load();
  const std::uint32_t newest = std::max(acknowledged, slot.pending_version.load());
  const bool erased = slot.erase_acknowledged.load() != 0;
  const bool expected = acknowledged != 0 && !erased && slot.erase_pending.load() == 0;
  const bool only_memory =
      slot.acknowledged_durability.load() == static_cast<std::uint8_t>(Durability::memory) ||
      // A put under way at `memory` may have taken effect, and the new version then died.
      (newest > acknowledged &&
       slot.pending_durability.load() == static_cast<std::uint8_t>(Durability::memory));
  if (expected) ++verdict.acknowledged;

  std::vector<std::byte> buffer(expected_bytes);
  LoadTarget target{.key = {key}, .buffer = buffer};
  CAIRN_CHECK(engine.load_sync(ns, {&target, 1}, {.read = Read::each}).ok());
  slot.pending_version.store(newest);
  slot.erase_pending.store(0);
  if (!target.found) {
    if (expected) ++(only_memory ? verdict.missing_memory : verdict.missing);
    slot.acknowledged_version.store(0);
    slot.erase_acknowledged.store(0);
    return;
  }
  const std::uint32_t version =
      version_of(key, ByteSpan(buffer).first(target.bytes), expected_bytes, newest);
  if (version == 0) {
    ++verdict.wrong_bytes;
    return;
  }
  if (expected) ++verdict.found;
  // Versions of a few bytes cannot be told apart.
  if (expected_bytes < 8) return;
  if (erased && newest == acknowledged) ++verdict.resurrected;
  if (expected && version < acknowledged && !only_memory) ++verdict.stale;
  slot.acknowledged_version.store(version);
  slot.acknowledged_durability.store(static_cast<std::uint8_t>(Durability::written));
  slot.erase_acknowledged.store(0);
}

void judge_all(const StoreOptions& options, Journal& journal, std::size_t (*bytes_of)(std::size_t),
               SharedVerdict& shared) {
  const auto store = open_store(options);
  if (!store.ok()) {
    std::fprintf(stderr, "judge: %s\n", std::string(message_of(store.status())).c_str());
    return;
  }
  Engine& engine = (*store)->engine();
  const auto ns = engine.open_namespace({.name = "journal", .kind = NamespaceKind::mutable_});
  CAIRN_CHECK(ns.ok());
  for (std::size_t i = 0; i < journal.size(); ++i) {
    judge_slot(engine, *ns, journal.slot(i), journal_key(i), bytes_of(i), shared.verdict);
  }
  shared.verdict.evicted = (*store)->cold().counters().evicted_ever;
  if ((*store)->engine().close().ok()) shared.is_complete.store(true);
}

}  // namespace

std::optional<Verdict> judge(const std::function<StoreOptions()>& options, Journal& journal,
                             std::size_t (*bytes_of)(std::size_t)) {
  void* memory = mmap(nullptr, sizeof(SharedVerdict), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CAIRN_CHECK(memory != MAP_FAILED);
  auto* const shared = new (memory) SharedVerdict;
  run_child([&] { judge_all(options(), journal, bytes_of, *shared); }, {});
  std::optional<Verdict> verdict;
  if (shared->is_complete.load()) verdict = shared->verdict;
  munmap(memory, sizeof(SharedVerdict));
  return verdict;
}

int run_child(const std::function<void()>& work, const std::function<void(pid_t)>& meanwhile) {
  std::fflush(nullptr);
  const pid_t child = fork();
  CAIRN_CHECK(child >= 0);
  if (child == 0) {
    work();
    _exit(0);
  }
  if (meanwhile) meanwhile(child);
  int status = 0;
  CAIRN_CHECK(waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace cairn::test
