// Cases of conversions and copies.
#include "op_cases.h"

namespace reprise::op_test {

Cases CasesOf<ops::Cast>::make() {
  Cases all{.table = &op_table<ops::Cast>(), .dtypes = kAllTypes};
  // Straight to the operation: cast() gives back what has the type already.
  const auto add = [&](const char* label, const Shape& shape, DType to, Order order = Order::row_major) {
    all.cases.push_back({.label = label,
                         .inputs = {{.shape = shape, .low = -4, .high = 4, .order = order}},
                         .call = [to](Tensors in) { return Tensors{apply(ops::Cast{.dtype = to}, in[0])}; },
                         .formula = [](const Arrays& in) { return in; },
                         .step = 1e-2,
                         .has_derivative = is_floating(to),
                         .has_differences = size_of(to) > 2});
  };
  add("scalar to float32", {}, DType::float32);
  add("empty to float64", {0, 2}, DType::float64);
  add("size 1 to float64", {1}, DType::float64);
  add("33 to bfloat16", {33}, DType::bfloat16);
  add("31 to float16", {31}, DType::float16);
  add("permuted to float32", {5, 7}, DType::float32, Order::permuted);
  add("gaps to float64", {5, 7}, DType::float64, Order::gaps);
  add("channels-last to float32", {2, 3, 4, 5}, DType::float32, Order::channels_last);
  add("to int32", {33}, DType::int32);
  add("to int64", {33}, DType::int64);
  add("to bool", {33}, DType::boolean);
  add("several blocks to float32", {70001}, DType::float32);
  all.refusals = {
      refused<Error>("an undefined tensor", "undefined", [] { cast(Tensor(), DType::float64); }),
      refused<Error>("an undefined tensor of the type", "undefined", [] { Tensor().to(DType::float32); }),
  };
  all.speed.push_back({.label = "4M to bfloat16", .inputs = {{.shape = {4 << 20}}}, .call = [](Tensors in) {
                         return Tensors{cast(in[0], DType::bfloat16)};
                       }});
  return all;
}

Cases CasesOf<ops::Clone>::make() {
  Cases all{.table = &op_table<ops::Clone>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, const Shape& shape, Order order, bool channels_last = false) {
    all.cases.push_back({.label = label,
                         .inputs = {{.shape = shape, .order = order}},
                         .call =
                             [channels_last](Tensors in) {
                               return Tensors{apply(ops::Clone{.channels_last = channels_last}, in[0])};
                             },
                         .formula = [](const Arrays& in) { return in; }});
  };
  add("scalar", {}, Order::row_major);
  add("empty", {3, 0, 2}, Order::row_major);
  add("size 1", {1}, Order::row_major);
  add("33", {33}, Order::row_major);
  add("permuted", {5, 7}, Order::permuted);
  add("gaps", {5, 7}, Order::gaps);
  add("stride 0", {5, 7}, Order::expanded);
  add("from channels-last", {2, 3, 4, 5}, Order::channels_last);
  add("to channels-last", {2, 3, 4, 5}, Order::row_major, true);
  add("channels-last both", {2, 3, 4, 5}, Order::channels_last, true);
  add("permuted to channels-last", {2, 3, 4, 5}, Order::permuted, true);
  add("several blocks", {253, 301}, Order::permuted);
  all.refusals = {
      refused<ShapeError>("channels-last of 3 axes", "needs 4 axes",
                          [] {
                            to_channels_last(zeros({2, 3, 4}));
                          }),
      refused<Error>("an undefined tensor", "undefined", [] { Tensor().clone(); }),
  };
  all.speed.push_back({.label = "32x64x56x56 to channels-last",
                       .inputs = {{.shape = {32, 64, 56, 56}}},
                       .call = [](Tensors in) { return Tensors{to_channels_last(in[0])}; }});
  return all;
}

Cases CasesOf<ops::Transfer>::make() {
  Cases all{.table = &op_table<ops::Transfer>(), .dtypes = kAllTypes};
  const auto add = [&](const char* label, const Shape& shape, Order order = Order::row_major) {
    all.cases.push_back(
        {.label = label,
         .inputs = {{.shape = shape, .order = order}},
         .call = [](Tensors in) { return Tensors{apply(ops::Transfer{.to = Device::cpu()}, in[0])}; },
         .formula = [](const Arrays& in) { return in; }});
  };
  add("scalar", {});
  add("empty", {3, 0, 2});
  add("33", {33});
  add("permuted", {5, 7}, Order::permuted);
  add("gaps", {5, 7}, Order::gaps);
  add("stride 0", {5, 7}, Order::expanded);
  add("channels-last", {2, 3, 4, 5}, Order::channels_last);
  add("several blocks", {253, 301}, Order::permuted);
  all.refusals = {
      refused<Error>("an undefined tensor", "undefined", [] { Tensor().to(Device::cpu()); }),
      refused<DeviceError>("a device that is not there", "no cuda:63",
                           [] { zeros({2}).to(Device::cuda(63)); }),
      refused<ValueError>("a device of no kind", "'tpu' is no device",
                          [] { zeros({2}).to(parse_device("tpu")); }),
  };
  all.speed.push_back({.label = "4M", .inputs = {{.shape = {4 << 20}}}, .call = [](Tensors in) {
                         return Tensors{apply(ops::Transfer{.to = Device::cpu()}, in[0])};
                       }});
  return all;
}

}  // namespace reprise::op_test
