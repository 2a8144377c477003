// SPDX-License-Identifier: Apache-2.0
// restart — after kill -9 of a store with many blocks, page cache dropped: the time from exec of
// `cairn get` to its exit with a verified block, and the time until the catalog is full again,
// beside a bare RocksDB iterator over the same index.
#include <rocksdb/db.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBatch = 1000;
constexpr std::size_t kBlockBytes = 256;
constexpr std::string_view kFilled = "filled";

StoreOptions store_options(const std::string& directory, std::uint64_t blocks) {
  StoreOptions options;
  options.directory = directory;
  options.engine.hot_bytes = 16 * kMiB;
  options.engine.metadata_bytes = blocks * 256 + 64 * kMiB;
  options.engine.rewarm_bytes = 0;
  // A limit, not what is used: the blocks are tiny, so it is their index's share that counts.
  options.cold.cold_bytes = blocks * 12 * kKiB;
  return options;
}

absl::Status fill(Store& store, std::uint64_t blocks) {
  CAIRN_ASSIGN_OR_RETURN(const auto ns, store.engine().open_namespace({.name = "bench"}));
  const std::vector<std::byte> payload(kBlockBytes);
  for (std::uint64_t chain = 0; chain < blocks / kBatch; ++chain) {
    std::vector<std::string> keys;
    std::vector<PutBlock> batch;
    for (std::size_t i = 0; i < kBatch; ++i) keys.push_back(bench_key(chain, i));
    for (std::size_t i = 0; i < kBatch; ++i) batch.push_back({.key = keys[i], .payload = payload});
    for (const PutResult& result : store.engine().put_sync(ns, batch))
      CAIRN_RETURN_IF_ERROR(result.status);
  }
  return absl::OkStatus();
}

/// Fills a store in a child that dies by SIGKILL with the last put acknowledged. The child says
/// over the pipe how it went, so that a fill that fails is reported with its own reason.
absl::Status fill_and_kill(const std::string& directory, std::uint64_t blocks) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return from_errno(errno, "pipe");
  const pid_t child = fork();
  if (child < 0) return from_errno(errno, "fork");
  if (child == 0) {
    close(ends[0]);
    const auto store = open_store(store_options(directory, blocks));
    const absl::Status filled = store.ok() ? fill(**store, blocks) : store.status();
    const std::string said = filled.ok() ? std::string(kFilled) : std::string(message_of(filled));
    if (write(ends[1], said.data(), said.size()) != static_cast<ssize_t>(said.size())) _exit(1);
    close(ends[1]);
    // The store stays open: it must die as it is.
    while (true) pause();
  }
  close(ends[1]);
  std::string said;
  std::array<char, 512> buffer{};
  for (ssize_t n = 0; (n = read(ends[0], buffer.data(), buffer.size())) > 0;)
    said.append(buffer.data(), static_cast<std::size_t>(n));
  close(ends[0]);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (said == kFilled) return absl::OkStatus();
  return make_error(ErrorCode::internal,
                    concat("filling the store failed: ", said.empty() ? "no answer" : said));
}

absl::StatusOr<double> iterate_index(const std::string& directory, std::uint64_t blocks) {
  drop_page_cache();
  const Stopwatch watch;
  rocksdb::Options options;
  std::vector<std::string> families;
  rocksdb::Status status = rocksdb::DB::ListColumnFamilies(options, directory, &families);
  if (!status.ok()) return make_error(ErrorCode::io, status.ToString());
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& family : families)
    descriptors.emplace_back(family, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw = nullptr;
  status = rocksdb::DB::OpenForReadOnly(options, directory, descriptors, &handles, &raw);
  if (!status.ok()) return make_error(ErrorCode::io, status.ToString());
  const std::unique_ptr<rocksdb::DB> db(raw);
  std::uint64_t entries = 0;
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, handle));
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++entries;
  }
  const double seconds = watch.seconds();
  for (rocksdb::ColumnFamilyHandle* handle : handles)
    static_cast<void>(db->DestroyColumnFamilyHandle(handle));
  if (entries < blocks)
    return make_error(ErrorCode::internal, concat("the iterator saw ", entries, " entries"));
  return seconds;
}

absl::StatusOr<double> first_hit(const std::string& directory, std::uint64_t chain) {
  drop_page_cache();
  const std::vector<std::string> command{
      "/proc/self/exe", "get",   "--dir",   directory,
      "--namespace",    "bench", "--force", concat("hex:", to_hex(as_bytes(bench_key(chain, 7))))};
  const Stopwatch watch;
  CAIRN_ASSIGN_OR_RETURN(const std::string block, run_program(command));
  const double seconds = watch.seconds();
  if (block.size() != kBlockBytes)
    return make_error(ErrorCode::internal, "the first hit had the wrong length");
  return seconds * 1e3;
}

}  // namespace

absl::StatusOr<Report> run_restart(const Settings& settings) {
  Report report{.name = "restart", .cases = {}};
  const std::uint64_t blocks = 1'000'000;
  const int rounds = settings.quick ? 3 : 9;
  CAIRN_ASSIGN_OR_RETURN(const auto directory, DataDirectory::make(settings, 6 * kGiB));
  const std::string store_path = directory->file("store");
  if (settings.progress) settings.progress("filling a store with 1 M blocks, then SIGKILL");
  CAIRN_RETURN_IF_ERROR(fill_and_kill(store_path, blocks));
  const std::string cache =
      drop_page_cache() ? "page cache dropped" : "page cache NOT dropped (needs root)";

  std::uint64_t next = 0;
  const Yardstick iterator{"RocksDB iterator", 0,
                           "open read-only and walk the same index, same cache state"};
  Case hit{.name = "exec to first verified cold hit, 1 M blocks",
           .unit = "ms",
           .higher_is_better = false,
           .yardstick = iterator,
           .goal = {Goal::On::figure, 250},
           .note = cache};
  CAIRN_ASSIGN_OR_RETURN(Case first,
                         compare(
                             std::move(hit), rounds, [&] { return first_hit(store_path, next++); },
                             [&]() -> absl::StatusOr<double> {
                               CAIRN_ASSIGN_OR_RETURN(const double s,
                                                      iterate_index(store_path + "/index", blocks));
                               return s * 1e3;
                             }));
  report.cases.push_back(std::move(first));

  // Each round opens a copy that was killed, because opening makes it clean.
  Case full{.name = "open to a full catalog, 1 M blocks",
            .unit = "s",
            .higher_is_better = false,
            .yardstick = iterator,
            .goal = {Goal::On::figure, 1},
            .note = cache};
  const std::string copy = directory->file("copy");
  const auto recover = [&]() -> absl::StatusOr<double> {
    std::error_code error;
    std::filesystem::remove_all(copy, error);
    std::filesystem::copy(store_path, copy, std::filesystem::copy_options::recursive, error);
    if (error) return make_error(ErrorCode::io, concat("copy the store: ", error.message()));
    drop_page_cache();
    const Stopwatch watch;
    CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(store_options(copy, blocks)));
    CAIRN_RETURN_IF_ERROR(
        store->engine().wait_recovered(system_clock().now() + Duration::seconds(60)));
    const double seconds = watch.seconds();
    if (store->engine().stats().catalog_blocks < blocks)
      return make_error(ErrorCode::internal, "blocks are missing");
    return seconds;
  };
  CAIRN_ASSIGN_OR_RETURN(Case catalog, compare(std::move(full), rounds, recover, [&] {
                           return iterate_index(store_path + "/index", blocks);
                         }));
  report.cases.push_back(std::move(catalog));
  return report;
}

}  // namespace cairn::bench
