// SPDX-License-Identifier: Apache-2.0
// cold_tier_impl.h — the cold tier's parts put together. Private to cold_*.cc.
//
// A call from outside copies what it needs into a job and posts it; the job goes from the I/O
// loop (placing, writing, syncing) to the index loop (naming) and ends where its last step
// ran. The order of those steps is the order that cold_tier.h promises.
//
//   write:   codec's threads encode and sum (uncoded: the caller sums) ─► I/O: append [─► sync]
//            ─► index: put [synced] ─► done
//            (an image is not encoded again: the codec's threads check its sums, and it is appended
//            from where it lies)
//            (what replaces a living block is synced before it is named, whatever was asked:
//            a cut that keeps the entry and drops the data would take the old version along)
//   remove:  [I/O: append tombstone [─► sync] ─►] index: erase or tombstone [synced] ─► done
//   read:    I/O: read, verify [─► codec's threads: verify, decode] ─► done; an image is verified
//            and lent as it was read
//
// A location that reserve() gave has 15 for its device, which no data directory ever has, and
// below that the plain bytes it was asked for and the bytes it holds.
//
// Threading:  public methods from any thread; what is marked so, on that loop.
// Lifetime:   operations_ counts jobs; close() waits until there are none.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tiers/cold/buffer_pool.h"
#include "tiers/cold/cleaner.h"
#include "tiers/cold/cold_core.h"
#include "tiers/cold/cold_encoder.h"
#include "tiers/cold/cold_reader.h"
#include "tiers/cold/index_queue.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/segment_log.h"
#include "tiers/cold/segment_opener.h"
#include "tiers/cold/segment_sync.h"
#include "tiers/cold/segment_table.h"
#include "tiers/cold/space.h"
#include "tiers/cold/state_file.h"
#include "tiers/cold/superblock.h"
#include "tiers/cold/write_budget.h"

namespace cairn::tiers {

/// What open_cold_tier() has found out before there is a tier.
struct OpenedStore {
  Superblock superblock;
  std::unique_ptr<FileLock> lock;
  std::unique_ptr<Index> index;
  std::vector<SegmentRow> rows;
  std::vector<SegmentId> files;
  std::optional<std::string> clean_mark;
  SpacePlan plan;
  bool read_only = false;
};

/// What a clean close leaves for the next opening, so that nothing has to be counted.
struct CleanMark {
  std::uint64_t blocks = 0;
  std::uint64_t entry_bytes = 0;
  std::vector<std::pair<SegmentId, std::uint64_t>> data_ends;
};
/// Sequence numbers taken from the index at a time.
inline constexpr std::uint64_t kSequencesAhead = 1U << 20;
std::string encode_clean_mark(const CleanMark& mark);
std::optional<CleanMark> parse_clean_mark(std::string_view bytes);

/// Serialises the rare calls that change the superblock, across their I/O, where a lock must
/// not be held: whoever comes second waits at the gate.
class Turnstile {
 public:
  void enter() {
    MutexLock lock(mutex_);
    while (taken_) free_.wait(mutex_);
    taken_ = true;
  }
  void leave() {
    {
      MutexLock lock(mutex_);
      taken_ = false;
    }
    free_.notify_one();
  }

 private:
  Mutex mutex_{LockRank::cold_tier};
  CondVar free_;
  bool taken_ CAIRN_GUARDED_BY(mutex_) = false;
};

class ColdTier final : public DurableTier {
 public:
  ColdTier(const ColdOptions& options, const ColdRuntime& runtime, OpenedStore opened);
  ~ColdTier() override;
  /// Sequence numbers and timers; nothing before this touches a loop.
  absl::Status start();

  absl::Status reserve(NamespaceId namespace_id, std::span<const std::uint32_t> plain_sizes,
                       std::span<Location> locations) override;
  void write(std::span<TierWrite> batch, Durability durability, Done done) override;
  void read(std::span<TierRead> batch, Done done) override;
  void free(std::span<const Location> locations) override;
  TierUsage usage() const override { return space_.usage(); }
  void close() override;

  void set_relocated(Relocated relocated) override;
  void set_removed(Removed removed) override;
  std::uint64_t block_id_secret() const override { return secret_; }
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
  bool is_read_only() const override { return core_.read_only; }
  std::uint64_t block_bytes_max() const override { return block_bytes_max_; }
  DurableHealth health() const override;
  DurableCounters counters() const override;
  CodecReport codec() const override { return core_.codec_choice.report(); }
  void compact(double dead_fraction, std::function<void(absl::Status)> done) override;

 private:
  struct WriteJob;
  struct RemoveJob;
  struct NoteJob;

  absl::Status begin_writing();
  absl::Status refusal() const;  // why nothing may be changed now
  bool begin_operation();
  void end_operation();

  // writing (cold_write.cc)
  absl::Status prepare(WriteJob& job, std::size_t i, TierWrite& write);
  void check_sums(const std::shared_ptr<WriteJob>& job, std::size_t i);
  void append_encoded(const std::shared_ptr<WriteJob>& job);
  void written(const std::shared_ptr<WriteJob>& job);
  void name(const std::shared_ptr<WriteJob>& job, std::span<IndexWork* const> works);
  bool sync_replacing(const std::shared_ptr<WriteJob>& job);
  void named(const std::shared_ptr<WriteJob>& job);
  // removing and annotating (cold_remove.cc)
  void bury(const std::shared_ptr<RemoveJob>& job);
  void buried(const std::shared_ptr<RemoveJob>& job);
  void removed(const std::shared_ptr<RemoveJob>& job);
  void noted(const std::shared_ptr<NoteJob>& job);
  void drop_corrupt(std::vector<Cleaner::CorruptBlock> blocks, std::function<void()> done);
  void settle(const Append& append);
  absl::Status replace(Superblock& changed);  // inside metadata_ (cold_store.cc)
  // background (cold_background.cc)
  void schedule_sync();
  CounterDelta uncounted_media();
  void sync_everything(std::function<void(absl::Status)> done);
  void count_entries();
  void purge(NamespaceId id, std::string cursor);
  void extend_sequences();
  void on_corrupted(Segment& segment);
  void on_poisoned(Segment& segment);
  // closing (cold_close.cc)
  void wait_for(const std::function<bool()>& ready);
  void progressed();
  void run_and_wait(EventLoop& loop, std::function<void(std::function<void()>)> step);
  absl::Status leave_clean_mark();
  bool check_quiet();

  ColdCore core_;
  const std::uint64_t secret_;
  const std::function<void()> pump_;
  bool opened_clean_ = false;
  std::uint64_t block_bytes_max_ = 0;
  std::unique_ptr<FileLock> lock_;

  Space space_;
  WriteBudget budget_;
  BufferPool pool_;
  SegmentTable table_;
  IoQueue queue_;
  SegmentSync sync_;
  SegmentOpener opener_;
  IndexQueue index_queue_;
  SegmentLog log_;
  const std::unique_ptr<CodecPool> own_codec_;  // where the runtime has none
  CodecPool& codec_;
  ColdEncoder encoder_;
  ColdReader reader_;
  Cleaner cleaner_;

  Turnstile metadata_;  // around changes of superblock_
  mutable Mutex mutex_{LockRank::cold_tier};
  CondVar changed_;
  Superblock superblock_ CAIRN_GUARDED_BY(mutex_);
  Relocated relocated_ CAIRN_GUARDED_BY(mutex_);
  Removed removed_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t operations_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool closing_ CAIRN_GUARDED_BY(mutex_) = false;
  bool closed_ CAIRN_GUARDED_BY(mutex_) = false;
  std::atomic<std::uint64_t> sequence_ceiling_{0};
  std::atomic<bool> extending_{false};
  std::atomic<std::uint32_t> purges_{0};
  std::atomic<bool> counting_{false};
  std::atomic<bool> purge_unfinished_{false};
  std::atomic<bool> looking_{false}, device_is_quiet_{false};  // while closing
  std::atomic<bool> shutting_down_{false};  // background loops stop at the next step
  bool touched_ = false;                    // I/O loop: something was written since the last sync
  std::uint64_t media_bytes_counted_ = 0;   // I/O loop
  IndexCounters before_;                    // of this store's lives before this one
};

}  // namespace cairn::tiers
