// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/explain.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/hash/chain.h"

namespace cairn::tools {
namespace {

using Json = nlohmann::json;

absl::Status invalid(std::string_view why) {
  return make_error(ErrorCode::invalid_argument, why);
}

/// Reads tokens from either form; in an array commas stand between them and nothing follows it.
class TokenParser {
 public:
  explicit TokenParser(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<std::uint32_t>> parse() {
    skip_space();
    const bool array = take('[');
    while (true) {
      skip_space();
      if (array && tokens_.empty() && take(']')) break;
      if (!array && at_end()) return std::move(tokens_);
      CAIRN_RETURN_IF_ERROR(parse_token());
      skip_space();
      if (!array) continue;
      if (take(']')) break;
      if (!take(',')) return unexpected("expected ',' or ']'");
    }
    skip_space();
    if (!at_end()) return unexpected("expected nothing behind the array");
    return std::move(tokens_);
  }

 private:
  absl::Status parse_token() {
    const char* const begin = text_.data() + next_;
    const char* const end = text_.data() + text_.size();
    std::uint32_t token = 0;
    const auto [stop, error] = std::from_chars(begin, end, token);
    const bool ends_here = stop == end || is_space(*stop) || *stop == ',' || *stop == ']';
    if (error != std::errc() || !ends_here) {
      return unexpected("expected an integer from 0 to 4294967295");
    }
    tokens_.push_back(token);
    next_ += static_cast<std::size_t>(stop - begin);
    return absl::OkStatus();
  }

  absl::Status unexpected(std::string_view wanted) const {
    // The word that is there, short enough for a message.
    std::size_t length = 0;
    while (length < 24 && next_ + length < text_.size() && !is_space(text_[next_ + length]))
      ++length;
    const std::string found =
        length == 0 ? "the end" : concat("'", text_.substr(next_, length), "'");
    return invalid(
        concat("token ", tokens_.size(), " (byte ", next_, "): ", wanted, ", not ", found));
  }

  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
  bool at_end() const { return next_ == text_.size(); }
  void skip_space() {
    while (!at_end() && is_space(text_[next_])) ++next_;
  }
  bool take(char wanted) {
    const bool found = !at_end() && text_[next_] == wanted;
    next_ += found;
    return found;
  }

  std::string_view text_;
  std::size_t next_ = 0;
  std::vector<std::uint32_t> tokens_;
};

struct OwnedFeature {
  std::string identifier;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

absl::StatusOr<std::vector<OwnedFeature>> parse_features(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return invalid("--mm: expected a JSON array of features");
  std::vector<OwnedFeature> features;
  for (const Json& item : json) {
    const auto integer = [&item](const char* field) {
      const auto found = item.find(field);
      return found != item.end() && found->is_number_integer() &&
                     (!found->is_number_unsigned() || found->get<std::uint64_t>() <= INT64_MAX)
                 ? std::optional(found->get<std::int64_t>())
                 : std::nullopt;
    };
    if (!item.is_object() || !item.contains("identifier") || !item["identifier"].is_string() ||
        !integer("offset") || !integer("length")) {
      return invalid(
          concat("--mm: feature ", features.size(),
                 R"( is not {"identifier": text, "offset": integer, "length": integer})"));
    }
    features.push_back(
        {item["identifier"].get<std::string>(), *integer("offset"), *integer("length")});
  }
  return features;
}

bool takes_seed(HashScheme scheme) {
  switch (scheme) {
    case HashScheme::sglang:
    case HashScheme::sglang_bigram:
    case HashScheme::flexkv:
      return false;
    case HashScheme::native:
    case HashScheme::vllm_sha256_cbor:
    case HashScheme::vllm_xxhash_cbor:
    case HashScheme::dynamo:
    case HashScheme::llm_d:
      return true;
  }
  CAIRN_UNREACHABLE();
}

/// The option that this scheme does not know; empty if there is none.
std::string_view refused_option(const ExplainOptions& options, HashScheme scheme) {
  if (options.model && scheme != HashScheme::llm_d) return "--model";
  if (options.seed && !takes_seed(scheme)) return "--seed";
  if (takes_extra_keys(scheme)) return "";
  if (options.lora) return "--lora";
  if (options.salt) return "--salt";
  if (options.features) return "--mm";
  if (options.embeds) return "--embeds";
  return "";
}

absl::StatusOr<std::size_t> row_bytes(std::string_view embeds, std::size_t tokens) {
  if (tokens == 0 || embeds.empty() || embeds.size() % tokens != 0) {
    return invalid(concat("--embeds: ", embeds.size(),
                          " bytes are not one row of equal length for each of ", tokens,
                          " tokens"));
  }
  return embeds.size() / tokens;
}

}  // namespace

absl::StatusOr<std::vector<std::uint32_t>> parse_tokens(std::string_view text) {
  return TokenParser(text).parse();
}

absl::StatusOr<std::vector<std::string>> explain_keys(const ExplainOptions& options) {
  const std::optional<HashScheme> scheme = parse_hash_scheme(options.scheme);
  if (!scheme) {
    return invalid(
        concat("--scheme: there is no '", options.scheme, "'; there are ", hash_scheme_list()));
  }
  if (const std::string_view option = refused_option(options, *scheme); !option.empty()) {
    const std::string_view why =
        option == "--model"  ? ": of all chains llm-d's alone has the model in it"
        : option == "--seed" ? ": such a chain has none"
                             : ": what such a chain makes of it is not known";
    return invalid(concat(option, " does not go with ", options.scheme, why));
  }
  auto tokens = parse_tokens(options.tokens);
  if (!tokens.ok()) return with_context(tokens.status(), "--tokens");
  auto chain = HashChain::make({.scheme = *scheme,
                                .seed = options.seed.value_or(""),
                                .block_tokens = options.block_tokens,
                                .model = options.model.value_or(""),
                                .group = options.group});
  if (!chain.ok()) {
    const bool fits = options.block_tokens > 0 && options.block_tokens <= kBlockTokensMax;
    return with_context(chain.status(), fits ? "--seed" : "--block-tokens");
  }

  std::vector<OwnedFeature> features;
  if (options.features) {
    CAIRN_ASSIGN_OR_RETURN(features, parse_features(*options.features));
  }
  std::vector<MultimodalFeature> borrowed;
  borrowed.reserve(features.size());
  for (const OwnedFeature& f : features) borrowed.push_back({f.identifier, f.offset, f.length});
  std::vector<std::byte> flat(chain->block_count(tokens->size()) * chain->key_bytes());
  HashRequest request{.tokens = *tokens, .extra = {.features = borrowed}, .keys = flat};
  if (options.lora) request.extra.lora_name = *options.lora;
  if (options.salt) request.extra.cache_salt = *options.salt;
  if (options.embeds) {
    request.extra.prompt_embeds = as_bytes(*options.embeds);
    CAIRN_ASSIGN_OR_RETURN(request.extra.embeds_row_bytes,
                           row_bytes(*options.embeds, tokens->size()));
  }
  CAIRN_RETURN_IF_ERROR(chain->hash(request));

  std::vector<std::string> keys;
  for (std::size_t at = 0; at < flat.size(); at += chain->key_bytes()) {
    keys.emplace_back(as_text(ByteSpan(flat).subspan(at, chain->key_bytes())));
  }
  return keys;
}

Residency find_residency(const Engine& engine, NamespaceId ns, std::span<const std::string> keys) {
  Residency residency;
  std::vector<KeyRef> chain;
  for (const std::string& key : keys) {
    chain.push_back({.key = key});
    const Match alone = engine.match(ns, {&chain.back(), 1});
    residency.blocks.push_back(alone.blocks.empty() ? TierKind::none : alone.blocks.front().tier);
  }
  residency.prefix_blocks = engine.match_length(ns, chain);
  return residency;
}

}  // namespace cairn::tools
