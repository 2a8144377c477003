// SPDX-License-Identifier: Apache-2.0
// signals.h — Ctrl-C, SIGTERM and SIGHUP: leave with 130, and leave nothing behind.
//
// A store needs no farewell: what was acknowledged is there. So most commands end at once;
// one that has something to take away asks to be told instead.
//
// Threading: set up on the main thread before there are others. Blocking: never.
#pragma once

#include <string>

namespace cairn::tools {

/// From here on SIGINT, SIGTERM and, where it was not ignored, SIGHUP end the process with 130, and
/// SIGPIPE and SIGXFSZ do nothing: a pipe that closed, or a file that may not grow, is seen by who
/// writes to it.
void install_signal_handlers();

/// While one lives, the first signal only makes interrupted() true; the second ends the process.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};
bool interrupted();

/// Removes a half-written file when a signal ends the process, and when it goes out of scope
/// without keep(). One at a time.
class RemoveUnlessKept {
 public:
  explicit RemoveUnlessKept(std::string path);
  ~RemoveUnlessKept();
  RemoveUnlessKept(const RemoveUnlessKept&) = delete;
  RemoveUnlessKept& operator=(const RemoveUnlessKept&) = delete;
  void keep();

 private:
  std::string path_;
};

/// In a forked child: Ctrl-C and a hang-up are the parent's business, and the child dies with it.
void leave_signals_to_parent();

}  // namespace cairn::tools
