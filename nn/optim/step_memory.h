// What every optimiser asks of parameters, gradients and numbers before it changes anything, and the memory
// of one step: kernels take dense memory of one order, parameters and gradients may lie in any.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reprise/nn/optim.h"
#include "reprise/operation.h"

namespace reprise::nn::detail {

/// A zeroed tensor for an optimiser's state of `parameter`: dense, in its memory order where it has one.
Tensor state_like(const Tensor& parameter);

/// A float32 copy of a 16-bit parameter as state; undefined for others.
Tensor master_of(const Tensor& parameter);

/// Takes elements of the parameter over into its master copy, if there is one, that have been changed
/// otherwise than by steps (loaded, clamped, averaged) since the parameter had that version.
void follow_parameter(const Tensor& parameter, Tensor& master, std::uint32_t version);

struct DecayedParameter {
  Tensor parameter;
  double weight_decay;
};

/// The parameters of all groups, each once. Throws what is said of the optimisers' constructors.
std::vector<DecayedParameter> checked_parameters(const char* optimiser,
                                                 const std::vector<ParameterGroup>& groups);

/// Where all parameters are; the default device for none.
Device device_of(std::span<const DecayedParameter> parameters);

/// Throws ValueError unless `number` is finite and in [low, high).
void require_in(const char* optimiser, const char* what, double number, double low, double high);

/// Throws ValueError for a learning rate that is negative or no number.
void require_rate(const char* optimiser, double lr);

/// The scale of gradients as a tensor; undefined for 1. Throws ValueError for what is no number.
Tensor scale_tensor(const char* optimiser, double scale, Device device);

/// The storages of all tensors that are defined, sorted: what a step changes, and so must not read as a
/// gradient or a scale.
std::vector<const Storage*> storages_of(std::span<const Tensor> tensors);

/// One step's memory. Everything is asked for, copied to scratch and checked before `begin`, the first that
/// changes anything.
class StepMemory {
 public:
  /// `changed` as from `storages_of`.
  StepMemory(const char* optimiser, Device device, std::span<const Storage* const> changed)
      : optimiser_(optimiser), storages_(changed), exec_(device, {}) {}

  /// The parameter's own memory where it is dense, else a dense copy that `finish` writes back.
  kernels::View parameter(const Tensor& parameter);
  /// The gradient, dense in the order of `parameter`'s state.
  kernels::ConstView gradient(const Tensor& gradient, const Tensor& parameter);
  /// A scale as the kernels take it: null for an undefined one. Throws ShapeError or TypeError unless it is
  /// one floating number on the device.
  kernels::ConstView scale(const Tensor& scale);

  /// All parameters asked for count as changed from here on; throws before the first does.
  void begin();
  void finish();

 private:
  struct Copied {
    kernels::View from, to;
  };
  bool changes(const Tensor& tensor) const;
  kernels::View copy_of(const kernels::ConstView& view, const kernels::Layout& layout, DType dtype);

  const char* optimiser_;
  std::span<const Storage* const> storages_;
  Exec exec_;
  std::vector<Tensor> parameters_;
  std::vector<Copied> copied_;
};

/// The view of a tensor; a null one for an undefined tensor.
kernels::View view_or_null(const Tensor& tensor);

/// `rates`, on the device, in the memory of `kept` where that has their size: a captured graph reads it
/// there.
void put_rates(const std::vector<double>& rates, Device device, Tensor& kept);

}  // namespace reprise::nn::detail
