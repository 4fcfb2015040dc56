#include "reprise/nn/transaction.h"

#include <cstring>

#include "reprise/error.h"
#include "reprise/random.h"

namespace reprise::nn {

Transaction::Transaction(std::vector<Tensor> buffers)
    : buffers_(std::move(buffers)), generator_(generator()) {
  for (const Tensor& buffer : buffers_) {
    if (!buffer.is_contiguous()) throw Error("[transaction] a buffer must be row-major without gaps");
    std::vector<std::byte>& copy = before_.emplace_back(buffer.spec().bytes());
    if (!copy.empty()) std::memcpy(copy.data(), buffer.value()->data(), copy.size());
  }
}

Transaction::~Transaction() {
  if (committed_) return;
  generator() = generator_;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    if (!before_[i].empty()) std::memcpy(buffers_[i].value()->data(), before_[i].data(), before_[i].size());
  }
}

}  // namespace reprise::nn
