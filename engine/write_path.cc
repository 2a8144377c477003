// SPDX-License-Identifier: Apache-2.0
#include "engine/write_path.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/put.h"

namespace cairn::detail {
namespace {

// Even a block of no bytes costs a place in every queue it passes.
constexpr std::uint64_t kChargeMin = 1024;

std::vector<PutResult> all_failed(std::size_t count, const absl::Status& status) {
  return std::vector<PutResult>(count, PutResult{.status = status});
}

}  // namespace

Durability WritePath::durability_of(const NamespaceState& ns, const PutOptions& options) const {
  if (options.durability) return *options.durability;
  const bool writes_first = core_.cold != nullptr &&
                            ns.write_policy.load(std::memory_order_relaxed) == WritePolicy::through;
  return writes_first ? Durability::written : Durability::memory;
}

absl::Status WritePath::admit(NamespaceId id, std::span<const PutBlock> blocks,
                              const PutOptions& options, std::uint64_t* charge) {
  if (core_.closing.load()) return make_error(ErrorCode::closed, "the engine is closing");
  if (core_.namespaces.find(id) == nullptr) {
    return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  }
  if (core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  if (core_.cold == nullptr &&
      options.durability.value_or(Durability::memory) != Durability::memory) {
    return make_error(
        ErrorCode::invalid_argument,
        concat("a store in RAM alone cannot promise `", durability_name(*options.durability), "`"));
  }
  const std::uint64_t block_tokens = core_.namespaces.find(id)->descriptor.tokens_per_block;
  std::uint64_t wanted = 0;
  for (const PutBlock& block : blocks) {
    wanted += std::max<std::uint64_t>(block.payload.size() + block.key.size(), kChargeMin);
    wanted += block.token_prefix.empty() ? 0 : block_tokens * sizeof(std::uint32_t);
  }
  const std::uint64_t limit = core_.options.put_bytes_in_flight_max;
  if (wanted > limit) {
    return make_error(ErrorCode::too_large,
                      concat("a batch of ", wanted, " bytes; put_bytes_in_flight_max is ", limit));
  }
  if (bytes_in_flight_.fetch_add(wanted) + wanted > limit) {
    bytes_in_flight_.fetch_sub(wanted);
    return make_error(ErrorCode::busy, "too many bytes are being put");
  }
  *charge = wanted;
  return absl::OkStatus();
}

void WritePath::put(NamespaceId id, std::span<const PutBlock> blocks, const PutOptions& options,
                    std::function<void(std::vector<PutResult>)> done) {
  core_.meters.counters.add(Counter::puts);
  std::uint64_t charge = 0;
  absl::Status status = admit(id, blocks, options, &charge);
  if (status.ok()) {
    NamespaceState& ns = *core_.namespaces.find(id);
    const auto put = std::make_shared<Put>(*this, ns, options, charge);
    if (!core_.operations.enter()) {
      status = make_error(ErrorCode::closed, "the engine is closing");
    } else if (!ns.publishers.enter()) {
      core_.operations.leave();
      status = make_error(ErrorCode::busy, "the namespace is being cleared");
    } else {
      put->prepare(blocks, {});
      put->start(std::move(done));
      return;
    }
  }
  core_.meters.counters.add_refusal(status);
  done(all_failed(blocks.size(), status));
}

void WritePath::write_back(NamespaceState& ns, std::vector<OwnedName> names,
                           std::function<void(std::vector<PutResult>)> done) {
  if (!ns.publishers.enter()) {
    // What is being cleared is not written any more.
    done(std::vector<PutResult>(names.size(), PutResult{.outcome = PutOutcome::already_present}));
    return;
  }
  core_.operations.enter_again();
  // Charged like any other put, but never refused: it gives memory back.
  std::uint64_t charge = 0;
  for (const OwnedName& name : names) {
    const std::optional<Residency> listed = core_.catalog.find(block_id(name.view(), core_.secret));
    charge += std::max<std::uint64_t>(listed ? listed->facts.plain_bytes : 0, kChargeMin);
  }
  bytes_in_flight_.fetch_add(charge);
  const PutOptions options{.durability = Durability::written, .links = Links::absent};
  const auto put = std::make_shared<Put>(*this, ns, options, charge);
  put->prepare_write_back(std::move(names));
  put->start(std::move(done));
}

/// Reserved room, and the put that it will become.
class WritePath::Batch final : public PutBatch {
 public:
  Batch(WritePath& path, NamespaceState& ns, std::shared_ptr<Put> put, std::size_t count)
      : path_(path), ns_(ns), put_(std::move(put)), count_(count) {}

  MutableByteSpan buffer(std::size_t index) override {
    CAIRN_CHECK(put_ && index < count_);
    return put_->slot_bytes(index);
  }

  void commit(std::function<void(std::vector<PutResult>)> done) override {
    CAIRN_CHECK(put_ != nullptr);  // once
    const std::shared_ptr<Put> put = std::move(put_);
    EngineCore& core = path_.core_;
    if (!core.operations.enter()) {
      done(all_failed(count_, make_error(ErrorCode::closed, "the engine is closing")));
      return;
    }
    if (!ns_.publishers.enter()) {
      core.operations.leave();
      done(all_failed(count_, make_error(ErrorCode::busy, "the namespace is being cleared")));
      return;
    }
    put->start(std::move(done));
  }

 private:
  WritePath& path_;
  NamespaceState& ns_;
  std::shared_ptr<Put> put_;
  const std::size_t count_;
};

absl::StatusOr<std::unique_ptr<PutBatch>> WritePath::reserve(NamespaceId id,
                                                             std::span<const PutBlock> blocks,
                                                             const PutOptions& options) {
  core_.meters.counters.add(Counter::puts);
  std::uint64_t charge = 0;
  absl::Status status = admit(id, blocks, options, &charge);
  if (!status.ok()) {
    core_.meters.counters.add_refusal(status);
    return status;
  }
  NamespaceState& ns = *core_.namespaces.find(id);
  const auto put = std::make_shared<Put>(*this, ns, options, charge);
  std::vector<std::uint32_t> sizes;
  for (const PutBlock& block : blocks) {
    if (block.payload.size() > core_.block_bytes_max) {
      return make_error(ErrorCode::too_large,
                        concat("a block of ", block.payload.size(), " bytes; the limit is ",
                               core_.block_bytes_max));
    }
    sizes.push_back(static_cast<std::uint32_t>(block.payload.size()));
  }
  std::vector<Location> slots(blocks.size());
  status = core_.hot.reserve(id, sizes, slots);
  while (has_code(status, ErrorCode::no_space) && mover_.make_hot_room(id, sizes)) {
    status = core_.hot.reserve(id, sizes, slots);
  }
  if (has_code(status, ErrorCode::no_space)) {
    status = make_error(ErrorCode::busy, "all of hot is in use");
  }
  if (!status.ok()) {
    core_.meters.counters.add_refusal(status);
    return status;
  }
  std::vector<PutBlock> owned;
  put->own_keys(blocks, &owned);
  put->prepare(owned, std::move(slots));
  return std::unique_ptr<PutBatch>(std::make_unique<Batch>(*this, ns, put, blocks.size()));
}

}  // namespace cairn::detail
