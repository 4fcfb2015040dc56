// Arithmetic on sizes that users choose, and memory for them: what does not fit is an error that says so,
// never a wrapped number.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/error.h"

namespace reprise::checked {

[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(std::string_view operation, std::int64_t a,
                                                          const char* sign, std::int64_t b) {
  throw ShapeError("[" + std::string(operation) + "] " + std::to_string(a) + sign + std::to_string(b) +
                   " does not fit 64 bits; give smaller sizes");
}

/// a + b. Throws ShapeError.
inline std::int64_t add(std::string_view operation, std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) refuse(operation, a, " + ", b);
  return sum;
}

/// a * b. Throws ShapeError.
inline std::int64_t multiply(std::string_view operation, std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) refuse(operation, a, " * ", b);
  return product;
}

/// A vector of `count` zeros. Throws OutOfMemory.
template <class T>
std::vector<T> vector_of(std::string_view operation, std::int64_t count) {
  const auto refuse_memory = [&] {
    return OutOfMemory("[" + std::string(operation) + "] there is no memory for " + std::to_string(count) +
                       " elements; ask for fewer");
  };
  try {
    return std::vector<T>(static_cast<std::size_t>(count));
  } catch (const std::bad_alloc&) {
    throw refuse_memory();
  } catch (const std::length_error&) {
    throw refuse_memory();
  }
}

/// a / b rounded up, of a at least 0 and b at least 1, whatever their sizes.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return a == 0 ? 0 : (a - 1) / b + 1; }

}  // namespace reprise::checked
