// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/layout.h"

#include <unistd.h>

#include <array>
#include <charconv>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {
constexpr std::string_view kSegmentSuffix = ".seg";
constexpr std::size_t kSegmentDigits = 6;

std::string parent_of(std::string_view directory) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.remove_suffix(1);
  const std::size_t slash = directory.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(directory.substr(0, slash));
}

}  // namespace

std::string superblock_path(std::string_view directory) {
  return concat(directory, "/CAIRN");
}
std::string superblock_copy_path(std::string_view directory) {
  return concat(directory, "/state/CAIRN.copy");
}
std::string lock_path(std::string_view directory) {
  return concat(directory, "/LOCK");
}
std::string index_path(std::string_view directory) {
  return concat(directory, "/index");
}
std::string segments_path(std::string_view directory) {
  return concat(directory, "/segments");
}
std::string state_path(std::string_view directory) {
  return concat(directory, "/state");
}
std::string lost_found_path(std::string_view directory) {
  return concat(directory, "/lost+found");
}

std::string segment_path(std::string_view directory, SegmentId segment) {
  const std::string digits = concat(static_cast<std::uint32_t>(segment));
  CAIRN_CHECK(digits.size() <= kSegmentDigits);
  return concat(directory, "/segments/", std::string(kSegmentDigits - digits.size(), '0'), digits,
                kSegmentSuffix);
}

std::optional<SegmentId> segment_of_name(std::string_view file_name) {
  if (file_name.size() != kSegmentDigits + kSegmentSuffix.size()) return std::nullopt;
  if (!file_name.ends_with(kSegmentSuffix)) return std::nullopt;
  std::uint32_t number = 0;
  const char* last = file_name.data() + kSegmentDigits;
  const auto [end, error] = std::from_chars(file_name.data(), last, number);
  if (error != std::errc() || end != last || number >= kSegmentsMax) return std::nullopt;
  return static_cast<SegmentId>(number);
}

absl::Status make_store_directories(Device& device, const std::string& directory) {
  const bool existed = device.info(directory).ok();
  CAIRN_RETURN_IF_ERROR(device.make_directory(directory));
  for (const std::string& path : {index_path(directory), segments_path(directory),
                                  state_path(directory), lost_found_path(directory)}) {
    CAIRN_RETURN_IF_ERROR(device.make_directory(path));
  }
  CAIRN_RETURN_IF_ERROR(device.sync_directory(directory));
  // The name of a new store is as durable as what is in it. Of one that was there this is only
  // to be sure, and its parent may not be ours to open.
  const absl::Status named = device.sync_directory(parent_of(directory));
  return existed ? absl::OkStatus() : named;
}

std::string lock_owner() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return concat("pid=", getpid(), " host=", std::string_view(host.data()));
}

}  // namespace cairn::tiers
