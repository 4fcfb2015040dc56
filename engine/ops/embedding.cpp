#include "reprise/ops/embedding.h"

#include <fmt/format.h>

#include "reprise/ops/broadcast.h"
#include "rows.h"

namespace reprise {
namespace ops {
namespace {

kernels::ConstView as_list(kernels::ConstView view) {
  view.sizes[0] = view.numel();
  view.strides[0] = 1;
  view.rank = 1;
  return view;
}

}  // namespace

Specs Embedding::infer(SpecSpan in) const {
  require_floating(name, in[0]);
  if (in[0].shape.rank() != 2)
    throw ShapeError(fmt::format("[embedding] weight must be (V, C), not {}", to_string(in[0].shape)));
  if (in[1].dtype != DType::int32 && in[1].dtype != DType::int64) {
    throw TypeError(fmt::format("[embedding] ids are {}; give int32 or int64", name_of(in[1].dtype)));
  }
  Spec out{in[0].dtype, in[0].device, false, in[1].shape};
  out.shape.push_back(in[0].shape[1]);
  return {out};
}

void Embedding::forward(const Exec& exec, Inputs in, Outputs out) const {
  const kernels::ConstView ids = as_list(exec.contiguous(in[1]));
  const auto bad = kernels::embedding_forward(exec.queue(), exec.contiguous(in[0]), ids, as_rows(out[0]));
  if (bad) {
    throw ValueError(fmt::format("[embedding] id {} is outside [0, {})", *bad, in.spec(0).shape[0]));
  }
}

void Embedding::backward(const Exec& exec, const Saved& saved, OutGrads grads, GradSlots slots) const {
  const kernels::ConstView ids = as_list(exec.contiguous(saved.input(1)));
  const std::size_t bytes =
      kernels::embedding_backward_workspace_bytes(exec.queue().device, ids, slots[0].view);
  kernels::embedding_backward(exec.queue(), ids, as_rows(exec.contiguous(grads[0])), slots[0],
                              exec.scratch(bytes));
}

}  // namespace ops

Tensor embedding(const Tensor& weight, const Tensor& ids) { return apply(ops::Embedding{}, weight, ids); }

}  // namespace reprise
