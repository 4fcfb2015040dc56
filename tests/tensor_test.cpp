// The tensor: construction, host copies, views, printing, and what it refuses.
#include "tape_support.h"

#include <array>
#include <limits>
#include <sstream>

using namespace tape_test;

TEST_CASE("a new tensor holds what was asked for", "[tensor]") {
  const NothingLeft check;
  CHECK(zeros({2, 3}).to_vector<float>() == std::vector<float>(6, 0.0F));
  CHECK(ones({2}).to_vector<float>() == std::vector<float>{1, 1});
  CHECK(full({3}, -2.5, kDouble).to_vector<double>() == Doubles(3, -2.5));
  CHECK(full({2}, 7, {.dtype = DType::int64}).to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 7});
  CHECK(arange(4).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(arange(3, {.dtype = DType::float32}).to_vector<float>() == std::vector<float>{0, 1, 2});
  CHECK(arange(0).numel() == 0);
  CHECK(scalar(1.5).item<float>() == 1.5F);
  CHECK(scalar(1.5).rank() == 0);
  const Tensor t = tensor<std::int32_t>({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(t.shape() == Shape{2, 3});
  CHECK(t.dtype() == DType::int32);
  CHECK(t.numel() == 6);
  CHECK(t.rank() == 2);
  CHECK(t.size(-1) == 3);
  CHECK(t.is_leaf());
  CHECK_FALSE(t.requires_grad());
  CHECK_FALSE(t.grad().defined());
  CHECK(std::vector<std::int64_t>(t.strides().begin(), t.strides().end()) == std::vector<std::int64_t>{3, 1});
}

TEST_CASE("empty tensors are like any others", "[tensor]") {
  const NothingLeft check;
  for (const Shape& shape : {Shape{0}, Shape{2, 0}, Shape{0, 3, 4}}) {
    CAPTURE(to_string(shape));
    Tensor x = zeros(shape, kDouble).set_requires_grad(true);
    CHECK(x.numel() == 0);
    CHECK(x.to_vector<double>().empty());
    CHECK(x.detach().fill_(3).add_(zeros(shape, kDouble)).mul_(2).numel() == 0);
    const Tensor y = sum(exp(x) * x + relu(x));
    CHECK(y.item<double>() == 0);
    y.backward();
    REQUIRE(x.grad().defined());
    CHECK(x.grad().shape() == shape);
    CHECK_FALSE(to_string(x).empty());
  }
  CHECK(tensor<float>({}, {0, 2}).clone().shape() == Shape{0, 2});
}

TEST_CASE("random tensors come from the generator and repeat with its seed", "[tensor]") {
  manual_seed(5);
  const Tensor a = rand({100}, kDouble);
  const Tensor b = randn({100}, kDouble);
  CHECK(generator().next == 2);
  manual_seed(5);
  CHECK(bits_of(rand({100}, kDouble)) == bits_of(a));
  CHECK(bits_of(randn({100}, kDouble)) == bits_of(b));
  CHECK(bits_of(rand({100}, kDouble)) != bits_of(a));
  for (const double v : elements_of(a)) CHECK((v >= 0 && v < 1));
  CHECK_THROWS_WITH(rand({2}, {.dtype = DType::int32}), Contains("[rand]"));
  CHECK_THROWS_WITH(randn({2}, {.dtype = DType::boolean}), Contains("[randn]"));
}

TEST_CASE("host copies widen and never narrow", "[tensor]") {
  CHECK(tensor<float>({0.5F, -1}, {2}).to_vector<double>() == Doubles{0.5, -1});
  CHECK(tensor<std::int32_t>({1, -2}, {2}).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, -2});
  CHECK(tensor<std::int32_t>({1, -2}, {2}).to_vector<double>() == Doubles{1, -2});
  CHECK(ones({2}, {.dtype = DType::bfloat16}).to_vector<float>() == std::vector<float>{1, 1});
  CHECK(full({}, 1, {.dtype = DType::boolean}).item<std::int32_t>() == 1);
  CHECK_THROWS_WITH(values({2}).to_vector<float>(),
                    Contains("[to_vector] float64 does not fit into float32"));
  CHECK_THROWS_AS(arange(2).to_vector<std::int32_t>(), TypeError);
  CHECK_THROWS_AS(arange(2).to_vector<double>(), TypeError);
  CHECK_THROWS_AS(ones({2}).to_vector<std::int64_t>(), TypeError);
  CHECK_THROWS_AS(scalar(1.0).item<std::int32_t>(), TypeError);
  CHECK_THROWS_WITH(ones({2}).item<float>(), Contains("[item] (2) has 2 elements"));
  CHECK_THROWS_WITH(ones({2}).data<double>(), Contains("a float32 tensor read as float64"));

  const std::vector<std::int64_t> longs{1, 2};
  CHECK_THROWS_WITH(from_host<std::int64_t>(longs, {2}, {.dtype = DType::int32}),
                    Contains("[from_host] int64 does not fit"));
  CHECK_THROWS_WITH(from_host<std::int64_t>(longs, {3}),
                    Contains("[from_host] 2 elements for a tensor (3) of 3"));
  CHECK(from_host<std::int64_t>(longs, {2}).dtype() == DType::int64);
  const Doubles doubles{0.1, 0.2};
  CHECK(from_host<double>(doubles, {2}).dtype() == DType::float64);
  CHECK_THROWS_WITH(full({2}, 0.5, {.dtype = DType::int32}), Contains("[full] 0.5 is not a value of int32"));
  CHECK_THROWS_AS(full({2}, 3e9, {.dtype = DType::int32}), ValueError);
  CHECK_THROWS_AS(full({2}, 2, {.dtype = DType::boolean}), ValueError);
  CHECK_THROWS_WITH(arange(2).fill_(0.5), Contains("[fill_]"));
}

TEST_CASE("numbers that a type does not hold are refused, not infinite", "[tensor]") {
  struct Largest {
    DType dtype;
    double value;
  };
  for (const auto [dtype, value] :
       {Largest{DType::float16, 65504}, Largest{DType::bfloat16, 0x1.fep127},
        Largest{DType::float32, 0x1.fffffep127}, Largest{DType::float64, 0x1.fffffffffffffp1023}}) {
    CAPTURE(name_of(dtype));
    for (const double sign : {1.0, -1.0}) {
      CHECK(full({1}, sign * value, {.dtype = dtype}).to(DType::float64).item<double>() == sign * value);
      const double infinite = sign * std::numeric_limits<double>::infinity();
      CHECK(full({1}, infinite, {.dtype = dtype}).to(DType::float64).item<double>() == infinite);
      if (dtype == DType::float64) continue;
      CHECK_THROWS_WITH(full({1}, 1.001 * sign * value, {.dtype = dtype}),
                        Contains("[full]") && Contains("is not a value of " + std::string(name_of(dtype))));
      CHECK_THROWS_AS(zeros({1}, {.dtype = dtype}).fill_(1.001 * sign * value), ValueError);
    }
  }
  CHECK(select(arange(65505, {.dtype = DType::float16}), 0, -1).to(DType::float32).item<float>() == 65504);
  CHECK_THROWS_WITH(arange(70000, {.dtype = DType::float16}),
                    Contains("[arange] 69999 is not a value of float16"));
  CHECK(arange(2, {.dtype = DType::boolean}).to(DType::int64).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{0, 1});
  CHECK_THROWS_WITH(arange(3, {.dtype = DType::boolean}), Contains("[arange] 2 is not a value of bool"));
  CHECK_THROWS_WITH(arange((std::int64_t{1} << 31) + 1, {.dtype = DType::int32}),
                    Contains("[arange] 2147483648 is not a value of int32"));
}

TEST_CASE("integers have no quotients, and all else of them wraps around", "[tensor]") {
  constexpr std::int64_t kMost = INT64_MAX, kLeast = INT64_MIN;
  using Longs = std::vector<std::int64_t>;
  const Tensor extremes = tensor<std::int64_t>({kMost, kLeast, kMost, 3}, {4});
  for (const Tensor& divisor : {ones({4}, {.dtype = DType::int64}), zeros({4}, {.dtype = DType::int64})})
    CHECK_THROWS_WITH(extremes / divisor, Contains("[div] does not take int64 tensors; convert them"));
  for (const double number : {2.0, -3.0, 1e-30})
    CHECK_THROWS_WITH(extremes / number, Contains("[div] does not take int64 tensors"));
  CHECK_THROWS_WITH(1.0 / extremes, Contains("[div] does not take int64 tensors"));
  CHECK((arange(3) / 0.5).to_vector<std::int64_t>() == Longs{0, 2, 4});
  CHECK((extremes + extremes).to_vector<std::int64_t>() == Longs{-2, 0, -2, 6});
  CHECK((extremes - -extremes).to_vector<std::int64_t>() == Longs{-2, 0, -2, 6});
  CHECK((extremes * extremes).to_vector<std::int64_t>() == Longs{1, 0, 1, 9});
  CHECK((-extremes).to_vector<std::int64_t>() == Longs{-kMost, kLeast, -kMost, -3});
  CHECK(abs(extremes).to_vector<std::int64_t>() == Longs{kMost, kLeast, kMost, 3});
  CHECK(square(extremes).to_vector<std::int64_t>() == Longs{1, 0, 1, 9});
  CHECK(sum(extremes).item<std::int64_t>() == kLeast + 1);
  Tensor added = extremes.clone();
  added.add_(extremes);
  added.mul_(3);
  CHECK(added.to_vector<std::int64_t>() == Longs{-6, 0, -6, 18});
  // Long enough for every way in which a sum is cut, and strided.
  for (const std::int64_t n : {100, 1000, 300000}) {
    const Tensor many = full({n, 3}, kMost, {.dtype = DType::int64});
    const std::int64_t wrapped =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(kMost));
    CHECK(sum(many, {0}).to_vector<std::int64_t>() == Longs(3, wrapped));
    CHECK(sum(slice(many, 1, 0, 1)).item<std::int64_t>() == wrapped);
    CHECK(sum(transpose(many, 0, 1), {1}).to_vector<std::int64_t>() == Longs(3, wrapped));
    CHECK(sum(reshape(many, {3 * n})).item<std::int64_t>() ==
          static_cast<std::int64_t>(3 * static_cast<std::uint64_t>(wrapped)));
  }
  CHECK(sum(full({3}, INT32_MIN, {.dtype = DType::int32})).item<std::int64_t>() ==
        3 * std::int64_t{INT32_MIN});
}

TEST_CASE("casts round trip where the type holds the value", "[tensor]") {
  const Tensor x = tensor<float>({1, -2, 0.5F, 100}, {4});
  for (const DType dtype : {DType::float64, DType::bfloat16, DType::float16}) {
    CAPTURE(name_of(dtype));
    CHECK(x.to(dtype).dtype() == dtype);
    CHECK(x.to(dtype).to(DType::float32).to_vector<float>() == x.to_vector<float>());
  }
  CHECK(x.to(DType::float32).shares_storage_with(x));
  CHECK(x.to(DType::int32).to_vector<std::int32_t>() == std::vector<std::int32_t>{1, -2, 0, 100});
}

TEST_CASE("views share memory and say so; copies do not", "[tensor]") {
  const NothingLeft check;
  const Tensor x = values({4, 6});
  const Doubles e = elements_of(x);
  for (const Tensor& view : {reshape(x, {2, 12}), permute(x, {1, 0}), slice(x, 1, 1, 5, 2), x.detach(),
                             expand(x, Shape{3, 4, 6}), split(x, 2, 0)[1]}) {
    CAPTURE(to_string(view.shape()));
    CHECK(view.shares_storage_with(x));
    CHECK(x.shares_storage_with(view));
  }
  for (const Tensor& copy :
       {x.clone(), permute(x, {1, 0}).contiguous(), reshape(permute(x, {1, 0}), {24}), x + 0.0}) {
    CHECK_FALSE(copy.shares_storage_with(x));
  }
  CHECK(x.contiguous().shares_storage_with(x));

  const Tensor odd = slice(x, 1, 1, 6, 2);
  CHECK_FALSE(odd.is_contiguous());
  CHECK(elements_of(odd)[4] == e[1 * 6 + 3]);
  CHECK(elements_of(permute(x, {1, 0}))[1] == e[6]);
  CHECK(elements_of(odd.contiguous()) == elements_of(odd));

  Tensor changed = reshape(x, {24});
  changed.fill_(2);
  CHECK(elements_of(x) == Doubles(24, 2.0));
  CHECK(x.version() == 1);
  CHECK_FALSE(Tensor(zeros({0})).shares_storage_with(x));
}

TEST_CASE("a view keeps the memory alive", "[tensor]") {
  const NothingLeft check;
  Tensor x = values({4, 6});
  const Doubles e = elements_of(x);
  const Tensor row = slice(x, 0, 2, 3);
  x = Tensor();
  CHECK(elements_of(row) == Doubles(e.begin() + 12, e.begin() + 18));
}

TEST_CASE("tensors print their type, sizes and elements", "[tensor]") {
  std::ostringstream out;
  out << tensor<float>({1, 2.5F, -3, 4}, {2, 2});
  CHECK(out.str() == "float32 (2, 2)\n[[1, 2.5],\n [-3, 4]]");
  CHECK(to_string(leaf(0.25)) == "float64 () requires_grad\n0.25");
  CHECK(to_string(arange(12)) == "int64 (12)\n[0, 1, 2, ..., 9, 10, 11]");
  CHECK(to_string(full({2}, 1, {.dtype = DType::boolean})) == "bool (2)\n[true, true]");
  CHECK(to_string(Tensor()) == "tensor(undefined)");
  CHECK(to_string(permute(tensor<std::int32_t>({1, 2, 3, 4, 5, 6}, {2, 3}), {1, 0})) ==
        "int32 (3, 2)\n[[1, 4],\n [2, 5],\n [3, 6]]");
}

TEST_CASE("tensors refuse what makes no sense, naming the operation", "[tensor]") {
  const Tensor undefined;
  CHECK_FALSE(undefined.defined());
  CHECK_THROWS_WITH(undefined.shape(), Contains("[tensor] undefined tensor"));
  CHECK_THROWS_WITH(undefined + undefined, Contains("[add] input 0 is an undefined tensor"));
  CHECK_THROWS_WITH(ones({2}) * undefined, Contains("[mul] input 1 is an undefined tensor"));
  CHECK_THROWS_WITH(ones({2}) + ones({3}), Contains("[add]") && Contains("(2)") && Contains("(3)"));
  CHECK_THROWS_WITH(ones({2}) + values({2}), Contains("[add]") && Contains("float32") && Contains("float64"));
  CHECK_THROWS_AS(zeros({-1}), ShapeError);
  CHECK_THROWS_AS(zeros({std::int64_t{1} << 40, std::int64_t{1} << 40}), ShapeError);
  CHECK_THROWS_AS(zeros({1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
  CHECK_THROWS_AS(arange(-1), ShapeError);
  CHECK_THROWS_WITH(ones({2}).size(1), Contains("[size]"));
  CHECK_THROWS_WITH(arange(3).set_requires_grad(true), Contains("[set_requires_grad]"));
  CHECK_THROWS_AS(zeros({2}, {.device = Device::cuda(63)}), DeviceError);
  CHECK_THROWS_WITH(set_default_device(Device::cuda(63)), Contains("[device] no cuda:63"));
  CHECK(default_device() == Device::cpu());
  CHECK(parse_device("cuda") == Device::cuda(0));
  CHECK(parse_device("cuda:3") == Device::cuda(3));
  for (const char* text : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda:64", "CPU"})
    CHECK_THROWS_AS(parse_device(text), ValueError);
  CHECK_THROWS_WITH(reshape(ones({4}), {3}), Contains("[reshape] (4) has 4 elements"));
}

TEST_CASE("names appear in errors", "[tensor]") {
  Tensor w = leaf_values({2, 3});
  w.set_name("h.0.weight");
  CHECK(w.name() == "h.0.weight");
  CHECK(describe(*w.value()) == "'h.0.weight' (2, 3)");
  const Tensor y = reshape(w, {6});
  CHECK(describe(*y.value()) == "the result of reshape (6), a view of 'h.0.weight' (2, 3)");
  CHECK(describe(*(w * 2.0).value()) == "the result of mul_scalar (2, 3)");
  Tensor far = y;
  for (int i = 0; i < 60000; ++i) far = reshape(far, {6});
  CHECK(describe(*far.value()) ==
        "the result of reshape (6), a view of the result of reshape (6), a view of the result of reshape "
        "(6), a "
        "view of the result of reshape (6), 59998 views on from 'h.0.weight' (2, 3)");
  CHECK(describe(*split(w, 2, 1)[1].value()) == "output 1 of split (2, 1), a view of 'h.0.weight' (2, 3)");
  CHECK(ones({1}).name().empty());
}

TEST_CASE("integers are printed digit for digit", "[tensor]") {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max(),
                     least = std::numeric_limits<std::int64_t>::min();
  CHECK(to_string(tensor<std::int64_t>({most, least, 9007199254740993, -9007199254740993, 1}, {5})) ==
        "int64 (5)\n[9223372036854775807, -9223372036854775808, 9007199254740993, -9007199254740993, 1]");
  CHECK(to_string(tensor<std::int32_t>({INT32_MAX, INT32_MIN}, {2})) ==
        "int32 (2)\n[2147483647, -2147483648]");
  CHECK(to_string(from_host<bool>(std::array{true, false}, {2})) == "bool (2)\n[true, false]");
  CHECK(to_string(scalar(most, {.dtype = DType::int64})) == "int64 ()\n9223372036854775807");
}

TEST_CASE("an integer fills exactly what it is asked to fill, or says why not", "[tensor]") {
  const TensorOptions int64{.dtype = DType::int64};
  const std::int64_t most = std::numeric_limits<std::int64_t>::max(),
                     least = std::numeric_limits<std::int64_t>::min();
  for (const std::int64_t value :
       {most, most - 1, least, least + 1, std::int64_t{1} << 53, (std::int64_t{1} << 53) + 1,
        -(std::int64_t{1} << 53) - 1, std::int64_t{0}}) {
    CHECK(full({2, 3}, value, int64).to_vector<std::int64_t>() == std::vector<std::int64_t>(6, value));
    CHECK(scalar(value, int64).item<std::int64_t>() == value);
    Tensor whole = zeros({3, 4}, int64);
    transpose(whole, 0, 1).fill_(value);
    CHECK(whole.to_vector<std::int64_t>() == std::vector<std::int64_t>(12, value));
    CHECK(full({1}, value, {.dtype = DType::float64}).item<double>() == static_cast<double>(value));
  }
  CHECK_THROWS_WITH(full({2}, 9223372036854775807.0, int64),
                    Contains("[full]") && Contains("not a value of int64"));
  CHECK_THROWS_WITH(full({2}, std::uint64_t{1} << 63, int64),
                    Contains("9223372036854775808 is larger than any int64"));
  CHECK_THROWS_WITH(full({2}, most, {.dtype = DType::int32}),
                    Contains("[full] 9223372036854775807 is not a value of int32"));
  CHECK_THROWS_AS(full({2}, 2, {.dtype = DType::boolean}), ValueError);
  CHECK_THROWS_AS(zeros({2}, {.dtype = DType::int32}).fill_(most), ValueError);
}
