// What a run shows: a list of observations that must be the same with and without segments.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "reprise/reprise.h"

namespace reprise::fuzz {

/// Thrown by hooks and by what programs throw themselves.
struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class What : std::uint8_t { value, error, gradient, hooks, last_value, last_gradient, generator };

/// How an exception is told from another.
enum class Thrown : std::uint8_t {
  none,
  shape,
  type,
  value,
  tape,
  anomaly,
  device,
  memory,  // OutOfMemory or std::bad_alloc
  error,   // Error itself
  planned,
  foreign  // what no call of the library may throw
};

struct Observation {
  std::uint32_t at = 0;  // the instruction
  What what = What::value;
  std::uint16_t part = 0;  // which result, or whose gradient
  bool stale = false;      // of an error: a replay would need what was changed in place
  std::uint64_t value = 0;
  bool operator==(const Observation& other) const {
    return at == other.at && what == other.what && part == other.part && value == other.value &&
           stale == other.stale;
  }
};

using Log = std::vector<Observation>;

/// Every bit of a word in every bit of the result (MurmurHash3's last step).
inline std::uint64_t spread(std::uint64_t z) {
  z = (z ^ (z >> 33)) * 0xff51afd7ed558ccdu;
  z = (z ^ (z >> 33)) * 0xc4ceb9fe1a85ec53u;
  return z ^ (z >> 33);
}

/// A number of both words and of their order. `b` is spread first: a product alone moves a difference only
/// towards the high bits, and two in the highest would take each other back.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return spread(a * 0x9e3779b97f4a7c15u + spread(b));
}

/// Of sizes, type and every bit of the elements; reads the memory and nothing else. 0 of an undefined tensor.
std::uint64_t digest(const Tensor& tensor);

/// Of the exception under way.
Thrown classify(bool& stale, std::string& text);

const char* name_of(What what);
const char* name_of(Thrown thrown);

}  // namespace reprise::fuzz
