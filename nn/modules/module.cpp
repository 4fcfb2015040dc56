#include "reprise/nn/module.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_set>

#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/nn/digest.h"
#include "reprise/tape.h"
#include "shared_elements.h"

namespace reprise::nn {

std::vector<Tensor> tensors_of(const std::vector<NamedTensor>& named) {
  std::vector<Tensor> tensors;
  tensors.reserve(named.size());
  for (const NamedTensor& entry : named) tensors.push_back(entry.tensor);
  return tensors;
}

std::vector<NamedTensor> with_first_names(std::vector<NamedTensor> entries) {
  std::unordered_set<const Value*> seen;
  std::erase_if(entries, [&](const NamedTensor& entry) { return !seen.insert(entry.tensor.value()).second; });
  return entries;
}

std::vector<Tensor> distinct(std::span<const Tensor> tensors) {
  std::unordered_set<const Value*> seen;
  std::vector<Tensor> once;
  once.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    if (seen.insert(tensor.value()).second) once.push_back(tensor);
  }
  return once;
}

namespace {

/// A leaf of the tensor's values and gradient in another type, under its name and with its gradient hooks.
Tensor converted(const Tensor& tensor, DType dtype) {
  const NoGrad no_grad;
  const auto in_type = [dtype](const Tensor& from, Category category) {
    return empty(from.shape(), {.dtype = dtype,
                                .device = from.device(),
                                .category = category,
                                .channels_last = from.spec().channels_last})
        .copy_(from);
  };
  Tensor result = in_type(tensor, Category::parameters);
  if (const Tensor gradient = tensor.grad(); gradient.defined())
    result.set_grad(in_type(gradient, Category::gradients));
  result.set_requires_grad(tensor.requires_grad()).set_name(tensor.name());
  if (tensor.value()->extras != nullptr) result.value()->extras->hooks = tensor.value()->extras->hooks;
  return result;
}

}  // namespace

Conversion::Conversion(DType dtype) : dtype_(dtype) {
  if (!is_floating(dtype))
    throw TypeError(fmt::format("[convert] parameters cannot be {}; give a floating type", name_of(dtype)));
}

void Conversion::prepare(const Tensor& tensor, bool is_parameter) {
  const DType statistics = dtype_ == DType::float64 ? DType::float64 : DType::float32;
  const DType wanted = is_parameter ? dtype_ : statistics;
  const bool stays = !is_floating(tensor.dtype()) || tensor.dtype() == wanted;
  if (!stays && !tensor.is_leaf()) {
    throw TapeError(
        fmt::format("[convert] {} was recorded for backward; convert the tensors it was computed from and "
                    "compute it again, or make its detach() the member",
                    describe(*tensor.value())));
  }
  for (const auto& [before, after] : made_) {
    if (before.value() == tensor.value()) return;
    if (!before.shares_storage_with(tensor) || (stays && after.value() == before.value())) continue;
    if (!find_shared_elements(std::array{before, tensor})) continue;
    throw ValueError(fmt::format(
        "[convert] members {} and {} share elements, which they would not once converted; make one of them "
        "the tensor of both, or a copy",
        describe(*before.value()), describe(*tensor.value())));
  }
  made_.emplace_back(tensor, stays ? tensor : converted(tensor, wanted));
}

Tensor Conversion::operator()(const Tensor& tensor) const {
  for (const auto& [before, after] : made_) {
    if (before.value() == tensor.value()) return after;
  }
  return tensor;
}

std::int64_t count_elements(const std::vector<Tensor>& tensors) {
  std::int64_t total = 0;
  for (const Tensor& tensor : distinct(tensors)) total += tensor.numel();
  return total;
}

namespace {

/// Equal to the last bit as tensors of that type; what is on a dry device has no bits.
bool holds_same(const Tensor& a, const Tensor& b, DType dtype) {
  const auto bits = [&](const Tensor& t) { return digest(std::vector{t.detach().to(dtype)}); };
  return a.device().is_dry || b.device().is_dry || bits(a) == bits(b);
}

/// What `state` has for one tensor, under whichever of its names; throws unless all that it has agree.
Tensor given_for(const Tensor& member, const std::vector<std::string>& names,
                 std::map<std::string, Tensor>& given) {
  Tensor source;
  const std::string* source_name = nullptr;
  for (const std::string& name : names) {
    const auto found = given.find(name);
    if (found == given.end()) continue;
    const Tensor tensor = found->second;
    if (!(tensor.shape() == member.shape())) {
      throw ShapeError(fmt::format("[load_state] '{}' is {}, the module needs {}", name,
                                   to_string(tensor.shape()), to_string(member.shape())));
    }
    if (source.defined() && source.value() != tensor.value() && !holds_same(source, tensor, member.dtype())) {
      throw ValueError(
          fmt::format("[load_state] '{}' and '{}' are one tensor in the module, but have different values",
                      *source_name, name));
    }
    source = tensor;
    source_name = &name;
    given.erase(found);
  }
  if (!source.defined()) throw Error(fmt::format("[load_state] '{}' is missing", names.front()));
  return source;
}

struct Copy {
  std::string name;
  Tensor to, from;
};

/// Throws what copying would, as far as that can be known ahead.
void require_possible(const Copy& copy) {
  require_changeable("load_state", copy.to);
  if (copy.from.device().is_dry && !copy.to.device().is_dry) {
    throw TapeError(
        fmt::format("[load_state] '{}' is on {}, where tensors have no values; give one of a real device",
                    copy.name, to_string(copy.from.device())));
  }
}

bool shares_with_another(const std::vector<Copy>& copies, const Copy& self, const Tensor& tensor) {
  return std::any_of(copies.begin(), copies.end(),
                     [&](const Copy& copy) { return &copy != &self && tensor.shares_storage_with(copy.to); });
}

void copy_and_compare(const std::vector<Copy>& copies) {
  for (Copy copy : copies) copy.to.copy_(copy.from);
  for (const Copy& copy : copies) {
    if (holds_same(copy.to, copy.from, copy.to.dtype())) continue;
    throw ValueError(fmt::format(
        "[load_state] '{}' shares memory with another member of the module, which is given other values",
        copy.name));
  }
}

/// Members that share memory without being one tensor, as a slice and the whole: what they are given must
/// agree where they meet, or nothing is changed.
void copy_overlapping(const std::vector<Copy>& copies) {
  std::vector<Tensor> before;
  before.reserve(copies.size());
  for (const Copy& copy : copies) before.push_back(copy.to.clone());
  try {
    copy_and_compare(copies);
  } catch (...) {
    for (std::size_t i = 0; i < copies.size(); ++i) Tensor(copies[i].to).copy_(before[i]);
    throw;
  }
}

}  // namespace

void copy_state(const std::vector<NamedTensor>& members, const std::vector<NamedTensor>& state) {
  std::map<std::string, Tensor> given;
  for (const NamedTensor& entry : state) {
    if (!entry.tensor.defined())
      throw Error(fmt::format("[load_state] '{}' is an undefined tensor", entry.name));
    if (!given.emplace(entry.name, entry.tensor).second)
      throw Error(fmt::format("[load_state] '{}' is given twice", entry.name));
  }
  std::vector<std::pair<Tensor, std::vector<std::string>>> tensors;
  std::map<const Value*, std::size_t> place;
  for (const NamedTensor& member : members) {
    const auto [known, is_new] = place.emplace(member.tensor.value(), tensors.size());
    if (is_new) tensors.emplace_back(member.tensor, std::vector<std::string>());
    tensors[known->second].second.push_back(member.name);
  }
  const NoGrad no_grad;
  std::vector<Copy> copies;
  for (const auto& [tensor, names] : tensors) {
    copies.push_back({names.front(), tensor, given_for(tensor, names, given)});
    require_possible(copies.back());
  }
  if (!given.empty()) throw Error(fmt::format("[load_state] the module has no '{}'", given.begin()->first));
  // A source may be another member, as when two are swapped: all are read before the first is written.
  for (Copy& copy : copies) {
    if (shares_with_another(copies, copy, copy.from)) copy.from = copy.from.clone();
  }
  std::vector<Copy> overlapping, separate;
  for (const Copy& copy : copies)
    (shares_with_another(copies, copy, copy.to) ? overlapping : separate).push_back(copy);
  copy_overlapping(overlapping);
  for (Copy& copy : separate) copy.to.copy_(copy.from);
}

}  // namespace reprise::nn
