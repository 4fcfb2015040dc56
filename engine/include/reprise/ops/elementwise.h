// Elementwise operations: arithmetic with broadcasting, functions of one tensor, comparisons, selection,
// casts.
//
// Sizes broadcast as in NumPy: aligned at the last axis, size 1 stretches. Both tensors have one dtype;
// nothing is converted silently. Every function throws ShapeError or TypeError naming itself and the shapes.
#pragma once

#include "reprise/kernels/elementwise.h"
#include "reprise/operation.h"

namespace reprise {

/// Name of a kernel function, as errors and `OpTable` spell it.
constexpr std::string_view name_of(kernels::Unary function);
constexpr std::string_view name_of(kernels::Binary function);

namespace ops {

// What the templates below share; defined once in elementwise.cpp.
Spec infer_unary(std::string_view name, kernels::Unary function, const Spec& in);
Saves saves_unary(kernels::Unary function);
void unary_forward(kernels::Unary function, double alpha, const Exec&, Inputs, Outputs);
void unary_backward(kernels::Unary function, double alpha, const Exec&, const Saved&, OutGrads, GradSlots);
Spec infer_binary(std::string_view name, kernels::Binary function, SpecSpan in);
Saves saves_binary(kernels::Binary function, GradMask needs);
void binary_forward(kernels::Binary function, const Exec&, Inputs, Outputs);
void binary_backward(kernels::Binary function, const Exec&, const Saved&, OutGrads, GradSlots);

/// y = f(x), with the scalar `alpha` where f has one.
template <kernels::Unary F>
struct Unary {
  double alpha = 0;
  static constexpr std::string_view name = name_of(F);
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr bool gradient_in_place = true;
  static constexpr kernels::Activation activation =
      F == kernels::Unary::gelu_tanh ? kernels::Activation::gelu_tanh : kernels::Activation::none;
  Specs infer(SpecSpan in) const { return {infer_unary(name, F, in[0])}; }
  Saves saves(GradMask) const { return saves_unary(F); }
  void forward(const Exec& exec, Inputs in, Outputs out) const { unary_forward(F, alpha, exec, in, out); }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    unary_backward(F, alpha, exec, saved, dy, dx);
  }
  int reuses(int) const { return 0; }
  bool operator==(const Unary&) const = default;
};

/// y = f(a, b) with broadcasting.
template <kernels::Binary F>
struct Binary {
  static constexpr std::string_view name = name_of(F);
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr GradMask passes_gradient = F == kernels::Binary::add   ? 3
                                              : F == kernels::Binary::sub ? 1
                                                                          : 0;
  Specs infer(SpecSpan in) const { return {infer_binary(name, F, in)}; }
  Saves saves(GradMask needs) const { return saves_binary(F, needs); }
  void forward(const Exec& exec, Inputs in, Outputs out) const { binary_forward(F, exec, in, out); }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    binary_backward(F, exec, saved, dy, dx);
  }
  int reuses(int) const { return F == kernels::Binary::add ? 1 : 0; }
  bool operator==(const Binary&) const = default;
};

/// y = a (op) b, boolean; gives no gradient.
struct Compare {
  kernels::Compare function = kernels::Compare::equal;
  static constexpr std::string_view name = "compare";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  void forward(const Exec&, Inputs, Outputs) const;
  bool operator==(const Compare&) const = default;
};

/// y = condition ? a : b with broadcasting; condition is boolean.
struct Where {
  static constexpr std::string_view name = "where";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask needs) const;
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Where&) const = default;
};

/// y = x in another dtype, dense.
struct Cast {
  DType dtype = DType::float32;
  static constexpr std::string_view name = "cast";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Cast&) const = default;
};

/// A dense row-major (or channels-last) copy.
struct Clone {
  bool channels_last = false;
  static constexpr std::string_view name = "clone";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool cheap = true;
  static constexpr GradMask passes_gradient = 1;
  Specs infer(SpecSpan in) const;
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Clone&) const = default;
};

}  // namespace ops

Tensor neg(Tensor x);
Tensor abs(Tensor x);
Tensor exp(Tensor x);
Tensor log(Tensor x);
Tensor sqrt(Tensor x);
Tensor rsqrt(Tensor x);
Tensor square(Tensor x);
Tensor reciprocal(Tensor x);
Tensor tanh(Tensor x);
Tensor sigmoid(Tensor x);
/// max(x, 0); NaN stays NaN and passes its gradient on.
Tensor relu(Tensor x);
/// x sigmoid(x); at infinities as `gelu`.
Tensor silu(Tensor x);
Tensor sin(Tensor x);
Tensor cos(Tensor x);
/// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016), GPT-2's.
/// As in PyTorch it is NaN at -inf, and its derivative at both infinities.
Tensor gelu(Tensor x);
/// x / 2 * (1 + erf(x / sqrt(2))); at infinities as `gelu`.
Tensor gelu_erf(Tensor x);
/// x ^ exponent.
Tensor pow(Tensor x, double exponent);

Tensor add(Tensor a, Tensor b);
Tensor sub(Tensor a, Tensor b);
Tensor mul(Tensor a, Tensor b);
/// a / b of floating tensors; throws TypeError for integers, whose quotients are none.
Tensor div(Tensor a, Tensor b);
Tensor pow(Tensor a, Tensor b);
/// The larger of a and b, broadcast; NaN wins. Equal ones get half the gradient each; where one is NaN both
/// get all of it, as in PyTorch.
Tensor maximum(Tensor a, Tensor b);
/// The smaller of a and b, broadcast; otherwise as `maximum`.
Tensor minimum(Tensor a, Tensor b);

Tensor operator+(Tensor a, Tensor b);
Tensor operator-(Tensor a, Tensor b);
Tensor operator*(Tensor a, Tensor b);
Tensor operator/(Tensor a, Tensor b);
Tensor operator-(Tensor x);
Tensor operator+(Tensor x, double alpha);
Tensor operator-(Tensor x, double alpha);
Tensor operator*(Tensor x, double alpha);
Tensor operator/(Tensor x, double alpha);
Tensor operator+(double alpha, Tensor x);
Tensor operator-(double alpha, Tensor x);
Tensor operator*(double alpha, Tensor x);
Tensor operator/(double alpha, Tensor x);

Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);

/// condition ? a : b, elementwise with broadcasting.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
/// x converted to `dtype`.
Tensor cast(const Tensor& x, DType dtype);
/// A dense copy of a rank-4 tensor whose memory order is channels-last; x itself when it is so already.
Tensor to_channels_last(const Tensor& x);

constexpr std::string_view name_of(kernels::Unary function) {
  using enum kernels::Unary;
  switch (function) {
    case neg:
      return "neg";
    case abs:
      return "abs";
    case exp:
      return "exp";
    case log:
      return "log";
    case sqrt:
      return "sqrt";
    case rsqrt:
      return "rsqrt";
    case square:
      return "square";
    case reciprocal:
      return "reciprocal";
    case tanh:
      return "tanh";
    case sigmoid:
      return "sigmoid";
    case relu:
      return "relu";
    case gelu_tanh:
      return "gelu";
    case gelu_erf:
      return "gelu_erf";
    case silu:
      return "silu";
    case sin:
      return "sin";
    case cos:
      return "cos";
    case add_scalar:
      return "add_scalar";
    case mul_scalar:
      return "mul_scalar";
    case pow_scalar:
      return "pow_scalar";
  }
  return "?";
}

constexpr std::string_view name_of(kernels::Binary function) {
  using enum kernels::Binary;
  switch (function) {
    case add:
      return "add";
    case sub:
      return "sub";
    case mul:
      return "mul";
    case div:
      return "div";
    case pow:
      return "pow";
    case maximum:
      return "maximum";
    case minimum:
      return "minimum";
  }
  return "?";
}

}  // namespace reprise
