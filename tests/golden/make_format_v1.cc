// SPDX-License-Identifier: Apache-2.0
// Made tests/golden/format_v1.pack, once. Never run it over that file again: the fixture says
// what version 1 was, not what this build writes.
//   make_format_v1 OUTPUT
#include <cstdio>
#include <fstream>

#include "tests/golden/format_store.h"
#include "tests/support/temp_dir.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_format_v1 OUTPUT\n");
    return 2;
  }
  const cairn::test::TempDir dir("format");
  const std::string store = dir.file("store");
  {
    auto opened =
        cairn::test::OpenedStoreDirectory::open(store, cairn::tiers::StoreMode::create_or_open);
    if (!opened.ok()) {
      std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
      return 1;
    }
    cairn::test::write_store(**opened);
  }
  std::ofstream(argv[1], std::ios::binary) << cairn::test::pack_directory(store);
  return 0;
}
