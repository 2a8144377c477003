// SPDX-License-Identifier: Apache-2.0
// churn — a store whose hot, warm and cold are all full, under gets, puts and erases that keep
// blocks moving between them: whether the last minute is as fast as the first, and whether every
// limit is kept at every second of it.
//
// Chains of eight blocks of 2 MiB are asked for by popularity, half of them loaded and half leased;
// what is not there is put, half as `written` and half as `memory`, and one request in twenty
// erases instead. There are four times as many chains as the store holds. It is filled before the
// first minute begins.
//
// The machine's speed changes meanwhile, too. So the clients pause every few seconds for a
// yardstick of fixed work (the codec both ways, memcpy, raw writes and reads beside the store), and
// a slice counts as what it moved by what the yardstick made before and after it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "bench/named/chains.h"
#include "bench/named/coded_blocks.h"
#include "bench/named/named.h"
#include "bench/workload/random.h"
#include "bench/workload/zipf.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kRun = 8;  // blocks of a chain
constexpr std::size_t kRunBytes = kRun * kChainBlockBytes;
constexpr unsigned kClients = 2;
constexpr std::uint64_t kHotBytes = 128 * kMiB, kWarmBytes = 128 * kMiB, kColdBytes = kGiB;
constexpr double kHighWatermark = 0.97, kLowWatermark = 0.94;

// --- limits ----------------------------------------------------------------------------------

/// The least and the most of a limit that was seen in use.
struct Level {
  std::string name;
  std::uint64_t limit = 0;
  double least = 1e9, most = 0;
  std::uint64_t looks = 0;

  void see(std::uint64_t used) {
    const double share = static_cast<double>(used) / static_cast<double>(limit);
    least = std::min(least, share);
    most = std::max(most, share);
    ++looks;
  }
};

std::uint64_t allocated_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::recursive_directory_iterator();
       entries.increment(error)) {
    struct stat info {};
    // A file that has gone meanwhile takes nothing.
    if (lstat(entries->path().c_str(), &info) == 0 && S_ISREG(info.st_mode))
      bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

class Limits {
 public:
  Limits(Engine& engine, std::string directory)
      : engine_(engine), directory_(std::move(directory)) {}

  void look() {
    const EngineStats stats = engine_.stats();
    levels_[0].see(stats.hot.usage.used_bytes);
    levels_[1].see(stats.warm.usage.used_bytes);
    levels_[2].limit = stats.cold.usage.capacity_bytes;
    levels_[2].see(stats.cold.usage.used_bytes);
    levels_[3].see(allocated_bytes(directory_));
  }
  const std::array<Level, 4>& levels() const { return levels_; }

 private:
  Engine& engine_;
  const std::string directory_;
  std::array<Level, 4> levels_{{{.name = "hot, usage()", .limit = kHotBytes},
                                {.name = "warm, usage()", .limit = kWarmBytes},
                                {.name = "cold, usage()", .limit = kColdBytes},
                                {.name = "cold, st_blocks of its files", .limit = kColdBytes}}};
};

// --- the yardstick ---------------------------------------------------------------------------

/// Work that never changes, with nothing of the store's in it but the codec.
class FixedWork {
 public:
  static absl::StatusOr<std::unique_ptr<FixedWork>> make(const std::string& file, unsigned cores) {
    CAIRN_ASSIGN_OR_RETURN(auto blocks, make_blocks(Dtype::bf16, 24));
    auto made = std::unique_ptr<FixedWork>(new FixedWork(std::move(blocks), cores));
    made->file_ = open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (made->file_ < 0) return from_errno(errno, concat("make ", file));
    CAIRN_RETURN_IF_ERROR(made->run().status());  // allocates the file
    return made;
  }
  ~FixedWork() {
    if (file_ >= 0) close(file_);
  }
  FixedWork(const FixedWork&) = delete;
  FixedWork& operator=(const FixedWork&) = delete;

  /// GB/s of bytes that went through any of it.
  absl::StatusOr<double> run() {
    const Stopwatch watch;
    double bytes = 0;
    for (const Run* const codec : {&encode_, &decode_}) {
      CAIRN_RETURN_IF_ERROR((*codec)().status());
      bytes += static_cast<double>(blocks_->bytes());
    }
    for (int i = 0; i < 2; ++i) {
      std::memcpy(to_.bytes().data(), from_.bytes().data(), kBytes);
      keep(to_.bytes()[0]);
      bytes += kBytes;
    }
    for (std::size_t at = 0; at < kBytes; at += kChainBlockBytes, bytes += kChainBlockBytes) {
      if (pwrite(file_, from_.bytes().data() + at, kChainBlockBytes, static_cast<off_t>(at)) !=
          static_cast<ssize_t>(kChainBlockBytes))
        return from_errno(errno, "write the yardstick's file");
    }
    for (std::size_t at = 0; at < kBytes; at += kChainBlockBytes, bytes += kChainBlockBytes) {
      if (pread(file_, to_.bytes().data() + at, kChainBlockBytes, static_cast<off_t>(at)) !=
          static_cast<ssize_t>(kChainBlockBytes))
        return from_errno(errno, "read the yardstick's file");
    }
    return bytes / watch.seconds() / 1e9;
  }

  static std::string how() {
    return "24 blocks of 2 MiB encoded and decoded on all cores, 2 x 64 MiB copied, 64 MiB written "
           "and read in transfers of 2 MiB, O_DIRECT, one at a time";
  }

 private:
  static constexpr std::size_t kBytes = 64U << 20U;

  FixedWork(std::shared_ptr<Blocks> blocks, unsigned cores)
      : blocks_(std::move(blocks)),
        encode_(encode_run(blocks_, cores)),
        decode_(decode_run(blocks_, cores)) {}

  std::shared_ptr<Blocks> blocks_;
  Run encode_, decode_;
  AlignedMemory from_{kBytes}, to_{kBytes};
  int file_ = -1;
};

// --- the clients -----------------------------------------------------------------------------

class Client {
 public:
  Client(Engine& engine, NamespaceId ns, const Payloads& payloads, const workload::Zipf& popularity,
         std::uint64_t seed)
      : engine_(engine), ns_(ns), payloads_(payloads), popularity_(popularity), random_(seed) {}

  /// Gets, puts or erases one run; bytes got and put.
  absl::StatusOr<std::uint64_t> request() {
    // Scattered, so that neighbours in popularity are none in the order of names.
    const std::uint64_t chain = workload::scatter(popularity_.draw(random_)) >> 1U;
    const ChainKeys keys(chain, kRun);
    if (random_.chance(0.05)) {
      CAIRN_RETURN_IF_ERROR(engine_.erase_sync(ns_, keys.refs()).status());
      return 0;
    }
    CAIRN_ASSIGN_OR_RETURN(const std::size_t found,
                           random_.chance(0.5) ? lease(keys, chain) : load(keys, chain));
    CAIRN_ASSIGN_OR_RETURN(const std::uint64_t put, put_rest(keys, chain, found));
    return found * kChainBlockBytes + put;
  }
  std::uint64_t refused() const { return refused_; }

 private:
  // Both give the length of the run that is there, each block of it checked.

  absl::StatusOr<std::size_t> load(const ChainKeys& keys, std::uint64_t chain) {
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < kRun; ++i)
      targets.push_back({.key = keys.refs()[i], .buffer = memory_.block(i, kChainBlockBytes)});
    CAIRN_RETURN_IF_ERROR(engine_.load_sync(ns_, targets));
    std::size_t found = 0;
    for (; found < kRun && targets[found].found; ++found)
      CAIRN_RETURN_IF_ERROR(check(memory_.block(found, kChainBlockBytes), chain, found));
    return found;
  }

  /// Brings what is below hot up.
  absl::StatusOr<std::size_t> lease(const ChainKeys& keys, std::uint64_t chain) {
    const absl::StatusOr<Lease> leased = engine_.acquire_sync(ns_, keys.refs());
    if (has_code(leased.status(), ErrorCode::busy)) {
      ++refused_;
      return load(keys, chain);
    }
    CAIRN_RETURN_IF_ERROR(leased.status());
    std::size_t found = 0;
    for (const LeasedBlock& block : leased->blocks()) {
      if (!block.found) break;
      CAIRN_RETURN_IF_ERROR(check(block.bytes, chain, found));
      ++found;
    }
    return found;
  }

  absl::Status check(ByteSpan bytes, std::uint64_t chain, std::size_t index) const {
    if (payloads_.is(bytes, chain, index)) return absl::OkStatus();
    return make_error(ErrorCode::internal, "a block came back with other bytes");
  }

  absl::StatusOr<std::uint64_t> put_rest(const ChainKeys& keys, std::uint64_t chain,
                                         std::size_t found) {
    if (found == kRun) return 0;
    std::vector<PutBlock> batch;
    for (std::size_t i = found; i < kRun; ++i) {
      payloads_.fill(memory_.block(i, kChainBlockBytes), chain, i);
      batch.push_back({.key = keys[i], .payload = memory_.block(i, kChainBlockBytes)});
    }
    const Durability durability = random_.chance(0.5) ? Durability::written : Durability::memory;
    std::uint64_t bytes = 0;
    for (const PutResult& result : engine_.put_sync(ns_, batch, {.durability = durability})) {
      // A full store may say so, and then nothing was put; anything else is an error.
      if (result.status.ok()) bytes += kChainBlockBytes;
      if (!result.status.ok() && !has_code(result.status, ErrorCode::busy) &&
          !has_code(result.status, ErrorCode::no_space))
        return result.status;
    }
    if (bytes == 0) ++refused_;
    return bytes;
  }

  Engine& engine_;
  const NamespaceId ns_;
  const Payloads& payloads_;
  const workload::Zipf& popularity_;
  workload::Random random_;
  AlignedMemory memory_{kRunBytes};
  std::uint64_t refused_ = 0;  // puts and leases
};

/// All clients at once for so long, with a look at the limits every second. GB/s.
absl::StatusOr<double> run_slice(std::vector<std::unique_ptr<Client>>& clients, Limits& limits,
                                 double seconds) {
  std::vector<absl::Status> statuses(clients.size());
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::size_t> running{clients.size()};
  const Stopwatch watch;
  std::vector<std::thread> threads;
  for (std::size_t c = 0; c < clients.size(); ++c) {
    threads.emplace_back([&, c] {
      while (statuses[c].ok() && watch.seconds() < seconds) {
        const absl::StatusOr<std::uint64_t> moved = clients[c]->request();
        statuses[c] = moved.status();
        if (moved.ok()) bytes.fetch_add(*moved);
      }
      running.fetch_sub(1);
    });
  }
  for (double next = 1; running.load() > 0;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (watch.seconds() < next) continue;
    limits.look();
    next += 1;
  }
  for (std::thread& thread : threads) thread.join();
  const double took = watch.seconds();
  limits.look();
  for (const absl::Status& status : statuses) CAIRN_RETURN_IF_ERROR(status);
  return static_cast<double>(bytes.load()) / took / 1e9;
}

// --- the run ---------------------------------------------------------------------------------

struct Slice {
  double at = 0;  // its middle, in seconds of churn
  double speed = 0, yardstick = 0;
  double ratio() const { return speed / yardstick; }
};

std::vector<double> of_window(const std::vector<Slice>& slices, double begin, double end,
                              double (*what)(const Slice&)) {
  std::vector<double> values;
  for (const Slice& slice : slices) {
    if (slice.at >= begin && slice.at <= end) values.push_back(what(slice));
  }
  return values;
}

Case speed_case(const std::vector<Slice>& slices, double window, std::string note) {
  const auto ratio = [](const Slice& slice) { return slice.ratio(); };
  const double end = slices.back().at;
  const auto first = of_window(slices, 0, std::max(window, slices.front().at), ratio);
  const auto last = of_window(slices, std::min(end - window, end), end, ratio);
  Case done{.name = concat("the last ", window, " s by the first"),
            .unit = "of the yardstick's speed",
            .higher_is_better = true,
            .figure = median(last),
            .yardstick = {"the first", median(first), FixedWork::how()},
            .goal = {Goal::On::ratio, 0.95},
            .rounds = static_cast<int>(slices.size()),
            .note = std::move(note)};
  done.ratio = done.figure / done.yardstick.figure;
  done.spread = median_deviation(last) / done.figure;
  return done;
}

double rounded(double value) {
  return std::round(1000 * value) / 1000;
}

Case limit_case(const Level& level) {
  Case done{.name = concat(level.name, ": the most in use"),
            .unit = "of its limit",
            .higher_is_better = false,
            .figure = level.most,
            .yardstick = {"its limit", 1, format_size(level.limit)},
            .ratio = level.most,
            .goal = {Goal::On::figure, 1},
            .rounds = static_cast<int>(level.looks),
            .note = concat("the least: ", rounded(level.least))};
  return done;
}

std::string moves_text(const EngineStats& before, const EngineStats& after) {
  std::string text;
  for (std::size_t kind = 0; kind < kMoveKinds; ++kind) {
    const std::uint64_t blocks = after.moves[kind].blocks - before.moves[kind].blocks;
    text +=
        concat(text.empty() ? "" : ", ", move_kind_name(static_cast<MoveKind>(kind)), " ", blocks);
  }
  return concat("blocks moved: ", text, "; evicted from cold ",
                after.cold.evictions - before.cold.evictions);
}

}  // namespace

absl::StatusOr<Report> run_churn(const Settings& settings) {
  const double seconds = settings.seconds > 0 ? settings.seconds : settings.quick ? 24 : 600;
  const double slice_seconds = std::min(4.0, seconds / 8);
  const double window = std::min(60.0, seconds / 3);
  CAIRN_ASSIGN_OR_RETURN(const auto directory, DataDirectory::make(settings, kColdBytes + kGiB));
  StoreOptions options;
  options.directory = directory->file("store");
  options.engine.hot_bytes = kHotBytes;
  options.engine.warm_bytes = kWarmBytes;
  options.engine.high_watermark = options.engine.cold_high_watermark = kHighWatermark;
  options.engine.low_watermark = options.engine.cold_low_watermark = kLowWatermark;
  options.cold.cold_bytes = kColdBytes;
  options.cold.codec = CodecUse::on;
  CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(options));
  CAIRN_ASSIGN_OR_RETURN(const Payloads payloads, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, store->engine().open_namespace(payloads.descriptor));
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  CAIRN_ASSIGN_OR_RETURN(const auto work, FixedWork::make(directory->file("yardstick"), cores));
  const std::size_t held = (kHotBytes + 3 * (kWarmBytes + kColdBytes) / 2) / kRunBytes;
  const workload::Zipf popularity(4 * held, 0.9);
  std::vector<std::unique_ptr<Client>> clients;
  for (unsigned c = 0; c < kClients; ++c)
    clients.push_back(std::make_unique<Client>(store->engine(), ns, payloads, popularity, c + 1));

  if (settings.progress) settings.progress("filling the tiers");
  Limits while_filling(store->engine(), options.directory);
  const Stopwatch filling;
  while (store->engine().stats().cold.evictions < 2 * held) {
    if (filling.seconds() > 300)
      return make_error(ErrorCode::deadline, "cold was not full after five minutes");
    CAIRN_RETURN_IF_ERROR(run_slice(clients, while_filling, 0.5).status());
  }

  if (settings.progress) settings.progress(concat("churning for ", seconds, " s"));
  Limits limits(store->engine(), options.directory);
  const EngineStats before = store->engine().stats();
  std::vector<Slice> slices;
  // A pause ends with the moves that were under way, so that they do not slow the yardstick.
  const auto yardstick = [&]() -> absl::StatusOr<double> {
    CAIRN_RETURN_IF_ERROR(wait_until_still(store->engine()));
    return work->run();
  };
  CAIRN_ASSIGN_OR_RETURN(double pace, yardstick());
  for (double at = 0; at < seconds; at += slice_seconds) {
    CAIRN_ASSIGN_OR_RETURN(const double speed, run_slice(clients, limits, slice_seconds));
    CAIRN_ASSIGN_OR_RETURN(const double pace_after, yardstick());
    slices.push_back(
        {.at = at + slice_seconds / 2, .speed = speed, .yardstick = (pace + pace_after) / 2});
    pace = pace_after;
  }
  const EngineStats after = store->engine().stats();
  std::uint64_t refused = 0;
  for (const auto& client : clients) refused += client->refused();

  Report report{.name = "churn", .cases = {}};
  report.cases.push_back(
      speed_case(slices, window,
                 concat(seconds, " s of churn, ", rounded(slices.back().speed), " GB/s at last; ",
                        moves_text(before, after), "; puts and leases refused ", refused, "; ",
                        describe_device(*store, directory->path()))));
  for (const Level& level : limits.levels()) report.cases.push_back(limit_case(level));
  return report;
}

}  // namespace cairn::bench
