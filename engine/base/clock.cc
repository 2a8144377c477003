// SPDX-License-Identifier: Apache-2.0
#include "engine/base/clock.h"

#include <time.h>

namespace cairn {
namespace {

class SystemClock final : public Clock {
 public:
  TimePoint now() const override { return {read(CLOCK_MONOTONIC)}; }
  WallMicros wall() const override { return read(CLOCK_REALTIME) / 1'000; }

 private:
  static std::int64_t read(clockid_t id) {
    timespec t{};
    clock_gettime(id, &t);
    return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
  }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace cairn
