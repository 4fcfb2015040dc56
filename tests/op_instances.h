// The instances of the operations that are templates. all_operations.h, which the build writes from the
// engine's headers, asks for `<Template>Instances` of each, and joins them with the other operations to the
// list that the checks run over.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "reprise/ops.h"

namespace reprise::op_test {

template <class... Ops>
struct List {};

template <class... Lists>
struct JoinedLists;
template <>
struct JoinedLists<> {
  using Type = List<>;
};
template <class... A>
struct JoinedLists<List<A...>> {
  using Type = List<A...>;
};
template <class... A, class... B, class... Rest>
struct JoinedLists<List<A...>, List<B...>, Rest...> {
  using Type = typename JoinedLists<List<A..., B...>, Rest...>::Type;
};
template <class... Lists>
using Joined = typename JoinedLists<Lists...>::Type;

/// Enumerators of a function enumeration, which are those that have a name.
template <class Function>
constexpr std::uint8_t count_of() {
  std::uint8_t n = 0;
  while (name_of(static_cast<Function>(n)) != "?") ++n;
  return n;
}

template <class Function, template <Function> class Op, std::uint8_t... i>
List<Op<static_cast<Function>(i)>...> instances(std::integer_sequence<std::uint8_t, i...>);

using UnaryInstances = decltype(instances<kernels::Unary, ops::Unary>(
    std::make_integer_sequence<std::uint8_t, count_of<kernels::Unary>()>()));
using BinaryInstances = decltype(instances<kernels::Binary, ops::Binary>(
    std::make_integer_sequence<std::uint8_t, count_of<kernels::Binary>()>()));
using ReduceOverInstances =
    List<ops::ReduceOver<kernels::Reduce::sum>, ops::ReduceOver<kernels::Reduce::mean>,
         ops::ReduceOver<kernels::Reduce::max>>;
using SoftmaxLikeInstances = List<ops::SoftmaxLike<false>, ops::SoftmaxLike<true>>;

}  // namespace reprise::op_test
