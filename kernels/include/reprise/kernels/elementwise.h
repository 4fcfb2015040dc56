// Elementwise family: y_i = f(x_i), y_i = f(a_i, b_i), and their gradients; copies, casts and fills.
//
// Each function is a functor with `value` and `derivative`, listed once in elementwise_functors.h and
// compiled for every backend from that list. Inputs may have any strides (0 on broadcast axes); sizes agree
// with y's.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

/// Functions of one tensor; `alpha` in the comments is the scalar attribute.
enum class Unary : std::uint8_t {
  neg,
  abs,
  exp,
  log,
  sqrt,
  rsqrt,
  square,
  reciprocal,
  tanh,
  sigmoid,
  relu,
  gelu_tanh,
  gelu_erf,
  silu,
  sin,
  cos,
  add_scalar,  // x + alpha
  mul_scalar,  // x * alpha
  pow_scalar,  // x ^ alpha
};

/// Functions of two tensors of one dtype.
enum class Binary : std::uint8_t { add, sub, mul, div, pow, maximum, minimum };

/// Comparisons of two tensors of one dtype; the result is boolean.
enum class Compare : std::uint8_t { equal, not_equal, less, less_equal, greater, greater_equal };

/// What a derivative reads beside the output's gradient.
enum class Reads : std::uint8_t { nothing, input, output };

/// What `unary_backward` reads for this function.
Reads derivative_reads(Unary function);

/// y = f(x); floating dtypes, and for neg, abs, square, relu, add_scalar, mul_scalar also integers.
REPRISE_KERNEL(void, unary_forward, const Queue&, Unary function, double alpha, const ConstView& x,
               const View& y);

/// dx (=, +=) dy * f'(x); of x and y only what `derivative_reads` names must be given.
REPRISE_KERNEL(void, unary_backward, const Queue&, Unary function, double alpha, const ConstView& x,
               const ConstView& y, const ConstView& dy, const Target& dx);

/// y (=, +=) x * factor, rounded once; floating x and y of one dtype; factor is a scalar where x is, float64
/// with float64 and float32 with all others.
REPRISE_KERNEL(void, scale, const Queue&, const ConstView& x, const ConstView& factor, const Target& y);

/// y = f(a, b); all dtypes but boolean (integers: add, sub, mul, maximum, minimum; div truncates).
REPRISE_KERNEL(void, binary_forward, const Queue&, Binary function, const ConstView& a, const ConstView& b,
               const View& y);

/// da (=, +=) dy * df/da and db likewise, without reduction: da and db have dy's sizes. Ties of maximum and
/// minimum share the gradient equally. a and b may be null for add and sub.
REPRISE_KERNEL(void, binary_backward, const Queue&, Binary function, const ConstView& a, const ConstView& b,
               const ConstView& dy, const Target& da, const Target& db);

/// y = a (op) b, boolean.
REPRISE_KERNEL(void, compare, const Queue&, Compare function, const ConstView& a, const ConstView& b,
               const View& y);

/// y = condition ? a : b; condition is boolean; a and b may be null, which stands for zeros.
REPRISE_KERNEL(void, where, const Queue&, const ConstView& condition, const ConstView& a, const ConstView& b,
               const Target& y);

/// y (=, +=) x with conversion between any two dtypes and layouts of equal sizes (float to integer truncates,
/// number to boolean is x != 0).
REPRISE_KERNEL(void, copy, const Queue&, const ConstView& x, const Target& y);

/// y = value everywhere.
REPRISE_KERNEL(void, fill, const Queue&, double value, const View& y);

}  // namespace reprise::kernels
