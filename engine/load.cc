// SPDX-License-Identifier: Apache-2.0
#include "engine/load.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

constexpr std::size_t kWindowBlocks = 8;
constexpr std::uint64_t kBounceAlignment = 4096;  // what direct I/O likes

}  // namespace

Bounce make_bounce(std::uint64_t bytes) {
  const std::uint64_t room = std::max(round_up(bytes, kBounceAlignment), kBounceAlignment);
  Bounce bounce(static_cast<std::byte*>(std::aligned_alloc(kBounceAlignment, room)));
  CAIRN_CHECK(bounce != nullptr);
  return bounce;
}

LoadPath::Load::Load(LoadPath& path, NamespaceState& ns, std::span<LoadTarget> targets,
                     const AcquireOptions& options, Callback done)
    : path_(path),
      ns_(ns),
      targets_(targets),
      options_(options),
      done_(std::move(done)),
      began_(path.core_.clock.now()),
      cut_(targets.size()) {
  ids_.reserve(targets.size());
  expected_bytes_.resize(targets.size());
  for (LoadTarget& target : targets) {
    ids_.push_back(path.core_.id_of(ns.id, target.key));
    target.found = false;
    target.bytes = 0;
    target.sequence = 0;
    target.served_from = TierKind::none;
    target.status = absl::OkStatus();
  }
}

bool LoadPath::Load::copy_leading_run() {
  while (next_ < cut_ && copy_from_hot(next_, TierKind::hot)) ++next_;
  return next_ >= cut_;
}

/// False when it is not in hot. A buffer that is too small is an answer too.
bool LoadPath::Load::copy_from_hot(std::size_t index, TierKind served_from) {
  LoadTarget& target = targets_[index];
  Residency leased;
  if (!path_.reads_.lease_one(ns_, target.key, ids_[index], &leased)) return false;
  const ByteSpan bytes = path_.core_.hot.bytes(leased.hot);
  const absl::StatusOr<ByteRange> part =
      LoadPath::part_of(ns_, target, target.layers, leased.facts.plain_bytes);
  if (part.ok()) {
    // glibc's memcpy goes past the caches by itself where a block is large.
    if (part->bytes > 0) {
      std::memcpy(target.buffer.data(), bytes.data() + part->offset, part->bytes);
    }
    target.found = true;
    target.bytes = part->bytes;
    target.sequence = leased.facts.sequence;
    target.served_from = served_from;
  } else {
    miss(index, part.status());
  }
  path_.core_.leases.unpin({&leased.handle, 1});
  return true;
}

void LoadPath::Load::miss(std::size_t index, absl::Status status) {
  targets_[index].status = std::move(status);
  if (options_.read == Read::prefix) cut_ = std::min(cut_, index);
}

void LoadPath::Load::hand_over() {
  path_.core_.loop.post([self = shared_from_this()] {
    self->arm_deadline();
    self->path_.resolve(self->ns_, self->targets_, self->ids_, self->next_,
                        [self] { self->advance(); });
  });
}

// --- windows ---------------------------------------------------------------------------------

void LoadPath::Load::advance() {
  if (over_.load()) return;
  while (next_ < cut_ && room_for_more()) issue_window();
  if (next_ >= cut_ && blocks_under_way_ == 0) finish();
}

bool LoadPath::Load::room_for_more() {
  if (blocks_under_way_ > 0 && (blocks_under_way_ + kWindowBlocks > kWindows * kWindowBlocks ||
                                bytes_under_way_ + kWindowBytes > kWindows * kWindowBytes)) {
    return false;
  }
  if (path_.has_room()) return true;
  // What is under way brings it back here.
  if (blocks_under_way_ == 0 && !std::exchange(waits_for_room_, true)) {
    path_.waiting_.push_back(shared_from_this());
  }
  return false;
}

void LoadPath::Load::issue_window() {
  std::vector<FetchWant> wants, parts;
  std::uint64_t bytes = 0;
  for (; next_ < cut_ && wants.size() + parts.size() < kWindowBlocks && bytes < kWindowBytes;
       ++next_) {
    Residency residency;
    switch (look(next_, &residency)) {
      case Found::copied:
        break;
      case Found::miss:
        miss(next_);
        break;
      case Found::below: {
        const LoadTarget& target = targets_[next_];
        bytes += part_of(next_, residency.facts.plain_bytes).bytes;
        (target.layers.is_whole() ? wants : parts)
            .push_back({.id = ids_[next_],
                        .name = {ns_.id, target.key.key, target.key.part},
                        .residency = residency,
                        .tag = next_});
        break;
      }
    }
  }
  if (!wants.empty()) issue_reads(std::move(wants), false);
  if (!parts.empty()) issue_reads(std::move(parts), true);
}

LoadPath::Load::Found LoadPath::Load::look(std::size_t index, Residency* residency) {
  if (copy_from_hot(index, TierKind::hot)) return Found::copied;
  EngineCore& core = path_.core_;
  const LoadTarget& target = targets_[index];
  const std::optional<Residency> listed = core.catalog.find(ids_[index]);
  if (!listed || source_of(*listed).tier == TierKind::none) return Found::miss;
  if (core.is_expired(*listed)) {
    path_.expirer_.expire(ids_[index], listed->facts.sequence);
    return Found::miss;
  }
  if (!core.catalog.is_named(ids_[index], {ns_.id, target.key.key, target.key.part})) {
    return Found::miss;
  }
  const auto part = LoadPath::part_of(ns_, target, target.layers, listed->facts.plain_bytes);
  if (!part.ok()) {
    miss(index, part.status());
    return Found::copied;
  }
  *residency = *listed;
  return Found::below;
}

/// Of a block that look() has found.
ByteRange LoadPath::Load::part_of(std::size_t index, std::uint32_t plain_bytes) const {
  return *LoadPath::part_of(ns_, targets_[index], targets_[index].layers, plain_bytes);
}

void LoadPath::Load::issue_reads(std::vector<FetchWant> wants, bool are_parts) {
  std::uint64_t bytes = 0;
  for (const FetchWant& want : wants) {
    expected_bytes_[want.tag] = part_of(want.tag, want.residency.facts.plain_bytes).bytes;
    bytes += expected_bytes_[want.tag];
  }
  blocks_under_way_ += wants.size();
  bytes_under_way_ += bytes;
  const auto joining = std::count_if(wants.begin(), wants.end(), [&](const FetchWant& want) {
    return path_.fetcher_.is_under_way(want.id);
  });
  // Of a block that is wanted in part, the whole is not read for it.
  const bool fetches = are_parts ? static_cast<std::size_t>(joining) == wants.size()
                                 : joining > 0 || path_.fetcher_.has_free_room(bytes);
  if (fetches &&
      path_.fetcher_.start(ns_.id, wants, shared_from_this(), FetchRoom::free_only).ok()) {
    return;
  }
  auto window = std::make_shared<Window>();
  window->bytes = bytes;
  window->names.reserve(wants.size());
  for (const FetchWant& want : wants) {
    window->indices.push_back(want.tag);
    window->names.push_back({want.name.namespace_id, std::string(want.name.key), want.name.part});
    window->facts.push_back(want.residency.facts);
    window->parts.push_back(part_of(want.tag, want.residency.facts.plain_bytes));
    window->sources.push_back(source_of(want.residency));
  }
  path_.bytes_under_way_.fetch_add(bytes);
  read_window(window);
}

void LoadPath::Load::read_window(const std::shared_ptr<Window>& window) {
  const bool direct = options_.deadline == TimePoint::never();
  window->reads.clear();
  window->bounces.clear();
  for (std::size_t i = 0; i < window->indices.size(); ++i) {
    const BlockFacts& facts = window->facts[i];
    const ByteRange part = window->parts[i];
    MutableByteSpan destination = targets_[window->indices[i]].buffer.first(part.bytes);
    if (!direct) {
      window->bounces.push_back(make_bounce(part.bytes));
      destination = {window->bounces.back().get(), part.bytes};
    }
    window->reads.push_back({.name = window->names[i].view(),
                             .sequence = facts.sequence,
                             .destination = destination,
                             .offset = part.offset,
                             .plain_bytes = facts.plain_bytes,
                             .plain_sum = facts.plain_sum});
  }
  ++window->attempts;
  EngineCore& core = path_.core_;
  core.operations.enter_again();
  read_below(core, window->reads, window->sources, [self = shared_from_this(), window] {
    EngineCore& engine = self->path_.core_;
    engine.loop.post([self, window] { self->window_done(*window); });
    engine.operations.leave();
  });
}

void LoadPath::Load::window_done(Window& window) {
  path_.bytes_under_way_.fetch_sub(window.bytes);
  path_.wake();
  if (over_.load()) return;
  for (std::size_t i = 0; i < window.indices.size(); ++i) {
    if (!settle(window, i)) continue;
    --blocks_under_way_;
    bytes_under_way_ -= expected_bytes_[window.indices[i]];
  }
  advance();
}

/// False when the block is being read again.
bool LoadPath::Load::settle(const Window& window, std::size_t at) {
  const TierRead& read = window.reads[at];
  const BlockFacts& facts = window.facts[at];
  const Source from = window.sources[at];
  const std::size_t index = window.indices[at];
  absl::Status status = read.status;
  if (status.ok() && path_.core_.options.paranoid && !read.is_part() &&
      xxh3_64(read.destination) != facts.plain_sum) {
    status = make_error(ErrorCode::corruption, "the payload's sum differs");
  }
  if (status.ok()) {
    LoadTarget& target = targets_[index];
    if (!window.bounces.empty() && !read.destination.empty()) {
      std::memcpy(target.buffer.data(), read.destination.data(), read.destination.size());
    }
    target.found = true;
    target.bytes = window.parts[at].bytes;
    target.sequence = facts.sequence;
    target.served_from = from.tier;
    path_.core_.meters.counters.add(
        from.tier == TierKind::warm ? Counter::warm_bytes_read : Counter::cold_bytes_read,
        target.bytes);
    return true;
  }
  if (has_code(status, ErrorCode::corruption)) {
    const Source next =
        look_again(path_.core_, path_.mover_, ids_[index], facts.sequence, from, window.attempts);
    if (next.tier != TierKind::none) {
      read_again(window, at, next);
      return false;
    }
  }
  miss(index, std::move(status));
  return true;
}

/// It was moved while it was being read, or another tier has it as well.
void LoadPath::Load::read_again(const Window& window, std::size_t at, Source source) {
  auto again = std::make_shared<Window>();
  again->indices = {window.indices[at]};
  again->names = {window.names[at]};
  again->facts = {window.facts[at]};
  again->parts = {window.parts[at]};
  again->sources = {source};
  again->bytes = window.parts[at].bytes;
  again->attempts = window.attempts;
  path_.bytes_under_way_.fetch_add(again->bytes);
  read_window(again);
}

void LoadPath::Load::fetched(std::size_t tag, const absl::Status& status, TierKind from) {
  path_.core_.loop.post([self = shared_from_this(), tag, status, from] {
    if (self->over_.load()) return;
    --self->blocks_under_way_;
    self->bytes_under_way_ -= self->expected_bytes_[tag];
    if (!self->copy_from_hot(tag, from)) self->miss(tag, status);
    self->advance();
  });
}

// --- the end ---------------------------------------------------------------------------------

void LoadPath::Load::arm_deadline() {
  if (options_.deadline == TimePoint::never()) return;
  path_.core_.loop.run_at(options_.deadline, [weak = weak_from_this()] {
    const std::shared_ptr<Load> self = weak.lock();
    if (!self || self->over_.load()) return;
    self->path_.core_.meters.counters.add(Counter::deadline_missed);
    for (std::size_t i = 0; i < self->cut_; ++i) {
      LoadTarget& target = self->targets_[i];
      if (target.found || !target.status.ok()) continue;
      target.status = make_error(ErrorCode::deadline, "not there by the deadline");
    }
    std::size_t run = 0;
    while (run < self->targets_.size() && self->targets_[run].found) ++run;
    if (self->options_.read == Read::prefix) self->cut_ = std::min(self->cut_, run);
    self->finish();
  });
}

void LoadPath::Load::finish() {
  if (over_.exchange(true)) return;
  if (waits_for_room_) std::erase(path_.waiting_, shared_from_this());
  std::vector<LeasedBlock> served;
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    LoadTarget& target = targets_[i];
    if (i >= cut_ && target.found) {  // read ahead, and behind a miss after all
      target.found = false;
      target.bytes = 0;
      target.sequence = 0;
      target.served_from = TierKind::none;
    }
    if (!target.found) continue;
    path_.reads_.note_seen(ns_, {&ids_[i], 1});
    served.push_back({.bytes = ByteSpan(target.buffer).first(target.bytes),
                      .found = true,
                      .served_from = target.served_from,
                      .sequence = target.sequence});
  }
  path_.reads_.count_request(ns_, path_.core_.clock.now() - began_, targets_.size(), served);
  path_.loads_under_way_.fetch_sub(1);
  EngineCore& core = path_.core_;
  const Callback done = std::move(done_);
  done(absl::OkStatus());
  core.operations.leave();
}

}  // namespace cairn::detail
