// SPDX-License-Identifier: Apache-2.0
// generator.h — requests made up from a seed, where there is no trace.
//
// Three kinds, mixed: conversations that grow turn by turn under one of a few system prompts;
// documents, some far more popular than others, about which people ask once or twice; and
// agents, which share a long prompt of tools and come back quickly with a little more each
// time. Lengths, gaps and shares resemble the published traces of chat and agent services
// without being fitted to one; a figure made with it says "generated".
//
// Threading: confined to its owner. Blocking: cpu.
// Invariants: equal options give equal requests; timestamps never fall; an id names a whole
//             prefix, so no two sessions share one beyond what they truly share; an unfilled
//             last block has an id of its own that never comes again.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "bench/workload/random.h"
#include "bench/workload/trace.h"
#include "bench/workload/zipf.h"

namespace cairn::workload {

struct GeneratorOptions {
  std::uint64_t seed = 1;
  std::uint64_t requests = 1000;
  std::uint32_t block_tokens = 512;
  /// How many sessions are under way at once; each that ends is replaced.
  std::uint32_t sessions = 48;
  /// Requests for each kind, out of the sum of the three.
  std::uint32_t conversation_share = 60;
  std::uint32_t document_share = 20;
  std::uint32_t agent_share = 20;
};

class Generator {
 public:
  explicit Generator(GeneratorOptions options);

  /// False after the last request. Reuses the request's memory.
  bool next(TraceRequest& request);
  std::uint64_t total() const { return options_.requests; }

 private:
  enum class Kind : std::uint8_t { conversation, document, agent };

  /// A prompt that many sessions begin with.
  struct Preamble {
    std::uint64_t tokens = 0;
    std::vector<std::uint64_t> ids;  // of its full blocks
  };
  struct Session {
    Kind kind = Kind::conversation;
    std::uint64_t turns_left = 0;
    std::uint64_t tokens = 0;
    std::vector<std::uint64_t> ids;  // of the full blocks so far
  };
  struct Turn {
    double at_ms;
    std::uint32_t session;
    /// The queue's top is the earliest; equal times are told apart, so runs repeat.
    bool operator<(const Turn& other) const {
      return at_ms != other.at_ms ? at_ms > other.at_ms : session > other.session;
    }
  };

  std::vector<Preamble> make_preambles(std::size_t count, double median_tokens, double spread);
  void begin_session(Session& session);
  void grow(Session& session, double median_tokens, double spread);
  std::uint64_t length(double median, double spread);
  double think_ms(Kind kind);

  GeneratorOptions options_;
  Random random_;
  std::uint64_t next_id_ = 0;
  std::uint64_t made_ = 0;
  std::vector<Preamble> system_prompts_;
  std::vector<Preamble> documents_;
  std::vector<Preamble> tool_prompts_;
  Zipf system_popularity_;
  Zipf document_popularity_;
  Zipf tool_popularity_;
  std::vector<Session> sessions_;
  std::priority_queue<Turn> turns_;
};

}  // namespace cairn::workload
