// SPDX-License-Identifier: Apache-2.0
#include "bench/workload/generator.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace cairn::workload {
namespace {
constexpr std::size_t kSystemPrompts = 8;
constexpr std::size_t kDocuments = 200;
constexpr std::size_t kToolPrompts = 4;
// Nobody's prompt is longer; it bounds the length of one request's chain.
constexpr double kTokensPerStepMax = 64'000;
constexpr std::uint64_t kSessionTokensMax = 128'000;
}  // namespace

Generator::Generator(GeneratorOptions options)
    : options_(options),
      random_(options.seed),
      system_popularity_(kSystemPrompts, 1.2),
      document_popularity_(kDocuments, 1.0),
      tool_popularity_(kToolPrompts, 1.0) {
  CAIRN_CHECK(options_.block_tokens > 0 && options_.sessions > 0);
  CAIRN_CHECK(options_.conversation_share + options_.document_share + options_.agent_share > 0);
  system_prompts_ = make_preambles(kSystemPrompts, 1'200, 0.6);
  documents_ = make_preambles(kDocuments, 9'000, 0.7);
  tool_prompts_ = make_preambles(kToolPrompts, 7'000, 0.3);
  sessions_.resize(options_.sessions);
  for (std::uint32_t i = 0; i < options_.sessions; ++i) {
    begin_session(sessions_[i]);
    turns_.push({random_.fraction() * 60'000, i});
  }
}

bool Generator::next(TraceRequest& request) {
  if (made_ == options_.requests) return false;
  ++made_;
  const Turn turn = turns_.top();
  turns_.pop();
  Session& session = sessions_[turn.session];

  // What the user, the question or the tools add, then the prompt as it is asked.
  switch (session.kind) {
    case Kind::conversation:
      grow(session, 350, 1.2);
      break;
    case Kind::document:
      grow(session, 60, 0.8);
      break;
    case Kind::agent:
      grow(session, 700, 1.1);
      break;
  }
  static constexpr const char* kTypes[] = {"conversation", "document", "agent"};
  request.timestamp_ms = turn.at_ms;
  request.input_length = session.tokens;
  request.output_length = length(session.kind == Kind::agent ? 150 : 300, 0.8);
  request.type = kTypes[static_cast<std::size_t>(session.kind)];
  request.hash_ids = session.ids;
  if (session.tokens % options_.block_tokens != 0) request.hash_ids.push_back(next_id_++);

  // The reply is part of the next turn's prompt.
  const double gap_ms = think_ms(session.kind);
  session.tokens += request.output_length;
  if (--session.turns_left == 0 || session.tokens > kSessionTokensMax) begin_session(session);
  turns_.push({turn.at_ms + gap_ms, turn.session});
  return true;
}

std::vector<Generator::Preamble> Generator::make_preambles(std::size_t count, double median_tokens,
                                                           double spread) {
  std::vector<Preamble> preambles(count);
  for (Preamble& preamble : preambles) {
    preamble.tokens = length(median_tokens, spread);
    for (std::uint64_t i = preamble.tokens / options_.block_tokens; i > 0; --i) {
      preamble.ids.push_back(next_id_++);
    }
  }
  return preambles;
}

void Generator::begin_session(Session& session) {
  const std::uint64_t kind =
      random_.below(options_.conversation_share + options_.document_share + options_.agent_share);
  const Preamble* preamble = nullptr;
  if (kind < options_.conversation_share) {
    session.kind = Kind::conversation;
    session.turns_left = 1 + static_cast<std::uint64_t>(random_.exponential(5));
    preamble = &system_prompts_[system_popularity_.draw(random_)];
  } else if (kind < options_.conversation_share + options_.document_share) {
    session.kind = Kind::document;
    session.turns_left = 1 + static_cast<std::uint64_t>(random_.exponential(1));
    preamble = &documents_[document_popularity_.draw(random_)];
  } else {
    session.kind = Kind::agent;
    session.turns_left = 3 + static_cast<std::uint64_t>(random_.exponential(20));
    preamble = &tool_prompts_[tool_popularity_.draw(random_)];
  }
  session.tokens = preamble->tokens;
  session.ids = preamble->ids;
}

void Generator::grow(Session& session, double median_tokens, double spread) {
  session.tokens += length(median_tokens, spread);
  // Blocks that have filled up since the last turn get their lasting ids.
  while (session.ids.size() < session.tokens / options_.block_tokens)
    session.ids.push_back(next_id_++);
}

std::uint64_t Generator::length(double median, double spread) {
  return static_cast<std::uint64_t>(
      std::clamp(random_.lognormal(median, spread), 1.0, kTokensPerStepMax));
}

double Generator::think_ms(Kind kind) {
  switch (kind) {
    case Kind::conversation:
      return 20'000 + random_.exponential(60'000);
    case Kind::document:
      return 10'000 + random_.exponential(40'000);
    case Kind::agent:
      return 2'000 + random_.exponential(8'000);
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn::workload
