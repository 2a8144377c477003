// SPDX-License-Identifier: Apache-2.0
#include "engine/write_back.h"

#include <algorithm>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

// Some groups of a put at once: enough for the device, and gates are not held for long.
constexpr std::size_t kBatchBlocks = 256;
constexpr std::uint64_t kBatchBytes = 16 * kMiB;
// Of what puts may have under way, so that they are not refused for our sake; and of cold, because
// what a batch has written cannot be evicted for the rest of it.
constexpr std::uint64_t kShare = 4;

}  // namespace

void WriteBack::set_policy(NamespaceState& ns, WritePolicy policy) {
  const WritePolicy before = ns.write_policy.exchange(policy);
  if (policy != WritePolicy::through || before == policy || !may_write()) return;
  ns.owes_writes.store(true);
  in_background(Whose::switched, switched_posted_);
}

void WriteBack::kept(NamespaceState& ns, std::span<const BlockId> again, bool by_policy) {
  if (!may_write()) return;
  if (!again.empty()) seen(ns, again);
  if (by_policy && ns.write_policy.load() == WritePolicy::through) {
    ns.owes_writes.store(true);
    in_background(Whose::switched, switched_posted_);
  }
}

// --- write-out -------------------------------------------------------------------------------

void WriteBack::in_background(Whose whose, std::atomic<bool>& posted) {
  if (posted.exchange(true)) return;
  core_.loop.post([this, whose] {
    if (!core_.operations.enter()) return;  // close() writes it
    auto pass = std::make_shared<Pass>();
    pass->whose = whose;
    pass->done = [this](const absl::Status&) { core_.operations.leave(); };
    enter(std::move(pass));
  });
}

void WriteBack::write_out(Done done) {
  if (!may_write()) {
    done(absl::OkStatus());
    return;
  }
  auto pass = std::make_shared<Pass>();
  pass->done = std::move(done);
  core_.loop.post([this, pass] { enter(pass); });
}

void WriteBack::enter(std::shared_ptr<Pass> pass) {
  passes_.push_back(std::move(pass));
  if (passes_.size() > 1) return;
  begin(*passes_.front());
  step(passes_.front());
}

void WriteBack::begin(Pass& pass) {
  // First the marks: who comes from here on asks for another pass.
  if (pass.whose == Whose::switched) switched_posted_.store(false);
  if (pass.whose == Whose::queued) queue_posted_.store(false);
  if (pass.whose != Whose::switched) {
    MutexLock lock(mutex_);
    pass.queued = pass.whose == Whose::all ? queue_.size() : std::min(queue_.size(), kBatchBlocks);
  }
  if (pass.whose == Whose::queued) return;
  for (NamespaceState* const ns : core_.namespaces.all()) {
    const bool writes_back =
        pass.whose == Whose::all && ns->write_policy.load() == WritePolicy::back;
    if (writes_back || ns->owes_writes.load()) pass.namespaces.push_back(ns);
  }
}

/// The rest of a pass comes as another task: others are let in between, and the stack stays flat.
void WriteBack::step(const std::shared_ptr<Pass>& pass) {
  std::vector<OwnedName> names;
  while (names.empty()) {
    if (pass->section.next == pass->section.ids.size() && !next_section(*pass)) {
      finish(*pass);
      return;
    }
    names = next_batch(pass->section);
  }
  writes_.write_back(*pass->section.ns, names,
                     [this, pass, names](const std::vector<PutResult>& results) {
                       take_results(*pass, names, results);
                       core_.loop.post([this, pass] { step(pass); });
                     });
}

bool WriteBack::next_section(Pass& pass) {
  end_section(pass);
  pass.section = Section{};
  if (take_queued(pass)) return true;
  if (pass.namespaces.empty()) return false;
  NamespaceState* const ns = pass.namespaces.back();
  pass.namespaces.pop_back();
  // Before the look: who comes to owe from here on says so anew.
  ns->owes_writes.store(false);
  pass.section = {.ns = ns, .ids = dirty_in_chain_order(ns->id)};
  return true;
}

void WriteBack::end_section(Pass& pass) {
  Section& section = pass.section;
  if (section.ns == nullptr) return;
  // Tried again by the next flush, and by close.
  const bool owes = section.left > 0 && section.reason == Reason::write_out;
  if (owes && section.ns->write_policy.load() == WritePolicy::through) {
    section.ns->owes_writes.store(true);
  }
  pass.left += section.left;
}

void WriteBack::finish(const Pass& pass) {
  if (pass.left > 0) {
    log_line(LogLevel::warning,
             concat(pass.left, " blocks that memory alone has could not be written to cold: ",
                    message_of(pass.first_error)));
  }
  const std::shared_ptr<Pass> finished = std::move(passes_.front());
  passes_.pop_front();
  bool more = false;
  {
    MutexLock lock(mutex_);
    more = !queue_.empty();
  }
  if (more) in_background(Whose::queued, queue_posted_);
  if (!passes_.empty()) {
    core_.loop.post([this, next = passes_.front()] {
      begin(*next);
      step(next);
    });
  }
  finished->done(finished->first_error);
}

/// Those that are still dirty. Empty: all of the section have been looked at.
std::vector<OwnedName> WriteBack::next_batch(Section& section) const {
  const std::uint64_t limit = section.ns->cold_limit.load();
  const std::uint64_t cold = limit > 0 ? limit : core_.cold->usage().capacity_bytes;
  const std::uint64_t bytes_max =
      std::min({kBatchBytes, core_.options.put_bytes_in_flight_max / kShare, cold / kShare});
  std::vector<OwnedName> names;
  std::uint64_t bytes = 0;
  for (; section.next < section.ids.size() && names.size() < kBatchBlocks; ++section.next) {
    const BlockId id = section.ids[section.next];
    const std::optional<Residency> listed = core_.catalog.find(id);
    if (!listed || !listed->is_dirty()) continue;
    if (!names.empty() && bytes + listed->facts.plain_bytes > bytes_max) break;
    std::optional<OwnedName> name = core_.catalog.name_of(id);
    if (!name) continue;
    bytes += listed->facts.plain_bytes;
    names.push_back(*std::move(name));
  }
  return names;
}

void WriteBack::take_results(Pass& pass, const std::vector<OwnedName>& names,
                             const std::vector<PutResult>& results) {
  const bool again = pass.section.reason == Reason::second_sight;
  Counters& counters = core_.meters.counters;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const PutResult& result = results[i];
    if (!result.status.ok()) {
      ++pass.section.left;
      if (pass.first_error.ok()) pass.first_error = result.status;
      const bool no_room = has_code(result.status, ErrorCode::no_space);
      counters.add(no_room ? Counter::write_no_room : Counter::write_failed);
    } else if (result.outcome == PutOutcome::stored) {
      const BlockId id = block_id(names[i].view(), core_.secret);
      const std::optional<Residency> listed = core_.catalog.find(id);
      counters.add(again ? Counter::second_sight_blocks : Counter::written_back_blocks);
      counters.add(again ? Counter::second_sight_bytes : Counter::written_back_bytes,
                   listed ? listed->facts.plain_bytes : 0);
    }
  }
}

/// Parents before their children, a chain's blocks one after the other.
std::vector<BlockId> WriteBack::dirty_in_chain_order(NamespaceId ns) const {
  std::vector<std::pair<BlockId, BlockId>> found;  // parent, block
  absl::flat_hash_set<BlockId> known;
  core_.catalog.for_each(ns, [&](BlockId id, const Residency& residency) {
    if (!residency.is_dirty()) return;
    found.emplace_back(residency.facts.parent, id);
    known.insert(id);
  });
  // Children of one parent lie side by side then; those whose parent is not dirty begin a chain.
  std::sort(found.begin(), found.end());
  std::vector<BlockId> ordered, open;
  ordered.reserve(found.size());
  for (const auto& [parent, id] : found) {
    if (known.contains(parent)) continue;
    open.push_back(id);
    while (!open.empty()) {
      const BlockId block = open.back();
      open.pop_back();
      ordered.push_back(block);
      auto child = std::lower_bound(found.begin(), found.end(), std::pair(block, BlockId{}));
      for (; child != found.end() && child->first == block; ++child) open.push_back(child->second);
    }
  }
  return ordered;
}

absl::flat_hash_map<NamespaceId, DirtyUsage> WriteBack::dirty() const {
  absl::flat_hash_map<NamespaceId, DirtyUsage> sums;
  if (!may_write()) return sums;
  bool any = false;
  for (const NamespaceState* const ns : core_.namespaces.all()) {
    const NamespaceUsage usage = core_.catalog.usage(ns->id);
    any = any || usage.blocks > usage.cold_blocks;
  }
  if (!any) return sums;
  core_.catalog.for_each(std::nullopt, [&](BlockId, const Residency& residency) {
    if (!residency.is_dirty()) return;
    DirtyUsage& sum = sums[residency.namespace_id];
    ++sum.blocks;
    sum.bytes += residency.facts.plain_bytes;
  });
  return sums;
}

// --- second sight ----------------------------------------------------------------------------

void WriteBack::seen(NamespaceState& ns, std::span<const BlockId> ids) {
  // Relaxed: whoever is under way while the policy changes may see either.
  if (ns.write_policy.load(std::memory_order_relaxed) != WritePolicy::selective || !may_write()) {
    return;
  }
  std::vector<BlockId> dirty;
  for (const BlockId id : ids) {
    const std::optional<Residency> listed = core_.catalog.find(id);
    if (listed && listed->is_dirty()) dirty.push_back(id);
  }
  if (dirty.empty()) return;
  {
    MutexLock lock(mutex_);
    for (const BlockId id : dirty) {
      if (queued_.contains(id)) continue;
      if (queue_.size() >= core_.options.second_sight_queue_max) {
        core_.meters.counters.add(Counter::write_queue_full);
        continue;
      }
      queued_.insert(id);
      queue_.push_back({&ns, id});
    }
  }
  in_background(Whose::queued, queue_posted_);
}

/// Blocks of the namespace that waits longest.
bool WriteBack::take_queued(Pass& pass) {
  MutexLock lock(mutex_);
  Section& section = pass.section;
  while (pass.queued > 0 && !queue_.empty() && section.ids.size() < kBatchBlocks) {
    const Seen& first = queue_.front();
    if (section.ns != nullptr && section.ns != first.ns) break;
    section.ns = first.ns;
    section.ids.push_back(first.id);
    queued_.erase(first.id);
    queue_.pop_front();
    --pass.queued;
  }
  section.reason = Reason::second_sight;
  return section.ns != nullptr;
}

}  // namespace cairn::detail
