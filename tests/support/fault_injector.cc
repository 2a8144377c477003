// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fault_injector.h"

#include <numeric>

#include "engine/base/text.h"

namespace cairn::test {

void FaultInjector::add(FaultRule rule) {
  MutexLock lock(mutex_);
  rules_.push_back({std::move(rule), 0});
}

void FaultInjector::clear() {
  MutexLock lock(mutex_);
  rules_.clear();
}

bool FaultInjector::fires(Side side, Fault fault, std::string_view path) {
  MutexLock lock(mutex_);
  for (ActiveRule& active : rules_) {
    FaultRule& rule = active.rule;
    if (rule.fault != fault || rule.times == 0) continue;
    if (rule.side != Side::any && side != Side::any && rule.side != side) continue;
    if (path.find(rule.path_contains) == std::string_view::npos) continue;
    ++active.opportunities;
    const bool now = rule.nth != 0 ? active.opportunities == rule.nth : rng_.chance(rule.odds);
    if (!now) continue;
    --rule.times;
    ++fired_[static_cast<std::size_t>(fault)];
    return true;
  }
  return false;
}

std::uint64_t FaultInjector::draw(std::uint64_t bound) {
  MutexLock lock(mutex_);
  return rng_.below(bound);
}

std::uint64_t FaultInjector::fired(Fault fault) const {
  MutexLock lock(mutex_);
  return fired_[static_cast<std::size_t>(fault)];
}

std::uint64_t FaultInjector::fired() const {
  MutexLock lock(mutex_);
  return std::accumulate(fired_.begin(), fired_.end(), std::uint64_t{0});
}

std::string FaultInjector::summary() const {
  MutexLock lock(mutex_);
  std::string text;
  for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
    if (fired_[kind] == 0) continue;
    if (!text.empty()) text.push_back(' ');
    append_text(text, concat(fault_name(static_cast<Fault>(kind)), "=", fired_[kind]));
  }
  return text.empty() ? "none" : text;
}

std::string_view fault_name(Fault fault) {
  switch (fault) {
    case Fault::read_error:
      return "read_error";
    case Fault::write_error:
      return "write_error";
    case Fault::sync_error:
      return "sync_error";
    case Fault::short_read:
      return "short_read";
    case Fault::short_write:
      return "short_write";
    case Fault::misdirected_write:
      return "misdirected_write";
    case Fault::lost_write:
      return "lost_write";
    case Fault::flipped_read:
      return "flipped_read";
    case Fault::hang:
      return "hang";
    case Fault::rename_error:
      return "rename_error";
    case Fault::no_space:
      return "no_space";
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn::test
