#include "reprise/nn/digest.h"

#include <fmt/format.h>

#include <cstring>

#include "reprise/tape.h"

namespace reprise::nn {
namespace {

class Fnv {
 public:
  void add(std::uint64_t word) { state_ = (state_ ^ word) * 0x100000001B3ull; }
  void add(const void* data, std::size_t bytes) {
    const auto* at = static_cast<const std::byte*>(data);
    for (; bytes > 0; at += std::min<std::size_t>(bytes, 8), bytes -= std::min<std::size_t>(bytes, 8)) {
      std::uint64_t word = 0;
      std::memcpy(&word, at, std::min<std::size_t>(bytes, 8));
      add(word);
    }
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325ull;
};

}  // namespace

std::string digest(std::span<const Tensor> tensors) {
  const NoGrad no_grad;
  Fnv fnv;
  for (const Tensor& tensor : tensors) {
    if (!tensor.defined()) {
      fnv.add(0xDEADull);
      continue;
    }
    fnv.add(static_cast<std::uint64_t>(tensor.dtype()));
    for (const std::int64_t size : tensor.shape()) fnv.add(static_cast<std::uint64_t>(size));
    const Tensor dense = tensor.detach().contiguous().to(Device::cpu());
    fnv.add(dense.value()->data(), dense.spec().bytes());
  }
  return fmt::format("{:016x}", fnv.value());
}

}  // namespace reprise::nn
