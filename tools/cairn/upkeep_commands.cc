// SPDX-License-Identifier: Apache-2.0
// verify, repair, compact: looking after a store.
#include <memory>

#include "engine/base/text.h"
#include "tiers/cold/repair.h"
#include "tiers/cold/verify.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/progress.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"
#include "tools/cairn/waiting.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

// --- verify -----------------------------------------------------------------------------

struct VerifyArguments {
  std::string directory;
  bool fix = false;
  std::uint64_t bytes_per_second = 0;
};

Json verify_object(const tiers::VerifyReport& report, Store& store) {
  Json object = make_object("verify");
  object["scanned"] = report.scanned;
  object["ok"] = report.ok;
  object["bad"] = {{"header", report.bad_header}, {"payload", report.bad_payload},
                   {"key", report.bad_key},       {"location", report.bad_location},
                   {"dangling", report.dangling}, {"unreadable", report.unreadable}};
  object["fixed"] = report.fixed;
  object["moved"] = report.moved;
  object["orphans"] = report.orphans;
  object["bytes"] = report.bytes;
  object["examples"] = Json::array();
  for (const tiers::BadBlock& bad : report.examples) {
    std::string ns = std::to_string(static_cast<std::uint32_t>(bad.namespace_id));
    for (const NamespaceInfo& info : store.engine().namespaces()) {
      if (info.id == bad.namespace_id) ns = info.descriptor.name;
    }
    object["examples"].push_back(
        {{"namespace", ns}, {"key", format_key(bad.key)}, {"part", bad.part}, {"why", bad.why}});
  }
  return object;
}

std::string verify_table(const tiers::VerifyReport& report, const Json& object) {
  Table table({Align::left, Align::right, Align::left});
  table.add({"blocks read", format_count(report.scanned), format_size(report.bytes)});
  table.add({"sound", format_count(report.ok), ""});
  table.add({"bad", format_count(report.bad()),
             concat("header ", report.bad_header, ", payload ", report.bad_payload, ", key ",
                    report.bad_key, ", location ", report.bad_location, ", dangling ",
                    report.dangling, ", unreadable ", report.unreadable)});
  table.add({"forgotten", format_count(report.fixed), "by --fix"});
  table.add({"orphans", format_count(report.orphans), "records that nothing names: no fault"});
  for (const Json& example : object["examples"]) {
    table.add({concat("  ✗ ", example["namespace"].get<std::string>(), " ",
                      example["key"].get<std::string>(), ": ", example["why"].get<std::string>())});
  }
  return table.text();
}

absl::StatusOr<ExitCode> run_verify(const VerifyArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(auto store, arguments.fix ? open_for_writing(arguments.directory)
                                                   : open_for_reading(arguments.directory));
  CAIRN_RETURN_IF_ERROR(wait_until_recovered(*store));
  CAIRN_ASSIGN_OR_RETURN(const auto device, tiers::open_device(arguments.directory, {}));
  Progress progress("verifying", "blocks", store->engine().stats().catalog_blocks,
                    Progress::mode_for_stderr(output.quiet()));
  tiers::VerifyOptions options;
  options.directory = arguments.directory;
  options.fix = arguments.fix;
  options.bytes_per_second_max = arguments.bytes_per_second;
  options.progress = [&progress](const tiers::VerifyProgress& at) {
    progress.update(at.scanned, concat(format_size(at.bytes), ", ", at.bad, " bad"));
  };
  CAIRN_ASSIGN_OR_RETURN(const auto report, verify_store(store->cold(), *device, options));
  progress.finish();
  const Json object = verify_object(report, *store);
  CAIRN_RETURN_IF_ERROR(close_store(std::move(store)));
  output.object(object);
  output.text(verify_table(report, object));
  return report.bad() == 0 ? ExitCode::ok : ExitCode::corruption;
}

// --- repair -----------------------------------------------------------------------------

struct RepairArguments {
  std::string directory;
  bool dry_run = false;
  bool verify_payloads = false;
};

std::uint64_t damaged(const tiers::DroppedRecords& dropped) {
  return dropped.header + dropped.payload;
}

/// A damaged record that was named counts for both.
bool is_whole(const tiers::RepairReport& report) {
  return damaged(report.rebuilt.dropped) == 0 && report.gone == 0;
}

Json repair_object(const tiers::RepairReport& report, bool dry_run) {
  const tiers::RebuildReport& rebuilt = report.rebuilt;
  const tiers::DroppedRecords& dropped = rebuilt.dropped;
  Json object = make_object("repair");
  object["dry_run"] = dry_run;
  object["kept"] = rebuilt.kept;
  object["kept_bytes"] = rebuilt.kept_bytes;
  object["lost"] = {
      {"header", dropped.header}, {"payload", dropped.payload}, {"gone", report.gone}};
  object["dropped"] = {
      {"stale", dropped.stale},           {"foreign", dropped.foreign},
      {"cleared", dropped.epoch},         {"unknown_namespace", dropped.unknown_namespace},
      {"superseded", dropped.superseded}, {"erased", dropped.erased},
      {"overtaken", dropped.overtaken}};
  object["segments"] = {{"read", rebuilt.segments},
                        {"sealed", rebuilt.segments_sealed},
                        {"damaged", rebuilt.segments_damaged}};
  object["records"] = rebuilt.records;
  object["tombstones"] = rebuilt.tombstones_applied;
  object["notes"] = rebuilt.notes_applied;
  object["bytes_read"] = rebuilt.bytes_read;
  object["unreadable_bytes"] = rebuilt.unreadable_bytes;
  object["superblock_healed"] = report.superblock_healed;
  object["counters_kept"] = report.counters_kept;
  object["old_index"] = report.old_index;
  return object;
}

std::string repair_table(const tiers::RepairReport& report, bool dry_run) {
  const tiers::RebuildReport& rebuilt = report.rebuilt;
  const tiers::DroppedRecords& dropped = rebuilt.dropped;
  Table table({Align::left, Align::right, Align::left});
  table.add({dry_run ? "would keep" : "kept", format_count(rebuilt.kept),
             concat("blocks, ", format_size(rebuilt.kept_bytes))});
  table.add({"lost", format_count(damaged(dropped)),
             concat("records: header ", dropped.header, ", payload ", dropped.payload)});
  if (report.gone > 0) {
    table.add({"gone", format_count(report.gone),
               "blocks that the old index named and no segment gives back"});
  }
  table.add({"rightly dropped",
             format_count(dropped.stale + dropped.foreign + dropped.epoch + dropped.superseded +
                          dropped.erased + dropped.overtaken + dropped.unknown_namespace),
             concat("erased ", dropped.erased, ", superseded ", dropped.superseded,
                    ", older than a lost version ", dropped.overtaken, ", cleared ", dropped.epoch,
                    ", of an earlier use ", dropped.stale, ", foreign ", dropped.foreign,
                    ", of no namespace ", dropped.unknown_namespace)});
  table.add({"segments", format_count(rebuilt.segments),
             concat(rebuilt.segments_sealed, " sealed, ", rebuilt.segments_damaged, " damaged")});
  if (rebuilt.unreadable_bytes > 0) {
    table.add({"unreadable", format_size(rebuilt.unreadable_bytes),
               "the disk has bad sectors; those segments are not written to again"});
  }
  if (report.superblock_healed) {
    table.add({"superblock", "", dry_run ? "a copy would be healed" : "a copy was healed"});
  }
  if (!report.old_index.empty()) table.add({"old index", "", concat("in ", report.old_index)});
  return table.text();
}

absl::StatusOr<ExitCode> run_repair(const RepairArguments& arguments, Output& output) {
  CAIRN_RETURN_IF_ERROR(check_store_exists(arguments.directory));
  CAIRN_ASSIGN_OR_RETURN(const auto device, tiers::open_device(arguments.directory, {}));
  // How many segments there are is known with the first one.
  std::unique_ptr<Progress> progress;
  const Progress::Mode mode = Progress::mode_for_stderr(output.quiet());
  tiers::RepairOptions options;
  options.directory = arguments.directory;
  options.dry_run = arguments.dry_run;
  options.verify_payloads = arguments.verify_payloads;
  options.progress = [&progress, mode](const tiers::RepairProgress& at) {
    if (!progress) {
      progress = std::make_unique<Progress>("repairing", "segments", at.segments_total, mode);
    }
    progress->update(at.segments_done,
                     at.compared == 0
                         ? concat(format_count(at.records), " records")
                         : concat(format_count(at.compared), " entries of the old index compared"));
  };
  const auto repaired = repair_store(*device, options);
  if (!repaired.ok()) return explain_open_error(repaired.status(), arguments.directory);
  const tiers::RepairReport& report = *repaired;
  if (progress) progress->finish();
  output.object(repair_object(report, arguments.dry_run));
  output.text(repair_table(report, arguments.dry_run));
  return is_whole(report) ? ExitCode::ok : ExitCode::partial;
}

// --- compact ----------------------------------------------------------------------------

struct CompactArguments {
  std::string directory;
  double dead_fraction = 0.05;
};

absl::StatusOr<ExitCode> run_compact(const CompactArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_writing(arguments.directory));
  CAIRN_RETURN_IF_ERROR(wait_until_recovered(*store));
  const TierUsage before = store->cold().usage();
  const DurableCounters counted = store->cold().counters();
  absl::Status status;
  Waiter waiter;
  waiter.expect();
  store->cold().compact(arguments.dead_fraction, [&](absl::Status ended) {
    status = std::move(ended);
    waiter.arrive();
  });
  waiter.wait();
  CAIRN_RETURN_IF_ERROR(status);
  const TierUsage after = store->cold().usage();
  const DurableCounters counted_after = store->cold().counters();
  CAIRN_RETURN_IF_ERROR(close_store(std::move(store)));

  const std::uint64_t moved = counted_after.cleaner_moved_bytes - counted.cleaner_moved_bytes;
  Json object = make_object("compact");
  object["dead_bytes_before"] = before.dead_bytes;
  object["dead_bytes_after"] = after.dead_bytes;
  object["moved_bytes"] = moved;
  object["cleaned_segments"] = counted_after.cleaned_segments - counted.cleaned_segments;
  output.object(object);
  output.text(concat("dead space ", format_size(before.dead_bytes), " before, ",
                     format_size(after.dead_bytes), " now; ", format_size(moved), " moved"));
  return ExitCode::ok;
}

}  // namespace

void add_upkeep_commands(CommandLine& line) {
  const auto verify = std::make_shared<VerifyArguments>();
  Command command = line.add({"verify", "Read every block back and say what is bad",
                              "  cairn verify --dir /var/lib/cairn\n"
                              "  cairn verify --dir D --rate 200MB --json\n"
                              "  cairn verify --dir D --fix        # forget what is bad\n"
                              "Exit 6: something is bad, also when --fix has dealt with it."},
                             [verify](Output& output) { return run_verify(*verify, output); });
  add_directory_option(command, verify->directory);
  command.flag("--fix", verify->fix, "Forget bad blocks; without it nothing is changed");
  command.size("--rate", verify->bytes_per_second, "Bytes to read a second [no limit]");

  const auto repair = std::make_shared<RepairArguments>();
  command = line.add({"repair", "Make the index again from the segments",
                      "  cairn repair --dir /var/lib/cairn --dry-run\n"
                      "  cairn repair --dir /var/lib/cairn\n"
                      "Deletes nothing: what it replaces goes to lost+found/.\n"
                      "Exit 10: repaired, but records were damaged or blocks are gone."},
                     [repair](Output& output) { return run_repair(*repair, output); });
  add_directory_option(command, repair->directory);
  command.flag("--dry-run", repair->dry_run, "Say what would be done; change nothing");
  command.flag("--verify-payloads", repair->verify_payloads, "Read every byte, not headers alone");

  const auto compact = std::make_shared<CompactArguments>();
  command = line.add({"compact", "Move what lives together and free what does not",
                      "  cairn compact --dir /var/lib/cairn\n"
                      "  cairn compact --dir D --dead 0.2      # stop at a fifth dead"},
                     [compact](Output& output) { return run_compact(*compact, output); });
  add_directory_option(command, compact->directory);
  command.option(
      "--dead", "F", "Share of the space in use that may stay dead",
      [compact](const std::string& typed) -> absl::Status {
        CAIRN_ASSIGN_OR_RETURN(compact->dead_fraction, parse_fraction(typed, FractionFrom::zero));
        return absl::OkStatus();
      },
      "0.05");
}

}  // namespace cairn::tools
