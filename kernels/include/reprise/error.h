// What Reprise throws. Every message begins with the operation in brackets and says which shapes and what to
// do.
#pragma once

#include <stdexcept>
#include <string>

namespace reprise {

/// Base of everything that Reprise throws.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Sizes, ranks or axes that do not fit the operation.
struct ShapeError : Error {
  using Error::Error;
};

/// Element types or devices that the operation does not take.
struct TypeError : Error {
  using Error::Error;
};

/// A value outside the range that the operation takes: an index, a probability, a number of groups.
struct ValueError : Error {
  using Error::Error;
};

/// A misuse of the tape: a value changed after it was recorded, backward through a tape that was freed.
struct TapeError : Error {
  using Error::Error;
};

/// A NaN found by the anomaly mode.
struct AnomalyError : Error {
  using Error::Error;
};

/// A call to a device or one of its libraries that failed.
struct DeviceError : Error {
  using Error::Error;
};

/// The device has no room for a request.
struct OutOfMemory : Error {
  using Error::Error;
};

}  // namespace reprise
