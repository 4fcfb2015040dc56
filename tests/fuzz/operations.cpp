#include "operations.h"

#include "user_operations.h"

namespace reprise::fuzz {
namespace {

Results parts(Tensor tensor) {
  Results r;
  r.tensors[0] = std::move(tensor);
  r.n = 1;
  return r;
}

Results parts(std::vector<Tensor> tensors) {
  Results r;
  for (Tensor& tensor : tensors) {
    if (r.n < r.tensors.size()) r.tensors[r.n++] = std::move(tensor);
  }
  return r;
}

Results parts(BatchNormResult result) {
  return parts(std::vector<Tensor>{std::move(result.y), std::move(result.mean), std::move(result.variance)});
}

Tensor&& mv(Tensor& tensor) { return std::move(tensor); }

}  // namespace

Shape shape_of(const Parameters& p) {
  std::array<std::int64_t, 4> sizes{p[0], p[1], p[2], p[3]};
  return Shape(std::span<const std::int64_t>(sizes.data(), static_cast<std::size_t>(p[6])));
}

Shape base_of(Layout layout, const Shape& shape) {
  Shape base = shape;
  const int last = shape.rank() - 1;
  if (layout == Layout::transposed && last > 0) {
    base.set(last, shape[last - 1]);
    base.set(last - 1, shape[last]);
  }
  if (layout == Layout::strided && last >= 0) base.set(last, 2 * shape[last]);
  if (layout == Layout::expanded && last >= 0) base.set(0, 1);
  return base;
}

#define OP(pattern, weight, ...)                                                                     \
  {                                                                                                  \
    Pattern::pattern, weight, #__VA_ARGS__, [](Operands& in, [[maybe_unused]] const Parameters& p) { \
      [[maybe_unused]] auto& [x, y, z, u, v, w] = in;                                                \
      [[maybe_unused]] const int i = p[0], j = p[1], k = p[2], l = p[3];                             \
      [[maybe_unused]] const double alpha = alpha_of(p);                                             \
      return parts(__VA_ARGS__);                                                                     \
    }                                                                                                \
  }

std::span<const Operation> operations() {
  // clang-format off
  static constexpr Operation table[] = {
      // Handles.
      OP(any, 4, Tensor(mv(x))),
      OP(any, 4, x.detach()),
      OP(any, 3, x.clone()),
      OP(any, 3, x.contiguous()),
      // Functions of one tensor.
      OP(number, 2, neg(mv(x))),
      OP(number, 2, -mv(x)),
      OP(unary, 2, abs(mv(x))),
      OP(unary, 2, exp(mv(x))),
      OP(unary, 1, log(mv(x))),
      OP(unary, 2, log(abs(mv(x)) + 0.5)),
      OP(unary, 1, sqrt(mv(x))),
      OP(unary, 2, sqrt(abs(mv(x)) + 0.25)),
      OP(unary, 2, rsqrt(square(mv(x)) + 0.5)),
      OP(unary, 3, square(mv(x))),
      OP(unary, 1, reciprocal(mv(x))),
      OP(unary, 2, reciprocal(square(x) + 1.0)),
      OP(unary, 8, tanh(mv(x))),
      OP(unary, 4, sigmoid(mv(x))),
      OP(unary, 4, relu(mv(x))),
      OP(unary, 3, silu(mv(x))),
      OP(unary, 6, sin(mv(x))),
      OP(unary, 5, cos(mv(x))),
      OP(unary, 6, gelu(mv(x))),
      OP(unary, 3, gelu_erf(mv(x))),
      OP(unary, 2, pow(mv(x), alpha)),
      OP(unary, 2, activate(mv(x), Activation::gelu_tanh)),
      OP(number, 3, mv(x) + 1.0),
      OP(number, 1, 1.0 - mv(x)),
      OP(number, 1, mv(x) * 2.0),
      OP(unary, 3, mv(x) + alpha),
      OP(unary, 2, mv(x) - alpha),
      OP(unary, 4, mv(x) * alpha),
      OP(unary, 2, mv(x) / 3.0),
      OP(unary, 1, alpha + mv(x)),
      OP(unary, 1, alpha - mv(x)),
      OP(unary, 1, alpha * mv(x)),
      OP(unary, 1, alpha / mv(x)),
      OP(unary, 6, dropout(mv(x), 0.25)),
      OP(unary, 1, dropout(mv(x), 0.5, false)),
      // Of two.
      OP(binary, 6, add(mv(x), mv(y))),
      OP(binary, 6, mv(x) + mv(y)),
      OP(binary, 3, sub(mv(x), mv(y))),
      OP(binary, 3, mv(x) - mv(y)),
      OP(binary, 8, mv(x) * mv(y)),
      OP(binary, 3, mul(x, y)),
      OP(binary, 1, div(mv(x), mv(y))),
      OP(binary, 1, mv(x) / mv(y)),
      OP(binary, 1, pow(mv(x), mv(y))),
      OP(binary, 2, maximum(mv(x), mv(y))),
      OP(binary, 2, minimum(mv(x), mv(y))),
      OP(binary, 2, mv(x) * sigmoid(y)),
      OP(compare, 1, equal(x, y)),
      OP(compare, 1, not_equal(x, y)),
      OP(compare, 2, less(x, y)),
      OP(compare, 1, less_equal(x, y)),
      OP(compare, 2, greater(x, y)),
      OP(compare, 1, greater_equal(x, y)),
      OP(where, 5, where(x, y, z)),
      OP(cast, 3, cast(x, dtype_of(p))),
      OP(cast, 3, x.to(dtype_of(p))),
      // Reductions.
      OP(reduce, 3, sum(x)),
      OP(reduce, 3, mean(x)),
      OP(reduce, 1, max(x)),
      OP(reduce_1, 3, sum(x, {i}, j != 0)),
      OP(reduce_1, 3, mean(x, {i}, j != 0)),
      OP(reduce_1, 2, max(x, {i}, j != 0)),
      OP(reduce_2, 1, sum(x, {i, j}, k != 0)),
      OP(reduce_2, 1, mean(x, {i, j}, k != 0)),
      OP(reduce_2, 1, max(x, {i, j}, k != 0)),
      OP(argmax, 3, argmax(x, i)),
      // Products.
      OP(matmul, 7, matmul(x, y)),
      OP(matmul_batched, 2, matmul(x, y)),
      OP(matmul_vector, 1, matmul(x, y)),
      OP(linear, 3, linear(mv(x), y)),
      OP(linear_bias, 4, linear(mv(x), y, z)),
      OP(linear_bias, 3, linear(mv(x), y, z, Activation::gelu_tanh)),
      OP(linear_bias, 4, linear(gelu(mv(x)), y, z)),
      OP(linear_in_out, 1, linear(mv(x), y, {}, Activation::none, WeightLayout::in_out)),
      OP(conv, 3, conv2d(x, y)),
      OP(conv, 1, conv2d(x, y, {}, {.stride = {2, 1}, .padding = {1, 1}})),
      OP(conv_bias, 2, conv2d(x, y, z, {.padding = {1, 0}})),
      OP(pool, 2, max_pool2d(x)),
      OP(pool, 2, avg_pool2d(x)),
      OP(global_pool, 2, global_avg_pool2d(x)),
      OP(image, 2, to_channels_last(x)),
      // Norms, softmax, losses.
      OP(layer_norm, 6, layer_norm(x, y, z)),
      OP(rms_norm, 4, rms_norm(x, y)),
      OP(batch_norm, 4, batch_norm(mv(x), y, z)),
      OP(batch_norm, 2, batch_norm(mv(x), y, z, 1e-5, true)),
      OP(batch_norm_fixed, 2, batch_norm_fixed(mv(x), y, z, u, square(v) + 0.5)),
      OP(axis, 5, softmax(x, i)),
      OP(axis, 3, log_softmax(x, i)),
      OP(cross_entropy, 4, cross_entropy(x, y)),
      OP(cross_entropy, 1, cross_entropy(mv(x), y, Reduction::sum, 1)),
      OP(cross_entropy_each, 1, cross_entropy(x, y, Reduction::none)),
      OP(linear_cross_entropy, 2, linear_cross_entropy(x, y, z, 2)),
      OP(mse, 3, mse_loss(x, y)),
      OP(mse_each, 1, mse_loss(x, y, Reduction::none)),
      // Shapes.
      OP(reshape, 5, reshape(x, shape_of(p))),
      OP(flatten, 2, flatten(x, i, j)),
      OP(permute_3, 3, permute(x, {i, j, k})),
      OP(transpose, 5, transpose(x, i, j)),
      OP(slice, 5, slice(x, i, j, k, l)),
      OP(select, 4, select(x, i, j)),
      OP(expand, 4, expand(x, shape_of(p))),
      OP(split, 5, split(x, i, j)),
      OP(concatenate, 4, concatenate({x, y}, i)),
      OP(concatenate_3, 2, concatenate({x, y, z}, i)),
      OP(pad, 3, pad(x, i, j, k)),
      OP(embedding, 4, embedding(x, y)),
      // Attention.
      OP(attention, 2, attention(x, y, z)),
      OP(attention, 1, attention(x, y, z, {.causal = false, .dropout = 0.25})),
      OP(attention, 1, composed_attention(x, y, z, {.dropout = 0.25})),
      OP(packed_attention, 2, packed_attention(x, i)),
      // A user's own.
      OP(user, 5, user::cube(x)),
      OP(user, 3, user::stamp(x)),
      OP(user, 4, user::jitter(x)),
      OP(user_pair, 4, user::pair(x)),
  };
  // clang-format on
  return table;
}

}  // namespace reprise::fuzz
