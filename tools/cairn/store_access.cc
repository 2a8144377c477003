// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/store_access.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "engine/base/text.h"
#include "engine/catalog.h"
#include "tiers/cold/inspect.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/space.h"
#include "tiers/record/format.h"
#include "tools/cairn/waiting.h"

namespace cairn::tools {
namespace {

// One block of the largest size is leased at a time, and half of hot is leasable.
constexpr std::uint64_t kHotBytes = 256 * kMiB;
constexpr std::uint64_t kColdBytesDefaultMax = 64 * kGiB;
constexpr std::uint64_t kColdBytesStep = 128 * kMiB;  // what makes segments larger by 1 MiB
constexpr Duration kRecoveryPatience = Duration::seconds(60);

// Of each entry the index holds 58 bytes beside its key and what RocksDB adds; none is compressed.
constexpr std::uint64_t kIndexEntryBytesMin = 64;
constexpr std::uint64_t kMetadataBytesMax = 64 * kGiB;

std::uint64_t index_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;  // what is not there, or goes meanwhile, needs no room
  for (std::filesystem::directory_iterator at(tiers::index_path(directory), error), end;
       !error && at != end; at.increment(error)) {
    std::error_code gone;
    const std::uint64_t size = at->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

std::uint64_t memory_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

StoreOptions options_for(const std::string& directory, tiers::StoreMode mode) {
  StoreOptions options;
  options.directory = directory;
  options.mode = mode;
  options.engine.hot_bytes = kHotBytes;
  // A command takes the store as it is, and has no option for how many blocks it may list.
  options.engine.metadata_bytes = metadata_bytes_for(index_bytes(directory), memory_bytes());
  options.engine.rewarm_bytes = 0;  // a command is over before a warm cache could pay
  return options;
}

absl::StatusOr<std::unique_ptr<Store>> open_with(const StoreOptions& options) {
  auto store = open_store(options);
  if (!store.ok()) return explain_open_error(store.status(), options.directory);
  return store;
}

constexpr std::string_view kMakersHint =
    "`cairn put` and `cairn replay` make one in a missing or empty directory";

absl::Status no_store(const std::string& directory) {
  return with_hint(make_error(ErrorCode::not_found, concat("there is no store in ", directory)),
                   kMakersHint);
}

absl::Status no_directory(const std::string& directory) {
  return with_hint(make_error(ErrorCode::not_found, concat(directory, " is not a directory")),
                   "--dir takes the directory of a store");
}

/// Files are there, and no superblock of ours among them.
bool holds_something_else(const std::string& directory) {
  std::ifstream file(directory + "/CAIRN", std::ios::binary);
  std::array<char, sizeof(tiers::kSuperblockMagic)> magic{};
  file.read(magic.data(), magic.size());
  const auto got = static_cast<std::size_t>(file.gcount());
  return got < magic.size() ||
         load_le<std::uint32_t>(as_bytes(std::string_view(magic.data(), got))) !=
             tiers::kSuperblockMagic;
}

absl::StatusOr<tiers::LoadedSuperblock> read_superblock(const std::string& directory) {
  CAIRN_ASSIGN_OR_RETURN(const auto device, tiers::open_device(directory, {}));
  return tiers::inspect_superblock(*device, directory);
}

/// A store keeps its segments' size, and its limit has to leave room for a few of them.
std::string least_limit(const std::string& directory) {
  const auto loaded = read_superblock(directory);
  if (!loaded.ok()) return {};
  const std::uint64_t segments = (tiers::kReservedSegments + 1) * loaded->superblock.segment_bytes;
  // The index gets its share, but never more than half.
  const std::uint64_t bytes = segments + std::min(segments, loaded->superblock.index_bytes);
  return concat("; the least is ", (bytes + kMiB - 1) / kMiB, "MiB");
}

bool superblock_is_lost(const std::string& directory) {
  return has_code(read_superblock(directory).status(), ErrorCode::corruption);
}

/// Of a store, whose superblock is there.
bool has_no_segments(const std::string& directory) {
  struct stat info {};
  if (stat(tiers::segments_path(directory).c_str(), &info) == 0 || errno != ENOENT) return false;
  return read_superblock(directory).ok();
}

}  // namespace

void add_directory_option(Command& command, std::string& directory) {
  command.text("--dir", directory, "DIR", "The store's directory", Command::Need::required);
}

void add_namespace_option(Command& command, std::string& name) {
  name = kDefaultNamespace;
  command.text("--namespace", name, "NAME", "Where the key belongs");
}

absl::Status check_place_for_store(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path path = fs::absolute(directory, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "store/"
  if (fs::exists(path, error)) {
    return fs::is_directory(path, error) ? absl::OkStatus() : no_directory(directory);
  }
  const fs::path above = path.parent_path();
  if (fs::is_directory(above, error)) return absl::OkStatus();
  if (error && error != std::errc::no_such_file_or_directory &&
      error != std::errc::not_a_directory) {
    return from_errno(error.value(), above.string());
  }
  return with_hint(make_error(ErrorCode::not_found, concat("there is no directory ", above.string(),
                                                           " to make a store in")),
                   concat("`mkdir -p ", above.string(), "` makes it; of ", directory,
                          " only the last part is made"));
}

absl::Status check_store_exists(const std::string& directory) {
  struct stat info {};
  if (stat(directory.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return no_store(directory);
    return from_errno(errno, directory);
  }
  if (!S_ISDIR(info.st_mode)) return no_directory(directory);
  std::error_code error;
  const bool empty = std::filesystem::is_empty(directory, error);
  if (error) return from_errno(error.value(), directory);
  return empty ? no_store(directory) : absl::OkStatus();
}

absl::Status explain_open_error(absl::Status status, const std::string& directory) {
  const bool gone =
      has_code(status, ErrorCode::not_found) || has_code(status, ErrorCode::corruption);
  if (gone && has_no_segments(directory)) {
    return with_hint(
        make_error(ErrorCode::corruption, concat(tiers::segments_path(directory), " is missing")),
        concat("bring it back: mount what belongs there, or from a backup; `cairn repair --dir ",
               directory, "` begins anew without the blocks"));
  }
  if (has_code(status, ErrorCode::not_found)) {
    return with_hint(std::move(status), kMakersHint);
  }
  if (has_code(status, ErrorCode::format) && holds_something_else(directory)) {
    return with_hint(std::move(status),
                     "nothing was changed; name the directory of a store, or one that is empty or "
                     "does not exist yet");
  }
  if (has_code(status, ErrorCode::invalid_argument)) {
    return make_error(ErrorCode::invalid_argument,
                      concat(message_of(status), least_limit(directory)));
  }
  if (has_code(status, ErrorCode::corruption)) {
    if (superblock_is_lost(directory)) {
      return with_hint(std::move(status),
                       concat("without CAIRN or state/CAIRN.copy nothing can be read and repair "
                              "cannot help: bring one of them back from a backup of ",
                              directory, ", or begin anew in another directory"));
    }
    return with_hint(std::move(status),
                     concat("`cairn repair --dir ", directory, "` rebuilds what can be rebuilt"));
  }
  return status;
}

absl::StatusOr<std::unique_ptr<Store>> open_for_reading(const std::string& directory) {
  CAIRN_RETURN_IF_ERROR(check_store_exists(directory));
  return open_with(options_for(directory, tiers::StoreMode::read_only));
}

absl::StatusOr<std::unique_ptr<Store>> open_for_writing(const std::string& directory) {
  CAIRN_RETURN_IF_ERROR(check_store_exists(directory));
  return open_with(options_for(directory, tiers::StoreMode::open_existing));
}

absl::StatusOr<std::unique_ptr<Store>> open_or_create(const std::string& directory,
                                                      std::optional<std::uint64_t> cold_bytes) {
  CAIRN_RETURN_IF_ERROR(check_place_for_store(directory));
  StoreOptions options = options_for(directory, tiers::StoreMode::create_or_open);
  const absl::Status exists = check_store_exists(directory);
  if (!exists.ok() && !has_code(exists, ErrorCode::not_found)) return exists;
  if (!exists.ok() && !cold_bytes) {
    CAIRN_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, free_disk_bytes(directory));
    CAIRN_ASSIGN_OR_RETURN(cold_bytes, default_cold_bytes(directory, free_bytes));
  }
  options.cold.cold_bytes = cold_bytes.value_or(0);
  return open_with(options);
}

absl::StatusOr<std::uint64_t> free_disk_bytes(const std::string& directory) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(directory, error);
  struct statvfs info {};
  while (statvfs(path.c_str(), &info) != 0) {
    if (errno != ENOENT || !path.has_relative_path()) return from_errno(errno, path.string());
    path = path.parent_path();
  }
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

std::optional<std::uint64_t> cold_bytes_of_store(const std::string& directory) {
  if (directory.empty() || !check_store_exists(directory).ok()) return std::nullopt;
  const auto loaded = read_superblock(directory);
  if (!loaded.ok()) return std::nullopt;
  return loaded->superblock.cold_bytes;
}

std::uint64_t metadata_bytes_for(std::uint64_t index_bytes, std::uint64_t memory_bytes) {
  // A quarter more, for parents that are named and not there.
  const std::uint64_t blocks = index_bytes / kIndexEntryBytesMin;
  const std::uint64_t wanted = blocks * Catalog::kBytesPerBlock / 4 * 5;
  return std::max(EngineOptions{}.metadata_bytes,
                  std::min({wanted, memory_bytes / 2, kMetadataBytesMax}));
}

absl::StatusOr<std::uint64_t> default_cold_bytes(const std::string& directory,
                                                 std::uint64_t free_bytes) {
  const std::uint64_t half = free_bytes / 2;
  if (half >= tiers::kColdBytesMin) return std::min(half, kColdBytesDefaultMax);
  return with_hint(
      make_error(ErrorCode::no_space,
                 concat("the disk of ", directory, " has ", format_size(free_bytes),
                        " free; a new store takes half of it and needs ",
                        format_size(tiers::kColdBytesMin))),
      "free some disk, name a --dir on a larger one, or say with --cold how much it may take");
}

std::string roomy_store(std::uint64_t block_bytes) {
  std::uint64_t cold_bytes = tiers::kColdBytesMin;
  while (cold_bytes < kColdBytesDefaultMax &&
         tiers::block_bytes_max_for(tiers::segment_bytes_for(cold_bytes)) < block_bytes) {
    cold_bytes = round_up(cold_bytes + 1, kColdBytesStep);
  }
  return concat("a new store with --cold ", cold_bytes / kMiB, "MiB or more");
}

absl::Status check_block_fits(const std::string& directory, std::optional<std::uint64_t> cold_bytes,
                              std::uint64_t block_bytes) {
  if (check_store_exists(directory).ok() || block_bytes > kBlockBytesMax) return absl::OkStatus();
  if (!cold_bytes) {
    CAIRN_RETURN_IF_ERROR(check_place_for_store(directory));
    CAIRN_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, free_disk_bytes(directory));
    CAIRN_ASSIGN_OR_RETURN(cold_bytes, default_cold_bytes(directory, free_bytes));
  }
  const std::uint64_t most = tiers::block_bytes_max_for(tiers::segment_bytes_for(*cold_bytes));
  if (block_bytes <= most) return absl::OkStatus();
  return with_hint(
      make_error(ErrorCode::too_large, concat("a block of ", block_bytes, " bytes; the limit is ",
                                              most, " with --cold ", format_size(*cold_bytes))),
      concat("a larger --cold makes larger segments: ", roomy_store(block_bytes), " holds it"));
}

std::optional<NamespaceInfo> find_namespace(Store& store, std::string_view name) {
  for (NamespaceInfo& info : store.engine().namespaces()) {
    if (info.descriptor.name == name) return std::move(info);
  }
  return std::nullopt;
}

absl::StatusOr<NamespaceInfo> get_namespace(Store& store, std::string_view name) {
  if (auto info = find_namespace(store, name)) return *std::move(info);
  std::string known;
  for (const NamespaceInfo& info : store.engine().namespaces()) {
    known += concat(known.empty() ? "" : ", ", info.descriptor.name);
  }
  return with_hint(
      make_error(ErrorCode::not_found, concat("there is no namespace '", name, "'")),
      known.empty() ? std::string("the store has none yet") : concat("the store has ", known));
}

absl::StatusOr<std::optional<StoredBlock>> look_up(Store& store, const BlockName& name) {
  StoredLookup lookup{.name = name};
  Waiter waiter;
  waiter.expect();
  store.cold().lookup({&lookup, 1}, [&waiter] { waiter.arrive(); });
  waiter.wait();
  CAIRN_RETURN_IF_ERROR(lookup.status);
  return lookup.found;
}

NamespaceDescriptor new_namespace(std::string_view name, bool is_mutable) {
  NamespaceDescriptor descriptor;
  descriptor.name = name;
  descriptor.kind = is_mutable || name == kDefaultNamespace ? NamespaceKind::mutable_
                                                            : NamespaceKind::content_addressed;
  return descriptor;
}

absl::Status wait_until_recovered(Store& store) {
  return store.engine().wait_recovered(system_clock().now() + kRecoveryPatience);
}

absl::Status close_store(std::unique_ptr<Store> store) {
  return store->engine().close();
}

}  // namespace cairn::tools
