// SPDX-License-Identifier: Apache-2.0
#include "engine/base/log.h"

#include <cstdio>
#include <utility>

#include "engine/base/mutex.h"

namespace cairn {
namespace {

struct Log {
  Mutex mutex{LockRank::log};
  LogSink sink CAIRN_GUARDED_BY(mutex) = [](LogLevel level, std::string_view message) {
    if (level < LogLevel::warning) return;
    std::fprintf(stderr, "cairn: %.*s\n", static_cast<int>(message.size()), message.data());
  };
};

Log& process_log() {
  static Log* const log = new Log;  // never destroyed: threads may log while the process exits
  return *log;
}

}  // namespace

void set_log_sink(LogSink sink) {
  MutexLock lock(process_log().mutex);
  process_log().sink = std::move(sink);
}

void log_line(LogLevel level, std::string_view message) {
  MutexLock lock(process_log().mutex);
  if (process_log().sink) process_log().sink(level, message);
}

}  // namespace cairn
