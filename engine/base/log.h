// SPDX-License-Identifier: Apache-2.0
// log.h — where the engine's rare messages go.
//
// The engine logs what an operator acts on, never what it does: recovery, quarantine,
// degradation. Keys appear as hashes only. The process decides what becomes of a line;
// by default warnings and worse go to stderr.
//
// Threading: thread-safe. Blocking: whatever the sink does; so none on a hot path.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace cairn {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

using LogSink = std::function<void(LogLevel, std::string_view message)>;

/// Replaces the sink of the process.
void set_log_sink(LogSink sink);
void log_line(LogLevel level, std::string_view message);

}  // namespace cairn
