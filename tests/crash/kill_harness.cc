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
#include "engine/base/text.h"
#include "tests/support/disk_usage.h"
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
  options.engine.warm_bytes = 4 * kMiB;
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

void judge_slot(Engine& engine, NamespaceId ns, const Journalled& of, std::size_t i,
                std::uint64_t evicted_before, Verdict& verdict) {
  JournalSlot& slot = of.journal->slot(i);
  const std::string key = journal_key(i);
  const std::size_t expected_bytes = of.bytes_of(i);
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
  const std::uint64_t evicted = std::max(evicted_before, slot.evicted_sequence.load());
  slot.pending_version.store(newest);
  slot.erase_pending.store(0);
  if (!target.found) {
    if (expected && only_memory) {
      ++verdict.missing_memory;
    } else if (expected && evicted >= slot.acknowledged_sequence.load()) {
      ++verdict.missing_evicted;
    } else if (expected) {
      ++verdict.missing;
      std::fprintf(stderr, "judge: %s %s is lost: version %u was number %llu, evicted up to %llu\n",
                   of.name.c_str(), key.c_str(), acknowledged,
                   static_cast<unsigned long long>(slot.acknowledged_sequence.load()),
                   static_cast<unsigned long long>(evicted));
    }
    slot.acknowledged_version.store(0);
    slot.erase_acknowledged.store(0);
    slot.pin_acknowledged.store(0);
    return;
  }
  const std::uint32_t version =
      version_of(key, ByteSpan(buffer).first(target.bytes), expected_bytes, newest);
  if (version == 0) {
    ++verdict.wrong_bytes;
    return;
  }
  if (expected) ++verdict.found;
  // Versions of a few bytes cannot be told apart, unless there is no later one.
  const bool is_certain = expected_bytes >= 8;
  if (erased && (newest == acknowledged || (is_certain && version <= acknowledged))) {
    ++verdict.resurrected;
  }
  if (!is_certain) return;
  if (expected && version < acknowledged && !only_memory) ++verdict.stale;
  slot.acknowledged_version.store(version);
  slot.acknowledged_sequence.store(target.sequence);
  slot.acknowledged_durability.store(static_cast<std::uint8_t>(Durability::written));
  slot.erase_acknowledged.store(0);
}

/// Taken before the opening: what was told of in an earlier life may not have happened, and what
/// was found after all is excused no more. What this life tells of stays.
std::vector<std::uint64_t> take_told(Journal& journal) {
  std::vector<std::uint64_t> told;
  for (std::size_t i = 0; i < journal.size(); ++i) {
    told.push_back(journal.slot(i).evicted_sequence.exchange(0));
  }
  return told;
}

void judge_all(StoreOptions options, std::span<const Journalled> namespaces,
               SharedVerdict& shared) {
  Verdict& verdict = shared.verdict;
  std::vector<std::vector<std::uint64_t>> told;
  for (const Journalled& of : namespaces) told.push_back(take_told(*of.journal));
  verdict.bytes_on_disk = cold_bytes_on_disk(options.directory);
  report_evictions(options, namespaces);
  const auto store = open_store(options);
  if (!store.ok()) {
    std::fprintf(stderr, "judge: %s\n", std::string(message_of(store.status())).c_str());
    return;
  }
  Engine& engine = (*store)->engine();
  for (std::size_t n = 0; n < namespaces.size(); ++n) {
    const Journalled& of = namespaces[n];
    const auto ns = open_journalled(**store, of);
    CAIRN_CHECK(ns.ok());
    for (std::size_t i = 0; i < of.journal->size(); ++i) {
      judge_slot(engine, *ns, of, i, told[n][i], verdict);
    }
    verdict.pinned_evicted += of.journal->header().pinned_evictions.load();
  }
  if (engine.close().ok()) shared.is_complete.store(true);
}

}  // namespace

void report_evictions(StoreOptions& options, std::span<const Journalled> namespaces) {
  std::vector<Journal*> journals;
  for (const Journalled& of : namespaces) journals.push_back(of.journal);
  options.engine.on_evicted = [journals](std::span<const Eviction> evictions) {
    for (Journal* const journal : journals) journal->report_evicted(evictions);
  };
}

absl::StatusOr<NamespaceId> open_journalled(Store& store, const Journalled& of) {
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns,
                         store.engine().open_namespace({.name = of.name, .kind = of.kind}));
  for (std::size_t i = 0; i < of.journal->size(); ++i) {
    of.journal->learn(i, block_id({ns, journal_key(i), 0}, store.cold().block_id_secret()));
  }
  return ns;
}

std::string describe(const Verdict& v) {
  return concat("acknowledged ", v.acknowledged, ", found ", v.found, ", missing ", v.missing,
                " (and memory ", v.missing_memory, ", evicted ", v.missing_evicted,
                "), pinned evicted ", v.pinned_evicted, ", wrong ", v.wrong_bytes, ", resurrected ",
                v.resurrected, ", stale ", v.stale);
}

std::optional<Verdict> judge(const std::function<StoreOptions()>& options,
                             std::span<const Journalled> namespaces) {
  void* memory = mmap(nullptr, sizeof(SharedVerdict), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CAIRN_CHECK(memory != MAP_FAILED);
  auto* const shared = new (memory) SharedVerdict;
  run_child([&] { judge_all(options(), namespaces, *shared); }, {});
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
