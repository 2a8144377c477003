// SPDX-License-Identifier: Apache-2.0
// layer_load.h — one load_layers under way. A part of load_path.
//
//   decide the run ─► group 0: every block's piece ─► told ─► group 1 …
//                     └ pieces in hot are copied, the others read in windows of one group each, up
//                       to four under way: the next groups' while this one's are not all there
//
// A piece is taken from where its block is at that moment, if it is still the version that was
// decided on: two versions are never mixed. A block in hot is held by a pin of the catalog's from
// the beginning to the end, unless leases hold all of hot that they may. What is below hot is not
// held, and only its recency is renewed: if it goes all the same, the block is lost.
//
// One group is issued in one task of the loop, so that copies of a long run in hot do not keep
// everybody else waiting.
//
// Threading:  confined to the caller until hand_over(), to the mover's loop from then on.
// Blocking:   cpu: copies.
// Lifetime:   kept alive by what it waits for. The targets are the caller's until done runs and
//             are not touched afterwards.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/load_path.h"

namespace cairn::detail {

class LoadPath::LayerLoad final : public Windowed,
                                  public std::enable_shared_from_this<LoadPath::LayerLoad> {
 public:
  using OnLayers = std::function<void(const LoadedLayers&)>;
  using Callback = std::function<void(absl::Status)>;

  static absl::Status check(const NamespaceState& ns, std::span<const LoadTarget> targets,
                            const LayerOptions& options);
  /// Of what check() has found sound.
  LayerLoad(LoadPath& path, NamespaceState& ns, std::span<LoadTarget> targets,
            const LayerOptions& options, OnLayers on_layers, Callback done);

  void hand_over();
  void advance() override;

 private:
  /// What was decided of one target at the beginning.
  struct Block {
    BlockFacts facts;
    TierKind tier = TierKind::none;  // none: not of the run
    Location held;                   // in hot, null where it is not held
    BlockHandle handle = 0;
    bool lost = false;
  };
  struct Piece {
    std::size_t index = 0;  // of the target
    Source source;
    std::uint32_t attempts = 1;
  };
  /// One batch of reads, with everything it borrows: pieces of one group.
  struct Window {
    std::size_t group = 0;
    std::vector<Piece> pieces;
    std::vector<OwnedName> names;
    std::vector<Bounce> bounces;  // empty: direct
    std::vector<TierRead> reads;
    std::vector<Source> sources;
    std::uint64_t bytes = 0;
  };
  enum class Found : std::uint8_t { copied, below, lost };

  void decide();
  bool decide_one(std::size_t index);
  LayerRange layers_of(std::size_t group) const;
  ByteRange bytes_of(std::size_t group) const;
  MutableByteSpan destination(std::size_t index, std::size_t group) const;
  bool may_read();
  void issue_group();
  Found take(std::size_t index, Source* source);
  void copy(std::size_t index, Location hot);
  void read(const std::shared_ptr<Window>& window);
  void window_done(Window& window);
  bool settle(Window& window, std::size_t at, Piece* again);
  bool is_wanted(std::size_t index) const { return index < cut_ && !blocks_[index].lost; }
  std::size_t wanted() const;
  void lose(std::size_t index, absl::Status why);
  void tell();
  void arm_deadline();
  void finish();

  LoadPath& path_;
  NamespaceState& ns_;
  const std::span<LoadTarget> targets_;
  const LayerOptions options_;
  const LayerRange layers_;  // never whole: counted out
  const std::uint32_t layer_bytes_;
  OnLayers on_layers_;
  Callback done_;
  const TimePoint began_;
  std::vector<BlockId> ids_;
  std::vector<Block> blocks_;
  std::vector<std::size_t> run_;   // the targets that are loaded
  std::size_t cut_;                // the first that is not, of a prefix; targets_.size() without
  std::vector<std::size_t> left_;  // pieces of each group that are not there yet
  std::size_t group_ = 0;          // being issued
  std::size_t next_ = 0;           // of run_, in that group
  std::size_t told_ = 0;
  std::size_t windows_under_way_ = 0;
  absl::Status loss_;
  bool is_decided_ = false;
  bool is_posted_ = false;
  bool over_ = false;
};

}  // namespace cairn::detail
