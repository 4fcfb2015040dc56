#include "reprise/nn/transaction.h"

#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/random.h"
#include "reprise/tape.h"

namespace reprise::nn {

Transaction::Transaction(std::vector<Tensor> buffers)
    : buffers_(std::move(buffers)), generator_(generator()) {
  const NoGrad no_grad;
  for (const Tensor& buffer : buffers_) require_changeable("Transaction", buffer);
  for (const Tensor& buffer : buffers_) {
    before_.push_back(empty(buffer.shape(), {.dtype = buffer.dtype(), .device = buffer.device()}));
    before_.back().copy_(buffer);
  }
}

Transaction::~Transaction() {
  if (committed_) return;
  generator() = generator_;
  const NoGrad no_grad;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    try {
      buffers_[i].copy_(before_[i]);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): its device is broken, as its user was
    }                                  // told; the others are put back
  }
}

}  // namespace reprise::nn
