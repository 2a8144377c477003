// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_store.h"

#include <utility>

#include "engine/base/status.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/repair.h"

namespace cairn::test {

SimStoreOptions small_sim_store(std::uint64_t seed) {
  SimStoreOptions options;
  options.engine.hot_bytes = 8 * kMiB;
  options.engine.metadata_bytes = 8 * kMiB;
  options.engine.warm_bytes = seed % 2 == 0 ? 0 : 4 * kMiB;
  options.cold.directory = "/store";
  options.cold.cold_bytes = 96 * kMiB;
  options.disk.seed = seed;
  return options;
}

SimStore::SimStore(SimStoreOptions options)
    : options_(std::move(options)), disk_(std::make_shared<SimDisk>(options_.disk)) {}

SimStore::~SimStore() {
  if (engine_ != nullptr) close().IgnoreError();  // a test that ends early has nothing to check
}

absl::Status SimStore::open() {
  device_ = std::make_unique<SimDevice>(disk_, clock_);
  loop_ = std::make_unique<EventLoop>(clock_, device_.get());
  const auto pump_once = [this] {
    if (loop_->run_once({}) == 0) clock_.advance(Duration::millis(1));
  };
  tiers::ColdOptions cold_options = options_.cold;
  cold_options.clock = &clock_;
  cold_options.index_file_system = make_sim_rocksdb_fs(disk_);
  auto cold = tiers::open_cold_tier(cold_options, {.device = device_.get(),
                                                   .io_loop = loop_.get(),
                                                   .index_loop = loop_.get(),
                                                   .pump = pump_once});
  CAIRN_RETURN_IF_ERROR(cold.status());
  cold_ = std::move(*cold);
  auto hot =
      tiers::open_hot_tier({.capacity_bytes = options_.engine.hot_bytes, .huge_pages = false},
                           [](NamespaceId) { return std::optional<std::uint32_t>(); });
  CAIRN_RETURN_IF_ERROR(hot.status());
  hot_ = std::move(*hot);
  if (options_.engine.warm_bytes > 0) {
    codec_ = *tiers::CodecPool::start(0);
    facts_ = std::make_unique<tiers::NamespaceFacts>(*cold_);
    auto warm = tiers::open_warm_tier(
        {.capacity_bytes = options_.engine.warm_bytes, .region_bytes = kMiB, .huge_pages = false},
        {.codec = codec_.get(), .clock = &clock_, .coding = [this](NamespaceId id) {
           return facts_->coding(id);
         }});
    CAIRN_RETURN_IF_ERROR(warm.status());
    warm_ = std::move(*warm);
  }
  auto engine = make_engine(options_.engine, {.hot = hot_.get(),
                                              .warm = warm_.get(),
                                              .cold = cold_.get(),
                                              .mover_loop = loop_.get(),
                                              .clock = &clock_,
                                              .pump = pump_once});
  CAIRN_RETURN_IF_ERROR(engine.status());
  engine_ = std::move(*engine);
  return absl::OkStatus();
}

absl::Status SimStore::close() {
  const absl::Status status = engine_->close();
  drop_everything();
  return status;
}

void SimStore::kill(Rng& rng) {
  auto next = disk_->kill_process(rng);
  drop_everything();  // every operation on the old disk fails, so nothing more can be promised
  disk_ = std::move(next);
}

void SimStore::power_cut(Rng& rng, CutReport* report) {
  auto next = disk_->power_cut(rng, report);
  drop_everything();
  disk_ = std::move(next);
}

void SimStore::lose_index() {
  for (const std::string& path : disk_->files()) {
    if (path.find("/store/index/") != std::string::npos) disk_->take_away(path);
  }
}

absl::StatusOr<tiers::RepairReport> SimStore::repair() {
  ManualClock clock;
  SimDevice device(disk_, clock);
  const tiers::RepairOptions options{.directory = "/store",
                                     .index_file_system = make_sim_rocksdb_fs(disk_)};
  return tiers::repair_store(device, options);
}

void SimStore::drop_everything() {
  if (device_ != nullptr) device_->release_hung();  // with the process go its requests
  engine_.reset();
  cold_.reset();
  warm_.reset();
  facts_.reset();
  hot_.reset();
  loop_.reset();
  device_.reset();
}

void SimStore::pump() {
  while (loop_->run_once({}) > 0) {
  }
}

bool SimStore::pump_until(const std::function<bool()>& finished, Duration patience) {
  const TimePoint limit = clock_.now() + patience;
  while (!finished()) {
    if (loop_->run_once({}) > 0) continue;
    if (clock_.now() > limit) return false;
    clock_.advance(Duration::micros(200));
  }
  return true;
}

PutResult SimStore::put(NamespaceId ns, std::string_view key, ByteSpan payload,
                        Durability durability) {
  return put(ns, {.key = key, .payload = payload}, {.durability = durability});
}

PutResult SimStore::put(NamespaceId ns, const PutBlock& block, const PutOptions& options) {
  std::optional<PutResult> result;
  engine_->put(ns, {&block, 1}, options,
               [&](std::vector<PutResult> results) { result = std::move(results.front()); });
  if (!pump_until([&] { return result.has_value(); })) {
    CAIRN_CHECK(!"a put hung");
  }
  return *result;
}

absl::StatusOr<std::optional<std::string>> SimStore::get(NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  std::optional<absl::StatusOr<Lease>> lease;
  engine_->acquire(ns, {&ref, 1},
                   {.deadline = clock_.now() + Duration::seconds(20), .read = Read::each},
                   [&](absl::StatusOr<Lease> got) { lease = std::move(got); });
  if (!pump_until([&] { return lease.has_value(); })) {
    CAIRN_CHECK(!"a get hung past its deadline");
  }
  CAIRN_RETURN_IF_ERROR(lease->status());
  const LeasedBlock& block = (*lease)->blocks().front();
  if (!block.found) return std::optional<std::string>();
  return std::optional<std::string>(std::string(as_text(block.bytes)));
}

absl::StatusOr<bool> SimStore::erase(NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  std::optional<absl::StatusOr<std::vector<bool>>> erased;
  engine_->erase(ns, {&ref, 1},
                 [&](absl::StatusOr<std::vector<bool>> got) { erased = std::move(got); });
  if (!pump_until([&] { return erased.has_value(); })) {
    CAIRN_CHECK(!"an erase hung");
  }
  CAIRN_RETURN_IF_ERROR(erased->status());
  return static_cast<bool>((**erased)[0]);
}

std::uint64_t SimStore::cold_bytes_on_disk() const {
  std::uint64_t total = 0;
  for (const std::string& path : disk_->files()) {
    if (path.find("/segments/") == std::string::npos && path.find("/index/") == std::string::npos) {
      continue;
    }
    tiers::FileInfo info;
    if (disk_->info(path, &info) == 0) total += info.allocated_bytes;
  }
  return total;
}

bool SimStore::wait_recovered() {
  return pump_until([&] { return engine_->is_recovered(); });
}

}  // namespace cairn::test
