// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/state_file.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"

namespace cairn::tiers {
namespace {

// magic 4 | version 2 | name length 2 | store 16 | content length 8 | name | content | sum 16
constexpr std::size_t kFixedBytes = 32;

absl::Status corrupt(std::string_view name, std::string_view why) {
  return make_error(ErrorCode::corruption, concat("state file ", name, ": ", why));
}

std::string file_path(std::string_view directory, std::string_view name) {
  return concat(state_path(directory), "/", name);
}

}  // namespace

bool is_valid_state_name(std::string_view name) {
  if (name.empty() || name.size() > kStateNameMax || name.front() == '.') return false;
  if (name.starts_with("CAIRN.")) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

std::string encode_state(const StoreUuid& store, std::string_view name, ByteSpan content) {
  CAIRN_CHECK(is_valid_state_name(name));
  std::string out;
  out.reserve(kFixedBytes + name.size() + content.size() + sizeof(Hash128));
  append_le(out, kStateMagic);
  append_le(out, kFormatVersion);
  append_le(out, static_cast<std::uint16_t>(name.size()));
  append_le(out, store);
  append_le(out, std::uint64_t{content.size()});
  out.append(name);
  out.append(as_text(content));
  const Hash128 sum = xxh3_128(as_bytes(out));
  append_le(out, sum.low);
  append_le(out, sum.high);
  return out;
}

absl::StatusOr<std::string> parse_state(ByteSpan bytes, const StoreUuid& store,
                                        std::string_view name) {
  if (bytes.size() < kFixedBytes + sizeof(Hash128)) return corrupt(name, "cut short");
  const std::size_t summed = bytes.size() - sizeof(Hash128);
  const Hash128 stored{load_le<std::uint64_t>(bytes, summed + 8),
                       load_le<std::uint64_t>(bytes, summed)};
  if (stored != xxh3_128(bytes.first(summed))) return corrupt(name, "checksum");
  if (load_le<std::uint32_t>(bytes, 0) != kStateMagic) return corrupt(name, "not a state file");
  const auto version = load_le<std::uint16_t>(bytes, 4);
  if (version != kFormatVersion) {
    return make_error(ErrorCode::format, concat("state file ", name, ": format version ", version,
                                                ", not ", kFormatVersion));
  }
  const std::size_t name_length = load_le<std::uint16_t>(bytes, 6);
  const auto content_length = load_le<std::uint64_t>(bytes, 24);
  if (name_length > summed - kFixedBytes || content_length != summed - kFixedBytes - name_length) {
    return corrupt(name, "lengths");
  }
  if (load_le<StoreUuid>(bytes, 8) != store) return corrupt(name, "of another store");
  if (as_text(bytes.subspan(kFixedBytes, name_length)) != name) {
    return corrupt(name, "of another name");
  }
  return std::string(as_text(bytes.subspan(kFixedBytes + name_length, content_length)));
}

absl::Status save_state_file(Device& device, std::string_view directory, const StoreUuid& store,
                             std::string_view name, ByteSpan content) {
  if (!is_valid_state_name(name)) {
    return make_error(ErrorCode::invalid_argument,
                      "a state file's name is 1 to 64 of A-Za-z0-9-_.");
  }
  return replace_file(device, file_path(directory, name),
                      as_bytes(encode_state(store, name, content)));
}

absl::StatusOr<std::string> load_state_file(Device& device, std::string_view directory,
                                            const StoreUuid& store, std::string_view name) {
  if (!is_valid_state_name(name)) {
    return make_error(ErrorCode::invalid_argument,
                      "a state file's name is 1 to 64 of A-Za-z0-9-_.");
  }
  CAIRN_ASSIGN_OR_RETURN(const std::string bytes, device.read_small(file_path(directory, name)));
  return parse_state(as_bytes(bytes), store, name);
}

absl::Status remove_state_file(Device& device, std::string_view directory, std::string_view name) {
  if (!is_valid_state_name(name)) {
    return make_error(ErrorCode::invalid_argument,
                      "a state file's name is 1 to 64 of A-Za-z0-9-_.");
  }
  const absl::Status removed = device.remove_file(file_path(directory, name));
  if (has_code(removed, ErrorCode::not_found)) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(removed);
  return device.sync_directory(state_path(directory));
}

}  // namespace cairn::tiers
