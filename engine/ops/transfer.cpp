#include "reprise/ops/transfer.h"

#include "devices/transfer.h"
#include "reprise/kernels/elementwise.h"

namespace reprise {
namespace ops {

Specs Transfer::infer(SpecSpan in) const {
  Spec out = in[0];
  out.device = to;
  return {out};
}

void Transfer::forward(const Exec&, Inputs in, Outputs out) const {
  detail::copy_across(in.spec(0).device, in[0], to, out[0]);
}

void Transfer::backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
  const Device from = saved.input_spec(0).device;
  const kernels::Target target = dx[0];
  if (target.write == kernels::Write::overwrite) {
    detail::copy_across(to, dy[0], from, target.view);
    return;
  }
  const Exec there(from, {});
  const kernels::View arrived = there.laid_out_scratch(target.view);
  detail::copy_across(to, dy[0], from, arrived);
  kernels::copy(there.queue(), arrived, target);
}

}  // namespace ops

Tensor Tensor::to(Device device) const {
  return device == this->device() ? *this : apply(ops::Transfer{device}, *this);
}

}  // namespace reprise
