// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/signals.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>

#include "engine/base/check.h"

namespace cairn::tools {
namespace {

constexpr int kInterruptedExit = 130;

// Lock-free atomics and a plain buffer: all that a signal handler may touch.
std::atomic<bool> g_interrupted{false};
std::atomic<int> g_guards{0};
std::atomic<bool> g_remove{false};
std::array<char, 4096> g_remove_path{};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  const bool first = !g_interrupted.exchange(true);
  if (first && g_guards.load() > 0) return;
  if (g_remove.load()) unlink(g_remove_path.data());
  _exit(kInterruptedExit);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  CAIRN_CHECK(sigaction(SIGINT, &action, nullptr) == 0);
  CAIRN_CHECK(sigaction(SIGTERM, &action, nullptr) == 0);
  struct sigaction before {};
  CAIRN_CHECK(sigaction(SIGHUP, nullptr, &before) == 0);
  // Under nohup it is ignored, and stays so.
  if (before.sa_handler != SIG_IGN) CAIRN_CHECK(sigaction(SIGHUP, &action, nullptr) == 0);
  action.sa_handler = SIG_IGN;
  CAIRN_CHECK(sigaction(SIGPIPE, &action, nullptr) == 0);
  CAIRN_CHECK(sigaction(SIGXFSZ, &action, nullptr) == 0);
}

InterruptGuard::InterruptGuard() {
  g_guards.fetch_add(1);
}
InterruptGuard::~InterruptGuard() {
  g_guards.fetch_sub(1);
}

bool interrupted() {
  return g_interrupted.load(std::memory_order_relaxed);
}

RemoveUnlessKept::RemoveUnlessKept(std::string path) : path_(std::move(path)) {
  CAIRN_CHECK(!g_remove.load());
  if (path_.size() >= g_remove_path.size()) return;  // longer than any path the kernel takes
  std::memcpy(g_remove_path.data(), path_.c_str(), path_.size() + 1);
  g_remove.store(true);
}

RemoveUnlessKept::~RemoveUnlessKept() {
  if (path_.empty()) return;
  unlink(path_.c_str());
  g_remove.store(false);
}

void RemoveUnlessKept::keep() {
  g_remove.store(false);
  path_.clear();
}

void leave_signals_to_parent() {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  sigemptyset(&action.sa_mask);
  CAIRN_CHECK(sigaction(SIGINT, &action, nullptr) == 0);
  CAIRN_CHECK(sigaction(SIGHUP, &action, nullptr) == 0);
  action.sa_handler = SIG_DFL;
  CAIRN_CHECK(sigaction(SIGTERM, &action, nullptr) == 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

}  // namespace cairn::tools
