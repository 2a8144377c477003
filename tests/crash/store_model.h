// SPDX-License-Identifier: Apache-2.0
// store_model.h — random work on a whole store on the simulated disk, and what may be there
// after it dies.
//
// For every name the versions that a read may give, and what the last acknowledgement promised
// for each kind of death. Two namespaces: a mutable one with erasures and expiry, a
// content-addressed one with parents, pins and clear(). A promise is over for one reason alone:
// the store said that it would evict this block in this version or a later one.
//
// Threading: confined. Blocking: cpu.
#pragma once

#include <map>
#include <set>
#include <string>

#include "tests/support/evictions_told.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

namespace cairn::test {

/// After a `power_cut_and_repair` the index is lost as well, and made again from the segments.
enum class Death : std::uint8_t { power_cut, kill, power_cut_and_repair };

class StoreModel {
 public:
  /// The options of a store whose evictions this model is told of.
  SimStoreOptions told(SimStoreOptions options);

  /// After each opening, before any step.
  absl::Status open_namespaces(SimStore& store);
  void step(SimStore& store, Rng& rng);
  /// The store died; before it is opened again.
  void died() {
    evictions_.begin_life();
    ++lives_;
  }
  /// Reads every name; what is there decides what the model holds from now on.
  void check_all(SimStore& store, Death death);

  const absl::Status& last_refusal() const { return last_refusal_; }
  struct Counts {
    std::uint64_t found = 0, missing_evicted = 0, expired = 0, clears = 0, pins = 0;
    std::uint64_t kept_by_repair = 0;  // promised, and there after the index was made again
  };
  const Counts& counts() const { return counts_; }
  const EvictionsTold& evictions() const { return evictions_; }

 private:
  struct Name {
    bool is_mutable = true;
    std::string key, parent;
    std::set<std::uint64_t> possible;  // versions that may be read; 0 stands for absent
    /// Evicted, so that their records may still be there, and an index that has to learn from the
    /// segments may name them again; until something newer is durable.
    std::set<std::uint64_t> may_return;
    /// Put since the last operation that surely buried all before it. A record of theirs may lie in
    /// a segment, named or not, also of a put that failed: what a repair finds newest it names.
    std::set<std::uint64_t> unburied;
    /// A removal may have left a tombstone and was undone by a death: a repair takes that for the
    /// last word about every version that is not surely newer.
    bool removal_may_return = false;
    std::map<std::uint64_t, WallMicros> expiry;  // of versions that have one
    std::size_t bytes = 0;
    /// Of the newest version that was promised: what the store and what we call it.
    std::uint64_t sequence = 0, promised = 0;
    bool survives_cut = false, survives_kill = false;
    bool pinned = false;
    std::string history;  // what was done with it and what came of it, for whoever asks why
  };

  NamespaceId id_of(const Name& name) const { return name.is_mutable ? mutable_ : addressed_; }
  void put(SimStore& store, Name& name, Rng& rng);
  void note_put(Name& name, std::uint64_t version, Durability durability, const PutResult& result);
  void erase(SimStore& store, Name& name);
  void clear(SimStore& store);
  void pin(SimStore& store, Name& name, bool pinned);
  /// Which version was read, 0 for a miss; fails the test where nobody may see it.
  absl::StatusOr<std::uint64_t> read(SimStore& store, Name& name);
  std::string story(const Name& name, const std::string& bytes) const;
  /// The promise, the history, and every record of it that the segments hold.
  std::string story(SimStore& store, const Name& name) const;
  void note_evicted(Name& name);
  void note_superseded(Name& name);
  bool may_have_expired(const Name& name, WallMicros now) const;
  void check(SimStore& store, Name& name, Death death);

  NamespaceId mutable_{}, addressed_{};
  std::map<std::string, Name> names_;
  EvictionsTold evictions_;
  absl::Status last_refusal_;
  std::uint64_t next_version_ = 1;
  std::uint64_t lives_ = 0;
  Counts counts_;
};

}  // namespace cairn::test
