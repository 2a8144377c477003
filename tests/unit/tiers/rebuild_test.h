// SPDX-License-Identifier: Apache-2.0
// rebuild_test.h — a store of segments that a test writes by hand, and an index made from them.
//
// Threading: confined. Blocking: cpu.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/hash128.h"
#include "engine/base/text.h"
#include "tests/support/manual_clock.h"
#include "tests/support/sim_device.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/rebuild.h"
#include "tiers/cold/repair.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

using test::SimDevice;
using test::SimDisk;

inline constexpr const char* kDirectory = "/store";
inline constexpr NamespaceId kAddressed{1};
inline constexpr NamespaceId kMutable{2};
inline constexpr NamespaceId kCleared{3};

/// A segment file in memory, filled record by record.
class HandMade {
 public:
  HandMade(const Superblock& superblock, std::uint32_t segment, std::uint32_t generation,
           std::uint64_t opened_at_sequence)
      : superblock_(superblock), segment_(segment), generation_(generation) {
    bytes_.resize(superblock.segment_bytes);
    SegmentHeader header;
    header.store = superblock.store;
    header.segment = segment;
    header.generation = generation;
    header.segment_bytes = superblock.segment_bytes;
    header.opened_at_sequence = opened_at_sequence;
    encode_segment_header(header, page(0, kPage));
  }

  /// Gives back where the record lies.
  std::uint64_t add(RecordKind kind, std::string_view key, std::uint64_t sequence,
                    std::string_view payload = {}, std::uint64_t note_sequence = 0,
                    WallMicros expiry = 0) {
    const auto plain = static_cast<std::uint32_t>(payload.size());
    const RecordLayout layout = lay_out_record(key.size(), plain, kOpaqueChunkBytes);
    std::vector<ChunkEntry> chunks(layout.chunk_count);
    sum_chunks(as_bytes(payload), kOpaqueChunkBytes, chunks);
    end_ = round_up(end_, layout.alignment);
    RecordFields f;
    f.kind = kind;
    f.store = superblock_.store;
    f.segment = static_cast<SegmentId>(segment_);
    f.generation = generation_;
    f.offset = end_;
    f.sequence = sequence;
    f.namespace_id = static_cast<NamespaceId>(namespace_id);
    f.epoch = epoch;
    f.key = key;
    f.expiry = expiry;
    f.chunk_bytes = kOpaqueChunkBytes;
    f.plain_length = f.payload_length = plain;
    f.payload_offset = layout.payload_offset;
    if (kind == RecordKind::block) f.plain_sum = xxh3_64(as_bytes(payload));
    f.note_sequence = note_sequence;
    f.chunk_table = std::as_bytes(std::span(chunks));
    f.header_length = layout.header_length;
    encode_record_header(f, page(end_, layout.payload_offset));
    std::copy(payload.begin(), payload.end(),
              bytes_.begin() + static_cast<std::ptrdiff_t>(end_ + layout.payload_offset));
    const std::uint64_t at = end_;
    headers_.append(bytes_, end_, layout.header_length);
    ++records_;
    end_ += layout.total_bytes;
    return at;
  }

  void seal() {
    const std::uint64_t length = footer_bytes(headers_.size());
    SegmentFooter footer;
    footer.store = superblock_.store;
    footer.segment = segment_;
    footer.generation = generation_;
    footer.record_count = records_;
    encode_footer(footer, as_bytes(headers_), bytes_.size() - length,
                  page(bytes_.size() - length, length));
  }

  void write_to(SimDevice& device) const {
    ASSERT_TRUE(device
                    .write_small(segment_path(kDirectory, static_cast<SegmentId>(segment_)),
                                 as_bytes(bytes_))
                    .ok());
  }
  std::string& bytes() { return bytes_; }
  /// One bit of the payload of the record at `offset`, or of its header.
  void damage_payload(std::uint64_t offset) {
    const auto fields = parse_record_header(as_bytes(bytes_).subspan(offset));
    ASSERT_TRUE(fields.ok()) << fields.status();
    bytes_[offset + fields->payload_offset] ^= 1;
  }
  void damage_header(std::uint64_t offset) { bytes_[offset + 40] ^= 1; }

  std::uint32_t namespace_id = 1;
  std::uint32_t epoch = 0;

 private:
  MutableByteSpan page(std::uint64_t offset, std::uint64_t length) {
    return std::as_writable_bytes(std::span(bytes_)).subspan(offset, length);
  }

  const Superblock& superblock_;
  const std::uint32_t segment_;
  const std::uint32_t generation_;
  std::string bytes_;
  std::string headers_;
  std::uint32_t records_ = 0;
  std::uint64_t end_ = kPage;
};

class RebuildTest : public ::testing::Test {
 protected:
  RebuildTest() : superblock_(make_superblock(kSegmentBytesMin, 64 * kMiB, 8 * kMiB, 1)) {
    superblock_.next_namespace_id = 4;
    superblock_.namespaces.push_back({kAddressed, 0, {.name = "one"}});
    superblock_.namespaces.push_back(
        {kMutable, 0, {.name = "two", .kind = NamespaceKind::mutable_}});
    superblock_.namespaces.push_back({kCleared, 0, {.name = "three"}});
    SimDevice device(disk_, clock_);
    EXPECT_TRUE(make_store_directories(device, kDirectory).ok());
    EXPECT_TRUE(replace_superblock(device, kDirectory, superblock_).ok());
  }

  HandMade segment(std::uint32_t id, std::uint32_t generation = 1,
                   std::uint64_t opened_at_sequence = 0) {
    return HandMade(superblock_, id, generation, opened_at_sequence);
  }
  void place(const HandMade& segment) {
    SimDevice device(disk_, clock_);
    segment.write_to(device);
  }
  RebuildReport repaired(bool verify_payloads = false) {
    return repair_all({.verify_payloads = verify_payloads}).rebuilt;
  }
  RepairReport repair_all(RepairOptions options = {}) {
    SimDevice device(disk_, clock_);
    options.directory = kDirectory;
    options.index_file_system = test::make_sim_rocksdb_fs(disk_);
    const auto report = repair_store(device, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : RepairReport{};
  }
  std::unique_ptr<Index> open_index(bool create = false) {
    IndexOptions options;
    options.directory = index_path(kDirectory);
    options.store = superblock_.store;
    options.create = create;
    options.file_system = test::make_sim_rocksdb_fs(disk_);
    auto index = open_rocksdb_index(options);
    EXPECT_TRUE(index.ok()) << index.status();
    return index.ok() ? *std::move(index) : nullptr;
  }
  RebuildReport rolled_forward(Index& index) {
    SimDevice device(disk_, clock_);
    const auto report = roll_forward(device, index, kDirectory, superblock_, false);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : RebuildReport{};
  }
  void lose_index() {
    for (const std::string& path : disk_->files()) {
      if (path.find("/store/index/") != std::string::npos) disk_->take_away(path);
    }
  }
  std::optional<IndexEntry> entry(std::string_view key, NamespaceId ns = kAddressed) {
    const auto index = open_index();
    return *index->get({ns, key, 0});
  }
  std::uint64_t version(std::string_view key, NamespaceId ns = kAddressed) {
    const auto found = entry(key, ns);
    return found && !found->tombstone ? found->facts.sequence : 0;
  }

  std::shared_ptr<SimDisk> disk_ = std::make_shared<SimDisk>();
  test::ManualClock clock_;
  Superblock superblock_;
};

}  // namespace cairn::tiers
