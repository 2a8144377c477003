// SPDX-License-Identifier: Apache-2.0
// journal.h — what a process that will be killed had been promised.
//
// A mapping shared between a test and the child it kills. The child marks an operation as
// pending before it starts and as acknowledged after the store said so; the parent, who
// alone survives, judges what the store still has. After RocksDB's db_stress "expected
// state": a value may be the acknowledged one or a pending one, nothing else.
//
// Evictions are kept by name: of each block the newest version that the store said would go,
// before it went. Only that excuses a block which is missing.
//
// One writer per slot at a time; any number of readers and of reporters of evictions.
//
// Threading:  thread-safe as said. Blocking: never.
// Lifetime:   made before fork(); the parent's copy sees all that the child wrote.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "engine/base/check.h"
#include "engine/block.h"
#include "engine/engine.h"

namespace cairn::test {

/// The state of one key. `sequence` of versions is the writer's own: 1, 2, 3, …
struct JournalSlot {
  std::atomic<std::uint32_t> acknowledged_version{0};  // 0: nothing was ever acknowledged
  std::atomic<std::uint32_t> pending_version{0};       // 0: nothing is under way
  std::atomic<std::uint8_t> acknowledged_durability{0};
  std::atomic<std::uint8_t> pending_durability{0};
  std::atomic<std::uint8_t> erase_acknowledged{0};  // the last acknowledged word was an erase
  std::atomic<std::uint8_t> erase_pending{0};
  // The store's numbers of versions.
  std::atomic<std::uint64_t> acknowledged_sequence{0};
  std::atomic<std::uint64_t> evicted_sequence{0};    // the newest whose eviction was told of
  std::atomic<std::uint64_t> id_high{0}, id_low{0};  // what the store calls the block
  std::atomic<std::uint8_t> pin_acknowledged{0};
};

struct JournalHeader {
  std::atomic<std::uint64_t> operations{0};   // acknowledged so far
  std::atomic<std::uint64_t> in_flight{0};    // puts under way
  std::atomic<std::uint64_t> wrong_bytes{0};  // seen by the child's own readers
  std::atomic<std::uint64_t> reads{0};        // verified by the child's own readers
  std::atomic<std::uint32_t> finished{0};     // the child reached its end unharmed
  // What the child's store did, for those who want to know that it was reached.
  std::atomic<std::uint64_t> told_evictions{0};    // of these blocks, out of a durable tier
  std::atomic<std::uint64_t> pinned_evictions{0};  // of those, of pinned ones: none is allowed
  std::atomic<std::uint64_t> cleaned_segments{0}, evicted{0}, erased{0};
};

class Journal {
 public:
  explicit Journal(std::size_t slots) : slots_(slots) {
    bytes_ = sizeof(JournalHeader) + slots * sizeof(JournalSlot);
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CAIRN_CHECK(memory != MAP_FAILED);
    header_ = new (memory) JournalHeader;
    first_ = reinterpret_cast<JournalSlot*>(static_cast<char*>(memory) + sizeof(JournalHeader));
    for (std::size_t i = 0; i < slots; ++i) new (first_ + i) JournalSlot;
  }
  ~Journal() { munmap(header_, bytes_); }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  JournalHeader& header() { return *header_; }
  JournalSlot& slot(std::size_t i) {
    CAIRN_CHECK(i < slots_);
    return first_[i];
  }
  std::size_t size() const { return slots_; }

  std::uint32_t begin_put(std::size_t i, Durability durability) {
    JournalSlot& s = slot(i);
    const std::uint32_t version =
        std::max(s.acknowledged_version.load(), s.pending_version.load()) + 1;
    // What is under way may take the old version with it when it promises less.
    s.pending_durability.store(static_cast<std::uint8_t>(durability));
    s.pending_version.store(version);
    header_->in_flight.fetch_add(1);
    return version;
  }
  void end_put(std::size_t i, std::uint32_t version, Durability durability,
               const PutResult& result) {
    JournalSlot& s = slot(i);
    if (result.status.ok()) {
      CAIRN_CHECK(result.sequence != 0);  // what else would an eviction of it be known by
      // Durability first: a kill between the two stores must not promise too much.
      s.acknowledged_durability.store(static_cast<std::uint8_t>(Durability::memory));
      s.erase_acknowledged.store(0);
      s.acknowledged_sequence.store(result.sequence);
      s.acknowledged_version.store(version);
      s.acknowledged_durability.store(static_cast<std::uint8_t>(durability));
      header_->operations.fetch_add(1);
    }
    header_->in_flight.fetch_sub(1);
  }
  void begin_erase(std::size_t i) { slot(i).erase_pending.store(1); }
  void end_erase(std::size_t i) {
    JournalSlot& s = slot(i);
    s.erase_acknowledged.store(1);
    s.erase_pending.store(0);
    header_->operations.fetch_add(1);
  }

  /// From now on evictions of this slot's block are known for what they are.
  void learn(std::size_t i, BlockId id) {
    slot(i).id_high.store(id.hash.high);
    slot(i).id_low.store(id.hash.low);
  }
  /// For EngineOptions::on_evicted, which comes before the removal: so what a kill makes
  /// disappear is here.
  void report_evicted(std::span<const Eviction> evictions) {
    for (const Eviction& eviction : evictions) {
      for (std::size_t i = 0; i < slots_; ++i) {
        JournalSlot& s = first_[i];
        if (s.id_low.load() != eviction.id.hash.low || s.id_high.load() != eviction.id.hash.high) {
          continue;
        }
        std::uint64_t before = s.evicted_sequence.load();
        while (before < eviction.sequence &&
               !s.evicted_sequence.compare_exchange_weak(before, eviction.sequence)) {
        }
        if (eviction.tier == TierKind::hot) break;
        header_->told_evictions.fetch_add(1);
        if (s.pin_acknowledged.load() != 0) header_->pinned_evictions.fetch_add(1);
        break;
      }
    }
  }

  /// What `other` holds now, so that one past can have several futures.
  void copy_from(const Journal& other) {
    CAIRN_CHECK(slots_ == other.slots_);
    std::memcpy(static_cast<void*>(header_), static_cast<const void*>(other.header_), bytes_);
  }

 private:
  std::size_t slots_;
  std::size_t bytes_ = 0;
  JournalHeader* header_ = nullptr;
  JournalSlot* first_ = nullptr;
};

}  // namespace cairn::test
