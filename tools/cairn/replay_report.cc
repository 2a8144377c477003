// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_report.h"

#include "engine/base/text.h"
#include "tools/cairn/codec_report.h"
#include "tools/cairn/tier_report.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;
constexpr Durability kLevels[] = {Durability::memory, Durability::written, Durability::durable};

double rate(std::uint64_t bytes, std::uint64_t nanoseconds) {
  return nanoseconds == 0 ? 0 : static_cast<double>(bytes) * 1e9 / static_cast<double>(nanoseconds);
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

Json recovery_object(const Recovery& recovery) {
  Json object;
  object["signal"] = "SIGKILL";
  object["requests_before"] = recovery.requests_before;
  object["puts_in_flight"] = recovery.puts_in_flight;
  object["first_hit_s"] = recovery.first_hit_s ? Json(*recovery.first_hit_s) : Json();
  object["full_s"] = recovery.full_s;
  for (const Durability level : kLevels) {
    const PromiseCount& count = recovery.of(level);
    object["by_durability"][std::string(durability_name(level))] = {
        {"acknowledged", count.acknowledged},
        {"found", count.found},
        {"evicted", count.evicted},
        {"lost", count.lost}};
  }
  return object;
}

void add_recovery(const Recovery& recovery, Table& table) {
  table.add_blank();
  table.add({"killed (SIGKILL)",
             concat("after ", format_count(recovery.requests_before), " requests"),
             concat("with ", format_count(recovery.puts_in_flight), " blocks being put")});
  if (recovery.first_hit_s) {
    table.add({"back again", format_seconds(*recovery.first_hit_s),
               "from opening the store to the first block, verified"});
  }
  table.add({"", format_seconds(recovery.full_s), "until every block was known again"});
}

std::string promise_table(const Recovery& recovery) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  table.add({"blocks promised before", "acknowledged", "found", "evicted", "lost", ""});
  for (const Durability level : kLevels) {
    const PromiseCount& count = recovery.of(level);
    const std::string_view remark = level == Durability::memory    ? "may be lost in a kill"
                                    : level == Durability::written ? "survives a kill"
                                                                   : "survives a power cut, too";
    table.add({concat("  as ", durability_name(level)), format_count(count.acknowledged),
               format_count(count.found), format_count(count.evicted), format_count(count.lost),
               std::string(remark)});
  }
  return table.text();
}

std::string verdict(const ReplayReport& report) {
  if (report.wrong_bytes != 0) return "WRONG BYTES WERE SERVED. This must never happen.";
  if (report.recovery && report.recovery->lost_promises() != 0) {
    return "PROMISED BLOCKS WERE LOST. This must never happen.";
  }
  return report.recovery ? "Killed in the middle, back again: every promise kept, every byte right."
                         : "Every byte that was served is right.";
}

}  // namespace

Json replay_object(const ReplayReport& report) {
  const ReplayTotals& totals = report.totals;
  Json object = make_object("replay");
  object["requests"] = totals.requests;
  object["blocks"] = totals.blocks;
  object["tokens"] = totals.tokens;
  object["hits"] = {
      {"hot", totals.hot_hits}, {"warm", totals.warm_hits}, {"cold", totals.cold_hits}};
  object["prefix_hit_ratio"] = {
      {"blocks", share(totals.hits(), totals.blocks)},
      {"tokens", share(totals.hits() * report.options.block_tokens, totals.tokens)}};
  object["moved_bytes"] = {{"put", totals.put_bytes},
                           {"got_hot", totals.hot_bytes},
                           {"got_warm", totals.warm_bytes},
                           {"got_cold", totals.cold_bytes},
                           {"device_read", report.device_read_bytes},
                           {"device_written", report.device_written_bytes}};
  object["compression_ratio"] =
      report.compression_ratio == 0 ? Json() : Json(report.compression_ratio);
  object["codec"] = codec_object(report.codec);
  object["tiers"] = {{"hot", tier_object(report.engine.hot)},
                     {"warm", tier_object(report.engine.warm)},
                     {"cold", tier_object(report.engine.cold)}};
  object["moves"] = moves_object(report.engine);
  object["put_bytes_per_s"] = rate(totals.put_bytes, totals.put_ns);
  object["get_bytes_per_s"] =
      rate(totals.hot_bytes + totals.warm_bytes + totals.cold_bytes, totals.get_ns);
  object["verified_bytes"] = report.verified_bytes;
  object["wrong_bytes"] = report.wrong_bytes;
  object["evicted_blocks"] = report.evicted_blocks;
  object["recovery"] = report.recovery ? recovery_object(*report.recovery) : Json();
  object["put_blocks"] = totals.put_blocks;
  object["refused_blocks"] = totals.refused_blocks;
  object["late_blocks"] = totals.late_blocks;
  object["unreadable_blocks"] = totals.unreadable_blocks;
  object["distinct_blocks"] = report.distinct_blocks;
  object["model"] = report.options.model;
  object["block_bytes"] = report.block_bytes;
  object["block_tokens"] = report.options.block_tokens;
  object["trace"] = report.options.trace ? Json(*report.options.trace) : Json();
  object["seed"] = report.options.trace ? Json() : Json(report.options.seed);
  object["device"] = report.device;
  object["seconds"] = report.seconds;
  return object;
}

std::string replay_table(const ReplayReport& report) {
  const ReplayTotals& totals = report.totals;
  const auto blocks = [&](std::uint64_t count) { return concat(format_count(count), " blocks"); };
  const auto bytes = [&](std::uint64_t count) { return format_size(count); };
  Table table({Align::left, Align::right, Align::left});
  table.add({"asked for", blocks(totals.blocks),
             concat("in ", format_count(totals.requests), " requests, ",
                    bytes(totals.blocks * report.block_bytes), ", ", format_count(totals.tokens),
                    " tokens")});
  table.add({"served from RAM", blocks(totals.hot_hits),
             concat(format_share(totals.hot_hits, totals.blocks), " of what was asked for")});
  if (report.options.warm_bytes > 0) {
    table.add({"served from RAM, made smaller", blocks(totals.warm_hits),
               format_share(totals.warm_hits, totals.blocks)});
  }
  table.add({"served from disk", blocks(totals.cold_hits),
             concat(format_share(totals.cold_hits, totals.blocks), ", device ", report.device)});
  table.add({"not there", blocks(totals.blocks - totals.hits()),
             "new to the store, or evicted: to be computed"});
  table.add(
      {"stored", blocks(totals.put_blocks),
       concat(bytes(totals.put_bytes), ", ", format_rate(rate(totals.put_bytes, totals.put_ns)))});
  if (report.compression_ratio != 0) {
    table.add(
        {"plain / on disk", format_fixed(report.compression_ratio, 2), codec_remark(report.codec)});
  }
  if (const std::string moves = moves_remark(report.engine); !moves.empty()) {
    table.add({"moved between tiers", "", moves});
  }
  table.add(
      {"evicted for room", blocks(report.evicted_blocks),
       concat("RAM ", bytes(report.options.hot_bytes), " and ", bytes(report.options.warm_bytes),
              " for blocks made smaller, disk ", bytes(report.options.cold_bytes))});
  if (totals.refused_blocks != 0) {
    table.add({"refused", blocks(totals.refused_blocks), "no room in time; never acknowledged"});
  }
  if (totals.late_blocks + totals.unreadable_blocks != 0) {
    table.add({"not delivered", blocks(totals.late_blocks + totals.unreadable_blocks),
               "late or bad: told to the caller as a miss"});
  }
  table.add({"bytes verified", bytes(report.verified_bytes),
             "each made again from its key and compared"});
  table.add({"wrong bytes", format_count(report.wrong_bytes), ""});
  if (report.recovery) add_recovery(*report.recovery, table);

  std::string out =
      concat("Replayed ", report.options.trace ? *report.options.trace : "generated requests",
             " with blocks of model ", report.options.model, " (", bytes(report.block_bytes),
             ") in ", format_seconds(report.seconds), "\n\n", table.text());
  if (report.recovery) out += concat("\n", promise_table(*report.recovery));
  return concat(out, "\n  ", verdict(report), "\n");
}

ExitCode replay_exit(const ReplayReport& report) {
  if (report.wrong_bytes != 0) return ExitCode::corruption;
  if (report.recovery && report.recovery->lost_promises() != 0) return ExitCode::failed;
  return ExitCode::ok;
}

}  // namespace cairn::tools
