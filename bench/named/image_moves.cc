// SPDX-License-Identifier: Apache-2.0
#include "bench/named/image_moves.h"

#include <algorithm>
#include <future>
#include <thread>

#include "bench/named/disk_fixture.h"
#include "bench/named/payloads.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/completion.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kDownBatch = 64;  // what the mover takes at once
constexpr std::size_t kUpBatch = 8;     // a window of a load
constexpr unsigned kUpBatches = 4;      // under way together, as of a load

void wait_for(const std::function<void(Done)>& start) {
  detail::Completion completion;
  start([&completion] { completion.notify(); });
  completion.wait([] { return false; });
}

template <typename Element>
absl::Status first_error(const std::vector<Element>& batch) {
  for (const Element& one : batch) CAIRN_RETURN_IF_ERROR(one.status);
  return absl::OkStatus();
}

}  // namespace

ImageMoves::ImageMoves(std::unique_ptr<tiers::Device> device, std::shared_ptr<Blocks> blocks)
    : device_(std::move(device)),
      io_loop_(system_clock(), device_.get()),
      index_loop_(system_clock()),
      blocks_(std::move(blocks)) {}

ImageMoves::~ImageMoves() {
  if (warm_) warm_->close();
  if (cold_) cold_->close();
  cold_.reset();
  warm_.reset();
}

absl::StatusOr<std::unique_ptr<ImageMoves>> ImageMoves::make(const std::string& directory,
                                                             std::shared_ptr<Blocks> blocks,
                                                             std::size_t count, unsigned threads,
                                                             std::uint64_t cold_bytes) {
  CAIRN_ASSIGN_OR_RETURN(auto device, tiers::open_device(directory, {}));
  auto made = std::unique_ptr<ImageMoves>(new ImageMoves(std::move(device), std::move(blocks)));
  made->items_.resize(count);
  CAIRN_RETURN_IF_ERROR(made->open(directory, threads, cold_bytes));
  return made;
}

absl::Status ImageMoves::open(const std::string& directory, unsigned threads,
                              std::uint64_t cold_bytes) {
  CAIRN_ASSIGN_OR_RETURN(io_thread_, LoopThread::start("cold-io", io_loop_));
  CAIRN_ASSIGN_OR_RETURN(index_thread_, LoopThread::start("cold-index", index_loop_));
  CAIRN_ASSIGN_OR_RETURN(codec_, tiers::CodecPool::start(threads));
  tiers::ColdOptions cold;
  cold.directory = directory;
  cold.cold_bytes = cold_bytes;
  cold.codec = CodecUse::on;
  CAIRN_ASSIGN_OR_RETURN(cold_, tiers::open_cold_tier(cold, {.device = device_.get(),
                                                             .io_loop = &io_loop_,
                                                             .index_loop = &index_loop_,
                                                             .codec = codec_.get()}));
  CAIRN_ASSIGN_OR_RETURN(const Payloads payloads, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(const NamespaceInfo info, cold_->open_namespace(payloads.descriptor));
  ns_ = info.id;
  facts_ = std::make_unique<tiers::NamespaceFacts>(*cold_);
  // Room is reserved for plain lengths.
  CAIRN_ASSIGN_OR_RETURN(
      warm_, tiers::open_warm_tier(
                 {.capacity_bytes = items_.size() * (blocks_->block_bytes + 64 * kKiB) + 64 * kMiB},
                 {.codec = codec_.get(),
                  .coding = [this](NamespaceId id) { return facts_->coding(id); }}));
  return absl::OkStatus();
}

void ImageMoves::name_anew() {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    item.key = bench_key(next_name_, i);
    item.id = block_id(name(item), cold_->block_id_secret());
    item.facts = {.sequence = cold_->next_sequence(),
                  .plain_bytes = static_cast<std::uint32_t>(blocks_->block_bytes),
                  .plain_sum = xxh3_64(plain(i))};
    item.cold = {};
  }
  ++next_name_;
}

void ImageMoves::empty_warm() {
  std::vector<Location> all;
  for (Item& item : items_) {
    if (!item.warm.is_null()) all.push_back(item.warm);
    item.warm = {};
  }
  if (!all.empty()) warm_->free(all);
}

absl::StatusOr<std::vector<Location>> ImageMoves::reserve(Tier& tier, std::size_t count) {
  const std::vector<std::uint32_t> sizes(count, static_cast<std::uint32_t>(blocks_->block_bytes));
  std::vector<Location> locations(count);
  CAIRN_RETURN_IF_ERROR(tier.reserve(ns_, sizes, locations));
  return locations;
}

absl::StatusOr<double> ImageMoves::fill_warm() {
  empty_warm();
  name_anew();
  double seconds = 0;
  for (std::size_t first = 0; first < items_.size(); first += kDownBatch) {
    const std::size_t count = std::min(kDownBatch, items_.size() - first);
    const Stopwatch watch;
    CAIRN_ASSIGN_OR_RETURN(const auto locations, reserve(*warm_, count));
    std::vector<TierWrite> writes;
    for (std::size_t i = 0; i < count; ++i) {
      const Item& item = items_[first + i];
      writes.push_back({.name = name(item),
                        .id = item.id,
                        .facts = item.facts,
                        .payload = plain(first + i),
                        .location = locations[i]});
    }
    wait_for([&](Done done) { warm_->write(writes, Durability::memory, std::move(done)); });
    seconds += watch.seconds();
    CAIRN_RETURN_IF_ERROR(first_error(writes));
    for (std::size_t i = 0; i < count; ++i) items_[first + i].warm = writes[i].location;
  }
  return static_cast<double>(items_.size() * blocks_->block_bytes) / seconds / 1e9;
}

absl::StatusOr<double> ImageMoves::sink() {
  CAIRN_RETURN_IF_ERROR(fill_warm().status());
  stored_bytes_ = 0;
  const Stopwatch watch;
  for (std::size_t first = 0; first < items_.size(); first += kDownBatch)
    CAIRN_RETURN_IF_ERROR(sink_batch(first, std::min(kDownBatch, items_.size() - first)));
  return giga(watch.seconds());
}

absl::Status ImageMoves::sink_batch(std::size_t first, std::size_t count) {
  CAIRN_ASSIGN_OR_RETURN(const auto locations, reserve(*cold_, count));
  std::vector<TierWrite> writes;
  for (std::size_t i = 0; i < count; ++i) {
    const Item& item = items_[first + i];
    CAIRN_ASSIGN_OR_RETURN(StoredImagePtr image, warm_->image(item.warm));
    writes.push_back({.name = name(item),
                      .id = item.id,
                      .facts = item.facts,
                      .image = std::move(image),
                      .location = locations[i]});
  }
  wait_for([&](Done done) { cold_->write(writes, Durability::written, std::move(done)); });
  CAIRN_RETURN_IF_ERROR(first_error(writes));
  for (std::size_t i = 0; i < count; ++i) {
    items_[first + i].cold = writes[i].location;
    stored_bytes_ += writes[i].stored_bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<double> ImageMoves::raise() {
  empty_warm();
  std::vector<absl::Status> statuses(kUpBatches);
  const Stopwatch watch;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kUpBatches; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t first = t * kUpBatch; first < items_.size() && statuses[t].ok();
           first += kUpBatches * kUpBatch) {
        statuses[t] = raise_batch(first, std::min(kUpBatch, items_.size() - first));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double speed = giga(watch.seconds());
  for (const absl::Status& status : statuses) CAIRN_RETURN_IF_ERROR(status);
  return speed;
}

absl::Status ImageMoves::raise_batch(std::size_t first, std::size_t count) {
  CAIRN_ASSIGN_OR_RETURN(const auto locations, reserve(*warm_, count));
  std::vector<ImageRead> reads;
  for (std::size_t i = 0; i < count; ++i) {
    const Item& item = items_[first + i];
    reads.push_back({.location = item.cold, .name = name(item), .sequence = item.facts.sequence});
  }
  wait_for([&](Done done) { cold_->read_images(reads, std::move(done)); });
  CAIRN_RETURN_IF_ERROR(first_error(reads));
  std::vector<TierWrite> writes;
  for (std::size_t i = 0; i < count; ++i) {
    const Item& item = items_[first + i];
    writes.push_back({.name = name(item),
                      .id = item.id,
                      .facts = item.facts,
                      .image = std::move(reads[i].image),
                      .location = locations[i]});
  }
  wait_for([&](Done done) { warm_->write(writes, Durability::memory, std::move(done)); });
  CAIRN_RETURN_IF_ERROR(first_error(writes));
  for (std::size_t i = 0; i < count; ++i) items_[first + i].warm = writes[i].location;
  return absl::OkStatus();
}

absl::Status ImageMoves::verify() {
  AlignedMemory target(blocks_->block_bytes);
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    std::vector<TierRead> read{{.location = item.warm,
                                .name = name(item),
                                .sequence = item.facts.sequence,
                                .destination = target.bytes()}};
    wait_for([&](Done done) { warm_->read(read, std::move(done)); });
    CAIRN_RETURN_IF_ERROR(first_error(read));
    if (!std::equal(plain(i).begin(), plain(i).end(), target.bytes().begin()))
      return make_error(ErrorCode::internal, "a block is not what it was before it was moved");
  }
  return absl::OkStatus();
}

absl::Status ImageMoves::check_codec() const {
  const CodecReport report = cold_->codec();
  if (report.plain_bytes != 0 || report.decode_bytes_per_second > 0) {
    return make_error(ErrorCode::internal,
                      concat("the codec ran between warm and cold: ", report.plain_bytes,
                             " bytes were encoded for cold"));
  }
  return absl::OkStatus();
}

std::uint64_t ImageMoves::stored_block_bytes() const {
  return round_up(stored_bytes_ / items_.size(), 4096);
}

}  // namespace cairn::bench
