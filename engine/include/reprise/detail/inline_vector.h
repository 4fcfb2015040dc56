// A vector of trivially copyable elements whose first N need no allocation: operations run too often to pay
// for one.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <type_traits>

namespace reprise::detail {

template <class T, std::size_t N>
class InlineVector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  InlineVector() {}  // NOLINT(modernize-use-equals-default): leaves the buffer uninitialised on purpose
  explicit InlineVector(std::size_t size) { resize(size); }
  InlineVector(std::initializer_list<T> values) {
    for (const T& value : values) push_back(value);
  }
  InlineVector(const InlineVector& other) { assign(other); }
  InlineVector& operator=(const InlineVector& other) {
    if (this != &other) {
      size_ = 0;
      assign(other);
    }
    return *this;
  }
  ~InlineVector() = default;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return heap_ ? heap_.get() : buffer(); }
  const T* data() const { return heap_ ? heap_.get() : buffer(); }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& back() { return data()[size_ - 1]; }

  void push_back(const T& value) {
    const T copy = value;
    reserve(size_ + 1);
    std::construct_at(data() + size_, copy);
    ++size_;
  }
  void reserve(std::size_t capacity) {
    if (capacity <= capacity_) return;
    const std::size_t grown = capacity > 2 * capacity_ ? capacity : 2 * capacity_;
    std::unique_ptr<T[]> heap(new T[grown]);
    for (std::size_t i = 0; i < size_; ++i) heap[i] = (*this)[i];
    heap_ = std::move(heap);
    capacity_ = grown;
  }
  /// New elements are value-initialised.
  void resize(std::size_t size) {
    reserve(size);
    for (std::size_t i = size_; i < size; ++i) std::construct_at(data() + i);
    size_ = size;
  }

 private:
  T* buffer() { return reinterpret_cast<T*>(buffer_); }
  const T* buffer() const { return reinterpret_cast<const T*>(buffer_); }
  void assign(const InlineVector& other) {
    reserve(other.size_);
    for (std::size_t i = 0; i < other.size_; ++i) std::construct_at(data() + i, other[i]);
    size_ = other.size_;
  }

  std::size_t size_ = 0;
  std::size_t capacity_ = N;
  std::unique_ptr<T[]> heap_;
  alignas(T) std::byte buffer_[N * sizeof(T)];
};

}  // namespace reprise::detail
