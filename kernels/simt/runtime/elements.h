// Element types of matrices and tensors, seen from the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <library_types.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace simt::runtime {

/// Calls the body with a value of the C++ type; false for a type that the stand-in does not know.
template <class Body>
bool with_element(cudaDataType type, Body body) {
  switch (type) {
    case CUDA_R_32F:
      body(float{});
      return true;
    case CUDA_R_64F:
      body(double{});
      return true;
    case CUDA_R_16F:
      body(__half{});
      return true;
    case CUDA_R_16BF:
      body(__nv_bfloat16{});
      return true;
    default:
      return false;
  }
}

/// Bytes of an element; 0 for a type that the stand-in does not know.
inline std::size_t element_bytes(cudaDataType type) {
  std::size_t bytes = 0;
  with_element(type, [&](auto element) { bytes = sizeof element; });
  return bytes;
}

template <class T, class Element>
T to_number(Element element) {
  if constexpr (std::is_same_v<Element, __half>) {
    return static_cast<T>(__half2float(element));
  } else if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    return static_cast<T>(std::bit_cast<float>(std::uint32_t{std::bit_cast<std::uint16_t>(element)} << 16));
  } else {
    return static_cast<T>(element);
  }
}

template <class Element, class T>
Element from_number(T number) {
  if constexpr (std::is_same_v<Element, __half>) {
    return __float2half_rn(static_cast<float>(number));
  } else if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    return __float2bfloat16_rn(static_cast<float>(number));
  } else {
    return static_cast<Element>(number);
  }
}

/// The number as tensor cores see a float: 10 bits of mantissa, rounded to nearest, ties away from zero.
inline float to_tf32(float number) {
  const auto bits = std::bit_cast<std::uint32_t>(number);
  if ((bits & 0x7f800000u) == 0x7f800000u) return number;
  return std::bit_cast<float>((bits + 0x1000u) & ~std::uint32_t{0x1fff});
}

}  // namespace simt::runtime
