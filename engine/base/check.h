// SPDX-License-Identifier: Apache-2.0
// check.h — assertions that stay on, and those that only the checked builds pay for.
//
// CAIRN_CHECK guards memory safety, the order of durability and the truth of the
// catalog: a wrong cache is worse than a dead one. CAIRN_DCHECK is for hot paths and
// O(n) invariants. Neither is ever used on bytes from a user, a disk or a wire; those
// return a Status.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace cairn::detail {
[[noreturn]] inline void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}
}  // namespace cairn::detail

#define CAIRN_CHECK(condition)            \
  (static_cast<bool>(condition) ? void(0) \
                                : ::cairn::detail::check_failed(__FILE__, __LINE__, #condition))

#if defined(CAIRN_DCHECKS)
#define CAIRN_DCHECK(condition) CAIRN_CHECK(condition)
#else
#define CAIRN_DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#endif

#define CAIRN_UNREACHABLE() ::cairn::detail::check_failed(__FILE__, __LINE__, "unreachable")
