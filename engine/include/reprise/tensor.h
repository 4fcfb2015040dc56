// The tensor that users hold: a counted handle to a value of the tape.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "reprise/random.h"
#include "reprise/value.h"

namespace reprise {

/// What a new tensor is made of.
struct TensorOptions {
  DType dtype = DType::float32;
  Device device = default_device();
  Category category = Category::other;
  bool channels_last = false;  // memory order, for rank 4
};

/// What `backward` does with the tape and where gradients go.
struct BackwardOptions {
  bool retain_tape = false;  // keep what is saved, for another backward
};

/// Reads "float32", "bfloat16", ... as PyTorch spells them; throws ValueError for anything else.
DType parse_dtype(std::string_view text);

namespace detail {
[[noreturn]] void throw_too_large(const char* operation, std::uint64_t value);

template <std::integral T>
std::int64_t to_int64(const char* operation, T value) {
  if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(std::int64_t)) {
    if (value > static_cast<T>(INT64_MAX)) throw_too_large(operation, value);
  }
  return static_cast<std::int64_t>(value);
}
}  // namespace detail

class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& other) noexcept : value_(other.value_) {
    if (value_ != nullptr) add_user(value_);
  }
  Tensor(Tensor&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Tensor() {
    if (value_ != nullptr) drop_user(value_);
  }
  /// A handle to `value`, counted as a user.
  static Tensor share(Value* value) {
    add_user(value);
    return Tensor(value);
  }
  /// A handle that takes over a count which the caller already holds.
  static Tensor adopt(Value* value) { return Tensor(value); }
  Value* value() const { return value_; }

  bool defined() const { return value_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Spec& spec() const { return checked().spec; }
  const Shape& shape() const { return checked().spec.shape; }
  DType dtype() const { return checked().spec.dtype; }
  Device device() const { return checked().spec.device; }
  int rank() const { return shape().rank(); }
  std::int64_t numel() const { return shape().numel(); }
  /// Size of one axis; negative axes count from the back. Throws ShapeError.
  std::int64_t size(int axis) const;
  std::span<const std::int64_t> strides() const;
  bool is_contiguous() const;
  /// True when both are views of the same memory.
  bool shares_storage_with(const Tensor& other) const;
  /// Number of changes in place that its memory has seen.
  std::uint32_t version() const { return checked().version(); }

  bool requires_grad() const { return checked().requires_grad; }
  /// Marks a leaf as wanting a gradient; throws TapeError for a result that leads back to one, TypeError for
  /// integers.
  Tensor& set_requires_grad(bool wanted);
  bool is_leaf() const { return checked().is_leaf; }
  /// The accumulated gradient; undefined when there is none.
  Tensor grad() const;
  /// Gives this leaf a gradient of its sizes, type and device, in any layout; backward adds to it. The tensor
  /// given becomes the gradient itself, or a copy does where adding in place could not be right: of an
  /// expanded one, a recorded or wanting one, and one in this tensor's own memory. Throws TapeError unless
  /// this is a leaf, ShapeError or TypeError for a gradient that does not fit and for an integer tensor.
  void set_grad(Tensor gradient);
  /// Drops the gradient (its memory is free at once). Throws TapeError while a backward adds to it.
  void clear_grad();
  /// Calls `hook` once per backward with the complete gradient of this tensor, before it is used or
  /// accumulated; a defined result replaces it. One that a running hook of the same tensor adds is called
  /// from the next backward on. Throws TapeError when no gradient is wanted, or for a result of another
  /// thread.
  void on_gradient(GradientHook hook) const;
  const std::string& name() const;
  Tensor& set_name(std::string name);

  /// Plays the tape backward from this scalar (gradient 1). Throws TapeError when there is no tape to play.
  void backward(BackwardOptions options = {}) const;
  /// The same from any shape, with the gradient of this tensor given.
  void backward(const Tensor& gradient, BackwardOptions options = {}) const;

  /// The same memory, cut off the tape.
  Tensor detach() const;
  /// A dense copy in new memory, recorded.
  Tensor clone() const;
  /// This tensor when it is row-major without gaps, else a recorded copy that is.
  Tensor contiguous() const;
  /// A recorded conversion; this tensor itself when it already has that type.
  Tensor to(DType dtype) const;
  /// A recorded copy on another device; this tensor itself when it is there already.
  Tensor to(Device device) const;

  /// The only element. Throws ShapeError when there is not exactly one.
  template <class T>
  T item() const;
  /// All elements in row-major order, converted to T where every value of the tensor's type fits; throws
  /// TypeError else.
  template <class T>
  std::vector<T> to_vector() const;
  /// Pointer to the elements of a tensor of type T, in the memory of its device; throws TypeError for another
  /// type, TapeError on a dry device. Nobody notices what is written through it: what was recorded from the
  /// tensor reads the new elements when it is replayed. Call change_in_place() (in_place.h) where a tape may
  /// depend on it.
  template <class T>
  T* data() const {
    require_elements(dtype_of<T>());
    return static_cast<T*>(checked().data());
  }

  // Changes in place: allowed where no tape can be made wrong by it (see in_place.h). They are not recorded:
  // a source that wants a gradient is refused with TapeError, except under NoGrad. Source and target may
  // overlap.
  /// Throws ValueError for a number that the type does not hold; floating ones round.
  Tensor& fill_(double value);
  Tensor& fill_(std::integral auto value) { return fill_integer(detail::to_int64("fill_", value)); }
  Tensor& zero_() { return fill_(0); }
  /// Copies elements of equal sizes; converts between types and moves between devices. Throws TapeError on a
  /// recorded result that wants a gradient.
  Tensor& copy_(const Tensor& source);
  /// this += alpha * other, of the same type. Throws TypeError for bool, and for a fraction of integers.
  Tensor& add_(const Tensor& other, double alpha = 1);
  /// Throws TypeError for bool, and for a fraction of integers.
  Tensor& mul_(double factor);

 private:
  Tensor& fill_integer(std::int64_t value);
  explicit Tensor(Value* value) : value_(value) {}
  Value& checked() const {
    if (value_ == nullptr) throw_undefined();
    return *value_;
  }
  [[noreturn]] static void throw_undefined();
  void require_elements(DType wanted) const;

  Value* value_ = nullptr;
};

/// Uninitialised memory.
Tensor empty(const Shape& shape, const TensorOptions& options = {});
Tensor zeros(const Shape& shape, const TensorOptions& options = {});
Tensor ones(const Shape& shape, const TensorOptions& options = {});
/// Throws ValueError for a number that the type does not hold; floating ones round.
Tensor full(const Shape& shape, double value, const TensorOptions& options = {});
namespace detail {
Tensor full_integer(const Shape& shape, std::int64_t value, const TensorOptions& options);
}
/// The same with an integer, exact where the type is: not every int64 is a double.
template <std::integral T>
Tensor full(const Shape& shape, T value, const TensorOptions& options = {}) {
  return detail::full_integer(shape, detail::to_int64("full", value), options);
}
/// 0, 1, ..., n - 1.
Tensor arange(std::int64_t n, const TensorOptions& options = {.dtype = DType::int64});
/// Uniform in [0, 1), from `generator()`.
Tensor rand(const Shape& shape, const TensorOptions& options = {});
/// Standard normal, from `generator()`.
Tensor randn(const Shape& shape, const TensorOptions& options = {});

/// A copy of host data in row-major order; throws ShapeError when the count differs from the shape's,
/// TypeError where an integer type is too small.
template <class T>
Tensor from_host(std::span<const T> elements, const Shape& shape, const TensorOptions& options);

/// The same, of the C++ type's dtype.
template <class T>
Tensor from_host(std::span<const T> elements, const Shape& shape) {
  return from_host<T>(elements, shape, {.dtype = dtype_of<T>()});
}

/// A copy of host data, of the C++ type's dtype: tensor<float>({1, 2, 3, 4}, {2, 2}).
template <class T>
Tensor tensor(const std::vector<T>& elements, const Shape& shape);
template <class T>
Tensor tensor(std::initializer_list<T> elements, const Shape& shape) {
  return from_host<T>(std::span<const T>(elements.begin(), elements.size()), shape, {.dtype = dtype_of<T>()});
}
/// A scalar.
Tensor scalar(double value, const TensorOptions& options = {});
template <std::integral T>
Tensor scalar(T value, const TensorOptions& options = {}) {
  return full({}, value, options);
}

/// Sizes, type and elements, the middle of long axes left out: as printed by `<<`.
std::string to_string(const Tensor& tensor);
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

}  // namespace reprise
