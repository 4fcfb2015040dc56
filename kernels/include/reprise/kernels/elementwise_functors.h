// The elementwise functions and their derivatives, listed once for every backend.
//
// Every function is a struct of a math policy M, which supplies exp, log, tanh, sigmoid, erf, sqrt, sin, cos
// and pow for the backend. A unary `derivative` takes the one value that `reads` names: x, y, or nothing.
#pragma once

#include <type_traits>

#include "reprise/error.h"
#include "reprise/kernels/elementwise.h"
#include "reprise/kernels/host_device.h"

namespace reprise::kernels::functors {

/// Integer arithmetic wraps around; floating types pass through.
template <class T>
struct Wrapping {
  using type = T;
};
template <>
struct Wrapping<std::int32_t> {
  using type = std::uint32_t;
};
template <>
struct Wrapping<std::int64_t> {
  using type = std::uint64_t;
};
template <class T>
using Wrapped = typename Wrapping<T>::type;

template <class T>
REPRISE_HD T wrapping_add(T a, T b) {
  return static_cast<T>(static_cast<Wrapped<T>>(a) + static_cast<Wrapped<T>>(b));
}
template <class T>
REPRISE_HD T wrapping_sub(T a, T b) {
  return static_cast<T>(static_cast<Wrapped<T>>(a) - static_cast<Wrapped<T>>(b));
}
template <class T>
REPRISE_HD T wrapping_mul(T a, T b) {
  return static_cast<T>(static_cast<Wrapped<T>>(a) * static_cast<Wrapped<T>>(b));
}

/// What a function is unless it says otherwise: floating only, its derivative reads x.
struct UnaryDefaults {
  static constexpr bool integers = false;
  static constexpr Reads reads = Reads::input;
};

template <class M, class T>
struct Neg : UnaryDefaults {
  static constexpr bool integers = true;
  static constexpr Reads reads = Reads::nothing;
  REPRISE_HD static T value(T x, T) {
    if constexpr (std::is_integral_v<T>)
      return wrapping_sub(T(0), x);
    else
      return -x;
  }
  REPRISE_HD static T derivative(T, T) { return T(-1); }
};

template <class M, class T>
struct Abs : UnaryDefaults {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T x, T) {
    if constexpr (std::is_integral_v<T>)
      return x < T(0) ? wrapping_sub(T(0), x) : x;
    else
      return M::abs(x);
  }
  REPRISE_HD static T derivative(T x, T) { return x > T(0) ? T(1) : (x < T(0) ? T(-1) : T(0)); }
};

template <class M, class T>
struct Exp : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return M::exp(x); }
  REPRISE_HD static T derivative(T y, T) { return y; }
};

template <class M, class T>
struct Log : UnaryDefaults {
  REPRISE_HD static T value(T x, T) { return M::log(x); }
  REPRISE_HD static T derivative(T x, T) { return T(1) / x; }
};

template <class M, class T>
struct Sqrt : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return M::sqrt(x); }
  REPRISE_HD static T derivative(T y, T) { return T(0.5) / y; }
};

template <class M, class T>
struct Rsqrt : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return T(1) / M::sqrt(x); }
  REPRISE_HD static T derivative(T y, T) { return T(-0.5) * y * y * y; }
};

template <class M, class T>
struct Square : UnaryDefaults {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T x, T) { return wrapping_mul(x, x); }
  REPRISE_HD static T derivative(T x, T) { return x + x; }
};

template <class M, class T>
struct Cube : UnaryDefaults {
  REPRISE_HD static T value(T x, T) { return x * x * x; }
  REPRISE_HD static T derivative(T x, T) { return T(3) * x * x; }
};

template <class M, class T>
struct Reciprocal : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return T(1) / x; }
  REPRISE_HD static T derivative(T y, T) { return -y * y; }
};

template <class M, class T>
struct Tanh : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return M::tanh(x); }
  REPRISE_HD static T derivative(T y, T) { return T(1) - y * y; }
};

template <class M, class T>
struct Sigmoid : UnaryDefaults {
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return M::sigmoid(x); }
  REPRISE_HD static T derivative(T y, T) { return y * (T(1) - y); }
};

/// NaN stays NaN, and passes the gradient on as PyTorch has it: what is not at most 0.
template <class M, class T>
struct Relu : UnaryDefaults {
  static constexpr bool integers = true;
  static constexpr Reads reads = Reads::output;
  REPRISE_HD static T value(T x, T) { return x <= T(0) ? T(0) : x; }
  REPRISE_HD static T derivative(T y, T) { return y <= T(0) ? T(0) : T(1); }
};

/// At +-inf GELU and SiLU are what their formulas give, as in PyTorch: inf at inf, NaN at -inf, and the
/// derivative is NaN at both, so that an infinite activation shows.
///
/// x / 2 (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3), computed as x sigmoid(2 u), which does not
/// cancel for negative x.
template <class M, class T>
struct GeluTanh : UnaryDefaults {
  static constexpr double kTwoRootTwoOverPi = 1.5957691216057308;
  static constexpr double kCubic = 0.044715;
  REPRISE_HD static T gate(T x) {
    return M::sigmoid(x * (T(kTwoRootTwoOverPi) + T(kTwoRootTwoOverPi * kCubic) * (x * x)));
  }
  REPRISE_HD static T value(T x, T) { return x * gate(x); }
  REPRISE_HD static T derivative(T x, T) {
    // Beyond 40 the derivative is 0 or 1 to the last bit; the bound keeps x^2 finite.
    const T near = x > T(40) ? T(40) : (x < T(-40) ? T(-40) : x);
    const T s = gate(near);
    const T slope = T(kTwoRootTwoOverPi) + T(3 * kTwoRootTwoOverPi * kCubic) * (near * near);
    return s + x * (slope * (s * (T(1) - s)));
  }
};

/// x / 2 (1 + erf(x / sqrt 2)).
template <class M, class T>
struct GeluErf : UnaryDefaults {
  static constexpr double kRootHalf = 0.7071067811865476;
  static constexpr double kDensityAtZero = 0.3989422804014327;  // 1 / sqrt(2 pi)
  REPRISE_HD static T distribution(T x) { return T(0.5) + T(0.5) * M::erf(x * T(kRootHalf)); }
  REPRISE_HD static T value(T x, T) { return x * distribution(x); }
  REPRISE_HD static T derivative(T x, T) {
    return distribution(x) + x * (T(kDensityAtZero) * M::exp(T(-0.5) * x * x));
  }
};

/// x sigmoid(x).
template <class M, class T>
struct Silu : UnaryDefaults {
  REPRISE_HD static T value(T x, T) { return x * M::sigmoid(x); }
  REPRISE_HD static T derivative(T x, T) {
    const T s = M::sigmoid(x);
    return s + x * (s * (T(1) - s));
  }
};

template <class M, class T>
struct Sin : UnaryDefaults {
  REPRISE_HD static T value(T x, T) { return M::sin(x); }
  REPRISE_HD static T derivative(T x, T) { return M::cos(x); }
};

template <class M, class T>
struct Cos : UnaryDefaults {
  REPRISE_HD static T value(T x, T) { return M::cos(x); }
  REPRISE_HD static T derivative(T x, T) { return -M::sin(x); }
};

template <class M, class T>
struct AddScalar : UnaryDefaults {
  static constexpr bool integers = true;
  static constexpr Reads reads = Reads::nothing;
  REPRISE_HD static T value(T x, T alpha) { return wrapping_add(x, alpha); }
  REPRISE_HD static T derivative(T, T) { return T(1); }
};

template <class M, class T>
struct MulScalar : UnaryDefaults {
  static constexpr bool integers = true;
  static constexpr Reads reads = Reads::nothing;
  REPRISE_HD static T value(T x, T alpha) { return wrapping_mul(x, alpha); }
  REPRISE_HD static T derivative(T, T alpha) { return alpha; }
};

template <class M, class T>
struct PowScalar : UnaryDefaults {
  REPRISE_HD static T value(T x, T alpha) { return M::pow(x, alpha); }
  REPRISE_HD static T derivative(T x, T alpha) {
    return alpha == T(0) ? T(0) : alpha * M::pow(x, alpha - T(1));
  }
};

/// Calls `f.template operator()<Function>()` with the struct of `function`; small integer powers are
/// products.
template <class M, class T, class F>
auto dispatch(Unary function, double alpha, F&& f) {
  switch (function) {
    case Unary::neg:
      return f.template operator()<Neg<M, T>>();
    case Unary::abs:
      return f.template operator()<Abs<M, T>>();
    case Unary::exp:
      return f.template operator()<Exp<M, T>>();
    case Unary::log:
      return f.template operator()<Log<M, T>>();
    case Unary::sqrt:
      return f.template operator()<Sqrt<M, T>>();
    case Unary::rsqrt:
      return f.template operator()<Rsqrt<M, T>>();
    case Unary::square:
      return f.template operator()<Square<M, T>>();
    case Unary::reciprocal:
      return f.template operator()<Reciprocal<M, T>>();
    case Unary::tanh:
      return f.template operator()<Tanh<M, T>>();
    case Unary::sigmoid:
      return f.template operator()<Sigmoid<M, T>>();
    case Unary::relu:
      return f.template operator()<Relu<M, T>>();
    case Unary::gelu_tanh:
      return f.template operator()<GeluTanh<M, T>>();
    case Unary::gelu_erf:
      return f.template operator()<GeluErf<M, T>>();
    case Unary::silu:
      return f.template operator()<Silu<M, T>>();
    case Unary::sin:
      return f.template operator()<Sin<M, T>>();
    case Unary::cos:
      return f.template operator()<Cos<M, T>>();
    case Unary::add_scalar:
      return f.template operator()<AddScalar<M, T>>();
    case Unary::mul_scalar:
      return f.template operator()<MulScalar<M, T>>();
    case Unary::pow_scalar:
      if (alpha == 2.0) return f.template operator()<Square<M, T>>();
      if (alpha == 3.0) return f.template operator()<Cube<M, T>>();
      return f.template operator()<PowScalar<M, T>>();
  }
  throw Error("[elementwise] unknown unary function");
}

template <class M, class T>
struct Add {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) { return wrapping_add(a, b); }
  REPRISE_HD static T derivative_a(T, T) { return T(1); }
  REPRISE_HD static T derivative_b(T, T) { return T(1); }
};

template <class M, class T>
struct Sub {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) { return wrapping_sub(a, b); }
  REPRISE_HD static T derivative_a(T, T) { return T(1); }
  REPRISE_HD static T derivative_b(T, T) { return T(-1); }
};

template <class M, class T>
struct Mul {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) { return wrapping_mul(a, b); }
  REPRISE_HD static T derivative_a(T, T b) { return b; }
  REPRISE_HD static T derivative_b(T a, T) { return a; }
};

/// Integers truncate; an integer divided by 0 is 0, since a kernel cannot throw.
template <class M, class T>
struct Div {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      if (b == T(-1)) return wrapping_sub(T(0), a);
      return b == T(0) ? T(0) : static_cast<T>(a / b);
    } else {
      return a / b;
    }
  }
  REPRISE_HD static T derivative_a(T, T b) { return T(1) / b; }
  REPRISE_HD static T derivative_b(T a, T b) { return -(a / b) / b; }
};

template <class M, class T>
struct Pow {
  static constexpr bool integers = false;
  REPRISE_HD static T value(T a, T b) { return M::pow(a, b); }
  REPRISE_HD static T derivative_a(T a, T b) { return b == T(0) ? T(0) : b * M::pow(a, b - T(1)); }
  REPRISE_HD static T derivative_b(T a, T b) {
    return a == T(0) && b >= T(0) ? T(0) : M::pow(a, b) * M::log(a);
  }
};

/// NaN wins. Equal operands get half the gradient each, and where one is NaN both get all of it, as in
/// PyTorch.
template <class M, class T>
struct Maximum {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) { return a > b || a != a ? a : b; }
  REPRISE_HD static T derivative_a(T a, T b) { return a < b ? T(0) : (a == b ? T(0.5) : T(1)); }
  REPRISE_HD static T derivative_b(T a, T b) { return derivative_a(b, a); }
};

/// As Maximum.
template <class M, class T>
struct Minimum {
  static constexpr bool integers = true;
  REPRISE_HD static T value(T a, T b) { return a < b || a != a ? a : b; }
  REPRISE_HD static T derivative_a(T a, T b) { return a > b ? T(0) : (a == b ? T(0.5) : T(1)); }
  REPRISE_HD static T derivative_b(T a, T b) { return derivative_a(b, a); }
};

/// Calls `f.template operator()<Function>()` with the struct of `function`.
template <class M, class T, class F>
auto dispatch(Binary function, F&& f) {
  switch (function) {
    case Binary::add:
      return f.template operator()<Add<M, T>>();
    case Binary::sub:
      return f.template operator()<Sub<M, T>>();
    case Binary::mul:
      return f.template operator()<Mul<M, T>>();
    case Binary::div:
      return f.template operator()<Div<M, T>>();
    case Binary::pow:
      return f.template operator()<Pow<M, T>>();
    case Binary::maximum:
      return f.template operator()<Maximum<M, T>>();
    case Binary::minimum:
      return f.template operator()<Minimum<M, T>>();
  }
  throw Error("[elementwise] unknown binary function");
}

template <class T>
struct Equal {
  REPRISE_HD static bool value(T a, T b) { return a == b; }
};
template <class T>
struct NotEqual {
  REPRISE_HD static bool value(T a, T b) { return a != b; }
};
template <class T>
struct Less {
  REPRISE_HD static bool value(T a, T b) { return a < b; }
};
template <class T>
struct LessEqual {
  REPRISE_HD static bool value(T a, T b) { return a <= b; }
};
template <class T>
struct Greater {
  REPRISE_HD static bool value(T a, T b) { return a > b; }
};
template <class T>
struct GreaterEqual {
  REPRISE_HD static bool value(T a, T b) { return a >= b; }
};

/// Calls `f.template operator()<Function>()` with the struct of `function`.
template <class T, class F>
auto dispatch(Compare function, F&& f) {
  switch (function) {
    case Compare::equal:
      return f.template operator()<Equal<T>>();
    case Compare::not_equal:
      return f.template operator()<NotEqual<T>>();
    case Compare::less:
      return f.template operator()<Less<T>>();
    case Compare::less_equal:
      return f.template operator()<LessEqual<T>>();
    case Compare::greater:
      return f.template operator()<Greater<T>>();
    case Compare::greater_equal:
      return f.template operator()<GreaterEqual<T>>();
  }
  throw Error("[elementwise] unknown comparison");
}

}  // namespace reprise::kernels::functors
