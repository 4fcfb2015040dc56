#include "reprise/nn/transaction.h"

#include "reprise/error.h"
#include "reprise/random.h"
#include "reprise/tape.h"

namespace reprise::nn {

Transaction::Transaction(std::vector<Tensor> buffers)
    : buffers_(std::move(buffers)), generator_(generator()) {
  const NoGrad no_grad;
  for (const Tensor& buffer : buffers_) {
    before_.push_back(empty(buffer.shape(), {.dtype = buffer.dtype(), .device = buffer.device()}));
    before_.back().copy_(buffer);
  }
}

Transaction::~Transaction() {
  if (committed_) return;
  generator() = generator_;
  try {
    const NoGrad no_grad;
    for (std::size_t i = 0; i < buffers_.size(); ++i) buffers_[i].copy_(before_[i]);
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the device is broken, and its user was told so
  }
}

}  // namespace reprise::nn
