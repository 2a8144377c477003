// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/superblock.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <set>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"

namespace cairn::tiers {
namespace {

absl::Status corrupt(std::string_view why) {
  return make_error(ErrorCode::corruption, concat("superblock: ", why));
}

/// Takes fields off the front of untrusted bytes; once it has failed it gives zeros.
class FieldReader {
 public:
  explicit FieldReader(ByteSpan bytes) : rest_(bytes) {}
  template <typename T>
  T take() {
    if (rest_.size() < sizeof(T)) {
      failed_ = true;
      return T{};
    }
    const T value = load_le<T>(rest_);
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::string take_text() {
    const std::size_t length = take<std::uint16_t>();
    if (rest_.size() < length) {
      failed_ = true;
      return {};
    }
    std::string text(as_text(rest_.first(length)));
    rest_ = rest_.subspan(length);
    return text;
  }
  bool failed() const { return failed_; }
  bool empty() const { return rest_.empty(); }

 private:
  ByteSpan rest_;
  bool failed_ = false;
};

void append_text_field(std::string& out, std::string_view text) {
  append_le(out, static_cast<std::uint16_t>(text.size()));
  out.append(text);
}

void append_namespace(std::string& out, const NamespaceInfo& info) {
  const NamespaceDescriptor& d = info.descriptor;
  append_le(out, static_cast<std::uint32_t>(info.id));
  append_le(out, info.epoch);
  append_le(out, static_cast<std::uint8_t>(d.kind));
  append_le(out, static_cast<std::uint8_t>(d.dtype));
  for (const std::uint32_t n : {d.layout.layers, d.layout.tensors, d.layout.tokens,
                                d.layout.kv_heads, d.layout.head_dim, d.tokens_per_block}) {
    append_le(out, n);
  }
  for (const std::string* text : {&d.name, &d.model, &d.revision, &d.hash_scheme, &d.tenant_salt}) {
    append_text_field(out, *text);
  }
}

absl::StatusOr<NamespaceInfo> take_namespace(FieldReader& in) {
  NamespaceInfo info;
  NamespaceDescriptor& d = info.descriptor;
  info.id = static_cast<NamespaceId>(in.take<std::uint32_t>());
  info.epoch = in.take<std::uint32_t>();
  const auto kind = in.take<std::uint8_t>();
  const auto dtype = in.take<std::uint8_t>();
  if (kind > static_cast<std::uint8_t>(NamespaceKind::mutable_) ||
      dtype > static_cast<std::uint8_t>(Dtype::fp32)) {
    return corrupt("a namespace's kind or dtype");
  }
  d.kind = static_cast<NamespaceKind>(kind);
  d.dtype = static_cast<Dtype>(dtype);
  for (std::uint32_t* n : {&d.layout.layers, &d.layout.tensors, &d.layout.tokens,
                           &d.layout.kv_heads, &d.layout.head_dim, &d.tokens_per_block}) {
    *n = in.take<std::uint32_t>();
  }
  for (std::string* text : {&d.name, &d.model, &d.revision, &d.hash_scheme, &d.tenant_salt}) {
    *text = in.take_text();
  }
  if (in.failed()) return corrupt("a namespace is cut short");
  if (!validate(d).ok()) return corrupt("a namespace's descriptor");
  return info;
}

/// What a sound sum does not promise: that whoever wrote it knew what it was doing.
absl::Status check_sense(const Superblock& s) {
  if (s.segment_bytes < kSegmentBytesMin || s.segment_bytes > kSegmentBytesMax ||
      s.segment_bytes % kPage != 0) {
    return corrupt("segment size");
  }
  if (s.data_directories.empty() || s.data_directories.size() > 16) {
    return corrupt("data directories");
  }
  std::set<std::uint32_t> ids;
  std::set<std::string_view> names;
  for (const NamespaceInfo& info : s.namespaces) {
    const auto id = static_cast<std::uint32_t>(info.id);
    if (id >= s.next_namespace_id || id > kNamespaceIdMax || !ids.insert(id).second ||
        !names.insert(info.descriptor.name).second) {
      return corrupt("namespace table");
    }
  }
  return absl::OkStatus();
}

void fill_random(void* out, std::size_t bytes) {
  CAIRN_CHECK(getrandom(out, bytes, 0) == static_cast<ssize_t>(bytes));  // ≤ 256: never short
}

StoreUuid random_uuid() {
  StoreUuid uuid;
  fill_random(uuid.data(), uuid.size());
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);  // RFC 4122, version 4
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

/// One copy as found: its content, or why not.
struct Copy {
  absl::StatusOr<Superblock> content = absl::UnknownError("not read");
  bool missing = false;
  bool other_version = false;  // sound, but not for this build: hands off
  bool foreign = false;        // not even the magic
};

Copy read_copy(Device& device, const std::string& path) {
  Copy copy;
  const absl::StatusOr<std::string> bytes = device.read_small(path);
  if (!bytes.ok()) {
    copy.content = bytes.status();
    copy.missing = has_code(bytes.status(), ErrorCode::not_found);
    return copy;
  }
  copy.content = parse_superblock(as_bytes(*bytes));
  if (!copy.content.ok()) {
    copy.other_version = error_code(copy.content.status()) == ErrorCode::format;
    copy.foreign =
        bytes->size() < 4 || load_le<std::uint32_t>(as_bytes(*bytes)) != kSuperblockMagic;
  }
  return copy;
}

bool has_entries(Device& device, const std::string& path) {
  const absl::StatusOr<std::vector<DirectoryEntry>> entries = device.list(path);
  return entries.ok() && !entries->empty();
}

/// Neither copy is sound: says which of the sad cases it is.
absl::Status explain_loss(Device& device, const std::string& directory, const Copy& primary,
                          const Copy& copy) {
  const bool traces =
      has_entries(device, segments_path(directory)) || has_entries(device, index_path(directory));
  if (primary.missing && copy.missing) {
    if (!traces) {
      return make_error(ErrorCode::not_found, concat("there is no store in ", directory));
    }
    return corrupt(concat("both copies are missing in ", directory,
                          ", where segments or an index are; nothing says whose they are"));
  }
  for (const Copy* one : {&primary, &copy}) {
    const bool unread = !one->missing && error_code(one->content.status()) != ErrorCode::corruption;
    if (unread) return with_context(one->content.status(), concat("superblock in ", directory));
  }
  if (!traces && primary.foreign && (copy.foreign || copy.missing)) {
    return make_error(ErrorCode::format,
                      concat(directory, "/CAIRN is not a superblock of Cairn's"));
  }
  return corrupt(concat("both copies in ", directory, " are damaged (",
                        message_of((primary.missing ? copy : primary).content.status()),
                        "); nothing says whose the segments are"));
}

}  // namespace

Superblock make_superblock(std::uint64_t segment_bytes, std::uint64_t cold_bytes,
                           std::uint64_t index_bytes, WallMicros now) {
  Superblock s;
  s.store = random_uuid();
  fill_random(&s.block_id_secret, sizeof(s.block_id_secret));
  s.segment_bytes = segment_bytes;
  s.cold_bytes = cold_bytes;
  s.index_bytes = index_bytes;
  s.created = now;
  s.data_directories.push_back({.device = 0, .uuid = random_uuid(), .path = ""});
  return s;
}

std::string encode_superblock(const Superblock& s) {
  CAIRN_CHECK(check_sense(s).ok());
  std::string out;
  append_le(out, kSuperblockMagic);
  append_le(out, s.format_major);
  append_le(out, s.format_minor);
  append_le(out, s.compatible_features);
  append_le(out, s.read_only_features);
  append_le(out, s.incompatible_features);
  append_le(out, s.revision);
  append_le(out, s.store);
  append_le(out, s.block_id_secret);
  append_le(out, s.segment_bytes);
  append_le(out, s.cold_bytes);
  append_le(out, s.index_bytes);
  append_le(out, s.created);
  append_le(out, s.next_namespace_id);
  append_le(out, static_cast<std::uint32_t>(s.data_directories.size()));
  append_le(out, static_cast<std::uint32_t>(s.namespaces.size()));
  for (const DataDirectory& d : s.data_directories) {
    append_le(out, d.device);
    append_le(out, d.uuid);
    append_text_field(out, d.path);
  }
  for (const NamespaceInfo& info : s.namespaces) append_namespace(out, info);
  const Hash128 sum = xxh3_128(as_bytes(out));
  append_le(out, sum.low);
  append_le(out, sum.high);
  return out;
}

absl::StatusOr<Superblock> parse_superblock(ByteSpan bytes) {
  if (bytes.size() < 40 + sizeof(Hash128)) return corrupt("cut short");
  const std::size_t summed = bytes.size() - sizeof(Hash128);
  const Hash128 stored{load_le<std::uint64_t>(bytes, summed + 8),
                       load_le<std::uint64_t>(bytes, summed)};
  FieldReader in(bytes.first(summed));
  if (in.take<std::uint32_t>() != kSuperblockMagic) return corrupt("no superblock begins here");
  if (stored != xxh3_128(bytes.first(summed))) return corrupt("checksum");
  Superblock s;
  s.format_major = in.take<std::uint16_t>();
  s.format_minor = in.take<std::uint16_t>();
  if (s.format_major != kFormatVersion) {
    return make_error(ErrorCode::format, concat("the store has format version ", s.format_major,
                                                ", this build reads version ", kFormatVersion));
  }
  s.compatible_features = in.take<std::uint64_t>();
  s.read_only_features = in.take<std::uint64_t>();
  s.incompatible_features = in.take<std::uint64_t>();
  if ((s.incompatible_features & ~kKnownIncompatibleFeatures) != 0) {
    return make_error(ErrorCode::format,
                      concat("the store uses features this build does not know (bits ",
                             s.incompatible_features & ~kKnownIncompatibleFeatures, ")"));
  }
  s.revision = in.take<std::uint64_t>();
  s.store = in.take<StoreUuid>();
  s.block_id_secret = in.take<std::uint64_t>();
  s.segment_bytes = in.take<std::uint64_t>();
  s.cold_bytes = in.take<std::uint64_t>();
  s.index_bytes = in.take<std::uint64_t>();
  s.created = in.take<WallMicros>();
  s.next_namespace_id = in.take<std::uint32_t>();
  const auto directories = in.take<std::uint32_t>();
  const auto namespaces = in.take<std::uint32_t>();
  for (std::uint32_t i = 0; i < directories && !in.failed(); ++i) {
    DataDirectory d;
    d.device = in.take<std::uint16_t>();
    d.uuid = in.take<StoreUuid>();
    d.path = in.take_text();
    s.data_directories.push_back(std::move(d));
  }
  for (std::uint32_t i = 0; i < namespaces && !in.failed(); ++i) {
    CAIRN_ASSIGN_OR_RETURN(NamespaceInfo info, take_namespace(in));
    s.namespaces.push_back(std::move(info));
  }
  // A later minor version may have added fields behind; this one knows what it needs.
  if (in.failed() || (s.format_minor == 0 && !in.empty())) return corrupt("lengths");
  CAIRN_RETURN_IF_ERROR(check_sense(s));
  return s;
}

absl::StatusOr<LoadedSuperblock> load_superblock(Device& device, const std::string& directory) {
  const Copy primary = read_copy(device, superblock_path(directory));
  const Copy copy = read_copy(device, superblock_copy_path(directory));
  for (const Copy* one : {&primary, &copy}) {
    if (one->other_version) return one->content.status();
  }
  if (!primary.content.ok() && !copy.content.ok()) {
    return explain_loss(device, directory, primary, copy);
  }
  if (primary.content.ok() && copy.content.ok() && primary.content->store != copy.content->store) {
    return corrupt(concat("the copies in ", directory, " are of two different stores"));
  }
  const auto state = [](const Copy& one, bool wins) {
    if (one.content.ok()) return wins ? CopyState::sound : CopyState::older;
    return one.missing ? CopyState::missing : CopyState::damaged;
  };
  const std::uint64_t primary_revision = primary.content.ok() ? primary.content->revision : 0;
  const std::uint64_t copy_revision = copy.content.ok() ? copy.content->revision : 0;
  const bool take_primary =
      primary.content.ok() && (!copy.content.ok() || primary_revision >= copy_revision);
  LoadedSuperblock loaded;
  loaded.superblock = take_primary ? *primary.content : *copy.content;
  loaded.primary = state(primary, primary_revision >= copy_revision);
  loaded.copy = state(copy, copy_revision >= primary_revision);
  loaded.read_only_required = (loaded.superblock.read_only_features & ~kKnownReadOnlyFeatures) != 0;
  return loaded;
}

absl::Status replace_superblock(Device& device, const std::string& directory,
                                Superblock& superblock, Replacement* how) {
  const std::uint64_t before = superblock.revision;
  ++superblock.revision;
  const std::string bytes = encode_superblock(superblock);
  const std::string copy_path = superblock_copy_path(directory);
  absl::Status copied = replace_file(device, copy_path, as_bytes(bytes));
  if (!copied.ok()) {
    // Failed before the new file took its name, or after: then the next opening may see it.
    const Copy now = read_copy(device, copy_path);
    const bool untouched = now.content.ok() ? now.content->revision <= before : now.missing;
    if (how != nullptr) *how = untouched ? Replacement::untouched : Replacement::unknown;
    if (untouched) return copied;
  }
  absl::Status status = replace_file(device, superblock_path(directory), as_bytes(bytes));
  if (copied.ok() && status.ok()) return status;
  if (!copied.ok() && !status.ok()) return status;
  log_line(LogLevel::warning,
           concat("the superblock's revision ", superblock.revision, " is in one copy only: ",
                  message_of(copied.ok() ? status : copied), "; the next opening heals the other"));
  return absl::OkStatus();
}

}  // namespace cairn::tiers
