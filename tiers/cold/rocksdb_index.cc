// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/rocksdb_index.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <utility>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/index_codec.h"
#include "tiers/cold/rocksdb_index_open.h"
#include "tiers/cold/rocksdb_index_room.h"

namespace cairn::tiers {
namespace {

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string number_row(std::uint64_t number) {
  std::string out;
  append_le(out, number);
  return out;
}
ByteSpan bytes_of(const rocksdb::Slice& s) {
  return as_bytes({s.data(), s.size()});
}

class RocksdbIndex final : public Index {
 public:
  RocksdbIndex(const IndexOptions& options, std::shared_ptr<IndexFileEvents> events,
               IndexDatabase database)
      : options_(options),
        events_(std::move(events)),
        room_(options_, events_),
        recovery_(database.recovery),
        database_(std::move(database)) {}
  ~RocksdbIndex() override;

  /// Reads the rows of the index's own; `fresh` writes them first.
  absl::Status start(bool fresh, bool full);

  absl::Status write(std::span<const IndexChange> changes, std::span<const SegmentRow> rows,
                     const CounterDelta& delta, bool sync) override;
  absl::Status sync() override;
  absl::StatusOr<std::optional<IndexEntry>> get(const BlockName& name) override;
  std::vector<absl::StatusOr<std::optional<IndexEntry>>> get_batch(
      std::span<const BlockName> names) override;
  absl::Status scan(std::string& cursor, std::size_t limit,
                    const std::function<void(const BlockName&, const IndexEntry&)>& visit) override;
  absl::Status erase_namespace(NamespaceId id) override;
  absl::StatusOr<std::vector<SegmentRow>> segments() override;
  IndexCounters counters() const override;
  absl::StatusOr<std::uint64_t> reserve_sequences(std::uint64_t count) override;
  absl::Status begin_catching_up(std::uint64_t first) override;
  absl::Status end_catching_up() override;
  std::uint64_t usage_bytes() override { return room_.usage_bytes(); }
  std::uint64_t bytes_written() const override { return events_->bytes_written.load(); }
  std::uint64_t memory_bytes() override;
  IndexHealth health() const override;
  IndexRecovery recovery() const override { return recovery_; }

 private:
  /// Keeps the database from being reopened while it is read.
  class Reading {
   public:
    explicit Reading(RocksdbIndex& index) : index_(index) {
      MutexLock lock(index_.mutex_);
      while (index_.reopening_) index_.changed_.wait(index_.mutex_);
      ++index_.readers_;
    }
    ~Reading() {
      MutexLock lock(index_.mutex_);
      if (--index_.readers_ == 0) index_.changed_.notify_all();
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    /// Null where the database could not be opened again, not even for reading.
    rocksdb::DB* database() const { return index_.database_.database.get(); }

   private:
    RocksdbIndex& index_;
  };

  /// One writer at a time, without a lock held across I/O.
  class WriterTurn {
   public:
    explicit WriterTurn(RocksdbIndex& index) : index_(index) {
      MutexLock lock(index_.mutex_);
      while (index_.writing_) index_.changed_.wait(index_.mutex_);
      index_.writing_ = true;
    }
    ~WriterTurn() {
      MutexLock lock(index_.mutex_);
      index_.writing_ = false;
      index_.changed_.notify_all();
    }
    WriterTurn(const WriterTurn&) = delete;
    WriterTurn& operator=(const WriterTurn&) = delete;

   private:
    RocksdbIndex& index_;
  };

  absl::Status admit(std::uint64_t bytes, bool shrinking);
  absl::Status check_room(std::uint64_t bytes, bool shrinking);
  bool has_background_error();
  absl::Status commit(rocksdb::WriteBatch& batch, bool sync);
  absl::Status reopen();
  absl::Status note_failure(const rocksdb::Status& status, std::string_view what);

  const IndexOptions options_;
  const std::shared_ptr<IndexFileEvents> events_;
  IndexRoom room_;
  IndexRecovery recovery_;  // set by start()

  mutable Mutex mutex_{LockRank::index};
  CondVar changed_;
  int readers_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool reopening_ CAIRN_GUARDED_BY(mutex_) = false;
  bool writing_ CAIRN_GUARDED_BY(mutex_) = false;
  IndexHealth health_ CAIRN_GUARDED_BY(mutex_);
  IndexCounters counters_ CAIRN_GUARDED_BY(mutex_);

  IndexDatabase database_;              // replaced by reopen() alone, when nobody reads
  bool broken_ = false;                 // belongs to the writer's turn: RocksDB refuses writes
  std::uint64_t sequence_ceiling_ = 1;  // belongs to the writer's turn
  bool has_reserved_ = false;           // belongs to the writer's turn
};

RocksdbIndex::~RocksdbIndex() {
  if (database_.database == nullptr || options_.read_only) return;
  const bool sound = !broken_ && !events_->log_sync_failed.load();
  if (sound && check_room(0, false).ok()) {
    // An orderly end leaves nothing in the log: everything lies under checksums that a damaged
    // log does not have at its end. Best effort; the log says the same.
    rocksdb::FlushOptions flush;
    flush.allow_write_stall = true;  // nobody writes any more, so there is none to spare
    database_.database->Flush(flush).PermitUncheckedError();
  }
  database_.database->Close().PermitUncheckedError();
}

absl::Status RocksdbIndex::start(bool fresh, bool full) {
  broken_ = full;
  if (full) {
    MutexLock lock(mutex_);
    health_.full = true;
    health_.reason = "the disk is full";
  }
  if (fresh) {
    rocksdb::WriteBatch batch;
    batch.Put(slice(index_own_key('b')), slice(encode_binding(options_.store)));
    batch.Put(slice(index_own_key('q')), slice(number_row(sequence_ceiling_)));
    return commit(batch, true);
  }
  CAIRN_ASSIGN_OR_RETURN(const std::optional<std::string> binding,
                         read_own_row(*database_.database, 'b'));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<std::string> ceiling,
                         read_own_row(*database_.database, 'q'));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<std::string> first,
                         read_own_row(*database_.database, 'f'));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<std::string> counters,
                         read_own_row(*database_.database, 'c'));
  CAIRN_ASSIGN_OR_RETURN(const std::optional<std::string> behind,
                         read_own_row(*database_.database, 'r'));
  if (!binding || !ceiling || ceiling->size() != 8) {
    return index_damaged(options_.directory, "it was never finished");
  }
  CAIRN_ASSIGN_OR_RETURN(const StoreUuid store, parse_binding(as_bytes(*binding)));
  if (store != options_.store) return index_damaged(options_.directory, "it is another store's");
  sequence_ceiling_ = load_le<std::uint64_t>(as_bytes(*ceiling));
  if (first && first->size() == 8) {
    recovery_.first_sequence = load_le<std::uint64_t>(as_bytes(*first));
  }
  recovery_.is_behind = recovery_.is_behind || behind.has_value();
  recovery_.sequence_ceiling =
      behind && behind->size() == 8 ? load_le<std::uint64_t>(as_bytes(*behind)) : sequence_ceiling_;
  if (counters) {
    CAIRN_ASSIGN_OR_RETURN(const IndexCounters parsed, parse_counters(as_bytes(*counters)));
    MutexLock lock(mutex_);
    counters_ = parsed;
  }
  return absl::OkStatus();
}

absl::Status RocksdbIndex::write(std::span<const IndexChange> changes,
                                 std::span<const SegmentRow> rows, const CounterDelta& delta,
                                 bool sync) {
  rocksdb::WriteBatch batch;
  bool shrinking = true;
  for (const IndexChange& change : changes) {
    CAIRN_CHECK(is_valid_key(change.name.key));
    const std::string key = index_key(change.name);
    if (change.put) {
      batch.Put(slice(key), slice(encode_index_entry(*change.put)));
      shrinking = shrinking && change.put->tombstone;
    } else {
      batch.Delete(slice(key));
    }
  }
  for (const SegmentRow& row : rows) {
    batch.Put(slice(index_segment_key(row.segment)), slice(encode_segment_row(row)));
  }
  WriterTurn turn(*this);
  IndexCounters sum = counters();
  sum += delta;
  if (delta != CounterDelta{}) batch.Put(slice(index_own_key('c')), slice(encode_counters(sum)));
  CAIRN_RETURN_IF_ERROR(admit(batch.GetDataSize(), shrinking));
  CAIRN_RETURN_IF_ERROR(commit(batch, sync));
  MutexLock lock(mutex_);
  counters_ = sum;
  return absl::OkStatus();
}

absl::Status RocksdbIndex::sync() {
  WriterTurn turn(*this);
  if (broken_) CAIRN_RETURN_IF_ERROR(admit(0, true));
  const rocksdb::Status status = database_.database->SyncWAL();
  return status.ok() ? absl::OkStatus() : note_failure(status, "sync the index");
}

absl::Status RocksdbIndex::erase_namespace(NamespaceId id) {
  const auto number = static_cast<std::uint32_t>(id);
  CAIRN_CHECK(number != kIndexOwnNamespace);
  rocksdb::WriteBatch batch;
  batch.DeleteRange(slice(index_namespace_begin(number)), slice(index_namespace_begin(number + 1)));
  WriterTurn turn(*this);
  CAIRN_RETURN_IF_ERROR(admit(batch.GetDataSize(), true));
  return commit(batch, true);
}

absl::StatusOr<std::uint64_t> RocksdbIndex::reserve_sequences(std::uint64_t count) {
  WriterTurn turn(*this);
  const std::uint64_t first = sequence_ceiling_;
  rocksdb::WriteBatch batch;
  batch.Put(slice(index_own_key('q')), slice(number_row(first + count)));
  if (!has_reserved_) batch.Put(slice(index_own_key('f')), slice(number_row(first)));
  CAIRN_RETURN_IF_ERROR(admit(batch.GetDataSize(), true));
  CAIRN_RETURN_IF_ERROR(commit(batch, true));
  has_reserved_ = true;
  sequence_ceiling_ = first + count;
  return first;
}

/// The row `f` stays: what this process is given begins where it takes them.
absl::Status RocksdbIndex::begin_catching_up(std::uint64_t first) {
  WriterTurn turn(*this);
  const std::uint64_t raised = std::max(first, sequence_ceiling_);
  rocksdb::WriteBatch batch;
  batch.Put(slice(index_own_key('q')), slice(number_row(raised)));
  batch.Put(slice(index_own_key('r')), slice(number_row(recovery_.sequence_ceiling)));
  CAIRN_RETURN_IF_ERROR(admit(batch.GetDataSize(), true));
  CAIRN_RETURN_IF_ERROR(commit(batch, true));
  sequence_ceiling_ = raised;
  return absl::OkStatus();
}

absl::Status RocksdbIndex::end_catching_up() {
  rocksdb::WriteBatch batch;
  batch.Delete(slice(index_own_key('r')));
  WriterTurn turn(*this);
  CAIRN_RETURN_IF_ERROR(admit(batch.GetDataSize(), true));
  return commit(batch, true);
}

absl::Status RocksdbIndex::admit(std::uint64_t bytes, bool shrinking) {
  if (options_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  if (events_->log_sync_failed.load()) {
    return make_error(ErrorCode::degraded, "a sync of the index failed; it takes no more writes");
  }
  CAIRN_RETURN_IF_ERROR(check_room(bytes, shrinking));
  return broken_ || has_background_error() ? reopen() : absl::OkStatus();
}

/// A flush or compaction that failed on its own has switched writing off already; found out here,
/// it costs no write.
bool RocksdbIndex::has_background_error() {
  std::uint64_t errors = 0;
  return database_.database->GetIntProperty(rocksdb::DB::Properties::kBackgroundErrors, &errors) &&
         errors > 0;
}

absl::Status RocksdbIndex::check_room(std::uint64_t bytes, bool shrinking) {
  const absl::Status room =
      room_.check(bytes, shrinking, broken_ ? nullptr : database_.database.get());
  if (room.ok()) return room;
  MutexLock lock(mutex_);
  health_.full = true;
  health_.reason = std::string(message_of(room));
  return room;
}

absl::Status RocksdbIndex::commit(rocksdb::WriteBatch& batch, bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = database_.database->Write(options, &batch);
  if (!status.ok()) return note_failure(status, "write to the index");
  MutexLock lock(mutex_);
  if (health_.full) {
    health_.full = false;
    health_.reason.clear();
  }
  return absl::OkStatus();
}

absl::Status RocksdbIndex::note_failure(const rocksdb::Status& status, std::string_view what) {
  broken_ = true;
  const bool full = events_->no_space.exchange(false) ||
                    status.subcode() == rocksdb::Status::SubCode::kSpaceLimit;
  const absl::Status translated = from_rocksdb(status, what);
  const std::string text(message_of(translated));
  MutexLock lock(mutex_);
  health_.full = full;
  health_.failed = events_->log_sync_failed.load();
  health_.reason = text;
  return full ? make_error(ErrorCode::no_space, text) : translated;
}

/// After an error RocksDB takes no writes until it is opened again. What it acknowledged is in
/// its log, handed to the kernel, and is read back from there.
absl::Status RocksdbIndex::reopen() {
  {
    MutexLock lock(mutex_);
    reopening_ = true;
    while (readers_ > 0) changed_.wait(mutex_);
  }
  if (database_.database != nullptr) database_.database->Close().PermitUncheckedError();
  database_.database.reset();  // before what it stands on
  database_ = IndexDatabase{};
  events_->no_space.store(false);
  absl::StatusOr<IndexDatabase> opened = open_index_database(options_, IndexAccess::write, events_);
  broken_ = !opened.ok();
  absl::Status failure = opened.status();
  if (!opened.ok()) opened = open_index_database(options_, IndexAccess::read, events_);
  if (opened.ok()) database_ = std::move(*opened);
  MutexLock lock(mutex_);
  reopening_ = false;
  changed_.notify_all();
  if (broken_) {
    health_.reason = std::string(message_of(failure));
    return failure;
  }
  ++health_.reopened;
  health_.full = false;
  health_.reason.clear();
  return absl::OkStatus();
}

absl::Status not_open() {
  return make_error(ErrorCode::io, "the index could not be opened again after an error");
}

absl::StatusOr<std::optional<IndexEntry>> entry_of(const rocksdb::Status& status,
                                                   const rocksdb::Slice& value) {
  if (status.IsNotFound()) return std::optional<IndexEntry>();
  if (!status.ok()) return from_rocksdb(status, "read the index");
  CAIRN_ASSIGN_OR_RETURN(IndexEntry entry, parse_index_entry(bytes_of(value)));
  return std::optional<IndexEntry>(entry);
}

absl::StatusOr<std::optional<IndexEntry>> RocksdbIndex::get(const BlockName& name) {
  Reading reading(*this);
  if (reading.database() == nullptr) return not_open();
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      reading.database()->Get(rocksdb::ReadOptions(), reading.database()->DefaultColumnFamily(),
                              slice(index_key(name)), &value);
  return entry_of(status, value);
}

std::vector<absl::StatusOr<std::optional<IndexEntry>>> RocksdbIndex::get_batch(
    std::span<const BlockName> names) {
  std::vector<std::string> keys;
  keys.reserve(names.size());
  for (const BlockName& name : names) keys.push_back(index_key(name));
  std::vector<rocksdb::Slice> slices;
  slices.reserve(keys.size());
  for (const std::string& key : keys) slices.push_back(slice(key));
  std::vector<absl::StatusOr<std::optional<IndexEntry>>> out;
  out.reserve(names.size());
  Reading reading(*this);
  if (reading.database() == nullptr) {
    out.assign(names.size(), not_open());
    return out;
  }
  std::vector<std::string> values;
  const std::vector<rocksdb::Status> statuses =
      reading.database()->MultiGet(rocksdb::ReadOptions(), slices, &values);
  for (std::size_t i = 0; i < names.size(); ++i) {
    out.push_back(entry_of(statuses[i], slice(values[i])));
  }
  return out;
}

absl::Status RocksdbIndex::scan(
    std::string& cursor, std::size_t limit,
    const std::function<void(const BlockName&, const IndexEntry&)>& visit) {
  Reading reading(*this);
  if (reading.database() == nullptr) return not_open();
  const std::string end = index_namespace_begin(kIndexOwnNamespace);
  const rocksdb::Slice bound = slice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> at(reading.database()->NewIterator(options));
  at->Seek(slice(cursor));
  if (!cursor.empty() && at->Valid() && at->key() == slice(cursor)) at->Next();
  for (std::size_t visited = 0; at->Valid() && visited < limit; ++visited, at->Next()) {
    const std::optional<BlockName> name = parse_index_key({at->key().data(), at->key().size()});
    if (!name) return make_error(ErrorCode::corruption, "index: a key that names no block");
    CAIRN_ASSIGN_OR_RETURN(const IndexEntry entry, parse_index_entry(bytes_of(at->value())));
    cursor.assign(at->key().data(), at->key().size());
    visit(*name, entry);
  }
#if !defined(CAIRN_PLANTED_RECOVERY_STOPS_SILENTLY)
  // An iterator that met a damaged block is "not valid" just like one at the end.
  if (!at->status().ok()) return from_rocksdb(at->status(), "scan the index");
#endif
  if (!at->Valid()) cursor.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SegmentRow>> RocksdbIndex::segments() {
  Reading reading(*this);
  if (reading.database() == nullptr) return not_open();
  const std::string begin = index_own_key('s');
  const std::string end = index_own_key('t');
  const rocksdb::Slice bound = slice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  std::vector<SegmentRow> rows;
  const std::unique_ptr<rocksdb::Iterator> at(reading.database()->NewIterator(options));
  for (at->Seek(slice(begin)); at->Valid(); at->Next()) {
    CAIRN_ASSIGN_OR_RETURN(
        const SegmentRow row,
        parse_segment_row({at->key().data(), at->key().size()}, bytes_of(at->value())));
    rows.push_back(row);
  }
  CAIRN_RETURN_IF_ERROR(from_rocksdb(at->status(), "read the index's segment rows"));
  return rows;
}

IndexCounters RocksdbIndex::counters() const {
  MutexLock lock(mutex_);
  return counters_;
}

IndexHealth RocksdbIndex::health() const {
  MutexLock lock(mutex_);
  return health_;
}

std::uint64_t RocksdbIndex::memory_bytes() {
  Reading reading(*this);
  if (reading.database() == nullptr) return 0;
  std::uint64_t total = database_.cache->GetUsage();
  for (const std::string& property : {rocksdb::DB::Properties::kCurSizeAllMemTables,
                                      rocksdb::DB::Properties::kEstimateTableReadersMem}) {
    std::uint64_t bytes = 0;
    if (reading.database()->GetIntProperty(property, &bytes)) total += bytes;
  }
  return total;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Index>> open_rocksdb_index(const IndexOptions& options) {
  const auto events = std::make_shared<IndexFileEvents>();
  const IndexAccess access = options.read_only ? IndexAccess::read
                             : options.create  ? IndexAccess::create
                                               : IndexAccess::write;
  absl::StatusOr<IndexDatabase> database = open_index_database(options, access, events);
  const bool full = has_code(database.status(), ErrorCode::no_space);
  if (full && access == IndexAccess::write) {
    // Reads go on: it opens for writing with the first write that finds room.
    database = open_index_database(options, IndexAccess::read, events);
  }
  if (!database.ok()) return database.status();
  if (database->recovery.log_torn) {
    log_line(LogLevel::warning, "index: the end of the log was torn and dropped");
  }
  auto index = std::make_unique<RocksdbIndex>(options, events, std::move(*database));
  CAIRN_RETURN_IF_ERROR(index->start(access == IndexAccess::create, full));
  return index;
}

}  // namespace cairn::tiers
