#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "reprise/error.h"
#include "reprise/nn/optim.h"

namespace reprise::nn {

namespace {

void check(const Schedule& s, std::int64_t i) {
  const auto refuse = [](std::string_view what, auto value, std::string_view give) {
    throw ValueError(fmt::format("[schedule] {} {}; give {}", what, value, give));
  };
  if (i < 0) refuse("step", i, "0 for the first");
  if (s.warmup < 0) refuse("warmup", s.warmup, "0 steps or more");
  if (s.kind == Schedule::Kind::cosine && s.total < 0) refuse("total", s.total, "0 steps or more");
  if (s.kind == Schedule::Kind::step && s.step_every < 1)
    refuse("step_every", s.step_every, "1 step or more");
  for (const auto& [name, value] :
       {std::pair("lr", s.lr), std::pair("min_lr", s.min_lr), std::pair("step_factor", s.step_factor)}) {
    if (!std::isfinite(value)) refuse(name, value, "a finite number");
  }
}

}  // namespace

double Schedule::at(std::int64_t i) const {
  check(*this, i);
  if (i < warmup) return lr * static_cast<double>(i + 1) / static_cast<double>(warmup);
  switch (kind) {
    case Kind::constant:
      return lr;
    case Kind::step: {
      const std::int64_t completed = i / step_every;
      return lr * std::pow(step_factor, static_cast<double>(completed));
    }
    case Kind::cosine: {
      const double span = static_cast<double>(std::max<std::int64_t>(total - warmup, 1));
      const double progress = std::min(1.0, static_cast<double>(i - warmup) / span);
      return min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  return lr;
}

}  // namespace reprise::nn
