// Operations of a user: one with an auxiliary output, one that cannot be repeated, a random one, and one with
// two outputs of which backward reads both. All take float32 and float64.
#pragma once

#include <reprise/kernels/random.h>
#include <reprise/operation.h>

namespace user {

using namespace reprise;

/// f(elements) with elements' C++ type.
template <class F>
void by_type(const Spec& spec, F&& f) {
  if (spec.dtype == DType::float32) return f(float{});
  if (spec.dtype == DType::float64) return f(double{});
  throw TypeError("[user] takes float32 and float64");
}

inline Spec dense(const Spec& in) {
  by_type(in, [](auto) {});
  Spec out = in;
  out.channels_last = false;
  return out;
}

template <class T>
void put(const kernels::Target& target, std::int64_t i, T value) {
  T& slot = target.view.as<T>()[i];
  slot = target.write == kernels::Write::accumulate ? slot + value : value;
}

/// Gradient slots lie in memory as the input does: writes f(i) of the row-major element i.
template <class T, class F>
void put_all(const kernels::Target& target, F&& f) {
  const kernels::View& v = target.view;
  std::array<std::int64_t, kMaxRank> index{};
  for (std::int64_t n = 0; n < v.numel(); ++n) {
    std::int64_t offset = 0;
    for (int a = 0; a < v.rank; ++a)
      offset += index[static_cast<std::size_t>(a)] * v.strides[static_cast<std::size_t>(a)];
    put<T>(target, offset, f(n));
    for (int a = v.rank - 1; a >= 0; --a) {
      auto& i = index[static_cast<std::size_t>(a)];
      if (++i < v.sizes[static_cast<std::size_t>(a)]) break;
      i = 0;
    }
  }
}

/// y = x^3, with x^2 as an auxiliary output and a copy of x in scratch.
struct Cube {
  static constexpr std::string_view name = "cube";
  static constexpr int auxiliaries = 1;
  Specs infer(SpecSpan in) const { return {dense(in[0]), dense(in[0])}; }
  Saves saves(GradMask) const { return {.outputs = 2}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    by_type(in.spec(0), [&]<class T>(T) {
      const kernels::ConstView x = exec.contiguous(in[0]);
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        const T value = x.as<T>()[i];
        out[1].as<T>()[i] = value * value;
        out[0].as<T>()[i] = value * value * value;
      }
    });
  }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    by_type(saved.input_spec(0), [&]<class T>(T) {
      const kernels::ConstView gradient = exec.contiguous(dy[0]);
      const kernels::ConstView square = saved.output(1);
      put_all<T>(dx[0], [&](std::int64_t i) { return 3 * square.as<T>()[i] * gradient.as<T>()[i]; });
    });
  }
  bool operator==(const Cube&) const = default;
};
inline Tensor cube(const Tensor& x) { return apply(Cube{}, x); }

/// y = x + how often it ran in this run: cannot be repeated.
struct Stamp {
  static constexpr std::string_view name = "stamp";
  static constexpr bool replayable = false;
  static constexpr GradMask passes_gradient = 1;
  inline static thread_local int runs = 0;
  Specs infer(SpecSpan in) const { return {dense(in[0])}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    by_type(in.spec(0), [&]<class T>(T) {
      const kernels::ConstView x = exec.contiguous(in[0]);
      const T stamp = static_cast<T>(++runs) / 16;
      for (std::int64_t i = 0; i < x.numel(); ++i) out[0].as<T>()[i] = x.as<T>()[i] + stamp;
    });
  }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    by_type(saved.input_spec(0), [&]<class T>(T) {
      const kernels::ConstView gradient = exec.contiguous(dy[0]);
      put_all<T>(dx[0], [&](std::int64_t i) { return gradient.as<T>()[i]; });
    });
  }
  bool operator==(const Stamp&) const = default;
};
inline Tensor stamp(const Tensor& x) { return apply(Stamp{}, x); }

/// y = x u, u uniform in [1, 2) from the node's own key, in scratch in both directions.
struct Jitter {
  static constexpr std::string_view name = "jitter";
  static constexpr bool random = true;
  Specs infer(SpecSpan in) const { return {dense(in[0])}; }
  Saves saves(GradMask) const { return {}; }
  static kernels::View draw(const Exec& exec, const Spec& spec) {
    const kernels::View u = exec.temporary(spec.dtype, spec.shape);
    kernels::fill_uniform(exec.queue(), exec.key(), 1.0, 2.0, u);
    return u;
  }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    by_type(in.spec(0), [&]<class T>(T) {
      const kernels::View u = draw(exec, in.spec(0));
      const kernels::ConstView x = exec.contiguous(in[0]);
      for (std::int64_t i = 0; i < x.numel(); ++i) out[0].as<T>()[i] = x.as<T>()[i] * u.as<T>()[i];
    });
  }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    by_type(saved.input_spec(0), [&]<class T>(T) {
      const kernels::View u = draw(exec, saved.input_spec(0));
      const kernels::ConstView gradient = exec.contiguous(dy[0]);
      put_all<T>(dx[0], [&](std::int64_t i) { return gradient.as<T>()[i] * u.as<T>()[i]; });
    });
  }
  bool operator==(const Jitter&) const = default;
};
inline Tensor jitter(const Tensor& x) { return apply(Jitter{}, x); }

/// (x / 2, x^2 + 1): two outputs, of which backward reads the first.
struct Pair {
  static constexpr std::string_view name = "pair";
  static constexpr bool cheap = true;
  Specs infer(SpecSpan in) const { return {dense(in[0]), dense(in[0])}; }
  Saves saves(GradMask) const { return {.outputs = 1}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    by_type(in.spec(0), [&]<class T>(T) {
      const kernels::ConstView x = exec.contiguous(in[0]);
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        const T value = x.as<T>()[i];
        if (out[0].data != nullptr) out[0].as<T>()[i] = value / 2;
        if (out[1].data != nullptr) out[1].as<T>()[i] = value * value + 1;
      }
    });
  }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    by_type(saved.input_spec(0), [&]<class T>(T) {
      const kernels::ConstView half = saved.output(0);
      const kernels::ConstView first = dy.has(0) ? exec.contiguous(dy[0]) : kernels::ConstView();
      const kernels::ConstView second = dy.has(1) ? exec.contiguous(dy[1]) : kernels::ConstView();
      put_all<T>(dx[0], [&](std::int64_t i) {
        T sum = 0;
        if (first.data != nullptr) sum += first.as<T>()[i] / 2;
        if (second.data != nullptr) sum += 4 * half.as<T>()[i] * second.as<T>()[i];
        return sum;
      });
    });
  }
  bool operator==(const Pair&) const = default;
};
inline std::vector<Tensor> pair(const Tensor& x) { return apply_all(Pair{}, std::vector<Tensor>{x}); }

}  // namespace user
