// SPDX-License-Identifier: Apache-2.0
#include "engine/load_path.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/layer_load.h"
#include "engine/load.h"

namespace cairn::detail {

// --- the door --------------------------------------------------------------------------------

void LoadPath::load(NamespaceId ns_id, std::span<LoadTarget> targets, const AcquireOptions& options,
                    std::function<void(absl::Status)> done) {
  NamespaceState* const ns = core_.namespaces.find(ns_id);
  if (absl::Status begun = begin(ns, targets); !begun.ok()) {
    done(std::move(begun));
    return;
  }
  auto load = std::make_shared<Load>(*this, *ns, targets, options, std::move(done));
  if (load->copy_leading_run() || (core_.cold == nullptr && options.read == Read::prefix)) {
    load->finish();
  } else {
    load->hand_over();
  }
}

void LoadPath::load_layers(NamespaceId ns_id, std::span<LoadTarget> targets,
                           const LayerOptions& options,
                           std::function<void(const LoadedLayers&)> on_layers,
                           std::function<void(absl::Status)> done) {
  NamespaceState* const ns = core_.namespaces.find(ns_id);
  absl::Status status;
  if (ns != nullptr) status = LayerLoad::check(*ns, targets, options);
  if (status.ok()) {
    status = begin(ns, targets);
  } else {
    core_.meters.counters.add_refusal(status);
  }
  if (!status.ok()) {
    done(std::move(status));
    return;
  }
  std::make_shared<LayerLoad>(*this, *ns, targets, options, std::move(on_layers), std::move(done))
      ->hand_over();
}

absl::Status LoadPath::begin(const NamespaceState* ns, std::span<LoadTarget> targets) {
  core_.meters.counters.add(Counter::loads);
  absl::Status status = ns != nullptr
                            ? admit(*ns, targets)
                            : make_error(ErrorCode::invalid_argument, "there is no such namespace");
  if (status.ok() && loads_under_way_.load() >= core_.options.load_queue_max) {
    status = make_error(ErrorCode::busy, "too many loads are under way");
  }
  if (status.ok() && !core_.operations.enter()) {
    status = make_error(ErrorCode::closed, "the engine is closing");
  }
  if (status.ok()) {
    loads_under_way_.fetch_add(1);
  } else {
    core_.meters.counters.add_refusal(status);
  }
  return status;
}

absl::Status LoadPath::admit(const NamespaceState& ns, std::span<LoadTarget> targets) {
  for (const LoadTarget& target : targets) {
    if (!is_valid_key(target.key.key)) {
      return make_error(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes");
    }
    if (target.layers.is_whole()) continue;
    CAIRN_RETURN_IF_ERROR(bytes_of_layers(ns.descriptor, target.layers).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<ByteRange> LoadPath::part_of(const NamespaceState& ns, const LoadTarget& target,
                                            LayerRange layers, std::uint32_t plain_bytes) {
  ByteRange part{0, plain_bytes};
  if (!layers.is_whole()) {
    const NamespaceDescriptor& descriptor = ns.descriptor;
    CAIRN_ASSIGN_OR_RETURN(part, bytes_of_layers(descriptor, layers));
    const std::uint64_t expected = layout_bytes(descriptor.layout, descriptor.dtype);
    if (plain_bytes != expected) {
      return make_error(
          ErrorCode::invalid_argument,
          concat("the block has ", plain_bytes, " bytes and no layers; its layout ", expected));
    }
  }
  if (part.bytes <= target.buffer.size()) return part;
  return make_error(ErrorCode::invalid_argument,
                    concat(layers.is_whole() ? "the block has " : "the layers have ", part.bytes,
                           " bytes, their buffer ", target.buffer.size()));
}

void LoadPath::resolve(const NamespaceState& ns, std::span<const LoadTarget> targets,
                       std::span<const BlockId> ids, std::size_t first,
                       std::function<void()> then) {
  auto names = std::make_shared<std::vector<OwnedName>>();
  std::vector<Unknown> unknown;
  if (!recovery_.is_complete()) {
    names->reserve(targets.size());
    for (std::size_t i = first; i < targets.size(); ++i) {
      const std::optional<Residency> listed = core_.catalog.find(ids[i]);
      if (listed && listed->present()) continue;
      // Copied: the deadline may strike before the lookup is back.
      names->push_back({ns.id, std::string(targets[i].key.key), targets[i].key.part});
      unknown.push_back({ids[i], names->back().view()});
    }
  }
  if (unknown.empty()) {
    then();
    return;
  }
  recovery_.resolve(std::move(unknown), false,
                    [this, names, then = std::move(then)](const absl::Status&) {
                      core_.loop.post([then] { then(); });
                    });
}

// --- room ------------------------------------------------------------------------------------

bool LoadPath::has_room() const {
  const std::uint64_t under_way = bytes_under_way_.load();
  return under_way == 0 || under_way + kWindowBytes <= core_.options.load_bytes_in_flight_max;
}

/// One after the other, because the next may take the room, or need none.
void LoadPath::wake() {
  if (waiting_.empty() || !has_room()) return;
  const std::shared_ptr<Windowed> next = waiting_.front();
  waiting_.pop_front();
  next->waits_for_room_ = false;
  core_.loop.post([this, next] {
    next->advance();
    wake();
  });
}

}  // namespace cairn::detail
