// SPDX-License-Identifier: Apache-2.0
#include "engine/hot_list.h"

#include <algorithm>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

constexpr std::uint32_t kMagic = 0x544f4843;  // "CHOT"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kIdsMax = 1U << 20;  // 16 MiB of list
// One slice is a tenth of a second's worth, so that the rate is even.
constexpr std::int64_t kSlicesPerSecond = 10;

}  // namespace

std::string encode_hot_list(const std::vector<BlockId>& ids) {
  std::string out;
  out.reserve(kHeaderBytes + ids.size() * kIdBytes);
  append_le(out, kMagic);
  append_le(out, kVersion);
  append_le(out, std::uint64_t{ids.size()});
  for (const BlockId& id : ids) {
    append_le(out, id.hash.high);
    append_le(out, id.hash.low);
  }
  return out;
}

absl::StatusOr<std::vector<BlockId>> parse_hot_list(std::string_view content) {
  const ByteSpan bytes = as_bytes(content);
  if (bytes.size() < kHeaderBytes || load_le<std::uint32_t>(bytes, 0) != kMagic ||
      load_le<std::uint32_t>(bytes, 4) != kVersion) {
    return make_error(ErrorCode::corruption, "not a hot list");
  }
  const auto count = load_le<std::uint64_t>(bytes, 8);
  if (count > kIdsMax || bytes.size() != kHeaderBytes + count * kIdBytes) {
    return make_error(ErrorCode::corruption, "a hot list of another length than it says");
  }
  std::vector<BlockId> ids(count);
  for (std::size_t i = 0; i < count; ++i) {
    ids[i].hash.high = load_le<std::uint64_t>(bytes, kHeaderBytes + i * kIdBytes);
    ids[i].hash.low = load_le<std::uint64_t>(bytes, kHeaderBytes + i * kIdBytes + 8);
  }
  return ids;
}

/// Counts what has come back; nobody waits for it.
class HotList::Rewarming final : public FetchWaiter {
 public:
  explicit Rewarming(EngineCore& core) : core_(core) {}
  void fetched(std::size_t, const absl::Status& status, TierKind) override {
    if (status.ok()) core_.meters.counters.add(Counter::rewarmed_blocks);
  }
  bool is_waiting() const override { return !core_.closing.load(); }

 private:
  EngineCore& core_;
};

void HotList::start() {
  if (core_.cold == nullptr || core_.closing.load()) return;
  absl::StatusOr<std::string> content = core_.cold->load_state(kStateName);
  absl::StatusOr<std::vector<BlockId>> ids =
      content.ok() ? parse_hot_list(*content)
                   : absl::StatusOr<std::vector<BlockId>>(content.status());
  if (ids.ok()) {
    wanted_ = *std::move(ids);
  } else if (!has_code(ids.status(), ErrorCode::not_found)) {
    log_line(LogLevel::warning,
             concat("the list of what was hot is not used: ", message_of(ids.status())));
  }
  is_loaded_ = true;
  budget_bytes_ = core_.options.rewarm_bytes;
  if (budget_bytes_ > 0) fetch_slice();
  if (!core_.read_only)
    core_.loop.run_after(core_.options.hot_list_interval, [this] { save_again(); });
}

void HotList::fetch_slice() {
  if (core_.closing.load() || next_ == wanted_.size() || !core_.operations.enter()) return;
  const std::uint64_t rate = std::max<std::uint64_t>(core_.options.rewarm_bytes_per_second, 1);
  const std::uint64_t slice = std::max<std::uint64_t>(rate / kSlicesPerSecond, 1);
  std::uint64_t bytes = 0;
  const auto waiter = std::make_shared<Rewarming>(core_);
  while (next_ < wanted_.size() && bytes < slice) {
    if (ask_for(wanted_[next_], waiter, &bytes) == Asked::no_room) {
      // Smaller ones might fit, but they are worth less.
      next_ = wanted_.size();
    } else {
      ++next_;
    }
  }
  core_.operations.leave();
  const auto wait_ns =
      static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(rate));
  core_.loop.run_after(Duration::nanos(wait_ns), [this] { fetch_slice(); });
}

HotList::Asked HotList::ask_for(BlockId id, const std::shared_ptr<Rewarming>& waiter,
                                std::uint64_t* bytes) {
  const std::optional<Residency> listed = core_.catalog.find(id);
  const std::optional<OwnedName> name = core_.catalog.name_of(id);
  if (!listed || !name || !listed->hot.is_null() || core_.is_expired(*listed)) {
    return Asked::skipped;
  }
  const std::uint64_t size = listed->facts.plain_bytes;
  hot_is_full_ = hot_is_full_ || size > budget_bytes_;
  if (!hot_is_full_) {
    const FetchWant want{.id = id, .name = name->view(), .residency = *listed};
    hot_is_full_ =
        !fetcher_.start(listed->namespace_id, {&want, 1}, waiter, FetchRoom::free_only).ok();
    if (!hot_is_full_) budget_bytes_ -= size;
  }
  if (hot_is_full_) {
    if (!listed->warm.is_null()) return Asked::skipped;
    const WarmLoader::Want want{.id = id, .name = name->view(), .residency = *listed};
    const bool begun = warm_.start(listed->namespace_id, {&want, 1}, [this](std::size_t arrived) {
      core_.meters.counters.add(Counter::rewarmed_blocks, arrived);
    });
    if (!begun) return Asked::no_room;
  }
  *bytes += size;
  return Asked::begun;
}

absl::Status HotList::save() {
  // Stopped before the list was read: what it says is worth more than the little that is hot.
  if (core_.cold == nullptr || core_.read_only || !is_loaded_) return absl::OkStatus();
  std::vector<BlockId> ids = core_.catalog.hottest(kIdsMax);
  // Stopped before all was back: what was still to come is kept behind what is hot.
  for (std::size_t i = next_; i < wanted_.size() && ids.size() < kIdsMax; ++i) {
    ids.push_back(wanted_[i]);
  }
  return core_.cold->save_state(kStateName, as_bytes(encode_hot_list(ids)));
}

void HotList::save_again() {
  if (core_.closing.load() || !core_.operations.enter()) return;
  if (const absl::Status saved = save(); !saved.ok()) {
    log_line(LogLevel::warning,
             concat("the list of what is hot was not saved: ", message_of(saved)));
  }
  core_.operations.leave();
  core_.loop.run_after(core_.options.hot_list_interval, [this] { save_again(); });
}

}  // namespace cairn::detail
