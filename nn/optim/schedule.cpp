#include <algorithm>
#include <cmath>
#include <numbers>

#include "reprise/nn/optim.h"

namespace reprise::nn {

double Schedule::at(std::int64_t i) const {
  if (i < warmup) return lr * static_cast<double>(i + 1) / static_cast<double>(warmup);
  const std::int64_t completed = i / std::max<std::int64_t>(step_every, 1);  // intervals of Kind::step
  switch (kind) {
    case Kind::constant:
      return lr;
    case Kind::step:
      return lr * std::pow(step_factor, static_cast<double>(completed));
    case Kind::cosine: {
      const double span = static_cast<double>(std::max<std::int64_t>(total - warmup, 1));
      const double progress = std::min(1.0, static_cast<double>(i - warmup) / span);
      return min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  return lr;
}

}  // namespace reprise::nn
