#include "op_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "reprise/kernels/elementwise.h"
#include "reprise/tape.h"

namespace reprise::op_test {
namespace {

constexpr double kAwayFromKinks = 0.02;
constexpr double kIntegerScale = 5;  // integers lie in as many times the range of the fractions

class Uniform {
 public:
  explicit Uniform(std::uint64_t seed) : generator_(seed) {}
  /// In [0, 1).
  double operator()() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }
  double operator()(double low, double high) { return low + (high - low) * (*this)(); }

 private:
  std::mt19937_64 generator_;
};

std::uint64_t hash(std::string_view text) {
  std::uint64_t h = 14695981039346656037u;  // FNV-1a
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return h;
}

double fraction(const Input& input, const Case& c, Uniform& uniform) {
  for (;;) {
    const double value = uniform(input.low, input.high);
    const bool near = std::any_of(c.kinks.begin(), c.kinks.end(),
                                  [&](double kink) { return std::abs(value - kink) < kAwayFromKinks; });
    if (!near) return value;
  }
}

double whole(const Input& input, const Case& c, Uniform& uniform) {
  const double value = std::round(kIntegerScale * fraction(input, c, uniform));
  return value == 0 && (input.low > 0 || !c.kinks.empty()) ? 1 : value;
}

/// Replaces the elements by as many different ones, evenly spread over the same range.
void make_distinct(const Case& c, Arrays& arrays, Uniform& uniform) {
  std::vector<double*> all;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (c.inputs[i].kind != Kind::real) continue;
    for (double& value : arrays[i].values) all.push_back(&value);
  }
  for (std::size_t i = all.size(); i > 1; --i) {
    std::swap(all[i - 1], all[static_cast<std::size_t>(uniform() * static_cast<double>(i))]);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    *all[i] = -1 + 2 * (static_cast<double>(i) + 0.5) / static_cast<double>(all.size());
  }
}

Tensor poisoned(const Shape& shape, const TensorOptions& options) {
  return is_floating(options.dtype) ? full(shape, std::numeric_limits<double>::quiet_NaN(), options)
                                    : full(shape, 1, options);
}

/// A tensor of this memory order, its elements not yet set.
Tensor make_memory(const Input& input, const TensorOptions& options) {
  const Shape& shape = input.shape;
  Shape wider = shape;
  switch (input.order) {
    case Order::permuted: {
      std::vector<std::int64_t> sizes(shape.begin(), shape.end());
      std::reverse(sizes.begin(), sizes.end());
      wider = Shape(std::span<const std::int64_t>(sizes));
      ops::Permute reverse;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        reverse.axes[static_cast<std::size_t>(axis)] = static_cast<std::int8_t>(shape.rank() - 1 - axis);
      }
      return apply(reverse, poisoned(wider, options));
    }
    case Order::gaps:
      wider.set(shape.rank() - 1, 2 * shape[shape.rank() - 1] + 1);
      return slice(poisoned(wider, options), -1, 1, wider[shape.rank() - 1], 2);
    case Order::channels_last: {
      TensorOptions last = options;
      last.channels_last = true;
      return poisoned(shape, last);
    }
    case Order::expanded:
      wider.set(0, 1);
      return expand(poisoned(wider, options), shape);
    case Order::row_major:
      break;
  }
  return poisoned(shape, options);
}

template <class... Ops>
std::vector<Cases> make_cases(List<Ops...>) {
  return {CasesOf<Ops>::make()...};
}

}  // namespace

double Array::broadcast_at(const Shape& stretched, const Index& index) const {
  Index own{};
  const int missing = stretched.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    own[static_cast<std::size_t>(axis)] =
        shape[axis] == 1 ? 0 : index[static_cast<std::size_t>(axis + missing)];
  }
  return at(own);
}

const std::vector<Cases>& all_cases() {
  static const std::vector<Cases> cases = make_cases(AllOperations());
  return cases;
}

DType dtype_for(Kind kind, DType dtype) {
  switch (kind) {
    case Kind::real:
      return dtype;
    case Kind::ids:
      return DType::int64;
    case Kind::ids32:
      return DType::int32;
    case Kind::condition:
      return DType::boolean;
    case Kind::statistic:
      return dtype == DType::float64 ? DType::float64 : DType::float32;
  }
  return dtype;
}

Array random_array(const Shape& shape, double low, double high, std::uint64_t seed) {
  Uniform uniform(seed);
  return generate(shape, [&](const Index&) { return uniform(low, high); });
}

Arrays input_values(const Cases& operation, const Case& c, DType dtype) {
  Uniform uniform(hash(operation.table->name) ^ hash(c.label));
  Arrays arrays;
  for (const Input& input : c.inputs) {
    const DType own = dtype_for(input.kind, dtype);
    Array array(input.shape);
    for (double& value : array.values) {
      if (input.kind == Kind::ids || input.kind == Kind::ids32)
        value = std::floor(uniform(input.low, input.high));
      else if (own == DType::boolean)
        value = uniform() < 0.5 ? 0 : 1;
      else
        value = is_floating(own) ? fraction(input, c, uniform) : whole(input, c, uniform);
    }
    if (!input.values.empty()) array.values = input.values;
    if (input.order == Order::expanded) {
      const Array one = array;
      std::int64_t i = 0;
      for_each_index(input.shape, [&](Index index) {
        index[0] = 0;
        array[i++] = one.at(index);
      });
    }
    arrays.push_back(std::move(array));
  }
  if (c.distinct && is_floating(dtype)) make_distinct(c, arrays, uniform);
  return arrays;
}

Tensor make_tensor(const Input& input, const Array& values, DType dtype) {
  const NoGrad no_grad;
  const Tensor memory = make_memory(input, {.dtype = dtype_for(input.kind, dtype)});
  const Tensor source = from_host<double>(values.values, input.shape, {.dtype = DType::float64});
  kernels::ConstView from = view_of(*source.value());
  kernels::View to = view_of(*memory.value());
  for (int axis = 0; axis < to.rank; ++axis) {
    if (to.strides[axis] == 0 && to.sizes[axis] > 1) from.sizes[axis] = to.sizes[axis] = 1;  // written once
  }
  kernels::copy(queue_of(memory.device()), from, {to, kernels::Write::overwrite});
  return memory.detach();
}

Array read(const Tensor& tensor) {
  const NoGrad no_grad;
  Array array(tensor.shape());
  array.values = tensor.to(DType::float64).to_vector<double>();
  return array;
}

}  // namespace reprise::op_test
