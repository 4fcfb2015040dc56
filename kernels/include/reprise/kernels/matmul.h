// Matrix products: through oneDNN on the CPU when present, Eigen otherwise; through cuBLASLt on CUDA.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// What is applied to the result of a linear layer.
enum class Activation : std::uint8_t { none, relu, gelu_tanh, gelu_erf, silu };

/// How a weight matrix lies: (out, in) as in most layers, (in, out) as in GPT-2's published weights.
enum class WeightLayout : std::uint8_t { out_in, in_out };

/// Scratch for `matmul` of these operands.
REPRISE_WORKSPACE_QUERY(matmul_workspace_bytes, DeviceKind, const ConstView& a, const ConstView& b,
                        const View& c);

/// c (=, +=) alpha * a b; a is (..., M, K), b is (..., K, N), c is (..., M, N), leading axes equal (stride 0
/// broadcasts; not in c). Transposition is expressed by strides. Floating dtypes, all three equal, or c in
/// float32 where a and b have 16 bits; 16-bit ones accumulate in float32. K = 0 gives zeros.
REPRISE_KERNEL(void, matmul, const Queue&, double alpha, const ConstView& a, const ConstView& b,
               const Target& c, const Workspace&);

/// Scratch for `linear_forward`.
REPRISE_WORKSPACE_QUERY(linear_workspace_bytes, DeviceKind, const ConstView& x, const ConstView& w,
                        const View& y);

/// pre = x w + bias, y = activation(pre). x is (M, K), w is (K, N) (a transposed weight comes as strides),
/// bias (N) or null, pre and y (M, N). With Activation::none `pre` is null. When `y` is null only `pre` is
/// written; when `pre` is null and an activation is asked for, y is made in place.
REPRISE_KERNEL(void, linear_forward, const Queue&, Activation, const ConstView& x, const ConstView& w,
               const ConstView& bias, const View& pre, const View& y, const Workspace&);

/// Scratch for `bias_backward`.
REPRISE_WORKSPACE_QUERY(bias_backward_workspace_bytes, DeviceKind, const ConstView& dy);

/// dbias (N) (=, +=) column sums of dy (M, N), in an order that does not depend on the number of threads.
REPRISE_KERNEL(void, bias_backward, const Queue&, const ConstView& dy, const Target& dbias, const Workspace&);

/// The gradient that a linear layer passes through the activation before it: dx = (dy w^T) activation'(pre),
/// where the layer's input was activation(pre), one whose derivative reads its input (see
/// `derivative_reads`). dy is (M, N), w (K, N) as in `linear_forward`, pre and dx (M, K). Scratch as for
/// `matmul` of dy and w^T. On CUDA the product applies the derivative of gelu_tanh, where cuBLASLt can;
/// elsewhere this is `matmul` and `unary_backward` in place.
REPRISE_KERNEL(void, linear_backward_input, const Queue&, Activation, const ConstView& dy, const ConstView& w,
               const ConstView& pre, const View& dx, const Workspace&);

/// A library behind the CPU's matrix products and convolutions.
enum class CpuLibrary : std::uint8_t { automatic, onednn, eigen };

/// Chooses the library for all products and convolutions of this process, for tests and benchmarks; not while
/// a kernel runs. `automatic`, the default, takes oneDNN where it was compiled in and suits the shapes. What
/// oneDNN cannot do (float64, or anything when it is absent) goes through Eigen all the same.
void use_cpu_library(CpuLibrary);

/// Name of the library behind the CPU's matrix products, such as "oneDNN 2.6.3" or "Eigen 3.4.0".
std::string_view matmul_library();

}  // namespace reprise::kernels
