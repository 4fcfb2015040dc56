// Matrix products: operands are brought into a form that the libraries take, and one of the libraries
// multiplies them.
#include "reprise/kernels/matmul.h"

#include <algorithm>
#include <utility>

#include "cpu_library.h"
#include "product_operands.h"
#include "reprise/kernels/elementwise.h"
#include "workspace.h"

namespace reprise::kernels::cpu {

namespace {

/// What is to be multiplied; the addresses are null where only the workspace is measured.
struct Request {
  ConstView a, b;
  View c;
  bool has_bias = false;
  ConstView bias{};
  double alpha = 1;
  bool accumulate = false;
};

/// An operand as the library reads it: the caller's memory, or a copy to be made in the workspace.
struct Input {
  ConstView view;
  View copy;
  bool is_copy = false;
};

struct Prepared {
  Product product;
  bool onednn = false;
  Input a, b, bias;
  View c;
  bool c_in_workspace = false;
  void* scratch = nullptr;
  std::size_t bytes = 0;
};

Input prepare_matrix(const ConstView& given, DType work, Carver& carver) {
  if (given.dtype == work && (has_dense_rows(given) || has_dense_columns(given))) return {given, {}, false};
  const View copy = packed(given, work, carver);
  return {copy, copy, true};
}

/// Where only bytes are counted, the bias is not known: a copy is assumed.
Input prepare_bias(const ConstView& given, std::int64_t n, DType work, Carver& carver) {
  View copy;
  copy.rank = 1;
  copy.sizes[0] = n;
  copy.strides[0] = 1;
  copy.dtype = work;
  copy.data = carver.take(static_cast<std::size_t>(n) * size_of(work));
  if (given && given.dtype == work && (given.strides[0] == 1 || n == 1)) return {given, {}, false};
  return {copy, copy, true};
}

/// Where Eigen is faster: products with a vector, and those that take no longer than oneDNN's call itself.
[[maybe_unused]] bool suits_eigen(const Product& p) {
  constexpr double kTiny = 8192;
  return p.dtype == DType::float32 && (p.m == 1 || p.n == 1 || p.multiplications() <= kTiny);
}

/// Prepares the product with elements of type `work`; false when oneDNN is asked for and is not the way to do
/// it.
bool prepare_with(const Request& request, DType work, bool onednn, const Workspace& workspace, Prepared& p) {
  Carver carver(workspace);
  p.onednn = onednn;
  p.a = prepare_matrix(request.a, work, carver);
  p.b = prepare_matrix(request.b, work, carver);
  // A product of 16-bit numbers can be float32; never the other way round.
  const DType result = request.c.dtype == DType::float32 ? DType::float32 : work;
  p.c_in_workspace = request.c.dtype != result || !has_dense_rows(request.c);
  p.c = p.c_in_workspace ? packed(request.c, result, carver) : request.c;
  if (request.has_bias) p.bias = prepare_bias(request.bias, request.c.sizes[1], work, carver);
  p.product = describe(p.a.view, p.b.view, p.c);
  p.product.alpha = request.alpha;
  p.product.bias = request.has_bias;
  p.product.accumulate = request.accumulate && request.c.dtype == result;
#if defined(REPRISE_ONEDNN)
  if (onednn) {
    if (suits_eigen(p.product) && library_choice() == CpuLibrary::automatic) return false;
    const auto scratch_bytes = onednn::scratch_bytes(p.product);
    if (!scratch_bytes) return false;
    p.scratch = carver.take(*scratch_bytes);
  }
#endif
  p.bytes = carver.bytes();
  return true;
}

/// Turns c = a b into c^T = b^T a^T.
void transpose(Request& request) {
  std::swap(request.a, request.b);
  request.a = transposed(request.a);
  request.b = transposed(request.b);
  request.c = transposed(request.c);
}

Prepared prepare(Request& request, const Workspace& workspace) {
  if (!request.has_bias && has_dense_columns(request.c) && !has_dense_rows(request.c)) transpose(request);
  Prepared prepared;
  choose_way(request.a.dtype, [&](DType work, bool onednn) {
    return prepare_with(request, work, onednn, workspace, prepared);
  });
  return prepared;
}

void run(const Queue& queue, Request request, const Workspace& workspace) {
  const Prepared p = prepare(request, workspace);
  const auto copy_matrix = [&](const Input& input, ConstView given) {
    if (!input.is_copy) return;
    View copied = input.copy;
    static_cast<Layout&>(given) = without_broadcast(given);
    static_cast<Layout&>(copied) = without_broadcast(copied);
    copy(queue, given, {copied});
  };
  copy_matrix(p.a, request.a);
  copy_matrix(p.b, request.b);
  if (p.bias.is_copy) copy(queue, request.bias, {p.bias.copy});
  if (p.c_in_workspace && p.product.accumulate) copy(queue, request.c, {p.c});

  const ProductData data{p.a.view.data, p.b.view.data, p.bias.view.data, p.c.data};
#if defined(REPRISE_ONEDNN)
  if (p.onednn) onednn::multiply(p.product, data, p.scratch);
#endif
  if (!p.onednn) eigen::multiply(p.product, data);
  if (p.c_in_workspace) {
    // A product in a wider type is added here, so that each element is rounded once.
    const bool add = request.accumulate && !p.product.accumulate;
    copy(queue, p.c, {request.c, add ? Write::accumulate : Write::overwrite});
  }
}

/// The bytes that `run` needs for this request.
std::size_t measure(Request request) {
  request.a.data = request.b.data = nullptr;
  request.c.data = nullptr;
  return prepare(request, {}).bytes;
}

}  // namespace

std::size_t matmul_workspace_bytes(DeviceKind, const ConstView& a, const ConstView& b, const View& c) {
  if (has_no_terms(a, c)) return 0;
  // Neither alpha nor the way of writing is known yet.
  std::size_t bytes = 0;
  for (const bool accumulate : {false, true}) {
    for (const double alpha : {1.0, 0.5}) {
      bytes = std::max(bytes, measure({.a = a, .b = b, .c = c, .alpha = alpha, .accumulate = accumulate}));
    }
  }
  return bytes;
}

void matmul(const Queue& queue, double alpha, const ConstView& a, const ConstView& b, const Target& c,
            const Workspace& workspace) {
  const bool accumulate = c.write == Write::accumulate;
  if (has_no_terms(a, c.view)) {
    if (!accumulate) fill(queue, 0, c.view);
    return;
  }
  run(queue, {.a = a, .b = b, .c = c.view, .alpha = alpha, .accumulate = accumulate}, workspace);
}

std::size_t linear_workspace_bytes(DeviceKind, const ConstView& x, const ConstView& w, const View& y) {
  if (has_no_terms(x, y)) return 0;
  return std::max(measure({.a = x, .b = w, .c = y}), measure({.a = x, .b = w, .c = y, .has_bias = true}));
}

void linear_forward(const Queue& queue, Activation activation, const ConstView& x, const ConstView& w,
                    const ConstView& bias, const View& pre, const View& y, const Workspace& workspace) {
  const View& result = pre ? pre : y;
  if (!has_no_terms(x, result)) {
    run(queue, {.a = x, .b = w, .c = result, .has_bias = static_cast<bool>(bias), .bias = bias}, workspace);
  } else if (bias) {
    copy(queue, repeated(bias, result), {result});
  } else {
    fill(queue, 0, result);
  }
  if (activation != Activation::none && y) unary_forward(queue, function_of(activation), 0, result, y);
}

}  // namespace reprise::kernels::cpu
