// SPDX-License-Identifier: Apache-2.0
// stats: how full a store is, how well it is, and what it did so far.
#include <memory>
#include <optional>

#include "engine/base/text.h"
#include "engine/tokens/token_tree_saved.h"
#include "tools/cairn/codec_report.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/files.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/tier_report.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

Json health_object(const DurableHealth& health) {
  return {{"degraded", health.degraded},
          {"reason", health.reason},
          {"corruptions", health.corruptions},
          {"quarantined_segments", health.quarantined_segments},
          {"poisoned_segments", health.poisoned_segments},
          {"read_errors", health.read_errors},
          {"write_errors", health.write_errors},
          {"sync_failures", health.sync_failures},
          {"short_transfers", health.short_transfers},
          {"refused_by_write_budget", health.refused_by_write_budget}};
}

Json counters_object(const DurableCounters& counters) {
  return {{"payload_bytes_written", counters.payload_bytes_written},
          {"media_bytes_written", counters.media_bytes_written},
          {"cleaned_segments", counters.cleaned_segments},
          {"cleaner_moved_bytes", counters.cleaner_moved_bytes},
          {"evicted_ever", counters.evicted_ever},
          {"erased_ever", counters.erased_ever},
          {"expired_ever", counters.expired_ever}};
}

/// Beside what the tier counts: what the file system has given to it. Segments are allocated whole,
/// so this is more than is used while the newest ones fill.
struct DiskUse {
  std::uint64_t all = 0, segments = 0, index = 0;
};

DiskUse disk_use(const std::string& directory) {
  return {allocated_bytes(directory), allocated_bytes(directory, "segments"),
          allocated_bytes(directory, "index")};
}

Json cold_object(const TierStats& tier, const DiskUse& disk) {
  Json object = tier_object(tier);
  object["disk_bytes"] = disk.all;
  object["disk_segments_bytes"] = disk.segments;
  object["disk_index_bytes"] = disk.index;
  return object;
}

/// The index by token ids as it was saved last: this process has none of its own.
struct SavedIndex {
  std::uint64_t blocks = 0, holes = 0, bytes = 0;
};

std::optional<SavedIndex> saved_index(Store& store, NamespaceId ns) {
  const auto content = store.cold().load_state(token_tree_state_name(ns));
  if (!content.ok()) return std::nullopt;
  const auto tree = parse_token_tree(as_bytes(*content));
  if (!tree.ok()) return std::nullopt;
  SavedIndex index{.bytes = content->size()};
  for (const SavedTokenBlock& block : tree->blocks)
    ++(block.is_present ? index.blocks : index.holes);
  return index;
}

Json stats_object(Store& store, const EngineStats& stats, const DiskUse& disk) {
  Json object = make_object("stats");
  object["blocks"] = stats.catalog_blocks;
  object["state"] = stats.health.degraded ? "degraded" : "ok";
  object["device"] = {{"name", std::string(store.device_info().name)},
                      {"direct", store.device_info().direct},
                      {"note", store.device_info().note}};
  object["last_close"] = stats.opened_clean ? "clean" : "stopped";
  object["recovered"] = stats.recovered;
  object["recovery_s"] = stats.recovery_s;
  // In this process nothing is in memory yet; a daemon's stats say what is.
  object["tiers"] = {{"hot", tier_object(stats.hot)},
                     {"warm", tier_object(stats.warm)},
                     {"cold", cold_object(stats.cold, disk)}};
  object["catalog_bytes"] = stats.catalog_bytes;
  object["pinned_blocks"] = stats.blocks_pinned;
  object["orphans"] = stats.orphans;
  object["largest_block_bytes"] = store.cold().block_bytes_max();
  Json namespaces = Json::array();
  for (const NamespaceInfo& info : store.engine().namespaces()) {
    Json one = {{"name", info.descriptor.name},
                {"kind", std::string(namespace_kind_name(info.descriptor.kind))},
                {"model", info.descriptor.model},
                {"dtype", std::string(dtype_name(info.descriptor.dtype))},
                {"blocks", 0},
                {"bytes", 0}};
    for (const NamespaceStats& counted : stats.namespaces) {
      if (counted.name != info.descriptor.name) continue;
      one["blocks"] = counted.blocks;
      one["bytes"] = counted.bytes;
    }
    if (const auto index = saved_index(store, info.id)) {
      one["token_index"] = {
          {"blocks", index->blocks}, {"holes", index->holes}, {"saved_bytes", index->bytes}};
    }
    namespaces.push_back(std::move(one));
  }
  object["namespaces"] = std::move(namespaces);
  object["health"] = health_object(stats.health);
  object["counters"] = counters_object(stats.counters);
  object["codec"] = codec_object(stats.codec);
  return object;
}

std::string stats_table(Store& store, const EngineStats& stats, const DiskUse& disk) {
  const auto& cold = stats.cold.usage;
  const auto& counters = stats.counters;
  Table table({Align::left, Align::left});
  table.add({"state", stats.health.degraded ? concat("degraded: ", stats.health.reason) : "ok"});
  table.add({"last close", stats.opened_clean ? "clean" : "stopped without closing"});
  table.add({"blocks", format_count(stats.catalog_blocks)});
  table.add({"disk", concat(format_size(cold.used_bytes), " used, ", format_size(cold.dead_bytes),
                            " to be cleaned, of ", format_size(cold.capacity_bytes))});
  if (stats.cold.payload_bytes > 0 && cold.used_bytes > 0) {
    table.add(
        {"plain / on disk", concat(format_fixed(static_cast<double>(stats.cold.payload_bytes) /
                                                    static_cast<double>(cold.used_bytes),
                                                2),
                                   ": ", format_size(stats.cold.payload_bytes), " of blocks")});
  }
  table.add({"allocated", concat(format_size(disk.all), " by the file system: segments ",
                                 format_size(disk.segments), ", index ", format_size(disk.index))});
  table.add({"device", concat(store.device_info().name,
                              store.device_info().direct ? ", O_DIRECT" : ", buffered")});
  table.add({"written ever", concat(format_size(counters.payload_bytes_written), " of blocks, ",
                                    format_size(counters.media_bytes_written), " on the medium")});
  table.add({"evicted ever", concat(format_count(counters.evicted_ever), ", erased ",
                                    format_count(counters.erased_ever), ", expired ",
                                    format_count(counters.expired_ever))});
  table.add({"bad so far", concat(format_count(stats.health.corruptions), " blocks, ",
                                  format_count(stats.health.quarantined_segments +
                                               stats.health.poisoned_segments),
                                  " segments out of use")});
  for (const NamespaceStats& one : stats.namespaces) {
    table.add({"namespace", concat(one.name, ": ", format_count(one.blocks), " blocks, ",
                                   format_size(one.bytes))});
  }
  for (const NamespaceInfo& info : store.engine().namespaces()) {
    if (const auto index = saved_index(store, info.id)) {
      table.add({"token index", concat(info.descriptor.name, ": ", format_count(index->blocks),
                                       " blocks, ", format_count(index->holes), " holes; ",
                                       format_size(index->bytes), " when it was saved last")});
    }
  }
  return table.text();
}

absl::StatusOr<ExitCode> run_stats(const std::string& directory, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_reading(directory));
  CAIRN_RETURN_IF_ERROR(wait_until_recovered(*store));
  const EngineStats stats = store->engine().stats();
  const DiskUse disk = disk_use(directory);
  output.object(stats_object(*store, stats, disk));
  output.text(stats_table(*store, stats, disk));
  return stats.health.degraded ? ExitCode::degraded : ExitCode::ok;
}

}  // namespace

void add_stats_command(CommandLine& line) {
  const auto directory = std::make_shared<std::string>();
  Command command = line.add({"stats", "How full and how well a store is",
                              "  cairn stats --dir /var/lib/cairn\n"
                              "  cairn stats --dir /var/lib/cairn --json | jq .tiers.cold\n"
                              "used_bytes: what the tier counts. disk_bytes: what the file system "
                              "has allocated\n(st_blocks); segments are allocated whole. "
                              "namespaces: blocks and their bytes.\n"
                              "token_index: what was saved last of a namespace's index by token\n"
                              "ids; holes are blocks that had gone, with others behind them.\n"
                              "Exit 7: the store is degraded."},
                             [directory](Output& output) { return run_stats(*directory, output); });
  add_directory_option(command, *directory);
}

}  // namespace cairn::tools
