// SPDX-License-Identifier: Apache-2.0
// ls: what a store holds, one block a line, at constant memory.
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "engine/base/text.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/signals.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

// Entries at a time: what one line costs in memory does not depend on how many there are.
constexpr std::size_t kPage = 1024;

struct ListArguments {
  std::string directory, prefix;
  std::optional<std::string> ns;
  std::optional<TierKind> tier;
  bool all_namespaces = false;
  bool detailed = false;
};

class Lister {
 public:
  Lister(const ListArguments& arguments, Output& output) : arguments_(arguments), output_(output) {}

  absl::Status run(Store& store) {
    for (const NamespaceInfo& info : store.engine().namespaces()) {
      names_[static_cast<std::uint32_t>(info.id)] = info.descriptor.name;
    }
    if (!arguments_.all_namespaces) {
      const auto wanted = find_namespace(store, ns());
      if (!wanted) return no_namespace(store);
      only_ = wanted->id;
    }
    std::string cursor;
    do {
      CAIRN_RETURN_IF_ERROR(
          store.cold().scan(cursor, kPage, [this](const StoredBlock& block) { visit(block); }));
    } while (!cursor.empty() && !past_ && output_.is_sound());
    return absl::OkStatus();
  }

  std::uint64_t listed() const { return listed_; }

 private:
  /// The default namespace is there even before its first put.
  absl::Status no_namespace(Store& store) const {
    if (ns() == kDefaultNamespace) return absl::OkStatus();
    return get_namespace(store, ns()).status();
  }

  std::string_view ns() const {
    return arguments_.ns ? std::string_view(*arguments_.ns) : kDefaultNamespace;
  }

  void visit(const StoredBlock& block) {
    const std::string_view key = block.name.key;
    if (only_ && block.name.namespace_id != *only_) {
      // In key order, and the namespace comes first in it.
      past_ = past_ || block.name.namespace_id > *only_;
      return;
    }
    if (key.substr(0, arguments_.prefix.size()) != arguments_.prefix) {
      past_ = past_ || (only_ && key > arguments_.prefix);
      return;
    }
    ++listed_;
    const std::string& name = names_[static_cast<std::uint32_t>(block.name.namespace_id)];
    if (output_.json()) {
      output_.object(describe(block, name));
    } else {
      output_.text(line(block, name));
    }
  }

  Json describe(const StoredBlock& block, const std::string& name) const {
    Json object = make_object("ls");
    object["namespace"] = name;
    object["key"] = format_key(block.name.key);
    object["part"] = block.name.part;
    object["bytes"] = block.facts.plain_bytes;
    if (!arguments_.detailed) return object;
    object["stored_bytes"] = block.stored_bytes;
    object["tier"] = "cold";
    object["sequence"] = block.facts.sequence;
    object["expiry_us"] = block.facts.expiry;
    object["pinned"] = block.facts.pinned;
    object["id"] = to_hex(block.id.hash);
    object["parent_id"] =
        block.facts.parent.is_null() ? Json() : Json(to_hex(block.facts.parent.hash));
    object["location"] = block.location.bits;
    return object;
  }

  std::string line(const StoredBlock& block, const std::string& name) const {
    std::string out = format_key(block.name.key);
    if (block.name.part != 0) out += concat(" part ", block.name.part);
    if (arguments_.all_namespaces) out = concat(name, "  ", out);
    if (!arguments_.detailed) return out;
    const auto right = [](const std::string& text, std::size_t width) {
      return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
    };
    return concat(right(format_size(block.facts.plain_bytes), 10), "  ",
                  right(std::to_string(block.facts.sequence), 10), "  ",
                  block.facts.pinned ? "pinned  " : "        ", out);
  }

  const ListArguments& arguments_;
  Output& output_;
  absl::flat_hash_map<std::uint32_t, std::string> names_;
  std::optional<NamespaceId> only_;
  bool past_ = false;
  std::uint64_t listed_ = 0;
};

absl::StatusOr<ExitCode> run_list(const ListArguments& arguments, Output& output) {
  if (arguments.all_namespaces && arguments.ns) {
    return make_error(ErrorCode::invalid_argument,
                      "--all-namespaces and --namespace do not go together");
  }
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_reading(arguments.directory));
  if (arguments.detailed && !output.json()) {
    output.text("     bytes    sequence          key");
  }
  // What lies in memory belongs to the process that has the store open; this one has just begun.
  if (arguments.tier && arguments.tier != TierKind::cold) {
    output.note(concat("nothing is ", tier_kind_name(*arguments.tier),
                       ": of a store that no process serves all blocks are cold"));
    return ExitCode::ok;
  }
  Lister lister(arguments, output);
  CAIRN_RETURN_IF_ERROR(lister.run(*store));
  if (lister.listed() == 0 && !output.json()) {
    std::string known;
    for (const NamespaceInfo& info : store->engine().namespaces()) {
      known += concat(known.empty() ? "" : ", ", info.descriptor.name);
    }
    output.note(
        concat("nothing there; namespaces of this store: ", known.empty() ? "none" : known));
  }
  return ExitCode::ok;
}

}  // namespace

void add_list_command(CommandLine& line) {
  const auto arguments = std::make_shared<ListArguments>();
  Command command =
      line.add({"ls", "List blocks, in the order of their keys",
                "  cairn ls --dir /var/lib/cairn\n"
                "  cairn ls --dir D --namespace llama-8b hex:00 --long\n"
                "  cairn ls --dir D --all-namespaces --json | jq .key     # one object a line\n"
                "Only what is on disk: a block that was only in memory ended with its process."},
               [arguments](Output& output) { return run_list(*arguments, output); });
  add_directory_option(command, arguments->directory);
  command.positional(
      "PREFIX", "Only keys that begin with it: bytes as typed, or hex: and digits",
      [arguments](const std::string& typed) -> absl::Status {
        if (typed.empty()) return absl::OkStatus();
        CAIRN_ASSIGN_OR_RETURN(arguments->prefix, parse_key(typed));
        return absl::OkStatus();
      },
      Command::Need::optional);
  command.text("--namespace", arguments->ns, "NAME",
               concat("Which namespace [", kDefaultNamespace, "]"));
  command.option("--tier", "hot|warm|cold", "Only what lies there [all]",
                 [arguments](const std::string& typed) -> absl::Status {
                   CAIRN_ASSIGN_OR_RETURN(arguments->tier, parse_tier(typed));
                   return absl::OkStatus();
                 });
  command.flag("--all-namespaces", arguments->all_namespaces, "Of every namespace");
  command.flag("--long", arguments->detailed, "Everything that is known of each block");
}

}  // namespace cairn::tools
