// SPDX-License-Identifier: Apache-2.0
// tier_subjects.h — every tier there is, made fresh for the bodies of tests in this folder.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/check.h"
#include "tests/contract/tier_contract.h"
#include "tests/support/cold_world.h"
#include "tests/support/memory_tier.h"
#include "tests/support/temp_dir.h"
#include "tests/support/warm_world.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/hot/hot_tier.h"
#include "tiers/record/payload_codec.h"
#include "tiers/record/stored_image.h"

namespace cairn::test {

/// Of a stored payload, a byte of the chunk that the plain byte at `offset` lies in.
inline std::size_t stored_byte(const tiers::RecordFields& fields, std::size_t offset) {
  const auto chunk = static_cast<std::uint32_t>(offset / fields.chunk_bytes);
  return tiers::stored_range(fields, {chunk, chunk + 1}).offset;
}

class MemoryUnderTest final : public TierUnderTest {
 public:
  MemoryUnderTest() { restart(); }
  Tier& tier() override { return *tier_; }
  DurableTier* durable() override { return tier_.get(); }
  void restart() override {
    if (tier_ != nullptr) tier_->close();
    tier_ = std::make_unique<MemoryTier>(
        MemoryTierOptions{.capacity_bytes = 24 * kMiB, .block_bytes_max = 3 * kMiB}, medium_);
  }
  NamespaceId namespace_id(NamespaceKind kind) override {
    return tier_->open_namespace({.name = std::string(namespace_kind_name(kind)), .kind = kind})
        ->id;
  }
  bool damage(const BlockName& name, std::uint64_t, Location, std::size_t offset) override {
    return tier_->corrupt(name, offset);
  }
  void pump_until(const std::function<bool()>& ready) override { CAIRN_CHECK(ready()); }

 private:
  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
  std::unique_ptr<MemoryTier> tier_;
};

class HotUnderTest final : public TierUnderTest {
 public:
  HotUnderTest() {
    auto opened = tiers::open_hot_tier(
        {.capacity_bytes = 24 * kMiB, .region_bytes = 4 * kMiB, .huge_pages = false},
        [](NamespaceId) { return std::optional<std::uint32_t>(); });
    CAIRN_CHECK(opened.ok());
    tier_ = std::move(*opened);
  }
  Tier& tier() override { return *tier_; }
  NamespaceId namespace_id(NamespaceKind kind) override {
    return NamespaceId{static_cast<std::uint32_t>(kind) + 1};
  }
  void pump_until(const std::function<bool()>& ready) override { CAIRN_CHECK(ready()); }

 private:
  std::unique_ptr<tiers::HotTier> tier_;
};

class WarmUnderTest final : public TierUnderTest {
 public:
  explicit WarmUnderTest(bool codec, std::size_t threads)
      : world_({.capacity_bytes = 24 * kMiB, .region_bytes = 4 * kMiB, .codec = codec}, threads,
               {.dtype = Dtype::bf16, .chunk_bytes = 64 * 1024}) {}
  Tier& tier() override { return world_.tier(); }
  ImageTier* images() override { return &world_.tier(); }
  NamespaceId namespace_id(NamespaceKind) override { return WarmWorld::kNamespace; }
  bool damage(const BlockName&, std::uint64_t, Location location, std::size_t offset) override {
    const StoredImagePtr image = *world_.tier().image(location);
    std::size_t at = stored_byte(image->fields, offset);
    for (const ByteSpan part : image->payload) {
      if (at < part.size()) {
        const_cast<std::byte&>(part[at]) ^= std::byte{0x40};
        return true;
      }
      at -= part.size();
    }
    return false;
  }
  void pump_until(const std::function<bool()>& ready) override {
    while (!ready()) std::this_thread::yield();
  }

 private:
  WarmWorld world_;
};

class SimColdUnderTest final : public TierUnderTest {
 public:
  SimColdUnderTest() : world_({.seed = 3}) { CAIRN_CHECK(world_.open().ok()); }
  Tier& tier() override { return world_.tier(); }
  DurableTier* durable() override { return &world_.tier(); }
  void restart() override {
    world_.close();
    CAIRN_CHECK(world_.open().ok());
  }
  NamespaceId namespace_id(NamespaceKind kind) override {
    return kind == NamespaceKind::mutable_ ? world_.mutable_namespace()
                                           : world_.addressed_namespace();
  }
  bool damage(const BlockName& name, std::uint64_t sequence, Location location,
              std::size_t offset) override {
    ImageRead read{.location = location, .name = name, .sequence = sequence, .image = {}};
    bool done = false;
    world_.tier().read_images({&read, 1}, [&] { done = true; });
    world_.pump_until([&] { return done; });
    CAIRN_CHECK(read.status.ok());
    const tiers::Place place = tiers::unpack_location(location);
    const tiers::RecordFields& fields = read.image->fields;
    world_.disk().flip_bit(tiers::segment_path("/store", place.segment),
                           place.offset + fields.payload_offset + stored_byte(fields, offset), 6);
    return true;
  }
  void pump_until(const std::function<bool()>& ready) override { world_.pump_until(ready); }

 private:
  ColdWorld world_;
};

class RealColdUnderTest final : public TierUnderTest {
 public:
  explicit RealColdUnderTest(tiers::DeviceChoice choice) : choice_(choice) { open(); }
  ~RealColdUnderTest() override { close(); }
  Tier& tier() override { return *tier_; }
  DurableTier* durable() override { return tier_.get(); }
  void restart() override {
    close();
    open();
  }
  NamespaceId namespace_id(NamespaceKind kind) override {
    return tier_->open_namespace({.name = std::string(namespace_kind_name(kind)), .kind = kind})
        ->id;
  }
  void pump_until(const std::function<bool()>& ready) override {
    while (!ready()) std::this_thread::yield();
  }

 private:
  void open() {
    codec_ = *tiers::CodecPool::start(2);
    auto device = tiers::open_device(directory_.path(), {.choice = choice_});
    CAIRN_CHECK(device.ok());
    device_ = std::move(*device);
    io_loop_ = std::make_unique<EventLoop>(system_clock(), device_.get());
    index_loop_ = std::make_unique<EventLoop>(system_clock());
    io_thread_ = *LoopThread::start("cold-io", *io_loop_);
    index_thread_ = *LoopThread::start("cold-index", *index_loop_);
    auto tier = tiers::open_cold_tier({.directory = directory_.path(), .cold_bytes = 48 * kMiB},
                                      {.device = device_.get(),
                                       .io_loop = io_loop_.get(),
                                       .index_loop = index_loop_.get(),
                                       .codec = codec_.get()});
    CAIRN_CHECK(tier.ok());
    tier_ = std::move(*tier);
  }
  void close() {
    tier_.reset();
    codec_.reset();  // its threads wake the loops, and those the device
    io_thread_.reset();
    index_thread_.reset();
    device_.reset();
  }

  const tiers::DeviceChoice choice_;
  TempDir directory_{"cold"};
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<tiers::Device> device_;
  std::unique_ptr<EventLoop> io_loop_, index_loop_;
  std::unique_ptr<LoopThread> io_thread_, index_thread_;
  std::unique_ptr<DurableTier> tier_;
};

inline std::vector<TierFactory> durable_tiers() {
  return {{"memory", [] { return std::make_unique<MemoryUnderTest>(); }},
          {"cold_simulated", [] { return std::make_unique<SimColdUnderTest>(); }},
          {"cold_posix",
           [] { return std::make_unique<RealColdUnderTest>(tiers::DeviceChoice::posix); }},
          {"cold_automatic",
           [] { return std::make_unique<RealColdUnderTest>(tiers::DeviceChoice::automatic); }}};
}

inline std::vector<TierFactory> image_tiers() {
  return {{"warm_coded", [] { return std::make_unique<WarmUnderTest>(true, 2); }},
          {"warm_plain", [] { return std::make_unique<WarmUnderTest>(false, 0); }}};
}

inline std::vector<TierFactory> all_tiers() {
  std::vector<TierFactory> all = durable_tiers();
  all.push_back({"hot", [] { return std::make_unique<HotUnderTest>(); }});
  for (TierFactory& warm : image_tiers()) all.push_back(std::move(warm));
  return all;
}

inline const auto name_of = [](const auto& tested) { return tested.param.name; };

}  // namespace cairn::test
