// What the tests of the tape and of segments share: exact comparison, the books before and after, and
// operations of a user.
#pragma once

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reprise/checkpoint.h"
#include "reprise/kernels/random.h"
#include "reprise/ops.h"

namespace tape_test {

using namespace reprise;
using Catch::Matchers::Contains;

using Doubles = std::vector<double>;

inline const TensorOptions kDouble{.dtype = DType::float64};

/// A leaf of doubles that wants a gradient.
inline Tensor leaf(const Doubles& elements, const Shape& shape) {
  return tensor<double>(elements, shape).set_requires_grad(true);
}
inline Tensor leaf(double value) { return scalar(value, kDouble).set_requires_grad(true); }

/// 0.1, 0.2, ... wrapped into [-1, 1): all different, none special.
inline Tensor values(const Shape& shape, double from = 0.1) {
  Doubles elements(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < elements.size(); ++i)
    elements[i] = std::remainder(from + 0.37 * static_cast<double>(i), 2.0);
  return tensor<double>(elements, shape);
}
inline Tensor leaf_values(const Shape& shape, double from = 0.1) {
  return values(shape, from).set_requires_grad(true);
}

inline Doubles elements_of(const Tensor& t) { return t.to_vector<double>(); }

/// The elements, bit for bit.
inline std::vector<std::uint64_t> bits_of(const Tensor& t) {
  const Doubles elements = elements_of(t);
  std::vector<std::uint64_t> bits(elements.size());
  if (!elements.empty()) std::memcpy(bits.data(), elements.data(), elements.size() * sizeof(double));
  return bits;
}

/// What the tape and the pool hold at one moment.
struct Books {
  std::int64_t nodes = live_nodes();
  std::int64_t bytes = current_pool().statistics().all.requested.current;
  Generator numbers = generator();
  bool operator==(const Books&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Books& books) {
  return out << books.nodes << " nodes, " << books.bytes << " bytes, next key " << books.numbers.next;
}

inline std::int64_t live_bytes() { return current_pool().statistics().all.requested.current; }

/// Everything that a test makes must be gone when its guard goes.
class NothingLeft {
 public:
  ~NothingLeft() {
    CHECK(live_nodes() == nodes_);
    CHECK(live_bytes() == bytes_);
  }

 private:
  std::int64_t nodes_ = live_nodes();
  std::int64_t bytes_ = live_bytes();
};

/// Throws at the n-th call from now.
struct Fuse {
  int left = -1;
  void burn(const char* where) {
    if (left >= 0 && left-- == 0) throw std::runtime_error(where);
  }
};

/// y = x^3, with x^2 as an auxiliary output and a copy of x in scratch: what an operation of a user may use.
struct Cube {
  static constexpr std::string_view name = "cube";
  static constexpr int auxiliaries = 1;
  inline static Fuse forward_fuse, backward_fuse;
  inline static int forwards = 0;

  Specs infer(SpecSpan in) const {
    if (in[0].dtype != DType::float64) throw TypeError("[cube] takes float64");
    return {in[0], in[0]};
  }
  Saves saves(GradMask) const { return {.outputs = 2}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    ++forwards;
    const kernels::ConstView x = in[0];
    const kernels::Workspace copy = exec.scratch(static_cast<std::size_t>(x.numel()) * sizeof(double));
    auto* scratch = static_cast<double*>(copy.data);
    for (std::int64_t i = 0; i < x.numel(); ++i) scratch[i] = x.as<double>()[i];
    forward_fuse.burn("forward of cube");
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      out[1].as<double>()[i] = scratch[i] * scratch[i];
      out[0].as<double>()[i] = scratch[i] * scratch[i] * scratch[i];
    }
  }
  void backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
    backward_fuse.burn("backward of cube");
    const kernels::Target target = dx[0];
    for (std::int64_t i = 0; i < target.view.numel(); ++i) {
      const double gradient = 3 * saved.output(1).as<double>()[i] * dy[0].as<double>()[i];
      double& slot = target.view.as<double>()[i];
      slot = target.write == kernels::Write::accumulate ? slot + gradient : gradient;
    }
  }
  bool operator==(const Cube&) const = default;
};
inline Tensor cube(const Tensor& x) { return apply(Cube{}, x); }

/// y = x + how often it ran: cannot be repeated.
struct Stamp {
  static constexpr std::string_view name = "stamp";
  static constexpr bool replayable = false;
  static constexpr GradMask passes_gradient = 1;
  inline static int runs = 0;

  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    ++runs;
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as<double>()[i] = in[0].as<double>()[i] + runs;
  }
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const {
    throw std::logic_error("the gradient is passed on");
  }
  bool operator==(const Stamp&) const = default;
};
inline Tensor stamp(const Tensor& x) { return apply(Stamp{}, x); }

/// y = x * u, u uniform in [1, 2) from the node's own key, in scratch in both directions.
struct Jitter {
  static constexpr std::string_view name = "jitter";
  static constexpr bool random = true;

  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  static void multiply(const Exec& exec, const kernels::ConstView& x, const kernels::Target& y) {
    const kernels::View u =
        exec.temporary(DType::float64, Shape(std::span(x.sizes.data(), static_cast<std::size_t>(x.rank))));
    kernels::fill_uniform(exec.queue(), exec.key(), 1.0, 2.0, u);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const double product = x.as<double>()[i] * u.as<double>()[i];
      double& slot = y.view.as<double>()[i];
      slot = y.write == kernels::Write::accumulate ? slot + product : product;
    }
  }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    multiply(exec, in[0], {out[0], kernels::Write::overwrite});
  }
  void backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
    multiply(exec, exec.contiguous(dy[0]), dx[0]);
  }
  bool operator==(const Jitter&) const = default;
};
inline Tensor jitter(const Tensor& x) { return apply(Jitter{}, x); }

}  // namespace tape_test
