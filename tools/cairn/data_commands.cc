// SPDX-License-Identifier: Apache-2.0
// put, get, erase: one block at a time.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/files.h"
#include "tools/cairn/signals.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Need = Command::Need;

Json block_object(std::string_view command, std::string_view ns, std::string_view key) {
  Json object = make_object(command);
  object["namespace"] = std::string(ns);
  object["key"] = format_key(key);
  return object;
}

absl::Status no_block(std::string_view ns, std::string_view key) {
  return make_error(ErrorCode::not_found,
                    concat("no block ", format_key(key), " in namespace ", ns));
}

std::string_view outcome_name(PutOutcome outcome) {
  switch (outcome) {
    case PutOutcome::stored:
      return "stored";
    case PutOutcome::already_present:
      return "already_present";
    case PutOutcome::replaced:
      return "replaced";
    case PutOutcome::failed:
      return "failed";
  }
  CAIRN_UNREACHABLE();
}

// --- put --------------------------------------------------------------------------------

struct PutArguments {
  std::string directory, ns, key, file;
  std::optional<Durability> durability;
  std::optional<std::string> parent;
  std::optional<std::uint64_t> cold_bytes;
  bool is_mutable = false;
};

/// The kind that the namespace has, or would get.
absl::Status check_kind(const PutArguments& arguments, NamespaceKind kind) {
  const bool is_mutable = kind == NamespaceKind::mutable_;
  if (arguments.parent && is_mutable) {
    return with_hint(make_error(ErrorCode::invalid_argument,
                                concat("--parent: namespace ", arguments.ns,
                                       " is mutable, and its blocks have no parents")),
                     "name a content-addressed namespace with --namespace");
  }
  if (arguments.is_mutable && !is_mutable) {
    return with_hint(
        make_error(ErrorCode::invalid_argument, concat("--mutable: namespace ", arguments.ns,
                                                       " exists and is content-addressed")),
        "a namespace keeps its kind; use another name");
  }
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> run_put(const PutArguments& arguments, Output& output) {
  // What can be refused without a store is refused before one is made.
  const NamespaceDescriptor fresh = new_namespace(arguments.ns, arguments.is_mutable);
  CAIRN_RETURN_IF_ERROR(validate(fresh));
  const bool may_exist = check_store_exists(arguments.directory).ok();
  if (!may_exist) CAIRN_RETURN_IF_ERROR(check_kind(arguments, fresh.kind));
  CAIRN_ASSIGN_OR_RETURN(const std::string payload,
                         read_all(arguments.file, kBlockBytesMax, "a block"));
  CAIRN_RETURN_IF_ERROR(
      check_block_fits(arguments.directory, arguments.cold_bytes, payload.size()));
  CAIRN_ASSIGN_OR_RETURN(auto store, open_or_create(arguments.directory, arguments.cold_bytes));

  const auto existing = find_namespace(*store, arguments.ns);
  const NamespaceDescriptor& descriptor = existing ? existing->descriptor : fresh;
  CAIRN_RETURN_IF_ERROR(check_kind(arguments, descriptor.kind));
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, store->engine().open_namespace(descriptor));

  const PutBlock block{
      .key = arguments.key,
      .payload = as_bytes(payload),
      .parent = arguments.parent ? std::string_view(*arguments.parent) : std::string_view()};
  const Durability durability = arguments.durability.value_or(Durability::durable);
  const PutOptions options{.durability = durability,
                           .links = arguments.parent ? Links::given : Links::absent};
  const auto results = store->engine().put_sync(ns, {&block, 1}, options);
  if (has_code(results.at(0).status, ErrorCode::too_large)) {
    return with_hint(results[0].status,
                     concat("a store keeps the size of its segments, and with it this limit; ",
                            roomy_store(payload.size()), " holds it"));
  }
  CAIRN_RETURN_IF_ERROR(results.at(0).status);
  CAIRN_RETURN_IF_ERROR(close_store(std::move(store)));

  Json object = block_object("put", arguments.ns, arguments.key);
  object["bytes"] = payload.size();
  object["durability"] = std::string(durability_name(durability));
  object["outcome"] = std::string(outcome_name(results[0].outcome));
  object["sequence"] = results[0].sequence;
  output.object(object);
  output.text(concat(outcome_name(results[0].outcome) == "already_present"
                         ? std::string("already present: ")
                         : concat(outcome_name(results[0].outcome), " "),
                     format_key(arguments.key), ", ", format_size(payload.size()), ", ",
                     durability_name(durability)));
  if (durability == Durability::memory) {
    output.note("memory ends with its process, and this one ends now: the block is not kept");
  }
  return ExitCode::ok;
}

// --- get --------------------------------------------------------------------------------

struct GetArguments {
  std::string directory, ns, key;
  std::optional<std::string> file;
  bool force = false;
};

/// Empty buffer and found == false: a miss. `corruption` when what is stored is bad.
absl::StatusOr<std::optional<std::string>> read_block(Store& store, const NamespaceInfo& ns,
                                                      const std::string& key) {
  CAIRN_ASSIGN_OR_RETURN(const auto stored, look_up(store, {ns.id, key, 0}));
  if (!stored) return std::nullopt;
  std::string payload(stored->facts.plain_bytes, '\0');
  LoadTarget target{.key = {key},
                    .buffer = {reinterpret_cast<std::byte*>(payload.data()), payload.size()}};
  CAIRN_RETURN_IF_ERROR(store.engine().load_sync(ns.id, {&target, 1}, {.read = Read::each}));
  if (!target.status.ok()) {
    return with_context(target.status,
                        concat("block ", format_key(key), " in namespace ", ns.descriptor.name));
  }
  if (!target.found) return std::nullopt;
  payload.resize(target.bytes);
  return payload;
}

absl::StatusOr<ExitCode> run_get(const GetArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_reading(arguments.directory));
  const auto ns = find_namespace(*store, arguments.ns);
  if (!ns) return no_block(arguments.ns, arguments.key);
  CAIRN_ASSIGN_OR_RETURN(const auto payload, read_block(*store, *ns, arguments.key));
  if (!payload) return no_block(arguments.ns, arguments.key);

  Json object = block_object("get", arguments.ns, arguments.key);
  object["bytes"] = payload->size();
  if (arguments.file) {
    CAIRN_RETURN_IF_ERROR(write_file_whole(*arguments.file, as_bytes(*payload)));
    object["file"] = *arguments.file;
    output.object(object);
    output.note(concat("wrote ", format_size(payload->size()), " to ", *arguments.file));
    return ExitCode::ok;
  }
  if (output.json()) {
    object["value_base64"] = base64(as_bytes(*payload));
    output.object(object);
    return ExitCode::ok;
  }
  if (isatty(STDOUT_FILENO) == 1 && !is_text(*payload) && !arguments.force) {
    return with_hint(
        make_error(ErrorCode::invalid_argument, "the block is binary and would go to the terminal"),
        "-f FILE writes it to a file, --force shows it anyway");
  }
  output.bytes(as_bytes(*payload));
  return ExitCode::ok;
}

// --- erase ------------------------------------------------------------------------------

struct EraseArguments {
  std::string directory, ns, key;
};

absl::StatusOr<ExitCode> run_erase(const EraseArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_writing(arguments.directory));
  const auto ns = find_namespace(*store, arguments.ns);
  if (!ns) return no_block(arguments.ns, arguments.key);
  const KeyRef key{arguments.key};
  CAIRN_ASSIGN_OR_RETURN(const auto erased, store->engine().erase_sync(ns->id, {&key, 1}));
  CAIRN_RETURN_IF_ERROR(store->engine().flush());
  CAIRN_RETURN_IF_ERROR(close_store(std::move(store)));
  if (!erased.at(0)) return no_block(arguments.ns, arguments.key);

  Json object = block_object("erase", arguments.ns, arguments.key);
  object["erased"] = true;
  output.object(object);
  output.text(concat("erased ", format_key(arguments.key)));
  return ExitCode::ok;
}

constexpr std::string_view kKeyHelp = "The key: bytes as typed, or hex: and digits";

}  // namespace

void add_data_commands(CommandLine& line) {
  const auto put = std::make_shared<PutArguments>();
  Command command =
      line.add({"put", "Store one block",
                "  cairn put --dir /var/lib/cairn greeting hello.bin\n"
                "  echo -n hello | cairn put --dir /var/lib/cairn greeting -\n"
                "  cairn put --dir D --namespace llama-8b --parent hex:00 hex:01 block.bin\n"
                "A missing or empty directory becomes a store."},
               [put](Output& output) { return run_put(*put, output); });
  add_directory_option(command, put->directory);
  command.key("KEY", put->key, kKeyHelp, Need::required);
  command.file("FILE", put->file, "The payload, at most 64 MiB; - reads stdin", Need::required);
  add_namespace_option(command, put->ns);
  command.durability("--durability", put->durability, "What the acknowledgement promises",
                     "durable");
  command.option("--parent", "KEY", "The block before it in its chain",
                 [put](const std::string& typed) -> absl::Status {
                   CAIRN_ASSIGN_OR_RETURN(put->parent, parse_key(typed));
                   return absl::OkStatus();
                 });
  command.flag("--mutable", put->is_mutable, "A new namespace lets puts replace");
  command.size("--cold", put->cold_bytes,
               "Limit of the store on disk, kept until another is given [new: half of the free "
               "disk, at most 64 GiB]");

  const auto get = std::make_shared<GetArguments>();
  command = line.add({"get", "Read one block",
                      "  cairn get --dir /var/lib/cairn greeting\n"
                      "  cairn get --dir D hex:00ff -f block.bin\n"
                      "  cairn get --dir D greeting --json      # the bytes as base64\n"
                      "Exit 3: not there. Exit 6: there, but its bytes are bad."},
                     [get](Output& output) { return run_get(*get, output); });
  add_directory_option(command, get->directory);
  command.key("KEY", get->key, kKeyHelp, Need::required);
  add_namespace_option(command, get->ns);
  command.option("-f,--file", "FILE", "Write here, whole or not at all; - is stdout",
                 [get](const std::string& typed) -> absl::Status {
                   if (typed.empty()) {
                     return make_error(ErrorCode::invalid_argument,
                                       "the name of the file is empty; - is stdout");
                   }
                   if (typed == "-") {
                     get->file.reset();
                   } else {
                     get->file = typed;
                   }
                   return absl::OkStatus();
                 });
  command.flag("--force", get->force, "Binary to a terminal, too");

  const auto erase = std::make_shared<EraseArguments>();
  command = line.add({"erase", "Remove one block, for good",
                      "  cairn erase --dir /var/lib/cairn greeting\n"
                      "  cairn erase --dir D --namespace llama-8b hex:01"},
                     [erase](Output& output) { return run_erase(*erase, output); });
  add_directory_option(command, erase->directory);
  command.key("KEY", erase->key, kKeyHelp, Need::required);
  add_namespace_option(command, erase->ns);
}

}  // namespace cairn::tools
