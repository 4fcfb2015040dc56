#include "devices/transfer.h"

#include <fmt/format.h>

#include "devices/cuda_state.h"
#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/operation.h"

namespace reprise::detail {
namespace {

std::size_t bytes_of(const kernels::ConstView& view) {
  return static_cast<std::size_t>(view.numel()) * size_of(view.dtype);
}

bool is_dense(const kernels::Layout& layout) { return layout.is_contiguous() || layout.is_channels_last(); }

/// Dense memory to dense memory of the same order.
void copy_dense(Device from, const kernels::ConstView& x, Device to, const kernels::View& y) {
  if (from.kind == DeviceKind::cpu) {
    cuda_state(to.index).upload(y.data, x.data, bytes_of(x));
  } else if (to.kind == DeviceKind::cpu) {
    cuda_state(from.index).download(y.data, x.data, bytes_of(x));
  } else {  // through the host: two devices need not see each other
    const Exec host(Device::cpu(), {});
    const kernels::View between = host.laid_out_scratch(x);
    copy_dense(from, x, Device::cpu(), between);
    copy_dense(Device::cpu(), between, to, y);
  }
}

}  // namespace

void require_values(Device device, std::string_view operation) {
  if (!device.is_dry) return;
  throw TapeError(fmt::format(
      "[{}] tensors on {} have sizes, but no values: nothing was computed; read them on a real device",
      operation, to_string(device)));
}

void copy_across(Device from, const kernels::ConstView& x, Device to, const kernels::View& y) {
  if (to.is_dry || x.numel() == 0) return;
  if (from.is_dry) require_values(from, "copy");
  if (from == to) {
    kernels::copy(queue_of(from), x, {y, kernels::Write::overwrite});
    return;
  }
  const Exec source(from, {});
  const Exec target(to, {});
  const kernels::ConstView dense = is_dense(y) ? source.laid_out_as(x, y) : source.contiguous(x);
  if (dense.same_layout(y)) {
    copy_dense(from, dense, to, y);
    return;
  }
  const kernels::View arrived = target.laid_out_scratch(dense);
  copy_dense(from, dense, to, arrived);
  kernels::copy(target.queue(), arrived, {y, kernels::Write::overwrite});
}

}  // namespace reprise::detail
