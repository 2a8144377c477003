// SPDX-License-Identifier: Apache-2.0
// hot_list.h — what was hot, so that it can be hot again after a restart.
//
// The ids in hot, most worth first, and then those in warm are saved beside the data: now and then,
// and on close. When the catalog has been loaded, they are fetched again in that order, at a
// limited rate, into hot up to a budget, what is left into warm, and only into room that is free:
// nobody's block is evicted for it. A list that cannot be trusted is dropped with a line in the
// log.
//
// Threading:  save and start on the mover's loop or while it is quiet; the rest thread-safe.
// Blocking:   save and start: disk.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/core.h"
#include "engine/fetcher.h"
#include "engine/warm_loader.h"

namespace cairn::detail {

std::string encode_hot_list(const std::vector<BlockId>& ids);
/// `corruption` on anything that encode_hot_list would not write.
absl::StatusOr<std::vector<BlockId>> parse_hot_list(std::string_view content);

class HotList {
 public:
  HotList(EngineCore& core, Fetcher& fetcher, WarmLoader& warm)
      : core_(core), fetcher_(fetcher), warm_(warm) {}

  /// Brings back what the list names, and saves it from now on. Once the catalog is loaded.
  void start();
  /// Not before start() has read what is there: a short life leaves it as it is.
  absl::Status save();

  static constexpr std::string_view kStateName = "hot-list";

 private:
  class Rewarming;
  void fetch_slice();
  enum class Asked : std::uint8_t { begun, skipped, no_room };
  Asked ask_for(BlockId id, const std::shared_ptr<Rewarming>& waiter, std::uint64_t* bytes);
  void save_again();

  EngineCore& core_;
  Fetcher& fetcher_;
  WarmLoader& warm_;
  std::vector<BlockId> wanted_;  // confined to the loop
  std::size_t next_ = 0;
  bool is_loaded_ = false;
  bool hot_is_full_ = false;
  std::uint64_t budget_bytes_ = 0;
};

}  // namespace cairn::detail
