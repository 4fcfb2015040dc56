// Element types: their names, sizes and the two 16-bit floats as C++ types.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace reprise {

/// Element type of a tensor.
enum class DType : std::uint8_t { float32, float64, bfloat16, float16, int32, int64, boolean };

/// bfloat16: the upper half of a float32; arithmetic is done in float32.
struct bfloat16 {
  std::uint16_t bits = 0;
  bfloat16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  explicit bfloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
    const bool nan = (word & 0x7FFFFFFFu) > 0x7F800000u;
    bits = static_cast<std::uint16_t>(nan ? ((word >> 16) | 0x40u) : rounded);
  }
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE half precision; arithmetic is done in float32.
struct float16 {
  std::uint16_t bits = 0;
  float16() = default;
  /// Rounds to nearest, ties to even.
  explicit float16(float value) {
    const auto half = static_cast<Half>(value);
    std::memcpy(&bits, &half, sizeof(bits));
  }
  operator float() const {
    Half half;
    std::memcpy(&half, &bits, sizeof(bits));
    return static_cast<float>(half);
  }

 private:
#if defined(__clang__) && __clang_major__ < 15
  using Half = __fp16;  // it has _Float16 only where the processor computes in it
#else
  using Half = _Float16;
#endif
};

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::bfloat16:
    case DType::float16:
      return 2;
    case DType::boolean:
      return 1;
  }
  return 0;
}

/// "float32", "int64", ...: as PyTorch spells them.
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::bfloat16:
      return "bfloat16";
    case DType::float16:
      return "float16";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
    case DType::boolean:
      return "bool";
  }
  return "?";
}

/// True for the types that carry gradients.
constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 || dtype == DType::bfloat16 ||
         dtype == DType::float16;
}

/// The element type of a C++ type.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::float32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::float64;
  else if constexpr (std::is_same_v<T, bfloat16>)
    return DType::bfloat16;
  else if constexpr (std::is_same_v<T, float16>)
    return DType::float16;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return DType::int32;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return DType::int64;
  else {
    static_assert(std::is_same_v<T, bool>, "no tensor holds this type");
    return DType::boolean;
  }
}

}  // namespace reprise

namespace reprise::kernels {

/// The type in which a kernel computes on T: float for 16-bit floats, T itself otherwise.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>, float, T>;

/// Calls `f.template operator()<T>()` for the floating type named by `dtype`; false when it is not floating.
template <class F>
bool dispatch_floating(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      f.template operator()<float>();
      return true;
    case DType::float64:
      f.template operator()<double>();
      return true;
    case DType::bfloat16:
      f.template operator()<bfloat16>();
      return true;
    case DType::float16:
      f.template operator()<float16>();
      return true;
    default:
      return false;
  }
}

/// Calls `f.template operator()<T>()` for any element type.
template <class F>
void dispatch_all(DType dtype, F&& f) {
  if (dispatch_floating(dtype, f)) return;
  switch (dtype) {
    case DType::int32:
      f.template operator()<std::int32_t>();
      return;
    case DType::int64:
      f.template operator()<std::int64_t>();
      return;
    default:
      f.template operator()<bool>();
      return;
  }
}

}  // namespace reprise::kernels
