// SPDX-License-Identifier: Apache-2.0
#include "tiers/open.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "engine/base/event_loop.h"
#include "engine/base/process_limits.h"
#include "engine/base/status.h"
#include "engine/engine_factory.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/memory_plan.h"
#include "tiers/namespace_facts.h"

namespace cairn {
namespace {

constexpr std::uint64_t kDefaultColdBytesMax = 64 * kGiB;

/// What a store gets whose owner named no limit: half of the free disk, at most 64 GiB. 0, which
/// means what the store was made with, where there is one.
std::uint64_t default_cold_bytes(tiers::Device& device, const std::string& directory) {
  for (const char* file : {"/CAIRN", "/state/CAIRN.copy"}) {
    if (device.info(directory + file).ok()) return 0;
  }
  std::filesystem::path existing = std::filesystem::absolute(directory);
  while (existing.has_relative_path() && !std::filesystem::exists(existing)) {
    existing = existing.parent_path();
  }
  const auto free_bytes = device.free_bytes(existing.string());
  return free_bytes.ok() ? std::min(*free_bytes / 2, kDefaultColdBytesMax) : kDefaultColdBytesMax;
}

/// More than the catalog, its names and the policy reserve for as many blocks as metadata_bytes
/// allows (measured: 1.14 of it).
std::uint64_t catalog_address_bytes(const EngineOptions& options) {
  return options.metadata_bytes + options.metadata_bytes / 2 + 64 * kMiB;
}

std::size_t codec_threads(const StoreOptions& options) {
  if (options.codec_threads != 0) return options.codec_threads;
  return std::max(1U, std::thread::hardware_concurrency());
}

/// Members stand in the order in which they are made; they go in the opposite one: the engine
/// closes first, while its tiers and their threads still run.
class StandardStore final : public Store {
 public:
  StandardStore(std::unique_ptr<tiers::Device> device, const Clock& clock)
      : device_(std::move(device)),
        io_loop_(clock, device_.get()),
        index_loop_(clock),
        mover_loop_(clock) {}

  absl::Status open(const StoreOptions& options) {
    // The catalog's address space is held for it before anything is made: arenas of the threads
    // that come first would take it, and the catalog has no way to fail.
    CAIRN_ASSIGN_OR_RETURN(HeldAddressSpace for_catalog,
                           HeldAddressSpace::hold(catalog_address_bytes(options.engine)));
    CAIRN_ASSIGN_OR_RETURN(io_thread_, LoopThread::start("cold-io", io_loop_));
    CAIRN_ASSIGN_OR_RETURN(index_thread_, LoopThread::start("cold-index", index_loop_));
    CAIRN_ASSIGN_OR_RETURN(mover_thread_, LoopThread::start("mover", mover_loop_));
    CAIRN_ASSIGN_OR_RETURN(codec_, tiers::CodecPool::start(codec_threads(options)));
    tiers::ColdOptions cold = options.cold;
    cold.directory = options.directory;
    cold.mode = options.mode;
    if (cold.cold_bytes == 0 && options.mode == tiers::StoreMode::create_or_open) {
      cold.cold_bytes = default_cold_bytes(*device_, options.directory);
    }
    CAIRN_ASSIGN_OR_RETURN(cold_, tiers::open_cold_tier(cold, {.device = device_.get(),
                                                               .io_loop = &io_loop_,
                                                               .index_loop = &index_loop_,
                                                               .codec = codec_.get()}));
    facts_ = std::make_unique<tiers::NamespaceFacts>(*cold_);
    CAIRN_ASSIGN_OR_RETURN(
        hot_, tiers::open_hot_tier({.capacity_bytes = options.engine.hot_bytes},
                                   [this](NamespaceId id) { return facts_->fixed_size(id); }));
    if (options.engine.warm_bytes > 0) {
      CAIRN_ASSIGN_OR_RETURN(
          warm_, tiers::open_warm_tier(
                     {.capacity_bytes = options.engine.warm_bytes},
                     {.codec = codec_.get(), .clock = cold.clock, .coding = [this](NamespaceId id) {
                        return facts_->coding(id);
                      }}));
    }
    for_catalog.release();
    CAIRN_ASSIGN_OR_RETURN(engine_, make_engine(options.engine, {.hot = hot_.get(),
                                                                 .warm = warm_.get(),
                                                                 .cold = cold_.get(),
                                                                 .mover_loop = &mover_loop_,
                                                                 .clock = cold.clock}));
    return absl::OkStatus();
  }

  ~StandardStore() override {
    engine_.reset();
    if (cold_) cold_->close();  // where the engine was never made
    cold_.reset();
    warm_.reset();
    hot_.reset();
  }

  Engine& engine() override { return *engine_; }
  DurableTier& cold() override { return *cold_; }
  tiers::HotTier& hot() override { return *hot_; }
  tiers::DeviceInfo device_info() const override { return device_->device_info(); }
  tiers::DeviceCounters device_counters() const override { return device_->device_counters(); }

 private:
  std::unique_ptr<tiers::Device> device_;
  EventLoop io_loop_, index_loop_, mover_loop_;
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<LoopThread> io_thread_, index_thread_, mover_thread_;
  std::unique_ptr<DurableTier> cold_;
  std::unique_ptr<tiers::NamespaceFacts> facts_;
  std::unique_ptr<tiers::HotTier> hot_;
  std::unique_ptr<tiers::WarmTier> warm_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> open_store(const StoreOptions& asked) {
  StoreOptions options = asked;
  if (options.memory_bytes != 0) {
    CAIRN_ASSIGN_OR_RETURN(const tiers::MemoryPlan plan,
                           tiers::plan_memory(options.memory_bytes, options.engine));
    options.engine.hot_bytes = plan.hot_bytes;
    options.engine.warm_bytes = plan.warm_bytes;
    options.engine.metadata_bytes = plan.metadata_bytes;
    options.engine.put_bytes_in_flight_max = plan.puts_bytes;
    options.engine.load_bytes_in_flight_max = plan.loads_bytes;
    options.cold.buffer_bytes = plan.buffers_bytes;
  }
  CAIRN_RETURN_IF_ERROR(validate(options.engine));  // before anything is created
  if (options.directory.empty()) {
    return make_error(ErrorCode::invalid_argument, "a store needs a directory");
  }
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<tiers::Device> device,
                         tiers::open_device(options.directory, options.device));
  if (options.wrap_device) device = options.wrap_device(std::move(device));
  auto store = std::make_unique<StandardStore>(std::move(device), *options.cold.clock);
  CAIRN_RETURN_IF_ERROR(store->open(options));
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace cairn
