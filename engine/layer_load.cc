// SPDX-License-Identifier: Apache-2.0
#include "engine/layer_load.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/status.h"

namespace cairn::detail {
namespace {

constexpr std::size_t kWindowPieces = 64;

LayerRange counted_out(const NamespaceState& ns, LayerRange layers) {
  return layers.is_whole() ? LayerRange{0, ns.descriptor.layout.layers} : layers;
}

}  // namespace

absl::Status LoadPath::LayerLoad::check(const NamespaceState& ns,
                                        std::span<const LoadTarget> targets,
                                        const LayerOptions& options) {
  CAIRN_RETURN_IF_ERROR(bytes_of_layers(ns.descriptor, options.layers).status());
  if (options.group == 0) {
    return make_error(ErrorCode::invalid_argument, "a group has one layer at least");
  }
  const bool has_own = std::any_of(targets.begin(), targets.end(), [](const LoadTarget& target) {
    return !target.layers.is_whole();
  });
  if (!has_own) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument,
                    "load_layers loads the same layers of every block: LayerOptions says which");
}

LoadPath::LayerLoad::LayerLoad(LoadPath& path, NamespaceState& ns, std::span<LoadTarget> targets,
                               const LayerOptions& options, OnLayers on_layers, Callback done)
    : path_(path),
      ns_(ns),
      targets_(targets),
      options_(options),
      layers_(counted_out(ns, options.layers)),
      layer_bytes_(
          static_cast<std::uint32_t>(layer_bytes(ns.descriptor.layout, ns.descriptor.dtype))),
      on_layers_(std::move(on_layers)),
      done_(std::move(done)),
      began_(path.core_.clock.now()),
      blocks_(targets.size()),
      cut_(targets.size()) {
  ids_.reserve(targets.size());
  for (LoadTarget& target : targets) {
    ids_.push_back(path.core_.id_of(ns.id, target.key));
    target.found = false;
    target.bytes = 0;
    target.sequence = 0;
    target.served_from = TierKind::none;
    target.status = absl::OkStatus();
  }
}

void LoadPath::LayerLoad::hand_over() {
  path_.core_.loop.post([self = shared_from_this()] {
    self->arm_deadline();
    self->path_.resolve(self->ns_, self->targets_, self->ids_, 0, [self] { self->decide(); });
  });
}

// --- the run ---------------------------------------------------------------------------------

void LoadPath::LayerLoad::decide() {
  if (over_) return;
  std::vector<BlockId> ids;
  for (std::size_t i = 0; i < cut_; ++i) {
    if (decide_one(i)) {
      run_.push_back(i);
      ids.push_back(ids_[i]);
    } else if (options_.read == Read::prefix) {
      cut_ = i;
    }
  }
  path_.core_.catalog.touch(ids);
  const std::size_t groups = (layers_.count + std::size_t{options_.group} - 1) / options_.group;
  if (!run_.empty()) left_.assign(groups, run_.size());
  is_decided_ = true;
  advance();
}

bool LoadPath::LayerLoad::decide_one(std::size_t index) {
  EngineCore& core = path_.core_;
  LoadTarget& target = targets_[index];
  Block& block = blocks_[index];
  Residency found;
  if (path_.reads_.lease_one(ns_, target.key, ids_[index], &found)) {
    block.held = found.hot;
    block.handle = found.handle;
    if (core.catalog.leased_bytes() > path_.reads_.leasable_bytes()) {
      core.leases.unpin({&found.handle, 1});
      block.held = {};
    }
    block.tier = TierKind::hot;
  } else {
    const std::optional<Residency> listed = core.catalog.find(ids_[index]);
    if (!listed || source_of(*listed).tier == TierKind::none ||
        !core.catalog.is_named(ids_[index], {ns_.id, target.key.key, target.key.part})) {
      return false;
    }
    if (core.is_expired(*listed)) {
      path_.expirer_.expire(ids_[index], listed->facts.sequence);
      return false;
    }
    found = *listed;
    block.tier = source_of(found).tier;
  }
  block.facts = found.facts;
  const auto part = LoadPath::part_of(ns_, target, layers_, found.facts.plain_bytes);
  if (!part.ok()) target.status = part.status();
  return part.ok();
}

LayerRange LoadPath::LayerLoad::layers_of(std::size_t group) const {
  const auto first = static_cast<std::uint32_t>(group * options_.group);
  return {layers_.first + first, std::min(options_.group, layers_.count - first)};
}

/// In the block.
ByteRange LoadPath::LayerLoad::bytes_of(std::size_t group) const {
  const LayerRange layers = layers_of(group);
  return {layers.first * layer_bytes_, layers.count * layer_bytes_};
}

MutableByteSpan LoadPath::LayerLoad::destination(std::size_t index, std::size_t group) const {
  const ByteRange part = bytes_of(group);
  return targets_[index].buffer.subspan(part.offset - layers_.first * layer_bytes_, part.bytes);
}

// --- groups ----------------------------------------------------------------------------------

void LoadPath::LayerLoad::advance() {
  is_posted_ = false;
  if (over_ || !is_decided_) return;
  const bool issues = group_ < left_.size() && may_read();
  if (issues) issue_group();
  tell();
  if (over_) return;
  if (told_ == left_.size()) {
    finish();
  } else if (issues && group_ < left_.size() && !std::exchange(is_posted_, true)) {
    path_.core_.loop.post([self = shared_from_this()] { self->advance(); });
  }
}

bool LoadPath::LayerLoad::may_read() {
  if (windows_under_way_ >= kWindows) return false;
  if (path_.has_room()) return true;
  // What is under way brings it back here.
  if (windows_under_way_ == 0 && !std::exchange(waits_for_room_, true)) {
    path_.waiting_.push_back(shared_from_this());
  }
  return false;
}

/// A window's worth of the group, or the rest of it.
void LoadPath::LayerLoad::issue_group() {
  auto window = std::make_shared<Window>();
  window->group = group_;
  const std::uint32_t piece_bytes = bytes_of(group_).bytes;
  for (; next_ < run_.size(); ++next_) {
    if (window->pieces.size() == kWindowPieces || window->bytes >= kWindowBytes) break;
    const std::size_t index = run_[next_];
    Piece piece{.index = index};
    if (is_wanted(index) && take(index, &piece.source) == Found::below) {
      window->bytes += piece_bytes;
      window->pieces.push_back(piece);
    } else {
      --left_[group_];
    }
  }
  if (next_ == run_.size()) {
    ++group_;
    next_ = 0;
  }
  if (!window->pieces.empty()) read(window);
}

/// Copies the group's piece where the block is in hot, or says where it is to be read.
LoadPath::LayerLoad::Found LoadPath::LayerLoad::take(std::size_t index, Source* source) {
  EngineCore& core = path_.core_;
  const Block& block = blocks_[index];
  if (!block.held.is_null()) {
    copy(index, block.held);
    return Found::copied;
  }
  Residency leased;
  if (path_.reads_.lease_one(ns_, targets_[index].key, ids_[index], &leased)) {
    const bool same = leased.facts.sequence == block.facts.sequence;
    if (same) copy(index, leased.hot);
    core.leases.unpin({&leased.handle, 1});
    if (same) return Found::copied;
  } else if (const auto listed = core.catalog.find(ids_[index]);
             listed && listed->facts.sequence == block.facts.sequence) {
    *source = source_of(*listed);
    if (source->tier != TierKind::none) return Found::below;
  }
  lose(index, make_error(ErrorCode::not_found, "the block went while its layers were loaded"));
  return Found::lost;
}

void LoadPath::LayerLoad::copy(std::size_t index, Location hot) {
  const ByteSpan bytes = path_.core_.hot.bytes(hot, blocks_[index].facts.plain_bytes);
  const MutableByteSpan to = destination(index, group_);
  std::memcpy(to.data(), bytes.data() + bytes_of(group_).offset, to.size());
}

void LoadPath::LayerLoad::read(const std::shared_ptr<Window>& window) {
  const bool direct = options_.deadline == TimePoint::never();
  const ByteRange part = bytes_of(window->group);
  window->names.reserve(window->pieces.size());
  for (const Piece& piece : window->pieces) {
    const LoadTarget& target = targets_[piece.index];
    const BlockFacts& facts = blocks_[piece.index].facts;
    MutableByteSpan to = destination(piece.index, window->group);
    if (!direct) {
      window->bounces.push_back(make_bounce(part.bytes));
      to = {window->bounces.back().get(), part.bytes};
    }
    window->names.push_back({ns_.id, std::string(target.key.key), target.key.part});
    window->sources.push_back(piece.source);
    window->reads.push_back({.name = window->names.back().view(),
                             .sequence = facts.sequence,
                             .destination = to,
                             .offset = part.offset,
                             .plain_bytes = facts.plain_bytes,
                             .plain_sum = facts.plain_sum});
  }
  ++windows_under_way_;
  path_.bytes_under_way_.fetch_add(window->bytes);
  EngineCore& core = path_.core_;
  core.operations.enter_again();
  read_below(core, window->reads, window->sources, [self = shared_from_this(), window] {
    EngineCore& engine = self->path_.core_;
    engine.loop.post([self, window] { self->window_done(*window); });
    engine.operations.leave();
  });
}

void LoadPath::LayerLoad::window_done(Window& window) {
  path_.bytes_under_way_.fetch_sub(window.bytes);
  path_.wake();
  if (over_) return;
  --windows_under_way_;
  auto again = std::make_shared<Window>();
  again->group = window.group;
  for (std::size_t i = 0; i < window.pieces.size(); ++i) {
    Piece piece = window.pieces[i];
    if (settle(window, i, &piece)) {
      --left_[window.group];
    } else {
      again->pieces.push_back(piece);
      again->bytes += window.reads[i].destination.size();
    }
  }
  if (!again->pieces.empty()) read(again);
  advance();
}

/// False when the piece is to be read again, as `again` then says.
bool LoadPath::LayerLoad::settle(Window& window, std::size_t at, Piece* again) {
  const TierRead& read = window.reads[at];
  const Piece& piece = window.pieces[at];
  if (!is_wanted(piece.index)) return true;
  EngineCore& core = path_.core_;
  if (read.status.ok()) {
    const MutableByteSpan to = destination(piece.index, window.group);
    if (!window.bounces.empty()) std::memcpy(to.data(), read.destination.data(), to.size());
    const bool warm = piece.source.tier == TierKind::warm;
    core.meters.counters.add(warm ? Counter::warm_bytes_read : Counter::cold_bytes_read, to.size());
    return true;
  }
  if (has_code(read.status, ErrorCode::corruption)) {
    again->source = look_again(core, path_.mover_, ids_[piece.index], read.sequence, piece.source,
                               again->attempts++);
    if (again->source.tier != TierKind::none) return false;
  }
  lose(piece.index, read.status);
  return true;
}

std::size_t LoadPath::LayerLoad::wanted() const {
  return static_cast<std::size_t>(std::count_if(
      run_.begin(), run_.end(), [this](std::size_t index) { return is_wanted(index); }));
}

void LoadPath::LayerLoad::lose(std::size_t index, absl::Status why) {
  blocks_[index].lost = true;
  if (options_.read == Read::prefix) cut_ = std::min(cut_, index);
  if (loss_.ok()) loss_ = why;
  targets_[index].status = std::move(why);
}

/// The groups that are whole, in order.
void LoadPath::LayerLoad::tell() {
  while (!over_ && told_ < group_ && left_[told_] == 0) {
    const std::size_t group = told_++;
    on_layers_({.layers = layers_of(group), .blocks = wanted(), .status = loss_});
  }
}

// --- the end ---------------------------------------------------------------------------------

void LoadPath::LayerLoad::arm_deadline() {
  if (options_.deadline == TimePoint::never()) return;
  path_.core_.loop.run_at(options_.deadline, [weak = weak_from_this()] {
    const std::shared_ptr<LayerLoad> self = weak.lock();
    if (!self || self->over_) return;
    self->path_.core_.meters.counters.add(Counter::deadline_missed);
    const std::size_t behind = self->is_decided_ ? self->cut_ : self->targets_.size();
    for (std::size_t i = 0; i < behind; ++i) {
      Block& block = self->blocks_[i];
      LoadTarget& target = self->targets_[i];
      const bool is_miss = self->is_decided_ && block.tier == TierKind::none;
      if (is_miss || !target.status.ok()) continue;
      block.lost = true;
      target.status = make_error(ErrorCode::deadline, "not every layer was there by the deadline");
    }
    self->finish();
  });
}

void LoadPath::LayerLoad::finish() {
  over_ = true;
  EngineCore& core = path_.core_;
  if (waits_for_room_) std::erase(path_.waiting_, shared_from_this());
  const std::uint32_t bytes = layers_.count * layer_bytes_;
  std::vector<LeasedBlock> served;
  for (const std::size_t index : run_) {
    if (!is_wanted(index)) continue;
    LoadTarget& target = targets_[index];
    target.found = true;
    target.bytes = bytes;
    target.sequence = blocks_[index].facts.sequence;
    target.served_from = blocks_[index].tier;
    served.push_back({.bytes = ByteSpan(target.buffer).first(bytes),
                      .found = true,
                      .served_from = target.served_from,
                      .sequence = target.sequence});
  }
  std::vector<BlockHandle> held;
  for (const Block& block : blocks_) {
    if (!block.held.is_null()) held.push_back(block.handle);
  }
  core.leases.unpin(held);
  path_.reads_.count_request(ns_, core.clock.now() - began_, targets_.size(), served);
  path_.loads_under_way_.fetch_sub(1);
  const Callback done = std::move(done_);
  done(absl::OkStatus());
  core.operations.leave();
}

}  // namespace cairn::detail
