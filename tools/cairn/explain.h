// SPDX-License-Identifier: Apache-2.0
// explain.h — which keys a prompt has, and which of them a store holds: `cairn explain`
// without its command line.
//
// Everything that people type or keep in files arrives here as text and leaves as keys, or as
// an `invalid_argument` that names the option and the place in it; the caller turns that into
// exit code 2. Reading files, opening a store and printing are the caller's.
//
// Threading: pure functions. Blocking: cpu; find_residency as Engine::match.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace cairn::tools {

/// The options as given. File options hold the file's content, not its name.
struct ExplainOptions {
  std::string scheme;  // as hash_scheme_name() has them
  std::optional<std::string> seed;
  std::uint64_t block_tokens = 16;
  std::string tokens;  // a JSON array of, or white space between, integers from 0 to 4294967295
  std::optional<std::string> lora;
  std::optional<std::string> salt;
  /// A JSON array of {"identifier": text, "offset": integer, "length": integer}.
  std::optional<std::string> features;
  /// As many rows of equal length as there are tokens, one after another.
  std::optional<std::string> embeds;
  std::optional<std::uint32_t> group;
  std::optional<std::string> model;
};

/// "token 3 (byte 12): expected an integer from 0 to 4294967295, not 'x'"
absl::StatusOr<std::vector<std::uint32_t>> parse_tokens(std::string_view text);

/// The keys of the full blocks, as bytes. lora, salt, features and embeds are refused where the
/// scheme takes no extra keys, seed where it has none, and model with all but llm-d, also when they
/// are empty.
absl::StatusOr<std::vector<std::string>> explain_keys(const ExplainOptions& options);

struct Residency {
  std::vector<TierKind> blocks;   // one for each key; none where the store has no such block
  std::size_t prefix_blocks = 0;  // length of the run that is there
};

/// Touches nothing. While the store recovers, blocks may be there that are not said to be.
Residency find_residency(const Engine& engine, NamespaceId ns, std::span<const std::string> keys);

}  // namespace cairn::tools
