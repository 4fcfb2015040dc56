#include "observe.h"

#include <cstring>
#include <new>

namespace reprise::fuzz {
namespace {

std::uint64_t element(const std::byte* at, std::size_t bytes) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, at, bytes);
  return bits;
}

}  // namespace

std::uint64_t digest(const Tensor& tensor) {
  if (!tensor.defined()) return 0;
  const kernels::View view = view_of(*tensor.value());
  std::uint64_t hash = mix(static_cast<std::uint64_t>(view.dtype) + 1, static_cast<std::uint64_t>(view.rank));
  for (int axis = 0; axis < view.rank; ++axis)
    hash = mix(hash, static_cast<std::uint64_t>(view.sizes[static_cast<std::size_t>(axis)]));
  const std::int64_t n = view.numel();
  if (n == 0) return hash;
  if (view.data == nullptr) return mix(hash, 0xdead);
  const std::size_t bytes = reprise::size_of(view.dtype);
  const auto* data = static_cast<const std::byte*>(view.data);
  std::array<std::int64_t, kMaxRank> index{};
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t offset = 0;
    for (std::size_t a = 0; a < static_cast<std::size_t>(view.rank); ++a)
      offset += index[a] * view.strides[a];
    hash = mix(hash, element(data + offset * static_cast<std::int64_t>(bytes), bytes));
    for (auto a = static_cast<std::size_t>(view.rank); a-- > 0;) {
      if (++index[a] < view.sizes[a]) break;
      index[a] = 0;
    }
  }
  return hash;
}

Thrown classify(bool& stale, std::string& text) {
  stale = false;
  try {
    throw;
  } catch (const ShapeError& e) {
    return text = e.what(), Thrown::shape;
  } catch (const TypeError& e) {
    return text = e.what(), Thrown::type;
  } catch (const ValueError& e) {
    return text = e.what(), Thrown::value;
  } catch (const TapeError& e) {
    text = e.what();
    stale = text.find("was changed in place") != std::string::npos ||
            text.find("another thread's tape; change a clone()") != std::string::npos;
    return Thrown::tape;
  } catch (const AnomalyError& e) {
    return text = e.what(), Thrown::anomaly;
  } catch (const DeviceError& e) {
    return text = e.what(), Thrown::device;
  } catch (const OutOfMemory& e) {
    return text = e.what(), Thrown::memory;
  } catch (const Error& e) {
    return text = e.what(), Thrown::error;
  } catch (const Planned& e) {
    return text = e.what(), Thrown::planned;
  } catch (const std::bad_alloc& e) {
    return text = e.what(), Thrown::memory;
  } catch (const std::exception& e) {
    return text = e.what(), Thrown::foreign;
  } catch (...) {
    return text = "no std::exception", Thrown::foreign;
  }
}

const char* name_of(What what) {
  static constexpr const char* names[] = {"value",      "error",         "gradient", "hooks",
                                          "last value", "last gradient", "generator"};
  return names[static_cast<std::size_t>(what)];
}

const char* name_of(Thrown thrown) {
  static constexpr const char* names[] = {"nothing",
                                          "ShapeError",
                                          "TypeError",
                                          "ValueError",
                                          "TapeError",
                                          "AnomalyError",
                                          "DeviceError",
                                          "OutOfMemory",
                                          "Error",
                                          "what the program throws",
                                          "a foreign exception"};
  return names[static_cast<std::size_t>(thrown)];
}

}  // namespace reprise::fuzz
