#include "reprise/ops/dropout.h"

#include <fmt/format.h>

#include "reprise/ops/broadcast.h"

namespace reprise {
namespace ops {

Specs Dropout::infer(SpecSpan in) const {
  require_floating(name, in[0]);
  return {in[0]};
}

void Dropout::forward(const Exec& exec, Inputs in, Outputs out) const {
  const kernels::View y = out[0];
  kernels::dropout(exec.queue(), exec.key(), p, exec.laid_out_as(in[0], y), {y, kernels::Write::overwrite});
}

void Dropout::backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
  const kernels::Target target = dx[0];
  kernels::dropout(exec.queue(), exec.key(), p, exec.laid_out_as(dy[0], target.view), target);
}

}  // namespace ops

Tensor dropout(Tensor x, double p, bool training) {
  if (!(p >= 0 && p <= 1)) throw ValueError(fmt::format("[dropout] probability {}; give one in [0, 1]", p));
  if (!training || p == 0) return x;
  return apply(ops::Dropout{.p = p}, std::move(x));
}

}  // namespace reprise
