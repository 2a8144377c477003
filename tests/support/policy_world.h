// SPDX-License-Identifier: Apache-2.0
// policy_world.h — an engine world with one namespace, and what tests of write policies ask of it.
//
// Threading:  confined to the test.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/engine_world.h"

namespace cairn::test {

class PolicyWorld : public EngineWorld {
 public:
  explicit PolicyWorld(WritePolicy policy, EngineWorldOptions options = {},
                       NamespaceKind kind = NamespaceKind::content_addressed)
      : EngineWorld(std::move(options)), kind_(kind) {
    reopen(policy);
  }

  NamespaceId ns() const { return ns_; }
  /// After a restart: the store does not keep the policy.
  void reopen(WritePolicy policy) {
    ns_ = open_namespace("n", kind_);
    CAIRN_CHECK(engine().set_write_policy(ns_, policy).ok());
  }
  /// As the policy says.
  PutResult keep(std::string_view key, std::size_t bytes = 1000, std::uint64_t version = 0) {
    return put(ns_, key, bytes, version, std::nullopt);
  }
  std::vector<PutResult> keep_chain(const std::vector<std::string>& keys,
                                    std::size_t bytes = 1000) {
    return put_chain(ns_, keys, bytes, std::nullopt);
  }
  bool has(std::string_view key, std::size_t bytes = 1000, std::uint64_t version = 0) {
    return get(ns_, key) == make_payload(key, version, bytes);
  }
  NamespaceStats about(std::string_view name = "n") {
    for (const NamespaceStats& one : engine().stats().namespaces) {
      if (one.name == name) return one;
    }
    return {};
  }
  WriteBackStats written() { return engine().stats().write_back; }

 private:
  const NamespaceKind kind_;
  NamespaceId ns_{};
};

}  // namespace cairn::test
