// SPDX-License-Identifier: Apache-2.0
// memory_tier.h — a durable tier in RAM: the cold tier's twin, for tests of what stands above.
//
// It keeps every promise of DurableTier in some hundred lines, so that a test of the engine
// needs no disk and no RocksDB, and the contract tests hold the cold tier against it. What a
// process would find on its disk after a restart lives in a MemoryMedium, which outlives the
// tier: open another tier on it to restart, call power_cut() first to lose what was not synced.
// It stores plain bytes: an image is decoded when it is written, and made when it is read.
//
// Faults are asked for, never random: fail_writes, fail_reads, fail_removals, fail_annotations,
// corrupt, hold.
//
// Threading:  thread-safe.
// Blocking:   never. Completions run inside the call, on the loop when one is given, or when
//             release() is called after hold().
// Failure:    as the tier it stands for.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/event_loop.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/tier.h"
#include "tests/support/memory_bytes.h"

namespace cairn::test {

/// What survives the process.
class MemoryMedium {
 public:
  MemoryMedium() = default;
  /// Everything that was not synced is forgotten, as if it had never been done.
  void power_cut();
  /// The process was stopped without closing the tier; nothing is lost.
  void mark_dirty() { clean_ = false; }

 private:
  friend class MemoryTier;
  struct Stored {
    BlockId id;
    BlockFacts facts;
    std::uint32_t epoch = 0;
    bool tombstone = false;
    Location location;
    std::shared_ptr<MemoryBytes> bytes;
  };
  struct Undo {
    std::string name;
    std::optional<Stored> before;
  };
  void change(const std::string& name, std::optional<Stored> stored);

  std::map<std::string, Stored> entries_;  // by encoded name: a prefix is a range
  std::vector<Undo> unsynced_;
  std::vector<NamespaceInfo> namespaces_;
  std::map<std::string, std::string> states_;
  std::uint64_t sequence_ = 1;
  std::uint64_t next_location_ = 1;
  std::uint64_t evicted_ever_ = 0, erased_ever_ = 0, expired_ever_ = 0;
  bool clean_ = true;
};

struct MemoryTierOptions {
  std::uint64_t capacity_bytes = 64 * kMiB;
  std::uint64_t block_bytes_max = 64 * kMiB;
  /// Completions are posted here; null: they run inside the call.
  EventLoop* loop = nullptr;
  bool read_only = false;
};

class MemoryTier final : public DurableTier {
 public:
  explicit MemoryTier(const MemoryTierOptions& options = {},
                      std::shared_ptr<MemoryMedium> medium = std::make_shared<MemoryMedium>());
  ~MemoryTier() override;

  /// What every stored block costs beside its payload, as a record header would.
  static constexpr std::uint64_t kOverheadBytes = 128;

  absl::Status reserve(NamespaceId namespace_id, std::span<const std::uint32_t> plain_sizes,
                       std::span<Location> locations) override;
  void write(std::span<TierWrite> batch, Durability durability, Done done) override;
  void read(std::span<TierRead> batch, Done done) override;
  void free(std::span<const Location> locations) override;
  TierUsage usage() const override;
  void close() override;

  void set_relocated(Relocated relocated) override;
  void set_removed(Removed removed) override;
  std::uint64_t block_id_secret() const override { return 0x5eed5eed5eed5eedULL; }
  std::uint64_t next_sequence() override;
  absl::StatusOr<NamespaceInfo> open_namespace(const NamespaceDescriptor& descriptor) override;
  std::vector<NamespaceInfo> namespaces() const override;
  absl::Status clear_namespace(NamespaceId id) override;
  void read_images(std::span<ImageRead> batch, Done done) override;
  void lookup(std::span<StoredLookup> batch, Done done) override;
  void remove(std::span<Removal> batch, Durability durability, Done done) override;
  void annotate(std::span<Note> batch, Durability durability, Done done) override;
  absl::Status scan(std::string& cursor, std::size_t limit,
                    const std::function<void(const StoredBlock&)>& visit) override;
  void sync(std::function<void(absl::Status)> done) override;
  absl::Status save_state(std::string_view name, ByteSpan content) override;
  absl::StatusOr<std::string> load_state(std::string_view name) override;
  bool opened_clean() const override { return opened_clean_; }
  bool is_read_only() const override { return options_.read_only; }
  std::uint64_t block_bytes_max() const override { return options_.block_bytes_max; }
  DurableHealth health() const override;
  DurableCounters counters() const override;
  void compact(double dead_fraction, std::function<void(absl::Status)> done) override;

  // --- for tests --------------------------------------------------------------------------
  /// The next `count` written elements fail with this.
  void fail_writes(ErrorCode code, std::size_t count);
  void fail_reads(ErrorCode code, std::size_t count);
  void fail_removals(ErrorCode code, std::size_t count);
  /// After `spared` that go well.
  void fail_annotations(ErrorCode code, std::size_t spared, std::size_t count);
  void set_degraded(bool degraded);
  /// Damages the stored byte at `offset`; reading it is `corruption` from now on. False: not there.
  bool corrupt(const BlockName& name, std::size_t offset = 0);
  /// Moves the block and tells the relocated callback, as the cleaner does.
  bool relocate(const BlockName& name);
  /// Removes the block and tells the removed callback, as the cleaner does with a corrupt one.
  bool give_up(const BlockName& name);
  /// Completions wait until release().
  void hold();
  void release();
  std::size_t held() const;
  /// From now on scans show what is there at this moment, whatever changes: as old as an
  /// iterator may be.
  void freeze_scans();
  /// The next scan shows half of its entries and ends with this.
  void fail_scan(ErrorCode code);
  /// Payload that reads have given.
  std::uint64_t bytes_read() const;
  /// How many live blocks the medium names.
  std::size_t stored_blocks() const;

 private:
  struct Resident {
    std::string name;
    BlockFacts facts;  // as written
    std::shared_ptr<MemoryBytes> bytes;
    std::uint64_t cost = 0;
  };
  static std::string encode_name(const BlockName& name);
  static std::uint64_t cost_of(std::uint64_t plain_bytes);
  void finish(Done done);
  absl::Status write_one(TierWrite& write, Durability durability);
  absl::Status read_one(TierRead& read);
  absl::Status read_image(ImageRead& read);
  /// The bytes of a write: its payload, or what its image says.
  absl::StatusOr<std::string> plain_bytes(const TierWrite& write, const NamespaceInfo& info) const;
  absl::Status remove_one(Removal& removal);
  absl::Status annotate_one(Note& note);
  void drop_location(Location location);
  bool is_live(const MemoryMedium::Stored& stored, NamespaceId id) const;
  const NamespaceInfo* find_namespace(NamespaceId id) const;

  const MemoryTierOptions options_;
  bool opened_clean_ = true;
  mutable Mutex mutex_{LockRank::cold_tier};
  std::shared_ptr<MemoryMedium> medium_;
  absl::flat_hash_map<std::uint64_t, Resident> residents_;      // by location
  absl::flat_hash_map<std::uint64_t, std::uint64_t> reserved_;  // location → bytes
  std::uint64_t used_bytes_ = 0;
  std::uint64_t payload_bytes_written_ = 0, bytes_read_ = 0;
  std::deque<Done> held_;
  bool holding_ = false;
  bool closed_ = false;
  bool degraded_ = false;
  ErrorCode write_error_ = ErrorCode::io;
  ErrorCode read_error_ = ErrorCode::io;
  ErrorCode removal_error_ = ErrorCode::io;
  ErrorCode annotation_error_ = ErrorCode::io;
  std::size_t write_failures_ = 0, read_failures_ = 0, removal_failures_ = 0;
  std::size_t annotations_spared_ = 0, annotation_failures_ = 0;
  std::uint64_t corruptions_ = 0;
  std::optional<std::map<std::string, MemoryMedium::Stored>> frozen_;
  std::optional<ErrorCode> scan_error_;
  Relocated relocated_;
  Removed removed_;
};

}  // namespace cairn::test
