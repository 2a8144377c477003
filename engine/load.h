// SPDX-License-Identifier: Apache-2.0
// load.h — one load under way. A part of load_path.
//
// Threading:  confined to the caller until hand_over(), to the mover's loop from then on; only
//             fetched() and is_waiting() may come from elsewhere.
// Blocking:   cpu: copies.
// Lifetime:   kept alive by what it waits for. The targets are the caller's until done runs and
//             are not touched afterwards.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/load_path.h"

namespace cairn::detail {

class LoadPath::Load final : public FetchWaiter,
                             public Windowed,
                             public std::enable_shared_from_this<LoadPath::Load> {
 public:
  using Callback = std::function<void(absl::Status)>;

  Load(LoadPath& path, NamespaceState& ns, std::span<LoadTarget> targets,
       const AcquireOptions& options, Callback done);

  /// Copies the leading run that is in hot. True when nothing is left to do.
  bool copy_leading_run();
  void hand_over();
  void finish();

  void fetched(std::size_t tag, const absl::Status& status, TierKind from) override;
  bool is_waiting() const override { return !over_.load(); }

 private:
  /// One batch of reads that warm and cold are doing for us, with everything they borrow.
  struct Window {
    std::vector<std::size_t> indices;
    std::vector<OwnedName> names;
    std::vector<BlockFacts> facts;
    std::vector<ByteRange> parts;
    std::vector<Source> sources;
    std::vector<Bounce> bounces;  // empty: direct
    std::vector<TierRead> reads;
    std::uint64_t bytes = 0;
    std::uint32_t attempts = 0;
  };
  enum class Found : std::uint8_t { copied, below, miss };

  void advance() override;
  void issue_window();
  Found look(std::size_t index, Residency* residency);
  bool copy_from_hot(std::size_t index, TierKind served_from);
  void issue_reads(std::vector<FetchWant> wants, bool are_parts);
  ByteRange part_of(std::size_t index, std::uint32_t plain_bytes) const;
  void read_window(const std::shared_ptr<Window>& window);
  void window_done(Window& window);
  void read_again(const Window& window, std::size_t at, Source source);
  bool settle(const Window& window, std::size_t at);
  void arm_deadline();
  void miss(std::size_t index, absl::Status status = {});
  bool room_for_more();
  friend class LoadPath;

  LoadPath& path_;
  NamespaceState& ns_;
  const std::span<LoadTarget> targets_;
  const AcquireOptions options_;
  Callback done_;
  const TimePoint began_;
  std::vector<BlockId> ids_;
  std::vector<std::uint32_t> expected_bytes_;  // of those under way
  std::size_t next_ = 0;                       // the first that has not been looked at
  std::size_t cut_;  // the first miss of a prefix; targets_.size() without
  std::size_t blocks_under_way_ = 0;
  std::uint64_t bytes_under_way_ = 0;
  std::atomic<bool> over_{false};
};

}  // namespace cairn::detail
