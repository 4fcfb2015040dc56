#include "shared_elements.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "reprise/value.h"

namespace reprise::nn {
namespace {

/// Which elements of a storage a value shows.
struct Extent {
  const Value* value;
  std::int64_t first, last;
};

Extent extent_of(const Value& value) {
  std::int64_t last = value.offset;
  for (int axis = 0; axis < value.spec.shape.rank(); ++axis)
    last += (value.spec.shape[axis] - 1) * value.strides[static_cast<std::size_t>(axis)];
  return {&value, value.offset, last};
}

/// Calls f(offset) for every element of `value`.
template <class F>
void for_each_offset(const Value& value, F&& f) {
  const Shape& shape = value.spec.shape;
  std::array<std::int64_t, kMaxRank> index{};
  std::int64_t at = value.offset;
  for (std::int64_t left = shape.numel(); left > 0; --left) {
    f(at);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      at += value.strides[i];
      if (++index[i] < shape[axis]) break;
      at -= index[i] * value.strides[i];
      index[i] = 0;
    }
  }
}

using Pair = std::pair<const Value*, const Value*>;

/// Of values whose extents overlap in a chain.
std::optional<Pair> find_in(std::span<const Extent> chain, std::int64_t last) {
  const std::int64_t first = chain.front().first;
  std::vector<std::uint32_t> owner(static_cast<std::size_t>(last - first + 1));  // 1 + its place; 0: none
  std::optional<Pair> found;
  for (std::size_t i = 0; i < chain.size() && !found; ++i) {
    for_each_offset(*chain[i].value, [&](std::int64_t at) {
      std::uint32_t& known = owner[static_cast<std::size_t>(at - first)];
      if (known != 0 && known != i + 1 && !found) found = {chain[known - 1].value, chain[i].value};
      known = static_cast<std::uint32_t>(i + 1);
    });
  }
  return found;
}

/// Of views of one storage.
std::optional<Pair> find_in(std::vector<Extent>& extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.first < b.first; });
  for (std::size_t begin = 0; begin < extents.size();) {
    std::int64_t last = extents[begin].last;
    std::size_t end = begin + 1;
    for (; end < extents.size() && extents[end].first <= last; ++end)
      last = std::max(last, extents[end].last);
    if (end - begin > 1) {
      if (const auto found = find_in(std::span(extents).subspan(begin, end - begin), last)) return found;
    }
    begin = end;
  }
  return {};
}

}  // namespace

std::optional<std::pair<Tensor, Tensor>> find_shared_elements(std::span<const Tensor> tensors) {
  std::map<const Storage*, std::vector<Extent>> by_storage;
  for (const Tensor& tensor : tensors) {
    if (tensor.numel() == 0) continue;
    std::vector<Extent>& extents = by_storage[tensor.value()->storage];
    const bool is_listed = std::any_of(extents.begin(), extents.end(),
                                       [&](const Extent& extent) { return extent.value == tensor.value(); });
    if (!is_listed) extents.push_back(extent_of(*tensor.value()));
  }
  for (auto& [storage, extents] : by_storage) {
    const auto found = find_in(extents);
    if (!found) continue;
    const auto tensor_of = [&](const Value* value) {
      return *std::find_if(tensors.begin(), tensors.end(),
                           [&](const Tensor& t) { return t.value() == value; });
    };
    return std::pair{tensor_of(found->first), tensor_of(found->second)};
  }
  return {};
}

}  // namespace reprise::nn
