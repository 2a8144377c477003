// SPDX-License-Identifier: Apache-2.0
// Replays a fuzz target's corpus, and mutations of it, in a build without a fuzzer. Every
// finding of a fuzzer is kept in the corpus, so that it stays found.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/seed.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace cairn::test {
namespace {

/// On the heap and exactly as long, so that a sanitizer sees every step outside.
void run(const std::string& input) {
  const std::vector<std::uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

std::vector<std::string> corpus() {
  const char* root = std::getenv("CAIRN_SOURCE_DIR");
  const std::filesystem::path directory =
      std::filesystem::path(root != nullptr ? root : ".") / "tests/fuzz/corpus" / CAIRN_FUZZ_CORPUS;
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(directory)) files.push_back(file);
  std::sort(files.begin(), files.end());
  std::vector<std::string> inputs;
  for (const auto& file : files) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    inputs.push_back(text.str());
  }
  return inputs;
}

TEST(FuzzCorpus, IsReplayed) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  run("");
  for (const std::string& input : inputs) run(input);
}

TEST(FuzzCorpus, AndSoAreMutationsOfIt) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  for (const std::uint64_t seed : seeds({1}, 1)) {
    print_seed(seed);
    Rng rng(seed);
    for (std::size_t i = 0; i < scaled(20000); ++i) {
      std::string input = rng.pick(inputs);
      for (std::uint64_t n = 1 + rng.below(4); n > 0 && !input.empty(); --n) {
        input[rng.below(input.size())] = static_cast<char>(rng.next());
      }
      if (rng.chance(0.3)) input.resize(rng.below(input.size() + 40));
      run(input);
    }
  }
}

}  // namespace
}  // namespace cairn::test
