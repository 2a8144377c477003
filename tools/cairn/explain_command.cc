// SPDX-License-Identifier: Apache-2.0
// explain: which keys a prompt has, and which of them a store holds.
#include <limits>
#include <memory>

#include "engine/base/text.h"
#include "engine/hash/chain.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/explain.h"
#include "tools/cairn/files.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

constexpr std::uint64_t kInputBytesMax = kGiB;

struct ExplainArguments {
  ExplainOptions options;
  std::string tokens_file, directory, ns;
  std::optional<std::string> features_file, embeds_file;
};

absl::StatusOr<ExplainOptions> read_inputs(const ExplainArguments& arguments) {
  ExplainOptions options = arguments.options;
  CAIRN_ASSIGN_OR_RETURN(options.tokens,
                         read_all(arguments.tokens_file, kInputBytesMax, "a list of tokens"));
  if (arguments.features_file) {
    CAIRN_ASSIGN_OR_RETURN(options.features,
                           read_all(*arguments.features_file, kInputBytesMax, "--mm"));
  }
  if (arguments.embeds_file) {
    CAIRN_ASSIGN_OR_RETURN(options.embeds,
                           read_all(*arguments.embeds_file, kInputBytesMax, "--embeds"));
  }
  return options;
}

absl::StatusOr<Residency> residency_in(const ExplainArguments& arguments,
                                       const std::vector<std::string>& keys) {
  CAIRN_ASSIGN_OR_RETURN(auto store, open_for_reading(arguments.directory));
  CAIRN_ASSIGN_OR_RETURN(const NamespaceInfo ns, get_namespace(*store, arguments.ns));
  CAIRN_RETURN_IF_ERROR(wait_until_recovered(*store));
  return find_residency(store->engine(), ns.id, keys);
}

absl::StatusOr<ExitCode> run_explain(const ExplainArguments& arguments, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(const ExplainOptions options, read_inputs(arguments));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<std::string> keys, explain_keys(options));
  std::optional<Residency> residency;
  if (!arguments.directory.empty()) {
    CAIRN_ASSIGN_OR_RETURN(residency, residency_in(arguments, keys));
  }

  Json object = make_object("explain");
  object["scheme"] = options.scheme;
  object["block_tokens"] = options.block_tokens;
  object["keys"] = Json::array();
  for (const std::string& key : keys) object["keys"].push_back(to_hex(as_bytes(key)));
  if (residency) {
    object["residency"] = Json::array();
    for (const TierKind tier : residency->blocks) {
      object["residency"].push_back(std::string(tier_kind_name(tier)));
    }
    object["prefix_blocks"] = residency->prefix_blocks;
  }
  output.object(object);

  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string where =
        residency ? concat("  ", tier_kind_name(residency->blocks[i])) : std::string();
    output.text(concat(to_hex(as_bytes(keys[i])), where));
  }
  if (residency) {
    output.note(concat("the store has the first ", residency->prefix_blocks, " of ", keys.size(),
                       " blocks"));
  } else if (keys.empty()) {
    output.note("no block is full, so there is no key");
  }
  return ExitCode::ok;
}

}  // namespace

void add_explain_command(CommandLine& line) {
  const auto arguments = std::make_shared<ExplainArguments>();
  ExplainOptions& options = arguments->options;
  Command command = line.add(
      {"explain", "The keys of a prompt's blocks, and which of them a store holds",
       "  echo '[1,2,3,4]' | cairn explain --scheme native --block-tokens 2 --tokens -\n"
       "  cairn explain --scheme vllm-sha256-cbor --seed 0 --block-tokens 16 --tokens t.json\n"
       "  cairn explain --scheme vllm-sha256-cbor --tokens t.json --lora adapter --dir D \\\n"
       "      --namespace llama-8b --json\n"
       "Only full blocks have keys."},
      [arguments](Output& output) { return run_explain(*arguments, output); });
  command.text("--scheme", options.scheme, "SCHEME", hash_scheme_list(), Command::Need::required);
  command.text("--seed", options.seed, "S",
               "As PYTHONHASHSEED for vLLM, a number for dynamo; sglang and flexkv have none");
  command.text("--model", options.model, "NAME", "The model, for llm-d alone");
  command.count("--block-tokens", options.block_tokens, "Tokens in a block");
  command.text("--tokens", arguments->tokens_file, "FILE",
               "A JSON array or white space between integers; - reads stdin",
               Command::Need::required);
  command.text("--lora", options.lora, "NAME", "The LoRA adapter's name");
  command.text("--salt", options.salt, "S", "The request's cache salt");
  command.text("--mm", arguments->features_file, "FILE",
               "A JSON array of {identifier, offset, length}");
  command.text("--embeds", arguments->embeds_file, "FILE", "The prompt's embeddings, row by row");
  command.option("--group", "N", "KV cache group, appended to each key",
                 [&options](const std::string& typed) -> absl::Status {
                   CAIRN_ASSIGN_OR_RETURN(const std::uint64_t group, parse_count(typed));
                   if (group > std::numeric_limits<std::uint32_t>::max()) {
                     return make_error(ErrorCode::invalid_argument, "a group has 32 bits");
                   }
                   options.group = static_cast<std::uint32_t>(group);
                   return absl::OkStatus();
                 });
  command.text("--dir", arguments->directory, "DIR", "Also say what this store has of them");
  add_namespace_option(command, arguments->ns);
}

}  // namespace cairn::tools
