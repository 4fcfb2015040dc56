// Unary and binary functions: the table of functors, as row functions in the type of computation.
#include "reprise/kernels/elementwise.h"
#include "reprise/error.h"

#include <array>
#include <cmath>
#include <string>

#include "math.h"
#include "reprise/kernels/elementwise_functors.h"
#include "tiles.h"

namespace reprise::kernels::cpu {

namespace {

/// The math policy of the CPU.
struct Math {
  template <class T>
  static T exp(T x) {
    return math::exp(x);
  }
  template <class T>
  static T log(T x) {
    return math::log(x);
  }
  template <class T>
  static T tanh(T x) {
    return math::tanh(x);
  }
  template <class T>
  static T sigmoid(T x) {
    return math::sigmoid(x);
  }
  template <class T>
  static T erf(T x) {
    return math::erf(x);
  }
  template <class T>
  static T abs(T x) {
    return std::fabs(x);
  }
  template <class T>
  static T sqrt(T x) {
    return std::sqrt(x);
  }
  template <class T>
  static T sin(T x) {
    return std::sin(x);
  }
  template <class T>
  static T cos(T x) {
    return std::cos(x);
  }
  template <class T>
  static T pow(T x, T y) {
    return std::pow(x, y);
  }
};

[[noreturn]] void unsupported(DType dtype) {
  throw TypeError("[elementwise] no such function for " + std::string(name_of(dtype)));
}

/// make.template operator()<C>() for the type C in which a floating `dtype` is computed.
template <class Make>
RowFunction for_floating(DType dtype, Make&& make) {
  switch (dtype) {
    case DType::float32:
    case DType::bfloat16:
    case DType::float16:
      return make.template operator()<float>();
    case DType::float64:
      return make.template operator()<double>();
    default:
      unsupported(dtype);
  }
}

/// The same for floating types and integers.
template <class Make>
RowFunction for_numbers(DType dtype, Make&& make) {
  switch (dtype) {
    case DType::int32:
      return make.template operator()<std::int32_t>();
    case DType::int64:
      return make.template operator()<std::int64_t>();
    default:
      return for_floating(dtype, make);
  }
}

template <class Function, class T>
void unary_row(const void* const* in, void* out, std::int64_t n, double alpha) {
  const T* x = static_cast<const T*>(in[0]);
  T* y = static_cast<T*>(out);
  const T a = static_cast<T>(alpha);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = Function::value(x[i], a);
}

/// in: dy and what the derivative reads.
template <class Function, class T>
void unary_backward_row(const void* const* in, void* out, std::int64_t n, double alpha) {
  const T* dy = static_cast<const T*>(in[0]);
  T* dx = static_cast<T*>(out);
  const T a = static_cast<T>(alpha);
  if constexpr (Function::reads == Reads::nothing) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] * Function::derivative(T(0), a);
  } else {
    const T* read = static_cast<const T*>(in[1]);
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] * Function::derivative(read[i], a);
  }
}

template <class Function, class T>
void binary_row(const void* const* in, void* out, std::int64_t n, double) {
  const T* a = static_cast<const T*>(in[0]);
  const T* b = static_cast<const T*>(in[1]);
  T* y = static_cast<T*>(out);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = Function::value(a[i], b[i]);
}

/// The derivative by a and the one by b, as the functions of a functor.
template <class Function, class T>
struct ByA {
  static T derivative(T a, T b) { return Function::derivative_a(a, b); }
};
template <class Function, class T>
struct ByB {
  static T derivative(T a, T b) { return Function::derivative_b(a, b); }
};

/// in: dy, a, b. An absent operand is one that the derivative ignores; dy stands in for it.
template <class Derivative, class T>
void binary_backward_row(const void* const* in, void* out, std::int64_t n, double) {
  const T* dy = static_cast<const T*>(in[0]);
  const T* a = static_cast<const T*>(in[1] ? in[1] : in[0]);
  const T* b = static_cast<const T*>(in[2] ? in[2] : in[0]);
  T* dx = static_cast<T*>(out);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] * Derivative::derivative(a[i], b[i]);
}

RowFunction forward_row(Unary function, double alpha, DType dtype) {
  return for_numbers(dtype, [&]<class T>() {
    return functors::dispatch<Math, T>(function, alpha, [&]<class Function>() -> RowFunction {
      if constexpr (std::is_integral_v<T> && !Function::integers)
        unsupported(dtype);
      else
        return unary_row<Function, T>;
    });
  });
}

RowFunction backward_row(Unary function, double alpha, DType dtype) {
  return for_floating(dtype, [&]<class T>() {
    return functors::dispatch<Math, T>(
        function, alpha, []<class Function>() -> RowFunction { return unary_backward_row<Function, T>; });
  });
}

RowFunction forward_row(Binary function, DType dtype) {
  return for_numbers(dtype, [&]<class T>() {
    return functors::dispatch<Math, T>(function, [&]<class Function>() -> RowFunction {
      if constexpr (std::is_integral_v<T> && !Function::integers)
        unsupported(dtype);
      else
        return binary_row<Function, T>;
    });
  });
}

template <template <class, class> class By>
RowFunction backward_row(Binary function, DType dtype) {
  return for_floating(dtype, [&]<class T>() {
    return functors::dispatch<Math, T>(
        function, []<class Function>() -> RowFunction { return binary_backward_row<By<Function, T>, T>; });
  });
}

std::int64_t grain_of(Unary function, DType dtype) {
  switch (function) {
    case Unary::sin:
    case Unary::cos:
    case Unary::pow_scalar:
      return kSlowGrain;
    default:
      return dtype == DType::float64 ? kSlowGrain : kCheapGrain;
  }
}

std::int64_t grain_of(Binary function) { return function == Binary::pow ? kSlowGrain : kCheapGrain; }

}  // namespace

void unary_forward(const Queue&, Unary function, double alpha, const ConstView& x, const View& y) {
  const TileOutput out{{y, Write::overwrite}, forward_row(function, alpha, y.dtype)};
  compute_tiles(std::array{&x}, {&out, 1}, alpha, grain_of(function, y.dtype));
}

void unary_backward(const Queue&, Unary function, double alpha, const ConstView& x, const ConstView& y,
                    const ConstView& dy, const Target& dx) {
  if (!dx) return;
  const Reads reads = derivative_reads(function);
  const std::array in{&dy, reads == Reads::output ? &y : &x};
  const TileOutput out{dx, backward_row(function, alpha, dx.view.dtype)};
  const std::size_t inputs = reads == Reads::nothing ? 1 : 2;
  compute_tiles(std::span(in).first(inputs), {&out, 1}, alpha, grain_of(function, dx.view.dtype));
}

void scale(const Queue& queue, const ConstView& x, const ConstView& factor, const Target& y) {
  const double value = x.dtype == DType::float64 ? *factor.as<double>() : *factor.as<float>();
  unary_backward(queue, Unary::mul_scalar, value, {}, {}, x,
                 y);  // x times the derivative, which is the factor
}

void binary_forward(const Queue&, Binary function, const ConstView& a, const ConstView& b, const View& y) {
  const std::array in{&a, &b};
  const TileOutput out{{y, Write::overwrite}, forward_row(function, y.dtype)};
  compute_tiles(in, {&out, 1}, 0, grain_of(function));
}

void binary_backward(const Queue&, Binary function, const ConstView& a, const ConstView& b,
                     const ConstView& dy, const Target& da, const Target& db) {
  const std::array in{&dy, &a, &b};
  std::array<TileOutput, 2> out;
  std::size_t outputs = 0;
  if (da) out[outputs++] = {da, backward_row<ByA>(function, dy.dtype)};
  if (db) out[outputs++] = {db, backward_row<ByB>(function, dy.dtype)};
  if (outputs > 0) compute_tiles(in, std::span(out).first(outputs), 0, grain_of(function));
}

}  // namespace reprise::kernels::cpu

namespace reprise::kernels {

Reads derivative_reads(Unary function) {
  // The power 1 is one of the general case, which reads what every power does.
  return functors::dispatch<cpu::Math, float>(function, 1.0,
                                              []<class Function>() { return Function::reads; });
}

}  // namespace reprise::kernels
