#include "reprise/nn/module.h"

#include <fmt/format.h>

#include <map>
#include <unordered_set>

#include "reprise/error.h"
#include "reprise/in_place.h"
#include "reprise/nn/digest.h"
#include "reprise/tape.h"

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

/// A leaf of the tensor's values and gradient in another type, under its name.
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
  return result.set_requires_grad(tensor.requires_grad()).set_name(tensor.name());
}

}  // namespace

Conversion::Conversion(DType dtype) : dtype_(dtype) {
  if (!is_floating(dtype))
    throw TypeError(fmt::format("[convert] parameters cannot be {}; give a floating type", name_of(dtype)));
}

void Conversion::prepare(const Tensor& tensor, bool is_parameter) {
  const DType statistics = dtype_ == DType::float64 ? DType::float64 : DType::float32;
  const DType wanted = is_parameter ? dtype_ : statistics;
  if (!is_floating(tensor.dtype()) || tensor.dtype() == wanted) return;
  if ((*this)(tensor).value() == tensor.value()) made_.emplace_back(tensor, converted(tensor, wanted));
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
    const auto values = [&](const Tensor& t) { return digest(std::vector{t.detach().to(member.dtype())}); };
    if (source.defined() && source.value() != tensor.value() && !tensor.device().is_dry &&
        !source.device().is_dry && values(source) != values(tensor)) {
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
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (const auto& [tensor, names] : tensors) {
    copies.emplace_back(tensor, given_for(tensor, names, given));
    require_changeable("load_state", tensor);
  }
  if (!given.empty()) throw Error(fmt::format("[load_state] the module has no '{}'", given.begin()->first));
  // A source may be another member, as when two are swapped: all are read before the first is written.
  for (auto& [to, from] : copies) {
    const bool is_member = std::any_of(copies.begin(), copies.end(), [&, source = from](const auto& copy) {
      return &copy.first != &to && source.shares_storage_with(copy.first);
    });
    if (is_member) from = from.clone();
  }
  for (auto& [to, from] : copies) to.copy_(from);
}

}  // namespace reprise::nn
