// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_journal.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "engine/base/check.h"

namespace cairn::tools {

ReplayTotals& ReplayTotals::operator+=(const ReplayTotals& other) {
  requests += other.requests;
  blocks += other.blocks;
  tokens += other.tokens;
  hot_hits += other.hot_hits;
  warm_hits += other.warm_hits;
  cold_hits += other.cold_hits;
  hot_bytes += other.hot_bytes;
  warm_bytes += other.warm_bytes;
  cold_bytes += other.cold_bytes;
  put_blocks += other.put_blocks;
  put_bytes += other.put_bytes;
  refused_blocks += other.refused_blocks;
  late_blocks += other.late_blocks;
  unreadable_blocks += other.unreadable_blocks;
  get_ns += other.get_ns;
  put_ns += other.put_ns;
  return *this;
}

absl::StatusOr<std::unique_ptr<ReplayJournal>> ReplayJournal::make(std::size_t blocks) {
  const std::size_t bytes = round_up(sizeof(Shared), 64) + blocks * sizeof(Mark);
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return from_errno(errno, "mmap of the journal");
  return std::unique_ptr<ReplayJournal>(new ReplayJournal(memory, bytes, blocks));
}

ReplayJournal::ReplayJournal(void* memory, std::size_t bytes, std::size_t blocks)
    : memory_(memory), bytes_(bytes), blocks_(blocks), shared_(new (memory) Shared{}) {
  // Fresh anonymous pages are zeros, which is what every mark begins with.
  marks_ = reinterpret_cast<Mark*>(static_cast<char*>(memory) + round_up(sizeof(Shared), 64));
}

ReplayJournal::~ReplayJournal() {
  munmap(memory_, bytes_);
}

ReplayJournal::Mark& ReplayJournal::mark(BlockNumber block) const {
  CAIRN_CHECK(block < blocks_);
  return marks_[block];
}

void ReplayJournal::begin_put(BlockNumber block) {
  Mark& mark = this->mark(block);
  // What was promised of an evicted version is over. In one step, so that a report that comes
  // now is kept.
  const std::uint64_t evicted = mark.evicted_sequence.exchange(0);
  if (evicted != 0 && evicted >= mark.acknowledged_sequence.load()) {
    mark.acknowledged_sequence.store(0);
  }
  mark.pending.store(1);
  shared_->in_flight.fetch_add(1);
}

void ReplayJournal::acknowledge(BlockNumber block, Durability durability, std::uint64_t sequence) {
  CAIRN_CHECK(sequence != 0);
  Mark& mark = this->mark(block);
  const auto word = static_cast<std::uint8_t>(durability);
  // A second put never takes back what the first was promised.
  const bool standing = mark.acknowledged_sequence.load() != 0;
  mark.durability.store(standing ? std::max(mark.durability.load(), word) : word);
  mark.acknowledged_sequence.store(sequence);
}

void ReplayJournal::end_put(BlockNumber block) {
  // In this order, as in begin_put: what is counted is never more than what is marked, so that who
  // sees a put in flight and kills finds it pending.
  shared_->in_flight.fetch_sub(1);
  mark(block).pending.store(0);
}

void ReplayJournal::report_evicted(std::optional<BlockNumber> block, std::uint64_t sequence,
                                   bool last_copy) {
  if (last_copy) shared_->evicted_blocks.fetch_add(1);
  if (!block) return;
  std::atomic<std::uint64_t>& evicted = mark(*block).evicted_sequence;
  std::uint64_t before = evicted.load();
  while (before < sequence && !evicted.compare_exchange_weak(before, sequence)) {
  }
}

BlockPromise ReplayJournal::promise(BlockNumber block) const {
  const Mark& mark = this->mark(block);
  BlockPromise promise;
  promise.pending = mark.pending.load() != 0;
  const std::uint64_t sequence = mark.acknowledged_sequence.load();
  if (sequence == 0) return promise;
  promise.acknowledged = static_cast<Durability>(mark.durability.load());
  promise.evicted = mark.evicted_sequence.load() >= sequence;
  return promise;
}

void ReplayJournal::forget_pending() {
  for (std::size_t i = 0; i < blocks_; ++i) marks_[i].pending.store(0);
  shared_->in_flight.store(0);
}

void ReplayJournal::commit(const ReplayTotals& totals) {
  const std::uint32_t current = shared_->current.load();
  ReplayTotals& next = shared_->totals[1 - current];
  next = shared_->totals[current];
  next += totals;
  shared_->current.store(1 - current);
  shared_->requests_done.store(next.requests);
}

ReplayTotals ReplayJournal::totals() const {
  return shared_->totals[shared_->current.load()];
}

void ReplayJournal::count_verified(std::uint64_t bytes, bool right) {
  shared_->verified_bytes.fetch_add(bytes);
  if (!right) shared_->wrong_bytes.fetch_add(bytes);
}

void ReplayJournal::begin_life() {
  shared_->lives_before.read.fetch_add(shared_->this_life.read.exchange(0));
  shared_->lives_before.written.fetch_add(shared_->this_life.written.exchange(0));
}

void ReplayJournal::set_moved(std::uint64_t read_bytes, std::uint64_t written_bytes) {
  shared_->this_life.read.store(read_bytes);
  shared_->this_life.written.store(written_bytes);
}

std::uint64_t ReplayJournal::device_read_bytes() const {
  return shared_->lives_before.read.load() + shared_->this_life.read.load();
}

std::uint64_t ReplayJournal::device_written_bytes() const {
  return shared_->lives_before.written.load() + shared_->this_life.written.load();
}

void ReplayJournal::set_failure(const absl::Status& status) {
  shared_->failure_code = error_code(status);
  const std::string_view message = message_of(status);
  const std::size_t length = std::min(message.size(), shared_->failure.size() - 1);
  std::memcpy(shared_->failure.data(), message.data(), length);
  shared_->failure[length] = '\0';
  shared_->failed.store(1);
}

absl::Status ReplayJournal::failure() const {
  if (shared_->failed.load() == 0) return absl::OkStatus();
  return make_error(shared_->failure_code, shared_->failure.data());
}

}  // namespace cairn::tools
