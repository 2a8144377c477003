// SPDX-License-Identifier: Apache-2.0
// process_limit.h — a limit of this process (setrlimit) for as long as it is in scope.
//
// Threading: the limit is the whole process's; programs that it starts inherit it.
#pragma once

#include <sys/resource.h>

#include <cstdint>

#include "engine/base/check.h"

namespace cairn::test {

class ProcessLimit {
 public:
  ProcessLimit(__rlimit_resource resource, std::uint64_t value) : resource_(resource) {
    CAIRN_CHECK(getrlimit(resource_, &before_) == 0);
    const rlimit limit{value, before_.rlim_max};
    CAIRN_CHECK(setrlimit(resource_, &limit) == 0);
  }
  ~ProcessLimit() { CAIRN_CHECK(setrlimit(resource_, &before_) == 0); }
  ProcessLimit(const ProcessLimit&) = delete;
  ProcessLimit& operator=(const ProcessLimit&) = delete;

 private:
  const __rlimit_resource resource_;
  rlimit before_{};
};

}  // namespace cairn::test
