// SPDX-License-Identifier: Apache-2.0
// Ten lines that embed the engine: open a store, put a block, get it back. The second run
// finds what the first one left.
#include <iostream>

#include "tiers/open.h"

int main(int argc, char** argv) {
  auto store = cairn::open_store({.directory = argc > 1 ? argv[1] : "cairn-data"});
  if (!store.ok()) return std::cerr << store.status() << '\n', 1;
  cairn::Engine& engine = (*store)->engine();
  const auto space = engine.open_namespace({.name = "example"});
  const cairn::PutBlock block{.key = "prefix", .payload = cairn::as_bytes("sixteen tokens")};
  const cairn::KeyRef key{"prefix"};
  // A store serves while it learns again what it holds; until then a match is a lower bound.
  if (!engine.wait_recovered(cairn::TimePoint::never()).ok()) return 1;
  std::cout << "found " << engine.match_length(*space, {&key, 1}) << " before\n";
  if (!engine.put_sync(*space, {&block, 1})[0].status.ok()) return 1;
  const auto lease = engine.acquire_sync(*space, {&key, 1});
  if (!lease.ok() || lease->blocks().empty()) return 1;
  std::cout << cairn::as_text(lease->blocks()[0].bytes) << '\n';
}
