// SPDX-License-Identifier: Apache-2.0
// inspect: what lies on the medium, field by field.
#include <chrono>
#include <memory>
#include <thread>

#include "engine/base/text.h"
#include "tiers/cold/inspect.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

constexpr int kLooksMax = 3;
constexpr int kLookAgainMillis = 20;

std::string hex_number(std::uint64_t number) {
  std::string bytes;
  append_be(bytes, number);
  return to_hex(as_bytes(bytes));
}

absl::StatusOr<std::unique_ptr<tiers::Device>> device_for(const std::string& directory) {
  if (directory.empty()) return make_error(ErrorCode::invalid_argument, "--dir is required");
  CAIRN_RETURN_IF_ERROR(check_store_exists(directory));
  return tiers::open_device(directory, {});
}

/// An object as lines of "name  value"; nested ones with their path.
void add_rows(const std::string& path, const Json& value, Table& table) {
  if (value.is_object()) {
    for (const auto& [name, inner] : value.items()) {
      if (name != "schema") add_rows(path.empty() ? name : concat(path, ".", name), inner, table);
    }
  } else {
    table.add({path, value.is_string() ? value.get<std::string>() : to_line(value)});
  }
}

std::string rows_of(const Json& object) {
  Table table({Align::left, Align::left});
  add_rows({}, object, table);
  return table.text();
}

// --- superblock -------------------------------------------------------------------------

Json namespace_object(const NamespaceInfo& info) {
  const NamespaceDescriptor& descriptor = info.descriptor;
  const BlockLayout& layout = descriptor.layout;
  return {
      {"id", static_cast<std::uint32_t>(info.id)},
      {"name", descriptor.name},
      {"kind", std::string(namespace_kind_name(descriptor.kind))},
      {"epoch", info.epoch},
      {"model", descriptor.model},
      {"revision", descriptor.revision},
      {"dtype", std::string(dtype_name(descriptor.dtype))},
      {"layout", {layout.layers, layout.tensors, layout.tokens, layout.kv_heads, layout.head_dim}},
      {"tokens_per_block", descriptor.tokens_per_block},
      {"hash_scheme", descriptor.hash_scheme},
      {"tenant_salt", descriptor.tenant_salt.empty() ? "none" : "set"}};
}

absl::StatusOr<ExitCode> inspect_superblock(const std::string& directory, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(const auto device, device_for(directory));
  auto inspected = tiers::inspect_superblock(*device, directory);
  // Without the lock, a look may fall between a writer's two renames.
  for (int i = 0; i < kLooksMax && inspected.ok() && inspected->needs_healing(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookAgainMillis));
    inspected = tiers::inspect_superblock(*device, directory);
  }
  if (!inspected.ok()) return explain_open_error(inspected.status(), directory);
  const tiers::LoadedSuperblock& loaded = *inspected;
  const tiers::Superblock& superblock = loaded.superblock;
  Json object = make_object("inspect");
  object["what"] = "superblock";
  object["primary"] = std::string(tiers::copy_state_name(loaded.primary));
  object["copy"] = std::string(tiers::copy_state_name(loaded.copy));
  object["format"] = {{"major", superblock.format_major},
                      {"minor", superblock.format_minor},
                      {"compatible", superblock.compatible_features},
                      {"read_only", superblock.read_only_features},
                      {"incompatible", superblock.incompatible_features}};
  object["store"] = tiers::uuid_text(superblock.store);
  object["revision"] = superblock.revision;
  object["created_us"] = superblock.created;
  object["segment_bytes"] = superblock.segment_bytes;
  object["cold_bytes"] = superblock.cold_bytes;
  object["index_bytes"] = superblock.index_bytes;
  // Who knows it can make names that collide, so it is not shown.
  object["block_id_secret"] = "set";
  object["data_directories"] = Json::array();
  for (const tiers::DataDirectory& data : superblock.data_directories) {
    object["data_directories"].push_back({{"device", data.device},
                                          {"uuid", tiers::uuid_text(data.uuid)},
                                          {"path", data.path.empty() ? "." : data.path}});
  }
  object["namespaces"] = Json::array();
  for (const NamespaceInfo& info : superblock.namespaces) {
    object["namespaces"].push_back(namespace_object(info));
  }
  output.object(object);
  output.text(rows_of(object));
  return loaded.needs_healing() ? ExitCode::corruption : ExitCode::ok;
}

// --- segment ----------------------------------------------------------------------------

Json record_object(const tiers::InspectedRecord& record) {
  const tiers::RecordFields& fields = record.fields;
  Json object = {{"kind", std::string(tiers::record_kind_name(fields.kind))},
                 {"offset", fields.offset},
                 {"generation", fields.generation},
                 {"sequence", fields.sequence},
                 {"namespace_id", static_cast<std::uint32_t>(fields.namespace_id)},
                 {"epoch", fields.epoch},
                 {"key", format_key(record.key)},
                 {"part", fields.part},
                 {"parent_id", fields.parent.is_null() ? Json() : Json(to_hex(fields.parent.hash))},
                 {"expiry_us", fields.expiry},
                 {"pinned", fields.pinned},
                 {"header_bytes", fields.header_length},
                 {"payload_offset", fields.payload_offset},
                 {"plain_bytes", fields.plain_length},
                 {"stored_bytes", fields.payload_length},
                 {"plain_sum", hex_number(fields.plain_sum)},
                 {"chunk_bytes", fields.chunk_bytes},
                 {"chunks", record.chunks.size()},
                 {"payload_sound", record.payload_sound},
                 {"live", record.live}};
  return object;
}

struct SegmentArguments {
  std::string directory;
  std::uint64_t id = 0;
};

absl::StatusOr<ExitCode> inspect_segment(const SegmentArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(const auto device, device_for(arguments.directory));
  // Without an index the segment still says what is in it.
  auto store = open_for_reading(arguments.directory);
  if (!store.ok() && !has_code(store.status(), ErrorCode::corruption)) return store.status();
  if (!store.ok()) output.note(concat("no index: ", message_of(store.status())));
  const auto inspected = tiers::inspect_segment(*device, arguments.directory,
                                                static_cast<tiers::SegmentId>(arguments.id),
                                                store.ok() ? &(*store)->cold() : nullptr);
  if (has_code(inspected.status(), ErrorCode::not_found)) {
    const absl::Status why = explain_open_error(inspected.status(), arguments.directory);
    if (has_code(why, ErrorCode::corruption)) return why;
    return with_hint(make_error(ErrorCode::not_found, concat("there is no segment ", arguments.id)),
                     "the files in segments/ are named after them");
  }
  CAIRN_RETURN_IF_ERROR(inspected.status());
  const tiers::InspectedSegment& segment = *inspected;
  const tiers::SegmentSummary& summary = segment.summary;
  Json object = make_object("inspect");
  object["what"] = "segment";
  object["segment"] = arguments.id;
  object["header_sound"] = summary.header_sound;
  object["footer_sound"] = summary.footer_sound;
  object["generation"] = summary.generation;
  object["opened_at_sequence"] = summary.header.opened_at_sequence;
  object["segment_bytes"] = summary.header.segment_bytes;
  object["records_found"] = summary.records;
  object["bad_headers"] = summary.bad_headers;
  object["bad_payloads"] = summary.bad_payloads;
  object["stale"] = summary.stale;
  object["foreign"] = summary.foreign;
  object["live_records"] = segment.live_records;
  object["live_bytes"] = segment.live_bytes;
  output.text(rows_of(object));
  object["records"] = Json::array();
  Table table({Align::right, Align::left, Align::right, Align::right, Align::left, Align::left});
  table.add({"offset", "kind", "sequence", "bytes", "", "key"});
  for (const tiers::InspectedRecord& record : segment.records) {
    object["records"].push_back(record_object(record));
    table.add({std::to_string(record.fields.offset),
               std::string(tiers::record_kind_name(record.fields.kind)),
               std::to_string(record.fields.sequence), std::to_string(record.fields.plain_length),
               !record.payload_sound ? "✗ bad"
               : record.live         ? "✓ live"
                                     : "  dead",
               format_key(record.key)});
  }
  output.object(object);
  output.text(table.text());
  return summary.bad_headers + summary.bad_payloads != 0 ? ExitCode::corruption : ExitCode::ok;
}

// --- entry ------------------------------------------------------------------------------

struct EntryArguments {
  std::string directory, ns, key;
};

absl::StatusOr<ExitCode> inspect_entry(const EntryArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(const auto device, device_for(arguments.directory));
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_reading(arguments.directory));
  CAIRN_ASSIGN_OR_RETURN(const NamespaceInfo ns, get_namespace(*store, arguments.ns));
  CAIRN_ASSIGN_OR_RETURN(
      const auto entry,
      tiers::inspect_entry(*device, arguments.directory, store->cold(), {ns.id, arguments.key, 0}));
  if (!entry) {
    return make_error(ErrorCode::not_found, concat("no block ", format_key(arguments.key),
                                                   " in namespace ", arguments.ns));
  }
  const StoredBlock& stored = entry->entry;
  Json object = make_object("inspect");
  object["what"] = "entry";
  object["namespace"] = arguments.ns;
  object["key"] = format_key(arguments.key);
  object["id"] = to_hex(stored.id.hash);
  object["sequence"] = stored.facts.sequence;
  object["plain_bytes"] = stored.facts.plain_bytes;
  object["plain_sum"] = hex_number(stored.facts.plain_sum);
  object["stored_bytes"] = stored.stored_bytes;
  object["expiry_us"] = stored.facts.expiry;
  object["pinned"] = stored.facts.pinned;
  object["place"] = {{"device", entry->place.device},
                     {"segment", static_cast<std::uint32_t>(entry->place.segment)},
                     {"offset", entry->place.offset},
                     {"record_bytes", entry->place.record_bytes}};
  object["sound"] = entry->status.ok();
  object["why"] = std::string(message_of(entry->status));
  object["record"] = entry->record ? record_object(*entry->record) : Json();
  output.object(object);
  output.text(rows_of(object));
  return entry->status.ok() ? ExitCode::ok : ExitCode::corruption;
}

}  // namespace

void add_inspect_command(CommandLine& line) {
  Command group = line.add({"inspect", "What lies on the medium, field by field",
                            "  cairn inspect superblock --dir /var/lib/cairn\n"
                            "  cairn inspect segment 17 --dir D --json\n"
                            "  cairn inspect entry greeting --dir D\n"
                            "Changes nothing. Exit 6: something there is bad."},
                           {});

  // Before the word behind inspect or after it: each takes the option, and all fill one string.
  const auto directory = std::make_shared<std::string>();
  const auto add_directory = [&directory](Command& to) {
    to.text("--dir", *directory, "DIR", "The store's directory; needed");
  };
  add_directory(group);
  Command command =
      group.add({"superblock", "What the store is: format, identity, namespaces",
                 "  cairn inspect superblock --dir /var/lib/cairn\n"
                 "Needs no lock: it also looks at a store that another process has open.\n"
                 "Exit 6: one of its two copies is damaged or missing."},
                [directory](Output& output) { return inspect_superblock(*directory, output); });
  add_directory(command);

  const auto segment = std::make_shared<SegmentArguments>();
  command = group.add(
      {"segment", "Every record of one segment", "  cairn inspect segment 17 --dir /var/lib/cairn"},
      [segment, directory](Output& output) {
        segment->directory = *directory;
        return inspect_segment(*segment, output);
      });
  add_directory(command);
  command.positional(
      "ID", "The number in its file's name",
      [segment](const std::string& typed) -> absl::Status {
        CAIRN_ASSIGN_OR_RETURN(segment->id, parse_count(typed));
        if (segment->id < tiers::kSegmentsMax) return absl::OkStatus();
        return make_error(ErrorCode::invalid_argument, "no segment has so high a number");
      },
      Command::Need::required);

  const auto entry = std::make_shared<EntryArguments>();
  command = group.add({"entry", "One block: its entry in the index and its record",
                       "  cairn inspect entry greeting --dir /var/lib/cairn\n"
                       "  cairn inspect entry hex:00ff --dir D --namespace llama-8b"},
                      [entry, directory](Output& output) {
                        entry->directory = *directory;
                        return inspect_entry(*entry, output);
                      });
  add_directory(command);
  command.key("KEY", entry->key, "The key: bytes as typed, or hex: and digits",
              Command::Need::required);
  add_namespace_option(command, entry->ns);
}

}  // namespace cairn::tools
