#include <algorithm>
#include <utility>

#include "reprise/error.h"
#include "reprise/memory/source.h"

namespace reprise {
namespace {

class LimitedSource final : public Source {
 public:
  LimitedSource(std::unique_ptr<Source> inner, std::size_t capacity_bytes)
      : inner_(std::move(inner)), capacity_(std::min(capacity_bytes, inner_->capacity())) {}

  void* allocate(std::size_t bytes) override {
    if (bytes > capacity_ - used_) return nullptr;
    void* const data = inner_->allocate(bytes);
    if (data != nullptr) used_ += bytes;
    return data;
  }

  void release(void* data, std::size_t bytes) noexcept override {
    inner_->release(data, bytes);
    used_ -= bytes;
  }

  std::size_t capacity() const override { return capacity_; }
  std::string_view name() const override { return inner_->name(); }
  bool host_accessible() const override { return inner_->host_accessible(); }

 private:
  std::unique_ptr<Source> inner_;
  std::size_t capacity_;
  std::size_t used_ = 0;
};

}  // namespace

std::unique_ptr<Source> limited_source(std::unique_ptr<Source> inner, std::size_t capacity_bytes) {
  if (inner == nullptr)
    throw ValueError("[memory] limited_source has no source to limit; give it host_source()");
  return std::make_unique<LimitedSource>(std::move(inner), capacity_bytes);
}

}  // namespace reprise
