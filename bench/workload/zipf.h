// SPDX-License-Identifier: Apache-2.0
// zipf.h — ranks by popularity: rank r is drawn with weight 1 ÷ (r+1)^exponent.
//
// A table of 8 bytes a rank, searched by halving: exact for any exponent, meant for up to some
// millions of ranks.
//
// Threading: immutable. Blocking: never.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "bench/workload/random.h"
#include "engine/base/check.h"

namespace cairn::workload {

class Zipf {
 public:
  Zipf(std::size_t ranks, double exponent) {
    CAIRN_CHECK(ranks > 0);
    cumulative_.reserve(ranks);
    double sum = 0;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      sum += std::pow(static_cast<double>(rank + 1), -exponent);
      cumulative_.push_back(sum);
    }
  }

  std::size_t draw(Random& random) const {
    const double point = random.fraction() * cumulative_.back();
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), point);
    return std::min(static_cast<std::size_t>(found - cumulative_.begin()), cumulative_.size() - 1);
  }

 private:
  std::vector<double> cumulative_;
};

}  // namespace cairn::workload
