// The table of operation cases. One entry per operation drives every check of it: its values and gradients,
// which memory it writes and keeps, what it refuses, and its speed.
//
// To add an operation: specialise CasesOf for it below, and write its cases in the op_cases_<family>.cpp
// where it belongs. An operation without a specialisation does not compile.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

#include "all_operations.h"
#include "reprise/ops.h"

namespace reprise::op_test {

using Index = std::array<std::int64_t, kMaxRank>;
using Tensors = std::vector<Tensor>;

/// Elements in double, row-major: what formulas compute with.
struct Array {
  Shape shape;
  std::vector<double> values;

  Array() : Array(Shape{}) {}
  explicit Array(const Shape& sizes, double value = 0)
      : shape(sizes), values(static_cast<std::size_t>(sizes.numel()), value) {}

  double& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  double operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }
  double& at(const Index& index) { return (*this)[flat(index)]; }
  double at(const Index& index) const { return (*this)[flat(index)]; }
  /// The element that a tensor of sizes `stretched` shows at `index` when this one is broadcast to it.
  double broadcast_at(const Shape& stretched, const Index& index) const;

 private:
  std::int64_t flat(const Index& index) const {
    std::int64_t at = 0;
    for (int axis = 0; axis < shape.rank(); ++axis)
      at = at * shape[axis] + index[static_cast<std::size_t>(axis)];
    return at;
  }
};
using Arrays = std::vector<Array>;

/// Calls f(index) for every element of `shape`, row-major.
template <class F>
void for_each_index(const Shape& shape, F&& f) {
  Index index{};
  for (std::int64_t n = shape.numel(); n > 0; --n) {
    f(std::as_const(index));
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      auto& i = index[static_cast<std::size_t>(axis)];
      if (++i < shape[axis]) break;
      i = 0;
    }
  }
}

/// An array of sizes `shape` with the value f(index) everywhere.
template <class F>
Array generate(const Shape& shape, F&& f) {
  Array result(shape);
  std::int64_t i = 0;
  for_each_index(shape, [&](const Index& index) { result[i++] = f(index); });
  return result;
}

/// How the elements of an input lie in memory.
enum class Order : std::uint8_t {
  row_major,
  permuted,       // the axes in reverse
  gaps,           // every second element of a larger tensor, from its second on
  channels_last,  // of rank 4
  expanded,       // stride 0 on the first axis
};

/// The element type of an input in a run with tensors of some dtype.
enum class Kind : std::uint8_t {
  real,       // that dtype
  ids,        // int64
  ids32,      // int32
  condition,  // bool
  statistic,  // float64 for float64, else float32
};

/// How an input is made: uniform in [low, high], or the values given.
struct Input {
  Shape shape;
  double low = -1, high = 1;
  Order order = Order::row_major;
  Kind kind = Kind::real;
  bool differentiable = true;  // if it is real
  std::vector<double> values{};

  bool takes_gradient() const { return kind == Kind::real && differentiable; }
};

struct Case {
  std::string label;
  std::vector<Input> inputs;
  std::function<Tensors(Tensors)> call{};
  std::function<Arrays(const Arrays&)> formula{};
  std::vector<double> kinks{};  // points that inputs keep away from, as the function has no derivative there
  bool distinct = false;        // all elements of all inputs differ, as ties have no derivative
  double slack = 1;             // by which the tolerances of values are multiplied: long sums
  double step = 1e-6;           // of the central differences
  bool has_derivative = true;
  bool has_differences = true;  // false where results are too coarse for them
  bool composed = false;        // the call runs other operations too
  double flops = 0;             // of a forward, for the benchmark; 0: it is bound by memory
};

/// A call that must throw an exception of exactly this type, with this in its message.
struct Refusal {
  std::string label;
  const std::type_info* type;
  std::string fragment;
  std::function<void()> call;
};

template <class E>
Refusal refused(std::string label, std::string fragment, std::function<void()> call) {
  return {std::move(label), &typeid(E), std::move(fragment), std::move(call)};
}

/// Sets of element types, a bit for each.
using DTypes = unsigned;
constexpr DTypes bit_of(DType dtype) { return 1u << static_cast<unsigned>(dtype); }
inline constexpr DTypes kFloats =
    bit_of(DType::float32) | bit_of(DType::float64) | bit_of(DType::bfloat16) | bit_of(DType::float16);
inline constexpr DTypes kNumbers = kFloats | bit_of(DType::int32) | bit_of(DType::int64);
inline constexpr DTypes kAllTypes = kNumbers | bit_of(DType::boolean);

/// All about one operation.
struct Cases {
  const OpTable* table = nullptr;
  DTypes dtypes = kFloats;    // of the real inputs; all others are refused with TypeError
  bool by_a_library = false;  // oneDNN, or Eigen, which does not give the same bits on any number of threads
  std::vector<Case> cases{};
  std::vector<Refusal> refusals{};
  std::vector<Case> speed{};  // realistic sizes for the benchmark; no formula
};

Cases unary_cases(const OpTable& table, kernels::Unary function);
Cases binary_cases(const OpTable& table, kernels::Binary function);
Cases reduce_cases(const OpTable& table, kernels::Reduce function);
Cases softmax_cases(const OpTable& table, bool log);

template <class Op>
struct CasesOf;

template <kernels::Unary F>
struct CasesOf<ops::Unary<F>> {
  static Cases make() { return unary_cases(op_table<ops::Unary<F>>(), F); }
};
template <kernels::Binary F>
struct CasesOf<ops::Binary<F>> {
  static Cases make() { return binary_cases(op_table<ops::Binary<F>>(), F); }
};
template <kernels::Reduce F>
struct CasesOf<ops::ReduceOver<F>> {
  static Cases make() { return reduce_cases(op_table<ops::ReduceOver<F>>(), F); }
};
template <bool Log>
struct CasesOf<ops::SoftmaxLike<Log>> {
  static Cases make() { return softmax_cases(op_table<ops::SoftmaxLike<Log>>(), Log); }
};

// clang-format off
template <> struct CasesOf<ops::Compare> { static Cases make(); };
template <> struct CasesOf<ops::Where> { static Cases make(); };
template <> struct CasesOf<ops::Cast> { static Cases make(); };
template <> struct CasesOf<ops::Clone> { static Cases make(); };
template <> struct CasesOf<ops::Argmax> { static Cases make(); };
template <> struct CasesOf<ops::Reshape> { static Cases make(); };
template <> struct CasesOf<ops::Permute> { static Cases make(); };
template <> struct CasesOf<ops::Slice> { static Cases make(); };
template <> struct CasesOf<ops::Expand> { static Cases make(); };
template <> struct CasesOf<ops::Split> { static Cases make(); };
template <> struct CasesOf<ops::Concatenate> { static Cases make(); };
template <> struct CasesOf<ops::Pad> { static Cases make(); };
template <> struct CasesOf<ops::Matmul> { static Cases make(); };
template <> struct CasesOf<ops::Linear> { static Cases make(); };
template <> struct CasesOf<ops::Conv2d> { static Cases make(); };
template <> struct CasesOf<ops::MaxPool2d> { static Cases make(); };
template <> struct CasesOf<ops::AvgPool2d> { static Cases make(); };
template <> struct CasesOf<ops::LayerNorm> { static Cases make(); };
template <> struct CasesOf<ops::RmsNorm> { static Cases make(); };
template <> struct CasesOf<ops::BatchNorm> { static Cases make(); };
template <> struct CasesOf<ops::BatchNormFixed> { static Cases make(); };
template <> struct CasesOf<ops::CrossEntropy> { static Cases make(); };
template <> struct CasesOf<ops::LinearCrossEntropy> { static Cases make(); };
template <> struct CasesOf<ops::Embedding> { static Cases make(); };
template <> struct CasesOf<ops::Dropout> { static Cases make(); };
template <> struct CasesOf<ops::Attention> { static Cases make(); };
template <> struct CasesOf<ops::Transfer> { static Cases make(); };
template <> struct CasesOf<ops::PackedAttention> { static Cases make(); };
// clang-format on

/// The table: every operation that the engine's headers declare.
const std::vector<Cases>& all_cases();

/// softmax(scale q k^T + causal mask) v of q, k, v (B, H, T, D), with dropout of the probabilities by the
/// first key after kSeed.
Array attention_formula(const Arrays& in, double scale, bool causal, double dropout);

/// The seed of the thread's generator whenever a case is called.
inline constexpr std::uint64_t kSeed = 20170706;

/// The inputs of a case in double, before any rounding; `dtype` decides between integers and fractions.
Arrays input_values(const Cases& operation, const Case& c, DType dtype);

/// The element type of an input when the real ones are of `dtype`.
DType dtype_for(Kind kind, DType dtype);

/// A leaf of these values, rounded to its type, in the memory order that `input` asks for. What lies between
/// its elements is NaN.
Tensor make_tensor(const Input& input, const Array& values, DType dtype);

/// Values of a tensor of any type.
Array read(const Tensor& tensor);

/// Uniform in [low, high), the same for every run and machine.
Array random_array(const Shape& shape, double low, double high, std::uint64_t seed);

}  // namespace reprise::op_test
