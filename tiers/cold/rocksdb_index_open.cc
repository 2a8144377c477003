// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/rocksdb_index_open.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/sst_file_manager.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/index_codec.h"

namespace cairn::tiers {
namespace {

constexpr int kFileOpeningThreads = 4;
/// Flush, compaction, its timer, and those that open files but for the caller's.
constexpr std::size_t kThreadsOfRocksdb = 3 + kFileOpeningThreads - 1;
/// What opening takes beside the cache and the memtables: tables' indexes, the replay of the log.
constexpr std::uint64_t kOpenBytes = 32 * kMiB;

std::string_view view(const std::string& text) {
  return text;
}

/// Keeps RocksDB from writing a LOG of its own, and listens for the one line that matters: that
/// the end of the log was dropped.
class QuietLogger final : public rocksdb::Logger {
 public:
  QuietLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, 512> line{};
    std::vsnprintf(line.data(), line.size(), format, arguments);
    if (std::string_view(line.data()).find("dropping") != std::string_view::npos) {
      dropped_.store(true);
    }
  }
  bool dropped() const { return dropped_.load(); }

 private:
  std::atomic<bool> dropped_{false};
};

/// Ends the replay of the log at a hole. A power cut may leave a later page of a log on the
/// medium and an earlier one not; RocksDB takes the zeros between for padding and goes on, so
/// that a later batch would be there without an earlier one. Sequence numbers tell: those of
/// an unbroken log follow each other, from file to file too.
class LogFilter final : public rocksdb::WalFilter {
 public:
  const char* Name() const override { return "CairnLogFilter"; }

  /// The file begins with zeros: nothing in it has an unbroken past.
  void distrust(std::uint64_t log_number) { distrusted_.insert(log_number); }

  WalProcessingOption LogRecordFound(unsigned long long log_number, const std::string&,
                                     const rocksdb::WriteBatch& batch, rocksdb::WriteBatch*,
                                     bool*) override {
    const std::string& bytes = batch.Data();  // sequence 8, count 4, then the changes
    if (bytes.size() < 12) return stop();
    const auto first = load_le<std::uint64_t>(as_bytes(bytes));
    const bool follows = !next_ || *next_ == first;
    if (!follows || distrusted_.contains(log_number)) return stop();
    const auto count = load_le<std::uint32_t>(as_bytes(bytes), 8);
    next_ = first + count;
    has_changes_ = has_changes_ || count > 0;
    return WalProcessingOption::kContinueProcessing;
  }
  bool stopped() const { return stopped_; }
  bool has_changes() const { return has_changes_; }

 private:
  WalProcessingOption stop() {
    stopped_ = true;
    return WalProcessingOption::kStopReplay;
  }

  std::set<std::uint64_t> distrusted_;
  std::optional<std::uint64_t> next_;
  bool stopped_ = false;
  bool has_changes_ = false;
};

rocksdb::BlockBasedTableOptions table_options(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 * kKiB;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  // Filters and indexes go through the cache in partitions: memory is bounded at any size.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  return table;
}

/// A compaction needs room for a second copy of what it merges. Where the share is small, small
/// files and levels keep that copy a small part of it; as one big level the index would meet a
/// point beyond which it can neither be merged nor shrink. Writers wait for compaction before
/// files of the first level, which all overlap, can fill the share.
void shape_levels(const IndexOptions& options, rocksdb::Options& out) {
  const std::uint64_t share = options.capacity_bytes;
  const std::uint64_t part = share == 0 ? kGiB : share / 64;
  out.target_file_size_base = std::clamp(part, 256 * kKiB, 16 * kMiB);
  out.max_bytes_for_level_base = std::clamp(4 * part, kMiB, 64 * kMiB);
  out.max_compaction_bytes = 12 * out.target_file_size_base;
  out.level_compaction_dynamic_level_bytes = true;
  out.level0_file_num_compaction_trigger = 4;
  out.level0_slowdown_writes_trigger = 6;
  out.level0_stop_writes_trigger = 8;
}

rocksdb::Options database_options(const IndexOptions& options, rocksdb::Env* env,
                                  const std::shared_ptr<rocksdb::Cache>& cache,
                                  std::shared_ptr<rocksdb::Logger> logger) {
  rocksdb::Options out;
  out.env = env;
  out.info_log = std::move(logger);
  out.paranoid_checks = true;
  out.paranoid_file_checks = true;
  out.write_buffer_size = write_buffer_bytes(options);
  out.max_write_buffer_number = 2;
  out.max_total_wal_size = options.log_bytes_max;
  out.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  out.avoid_flush_during_shutdown = true;  // the index flushes itself, where that is safe
  out.max_background_jobs = 2;
  out.max_open_files = -1;  // every file is opened at once, so that a missing one is noticed
  out.max_file_opening_threads = kFileOpeningThreads;
  shape_levels(options, out);
  out.compression = rocksdb::kNoCompression;  // hashes and sums do not shrink
  out.manifest_preallocation_size = 64 * kKiB;
  out.max_manifest_file_size = kMiB;
  out.stats_dump_period_sec = 0;
  out.stats_persist_period_sec = 0;
  out.skip_stats_update_on_db_open = true;
  out.max_bgerror_resume_count = 0;  // coming back from an error is the index's own business
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table_options(cache)));
  return out;
}

/// Where zeros stand that should be a record's beginning, if anywhere. RocksDB takes them for the
/// end and says nothing, but it writes none: a file that goes on behind its last record has lost
/// what was there.
std::optional<std::uint64_t> first_hole(rocksdb::Env& env, const std::string& path) {
  constexpr std::size_t kBlockBytes = 32 * kKiB;  // of RocksDB's log; no record crosses one
  constexpr std::size_t kHeaderBytes = 7;         // sum 4, length 2, type 1
  std::unique_ptr<rocksdb::SequentialFile> file;
  if (!env.NewSequentialFile(path, &file, rocksdb::EnvOptions()).ok()) return std::nullopt;
  std::vector<char> buffer(kBlockBytes);
  for (std::uint64_t begin = 0;; begin += kBlockBytes) {
    rocksdb::Slice read;
    if (!file->Read(kBlockBytes, &read, buffer.data()).ok() || read.empty()) return std::nullopt;
    const std::string_view block(read.data(), read.size());
    for (std::size_t at = 0; at + kHeaderBytes <= block.size();) {
      const std::string_view header = block.substr(at, kHeaderBytes);
      if (header.find_first_not_of('\0') == std::string_view::npos) return begin + at;
      at += kHeaderBytes + load_le<std::uint16_t>(as_bytes(header), 4);
    }
  }
}

struct LogsSeen {
  std::uint64_t bytes = 0;
  bool has_hole = false;
};

/// Adds up the logs, and tells the filter of those that have lost their beginning.
LogsSeen look_at_logs(rocksdb::Env& env, const std::string& directory, LogFilter& filter) {
  std::vector<std::string> names;
  LogsSeen seen;
  if (!env.GetChildren(directory, &names).ok()) return seen;
  for (const std::string& name : names) {
    std::uint64_t bytes = 0;
    std::uint64_t number = 0;
    if (!name.ends_with(".log")) continue;
    const std::string path = concat(directory, "/", name);
    if (env.GetFileSize(path, &bytes).ok()) seen.bytes += bytes;
    std::from_chars(name.data(), name.data() + name.size(), number);
    const std::optional<std::uint64_t> hole = first_hole(env, path);
    if (hole == 0) filter.distrust(number);
    seen.has_hole = seen.has_hole || hole.has_value();
  }
  return seen;
}

/// RocksDB makes a new database where CURRENT is missing, and takes a missing log for an empty
/// one. Both would be silent loss: a database that was ever open has one of each.
absl::Status check_files(rocksdb::Env& env, const std::string& directory) {
  std::vector<std::string> names;
  const rocksdb::Status listed = env.GetChildren(directory, &names);
  if (listed.IsNotFound() || listed.IsPathNotFound()) {
    return index_damaged(directory, "the directory is missing");
  }
  if (!listed.ok()) return from_rocksdb(listed, concat("list ", directory));
  const bool has_current = std::find(names.begin(), names.end(), "CURRENT") != names.end();
  const bool has_log = std::any_of(names.begin(), names.end(),
                                   [](const std::string& name) { return name.ends_with(".log"); });
  if (!has_current) return index_damaged(directory, "CURRENT is missing");
  if (!has_log) return index_damaged(directory, "its log is missing");
  return absl::OkStatus();
}

absl::Status remove_all(rocksdb::Env& env, const std::string& directory) {
  std::vector<std::string> names;
  if (const rocksdb::Status made = env.CreateDirIfMissing(directory); !made.ok()) {
    return from_rocksdb(made, concat("make ", directory));
  }
  if (const rocksdb::Status listed = env.GetChildren(directory, &names); !listed.ok()) {
    return from_rocksdb(listed, concat("list ", directory));
  }
  for (const std::string& name : names) {
    if (name == "." || name == "..") continue;
    const rocksdb::Status removed = env.DeleteFile(concat(directory, "/", name));
    if (!removed.ok()) return from_rocksdb(removed, concat("remove ", directory, "/", name));
  }
  return absl::OkStatus();
}

/// Whatever keeps a database from opening that is neither the disk's refusal nor another process
/// is damage: RocksDB has many words for it.
absl::Status explain_failure(const rocksdb::Status& status, const std::string& directory,
                             const IndexFileEvents& events) {
  const std::string text = status.ToString();
  if (status.IsIOError() && events.no_space.load()) return make_error(ErrorCode::no_space, text);
  if (status.IsIOError() && text.find("lock") != std::string::npos) {
    return make_error(ErrorCode::locked, concat("index: ", view(text)));
  }
  if (status.IsIOError() && !status.IsPathNotFound()) return from_rocksdb(status, "open index");
  return index_damaged(directory, text);
}

}  // namespace

absl::Status from_rocksdb(const rocksdb::Status& status, std::string_view what) {
  using Code = rocksdb::Status::Code;
  if (status.ok()) return absl::OkStatus();
  const std::string text = concat(what, ": ", view(status.ToString()));
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::SubCode::kSpaceLimit) {
    return make_error(ErrorCode::no_space, text);
  }
  switch (status.code()) {
    case Code::kCorruption:
      return make_error(ErrorCode::corruption, text);
    case Code::kIOError:
      return make_error(ErrorCode::io, text);
    case Code::kNotFound:
      return make_error(ErrorCode::not_found, text);
    case Code::kShutdownInProgress:
      return make_error(ErrorCode::closed, text);
    case Code::kBusy:
    case Code::kTimedOut:
    case Code::kTryAgain:
    case Code::kIncomplete:
      return make_error(ErrorCode::busy, text);
    default:
      return make_error(ErrorCode::internal, text);
  }
}

absl::Status index_damaged(std::string_view directory, std::string_view why) {
  return make_error(ErrorCode::corruption,
                    concat("the index in ", directory, " cannot be used: ", why,
                           "; run `cairn repair` to make it again from the segments"));
}

std::shared_ptr<rocksdb::FileSystem> index_base_files(const IndexOptions& options) {
  return options.file_system ? options.file_system : rocksdb::FileSystem::Default();
}

std::uint64_t write_buffer_bytes(const IndexOptions& options) {
  if (options.capacity_bytes == 0) return options.write_buffer_bytes;
  return std::clamp(options.capacity_bytes / 64, 64 * kKiB,
                    std::max(options.write_buffer_bytes, 64 * kKiB));
}

absl::StatusOr<IndexDatabase> open_index_database(const IndexOptions& options, IndexAccess access,
                                                  const std::shared_ptr<IndexFileEvents>& events) {
  const bool read_only = access == IndexAccess::read;
  const IndexFilesOptions files{
      .read_only = read_only,
      .log_preallocation_bytes = write_buffer_bytes(options) + write_buffer_bytes(options) / 8};
  // Where a thread or memory is missing RocksDB throws, and hangs or aborts over its own exception:
  // what opening takes is asked for before.
  CAIRN_RETURN_IF_ERROR(with_context(
      check_resources(kThreadsOfRocksdb,
                      options.cache_bytes + 2 * write_buffer_bytes(options) + kOpenBytes),
      "open index"));
  IndexDatabase out;
  out.log_filter = std::make_unique<LogFilter>();
  auto* const filter = static_cast<LogFilter*>(out.log_filter.get());
  out.env = rocksdb::NewCompositeEnv(make_index_files(index_base_files(options), files, events));
  if (access == IndexAccess::create) {
    CAIRN_RETURN_IF_ERROR(remove_all(*out.env, options.directory));
  } else {
    CAIRN_RETURN_IF_ERROR(check_files(*out.env, options.directory));
    const LogsSeen logs = look_at_logs(*out.env, options.directory, *filter);
    out.recovery.log_bytes = logs.bytes;
    out.recovery.log_torn = logs.has_hole;
  }
  out.cache = rocksdb::NewLRUCache(options.cache_bytes, 2, false, 0.5);
  const auto logger = std::make_shared<QuietLogger>();
  rocksdb::Options database = database_options(options, out.env.get(), out.cache, logger);
  database.wal_filter = filter;
  database.create_if_missing = access == IndexAccess::create;
  if (!read_only && options.capacity_bytes != 0) {
    database.sst_file_manager.reset(rocksdb::NewSstFileManager(out.env.get(), logger));
    database.sst_file_manager->SetMaxAllowedSpaceUsage(options.capacity_bytes);
  }
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      read_only ? rocksdb::DB::OpenForReadOnly(database, options.directory, &opened)
                : rocksdb::DB::Open(database, options.directory, &opened);
  if (!status.ok()) return explain_failure(status, options.directory, *events);
  out.database.reset(opened);
  out.recovery.log_torn = out.recovery.log_torn || logger->dropped() || filter->stopped();
  // In the place of a damaged log RocksDB begins one with an empty batch. Where that is all, the
  // opening that met the damage went no further.
  out.recovery.is_behind = out.recovery.log_bytes > 0 && !filter->has_changes();
  return out;
}

absl::StatusOr<std::optional<std::string>> read_own_row(rocksdb::DB& database, char letter) {
  std::string value;
  const rocksdb::Status status =
      database.Get(rocksdb::ReadOptions(), index_own_key(letter), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return from_rocksdb(status, "read the index");
  return std::optional<std::string>(std::move(value));
}

}  // namespace cairn::tiers
