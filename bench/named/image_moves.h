// SPDX-License-Identifier: Apache-2.0
// image_moves.h — warm and cold as a store makes them, without the engine that moves blocks between
// them: the ways of an image down and up, each by itself.
//
// Threading: confined. Blocking: disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/measure.h"
#include "bench/named/coded_blocks.h"
#include "engine/base/event_loop.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/io/device.h"
#include "tiers/namespace_facts.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::bench {

class ImageMoves {
 public:
  /// `blocks` are put again and again, each time under new names; `cold_bytes` is never reached.
  static absl::StatusOr<std::unique_ptr<ImageMoves>> make(const std::string& directory,
                                                          std::shared_ptr<Blocks> blocks,
                                                          std::size_t count, unsigned threads,
                                                          std::uint64_t cold_bytes);
  ~ImageMoves();

  // Each moves all of the blocks and gives GB/s; what is left of a run before is freed unmeasured.
  /// From plain bytes into warm: encoded. GB/s of plain bytes.
  absl::StatusOr<double> fill_warm();
  /// From warm to cold, as `written`. GB/s of stored bytes.
  absl::StatusOr<double> sink();
  /// From cold, where the last sink() put them, to warm. GB/s of stored bytes.
  absl::StatusOr<double> raise();

  /// What is in warm now, decoded and compared.
  absl::Status verify();
  /// An error unless no move between warm and cold has run the codec: cold has encoded nothing, and
  /// all that warm has encoded is what fill_warm() gave it.
  absl::Status check_codec() const;
  /// Of one block on the medium, on average: a multiple of 4 KiB.
  std::uint64_t stored_block_bytes() const;
  tiers::DeviceInfo device_info() const { return device_->device_info(); }

 private:
  struct Item {
    std::string key;
    BlockId id;
    BlockFacts facts;
    Location warm, cold;
  };

  ImageMoves(std::unique_ptr<tiers::Device> device, std::shared_ptr<Blocks> blocks);
  absl::Status open(const std::string& directory, unsigned threads, std::uint64_t cold_bytes);
  void name_anew();
  void empty_warm();
  BlockName name(const Item& item) const { return {ns_, item.key, 0}; }
  ByteSpan plain(std::size_t i) const { return blocks_->plain[i % blocks_->plain.size()]; }
  absl::StatusOr<std::vector<Location>> reserve(Tier& tier, std::size_t count);
  absl::Status sink_batch(std::size_t first, std::size_t count);
  absl::Status raise_batch(std::size_t first, std::size_t count);
  double giga(double seconds) const { return static_cast<double>(stored_bytes_) / seconds / 1e9; }

  std::unique_ptr<tiers::Device> device_;
  EventLoop io_loop_, index_loop_;
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<LoopThread> io_thread_, index_thread_;
  std::unique_ptr<DurableTier> cold_;
  std::unique_ptr<tiers::NamespaceFacts> facts_;
  std::unique_ptr<tiers::WarmTier> warm_;
  std::shared_ptr<Blocks> blocks_;
  NamespaceId ns_{};
  std::vector<Item> items_;
  std::uint64_t next_name_ = 0;
  std::uint64_t stored_bytes_ = 0;  // of all items, as they lie in cold
};

}  // namespace cairn::bench
