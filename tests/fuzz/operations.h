// The table of what programs can compute: one line an operation, which is run as it is printed.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "program.h"
#include "reprise/reprise.h"

namespace reprise::fuzz {

/// Which operands an operation takes, and what comes out; see pick_operands.cpp.
enum class Pattern : std::uint8_t {
  any,        // x of any type; the same sizes and type
  unary,      // x floating
  number,     // x floating or int64
  user,       // x float32 or float64
  user_pair,  // the same, two results
  axis,       // x floating of rank 1 and more; i: an axis
  image,      // x floating of rank 4
  binary,     // x, y that broadcast
  compare,    // the same; boolean
  where,      // x boolean, y, z that broadcast
  cast,       // x; dtype
  reduce,     // x
  reduce_1,   // x; i: axis, j: keep
  reduce_2,   // x; i, j: axes, k: keep
  argmax,     // x; i: axis
  matmul,
  matmul_batched,
  matmul_vector,
  linear,         // x (..., i), y (o, i)
  linear_bias,    // and z (o)
  linear_in_out,  // y (i, o)
  conv,           // x (n, c, h, w), y (o, c, kh, kw)
  conv_bias,
  pool,
  global_pool,
  layer_norm,  // x, y (c), z (c)
  rms_norm,
  batch_norm,  // three results
  batch_norm_fixed,
  cross_entropy,  // x (..., v), y integers
  cross_entropy_each,
  linear_cross_entropy,  // x (..., c), y (v, c), z integers
  mse,
  mse_each,
  reshape,    // x; shape
  flatten,    // x of rank 2 and more; i, j
  permute_3,  // x of rank 3; i, j, k
  transpose,  // x; i, j
  slice,      // x; i: axis, j: start, k: stop, l: step
  select,     // x; i: axis, j: index
  expand,     // x; shape
  split,      // x; i: size, j: axis
  concatenate,
  concatenate_3,
  pad,               // x; i: axis, j, k
  embedding,         // x (v, c), y integers
  attention,         // x, y, z (b, h, t, d)
  packed_attention,  // x (b, t, 3 c); i: heads
};

/// What comes out of an operation: up to four tensors.
struct Results {
  std::array<Tensor, 4> tensors;
  std::size_t n = 0;
};

using Operands = std::array<Tensor, 6>;
using Parameters = std::array<std::int16_t, 8>;

struct Operation {
  Pattern pattern;
  int weight;
  std::string_view text;  // mv(x) is the operand, moved where the program moves it
  Results (*call)(Operands& in, const Parameters& p);
};

std::span<const Operation> operations();

// How parameters are kept in an instruction: i, j, k, l; alpha in eighths; the type; the rank of the sizes i,
// j, k, l.
inline double alpha_of(const Parameters& p) { return p[4] / 8.0; }
inline DType dtype_of(const Parameters& p) { return static_cast<DType>(p[5]); }
Shape shape_of(const Parameters& p);
/// The sizes of what `layout` makes a view of these sizes from.
Shape base_of(Layout layout, const Shape& shape);

}  // namespace reprise::fuzz
