// SPDX-License-Identifier: Apache-2.0
// The way in: who the store is, whether we may, what the index remembers.
//
// Nothing here grows with the bytes stored: the superblock, the index's log, a row and a
// directory entry for each segment. After a dirty stop live bytes are counted in the
// background (cold_background.cc).
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_tier_impl.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/overlay_index.h"
#include "tiers/cold/rebuild.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/state_file.h"
#include "tiers/cold/wait_for.h"
#include "tiers/record/record.h"

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kCleanerBytes = 8 * kMiB;  // one batch read, one written

absl::StatusOr<std::vector<SegmentId>> segment_files(Device& device, const std::string& directory) {
  const auto entries = device.list(segments_path(directory));
  if (has_code(entries.status(), ErrorCode::not_found)) {
    return make_error(ErrorCode::corruption, concat(segments_path(directory), " is missing"));
  }
  CAIRN_RETURN_IF_ERROR(entries.status());
  std::vector<SegmentId> files;
  for (const DirectoryEntry& entry : *entries) {
    if (const auto id = segment_of_name(entry.name); id && !entry.is_directory)
      files.push_back(*id);
  }
  return files;
}

absl::Status check_empty(Device& device, const std::string& directory) {
  const auto entries = device.list(directory);
  if (has_code(entries.status(), ErrorCode::not_found)) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(entries.status());
  for (const DirectoryEntry& entry : *entries) {
    // What an opening that did not get to the end may have left.
    static constexpr std::string_view kOurs[] = {"LOCK", "index", "segments", "state",
                                                 "lost+found"};
    if (std::find(std::begin(kOurs), std::end(kOurs), entry.name) == std::end(kOurs)) {
      return make_error(ErrorCode::format, concat(directory, " is not empty and holds no store"));
    }
  }
  return absl::OkStatus();
}

absl::Status check_limit(const ColdOptions& options) {
  if (options.cold_bytes >= kColdBytesMin) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument,
                    concat("a store needs a limit of at least ", format_size(kColdBytesMin)));
}

absl::Status create_store(const ColdOptions& options, Device& device, Superblock& superblock) {
  superblock = make_superblock(segment_bytes_for(options.cold_bytes), options.cold_bytes,
                               index_bytes_for(options.cold_bytes), options.clock->wall());
  return replace_superblock(device, options.directory, superblock);
}

absl::StatusOr<std::unique_ptr<Index>> open_index(const ColdOptions& options,
                                                  const OpenedStore& opened, bool is_new) {
  IndexOptions index;
  index.directory = index_path(options.directory);
  index.store = opened.superblock.store;
  index.create = is_new;
  index.read_only = opened.read_only;
  index.capacity_bytes = opened.plan.index_bytes;
  index.file_system = options.index_file_system;
  return open_rocksdb_index(index);
}

/// The device belongs to the I/O loop.
void on_io_loop(const ColdRuntime& runtime, const std::function<void()>& work) {
  wait_for(
      [&](Done done) {
        runtime.io_loop->post([&, done = std::move(done)]() mutable {
          work();
          done();
        });
      },
      runtime.pump);
}

/// After a dirty stop a log that is torn, or empty where it never is while a store is open, may
/// have ended early by more than a power cut takes: what the segments know since then goes first,
/// or erased blocks would come back.
absl::Status catch_up(const ColdOptions& options, const ColdRuntime& runtime, OpenedStore& opened) {
  const IndexRecovery recovery = opened.index->recovery();
  if (!recovery.log_torn && recovery.log_bytes > 0 && !recovery.is_behind) return absl::OkStatus();
  // A read-only opening changes no byte: what it learns it keeps in mind.
  if (opened.read_only) {
    opened.index = std::make_unique<OverlayIndex>(std::move(opened.index));
  }
  absl::StatusOr<RebuildReport> report = RebuildReport{};
  on_io_loop(runtime, [&] {
    report = roll_forward(*runtime.device, *opened.index, options.directory, opened.superblock,
                          opened.read_only);
  });
  return report.status();
}

absl::StatusOr<OpenedStore> open_store_files(const ColdOptions& options,
                                             const ColdRuntime& runtime) {
  Device& device = *runtime.device;
  OpenedStore opened;
  opened.read_only = options.mode == StoreMode::read_only;
  bool is_new = false;
  {
    const auto there = load_superblock(device, options.directory);
    is_new = has_code(there.status(), ErrorCode::not_found);
    if (!there.ok() && !(is_new && options.mode == StoreMode::create_or_open))
      return there.status();
  }
  if (is_new) {
    CAIRN_RETURN_IF_ERROR(check_limit(options));  // nothing is made that cannot become a store
    CAIRN_RETURN_IF_ERROR(check_empty(device, options.directory));
    CAIRN_RETURN_IF_ERROR(make_store_directories(device, options.directory));
  }
  auto lock = device.lock_file(lock_path(options.directory), opened.read_only ? "" : lock_owner());
  // A reader makes no file. Where LOCK is missing nobody holds the store now; a writer that comes
  // meanwhile is not kept out, and what it takes away from under the reader fails its checks.
  const bool unlocked = opened.read_only && has_code(lock.status(), ErrorCode::not_found);
  if (!lock.ok() && !unlocked) return lock.status();
  if (lock.ok()) opened.lock = *std::move(lock);
  // Read again under the lock: another process may have been faster.
  auto loaded = load_superblock(device, options.directory);
  if (is_new && has_code(loaded.status(), ErrorCode::not_found)) {
    CAIRN_RETURN_IF_ERROR(create_store(options, device, opened.superblock));
  } else {
    CAIRN_RETURN_IF_ERROR(loaded.status());
    is_new = false;
    opened.superblock = std::move(loaded->superblock);
    if (loaded->read_only_required && !opened.read_only) {
      return make_error(ErrorCode::format, "the store has features that this build can only read");
    }
    // Before a missing directory is made again: an empty one in its place would lose every block,
    // where all that is missing may be a mount.
    CAIRN_ASSIGN_OR_RETURN(opened.files, segment_files(device, options.directory));
    if (!opened.read_only) {
      CAIRN_RETURN_IF_ERROR(make_store_directories(device, options.directory));
      if (loaded->needs_healing()) {
        CAIRN_RETURN_IF_ERROR(replace_superblock(device, options.directory, opened.superblock));
      }
    }
  }
  const Superblock& superblock = opened.superblock;
  const std::uint64_t limit = options.cold_bytes != 0 ? options.cold_bytes : superblock.cold_bytes;
  opened.plan =
      plan_space(limit, superblock.segment_bytes, std::min(superblock.index_bytes, limit / 2));
  if (!opened.read_only && opened.plan.segments <= kReservedSegments) {
    return make_error(ErrorCode::invalid_argument,
                      concat("a limit of ", format_size(limit), " leaves no room for segments of ",
                             format_size(superblock.segment_bytes)));
  }
  if (!opened.read_only && limit != superblock.cold_bytes) {
    opened.superblock.cold_bytes = limit;
    const absl::Status kept = replace_superblock(device, options.directory, opened.superblock);
    // A full disk is a reason to give a smaller one: it holds from now on, kept or not.
    if (!kept.ok()) {
      log_line(LogLevel::warning, concat("the limit of ", format_size(limit),
                                         " holds for this opening alone: ", message_of(kept)));
    }
  }
  if (is_new) {
    CAIRN_ASSIGN_OR_RETURN(opened.files, segment_files(device, options.directory));
  }
  auto index = open_index(options, opened, is_new);
  const bool nothing_to_lose = opened.files.empty() && !opened.read_only;
  if (has_code(index.status(), ErrorCode::corruption) && nothing_to_lose) {
    index = open_index(options, opened, true);  // a creation that was cut short
  }
  CAIRN_RETURN_IF_ERROR(index.status());
  opened.index = *std::move(index);
  const auto mark = load_state_file(device, options.directory, superblock.store, kCleanMarkName);
  if (!mark.ok() && !is_new) CAIRN_RETURN_IF_ERROR(catch_up(options, runtime, opened));
  CAIRN_ASSIGN_OR_RETURN(opened.rows, opened.index->segments());
  if (!mark.ok() && !is_new) {
    on_io_loop(runtime, [&] {
      adopt_unnamed(device, options.directory, opened.superblock, opened.files, opened.rows);
    });
  }
  if (mark.ok()) opened.clean_mark = *mark;
  if (is_new) opened.clean_mark = encode_clean_mark({});
  return opened;
}

}  // namespace

ColdTier::ColdTier(const ColdOptions& options, const ColdRuntime& runtime, OpenedStore opened)
    : core_(options, runtime),
      secret_(opened.superblock.block_id_secret),
      pump_(runtime.pump),
      lock_(std::move(opened.lock)),
      budget_(options.write_budget_bytes_per_day, *options.clock),
      pool_(options.buffer_bytes - std::min(options.buffer_bytes / 2, kCleanerBytes)),
      table_(opened.superblock.segment_bytes, opened.plan.segments, space_),
      queue_(core_.device, core_.io_loop, core_.alive),
      sync_(core_, table_, queue_),
      opener_(core_, table_, queue_, pool_),
      index_queue_(core_, space_,
                   {.live_changed =
                        [this](std::vector<LiveChange> changes) {
                          core_.io_loop.post([this, changes = std::move(changes)] {
                            for (const LiveChange& change : changes)
                              table_.add_live(change.segment, change.bytes);
                          });
                        }}),
      log_(core_, table_, queue_, pool_, opener_, sync_,
           {.row = [this](const SegmentRow& row) { index_queue_.post_row(row); },
            .starved =
                [this](Stream stream) { return stream == Stream::user && cleaner_.has_hope(); }}),
      own_codec_(runtime.codec == nullptr ? *CodecPool::start(0) : nullptr),
      codec_(own_codec_ == nullptr ? *runtime.codec : *own_codec_),
      encoder_(core_, pool_, codec_),
      reader_(core_, table_, queue_, pool_, opener_, codec_,
              {.corrupted = [this](Segment& segment) { on_corrupted(segment); },
               .quiet = [this](Segment& segment) { cleaner_.quiet(segment); }}),
      cleaner_(core_, table_, queue_, pool_, log_, opener_, index_queue_,
               {.relocated =
                    [this](BlockId id, Location from, Location to) {
                      Relocated relocated;
                      {
                        MutexLock lock(mutex_);
                        relocated = relocated_;
                      }
                      // The index is the truth here; a catalog that does not know the block yet
                      // will learn its new place from the scan, or from a read's second look.
                      if (relocated) relocated(id, from, to);
                    },
                .sync_data = [this](SyncDone done) { sync_.sync_all(std::move(done)); },
                .drop_corrupt =
                    [this](std::vector<Cleaner::CorruptBlock> blocks, std::function<void()> done) {
                      drop_corrupt(std::move(blocks), std::move(done));
                    }}) {
  core_.store = opened.superblock.store;
  core_.segment_bytes = opened.superblock.segment_bytes;
  core_.read_only = opened.read_only;
  core_.index = std::move(opened.index);
  before_ = core_.index->counters();
  block_bytes_max_ = block_bytes_max_for(core_.segment_bytes);
  sync_.set_ensure_file([this](Segment& segment) { return opener_.ensure_file(segment); });
  opener_.set_sync(
      [this](Segment& segment, SyncDone done) { sync_.sync(segment, std::move(done)); });
  core_.writes.on_off([this] {
    core_.io_loop.post([this, alive = core_.alive] {
      if (!*alive) return;
      log_.retry();
      cleaner_.poke();
    });
  });
  sync_.set_poisoned([this](Segment& segment) { on_poisoned(segment); });
  // The other half is for what removals leave until they are merged, and for merging itself.
  space_.set_index_limit(opened.plan.index_bytes / 2);
  for (const NamespaceInfo& info : opened.superblock.namespaces) {
    core_.namespaces.set(info.id, {.epoch = info.epoch,
                                   .kind = info.descriptor.kind,
                                   .dtype = info.descriptor.dtype,
                                   .chunk_bytes = chunk_bytes_for(info.descriptor)});
  }
  superblock_ = std::move(opened.superblock);

  const std::optional<CleanMark> mark =
      opened.clean_mark ? parse_clean_mark(*opened.clean_mark) : std::optional<CleanMark>();
  opened_clean_ = mark.has_value();
  absl::flat_hash_map<SegmentId, std::uint64_t> data_ends;
  if (mark) {
    data_ends.insert(mark->data_ends.begin(), mark->data_ends.end());
    space_.count_entry(static_cast<std::int64_t>(mark->blocks),
                       static_cast<std::int64_t>(mark->entry_bytes));
  }
  for (const SegmentRow& row : opened.rows) {
    const bool has_file = std::binary_search(opened.files.begin(), opened.files.end(), row.segment);
    const auto end = data_ends.find(row.segment);
    table_.restore(row, has_file, end == data_ends.end() ? core_.segment_bytes : end->second);
  }
  for (const SegmentId id : opened.files) table_.restore_file(id);
  for (const SegmentRow& row : opened.rows) {
    if (row.state == SegmentState::sealed && data_ends.contains(row.segment))
      table_.offer_to_resume(row.segment);
  }
  if (!mark) {
    table_.set_unknown();
    // The process before this one may have died before its data was synced, and a kill leaves
    // it in the page cache: the next sync must cover that too.
    touched_ = true;
    table_.for_each([](Segment& segment) { segment.unsynced = segment.is_in_use(); });
  }
  table_.publish();
}

ColdTier::~ColdTier() {
  close();
}

/// When this fails the store can be opened as before.
absl::Status ColdTier::begin_writing() {
  // What was open when the process before this one died was that one's: only it may hold
  // something that the index forgot. On the medium together with the sequence numbers.
  std::vector<SegmentRow> left = table_.rows();
  std::erase_if(left, [](const SegmentRow& row) { return row.state != SegmentState::unsealed; });
  if (!opened_clean_) {
    CAIRN_RETURN_IF_ERROR(core_.index->write({}, left, {.dirty_openings = 1}, false));
  }
  CAIRN_ASSIGN_OR_RETURN(const std::uint64_t first,
                         core_.index->reserve_sequences(kSequencesAhead));
  // Last: an opening that the disk has no room for does not cost the next one a count.
  CAIRN_RETURN_IF_ERROR(remove_state_file(core_.device, core_.options.directory, kCleanMarkName));
  core_.next_sequence.store(first);
  sequence_ceiling_.store(first + kSequencesAhead);
  return absl::OkStatus();
}

absl::Status ColdTier::start() {
  if (!core_.read_only) {
    const absl::Status begun = begin_writing();
    if (has_code(begun, ErrorCode::no_space)) {
      return make_error(
          ErrorCode::no_space,
          concat("the disk is too full to open the store for writing: ", message_of(begun),
                 "; free some of it, or open the store for reading only"));
    }
    CAIRN_RETURN_IF_ERROR(begun);
    core_.io_loop.post([this] { schedule_sync(); });
  }
  if (!opened_clean_) {
    counting_.store(true);
    index_queue_.start_counting();
    core_.index_loop.post([this] { count_entries(); });
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DurableTier>> open_cold_tier(const ColdOptions& options,
                                                            const ColdRuntime& runtime) {
  CAIRN_CHECK(runtime.device != nullptr && runtime.io_loop != nullptr &&
              runtime.index_loop != nullptr);
  CAIRN_ASSIGN_OR_RETURN(OpenedStore opened, open_store_files(options, runtime));
  auto tier = std::make_unique<ColdTier>(options, runtime, std::move(opened));
  CAIRN_RETURN_IF_ERROR(tier->start());
  return tier;
}

}  // namespace cairn::tiers
