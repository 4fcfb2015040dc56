// Digests: what the library's and the fuzzer's must tell apart, and what they must not.
#include <cstring>
#include <numeric>
#include <set>

#include "fuzz/observe.h"
#include "reprise/reprise.h"
#include "tape_support.h"

using namespace tape_test;

namespace {

std::string library_digest(const Tensor& tensor) { return nn::digest({&tensor, 1}); }
std::string fuzzer_digest(const Tensor& tensor) { return std::to_string(fuzz::digest(tensor)); }

struct Way {
  const char* name;
  std::string (*digest)(const Tensor&);
};
constexpr Way kWays[] = {{"library", library_digest}, {"fuzzer", fuzzer_digest}};

void flip(const Tensor& tensor, std::size_t bit) {
  auto* const bytes = static_cast<std::byte*>(tensor.value()->data());
  bytes[bit / 8] ^= std::byte{1} << (bit % 8);
}

/// How often two of the tensor, itself with each bit flipped and with each two of them have one digest. Of a
/// bool only the lowest bit of a byte is a value.
std::size_t collisions(const Tensor& tensor, const Way& way) {
  std::vector<std::size_t> bits;
  const std::size_t step = tensor.dtype() == DType::boolean ? 8 : 1;
  for (std::size_t bit = 0; bit < 8 * tensor.spec().bytes(); bit += step) bits.push_back(bit);
  std::set<std::string> seen{way.digest(tensor)};
  std::size_t made = 1;
  const auto note = [&] {
    seen.insert(way.digest(tensor));
    ++made;
  };
  for (std::size_t i = 0; i < bits.size(); ++i) {
    flip(tensor, bits[i]);
    note();
    for (std::size_t j = i + 1; j < bits.size(); ++j) {
      flip(tensor, bits[j]);
      note();
      flip(tensor, bits[j]);
    }
    flip(tensor, bits[i]);
  }
  return made - seen.size();
}

}  // namespace

TEST_CASE("a digest changes with every bit, and with every two", "[nn][digest]") {
  const Way way = GENERATE(from_range(std::begin(kWays), std::end(kWays)));
  const DType dtype = GENERATE(DType::float32, DType::float64, DType::bfloat16, DType::float16,
                               DType::boolean, DType::int32, DType::int64);
  // Sizes that end in the middle of a word, and for the smaller types in the middle of a block of 32 bytes.
  const std::int64_t count = size_of(dtype) == 8   ? 5
                             : size_of(dtype) == 4 ? 11
                             : size_of(dtype) == 2 ? 19
                                                   : 77;
  CAPTURE(way.name, name_of(dtype));
  manual_seed(4);
  const Tensor normal = randn({count}, {.dtype = DType::float64});
  const Tensor tensor = (is_floating(dtype) ? normal : normal * 9.0).to(dtype).clone();
  CHECK(collisions(tensor, way) == 0);
  CHECK(collisions(zeros({count}, {.dtype = dtype}), way) == 0);
}

TEST_CASE("a digest changes with any set of signs", "[nn][digest]") {
  const Way way = GENERATE(from_range(std::begin(kWays), std::end(kWays)));
  const DType dtype = GENERATE(DType::float32, DType::float64, DType::bfloat16, DType::float16);
  CAPTURE(way.name, name_of(dtype));
  std::set<std::string> seen;
  for (unsigned signs = 0; signs < 4096; ++signs) {
    std::vector<double> elements(12);
    for (std::size_t i = 0; i < elements.size(); ++i)
      elements[i] = (signs >> i & 1) != 0 ? -1.0 - static_cast<double>(i) : 1.0 + static_cast<double>(i);
    seen.insert(way.digest(tensor<double>(elements, {12}).to(dtype)));
  }
  CHECK(seen.size() == 4096);
  manual_seed(1);
  const Tensor x = randn({64, 64}).to(dtype);
  CHECK(way.digest(-x) != way.digest(x));
}

TEST_CASE("a digest depends on sizes, type and order, and not on the layout", "[nn][digest]") {
  const Way way = GENERATE(from_range(std::begin(kWays), std::end(kWays)));
  CAPTURE(way.name);
  const auto digest = way.digest;
  const Tensor rows = tensor<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  std::set<std::string> orders;
  for (std::vector<float> order : {std::vector<float>{1, 2, 3, 4, 5, 6},
                                   {3, 4, 1, 2, 5, 6},
                                   {1, 2, 5, 6, 3, 4},
                                   {5, 6, 3, 4, 1, 2},
                                   {2, 1, 4, 3, 6, 5}})
    orders.insert(digest(tensor<float>(order, {3, 2})));
  CHECK(orders.size() == 5);
  CHECK(digest(reshape(rows, {2, 3})) != digest(rows));
  CHECK(digest(reshape(rows, {6})) != digest(rows));
  CHECK(digest(reshape(rows, {6, 1})) != digest(reshape(rows, {1, 6})));
  CHECK(digest(zeros({0, 3})) != digest(zeros({3, 0})));
  std::set<std::string> types;
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16, DType::boolean,
                            DType::int32, DType::int64}) {
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{1, 0}, Shape{1}, Shape{2}, Shape{1, 1}})
      types.insert(digest(zeros(shape, {.dtype = dtype})));
  }
  CHECK(types.size() == 7 * 6);

  const Tensor images = randn({2, 3, 4, 5});
  const Tensor channels_last = empty(images.shape(), {.channels_last = true}).copy_(images);
  CHECK(digest(channels_last) == digest(images));
  CHECK(digest(permute(permute(images, {3, 1, 0, 2}).contiguous(), {2, 1, 3, 0})) == digest(images));
  CHECK(digest(expand(ones({1}), {4})) == digest(ones({4})));
}

TEST_CASE("a digest of several tensors depends on which there are, and on their order", "[nn][digest]") {
  const auto f64 = [](double value) { return scalar(value, {.dtype = DType::float64}); };
  std::set<std::string> seen;
  const std::vector<std::vector<Tensor>> lists{{},
                                               {Tensor()},
                                               {Tensor(), Tensor()},
                                               {zeros({2}), ones({2})},
                                               {ones({2}), zeros({2})},
                                               {ones({2})},
                                               {ones({2}), ones({2})},
                                               {ones({2}), Tensor()},
                                               {Tensor(), ones({2})},
                                               {ones({4})},
                                               {zeros({0}), ones({4})},
                                               {f64(1), f64(2)},
                                               {f64(-1), f64(-2)},
                                               {f64(-1), f64(2)},
                                               {f64(1), f64(-2)},
                                               {f64(2), f64(1)}};
  for (const std::vector<Tensor>& list : lists) seen.insert(nn::digest(list));
  CHECK(seen.size() == lists.size());
  for (const std::string& digest : seen) CHECK(digest.size() == 16);

  std::set<std::uint64_t> mixed;
  for (std::uint64_t a = 0; a < 64; ++a) {
    for (std::uint64_t b = 0; b < 64; ++b) mixed.insert(fuzz::mix(a, b));
    mixed.insert(fuzz::mix(std::uint64_t{1} << 63 | a, 0));
    mixed.insert(fuzz::mix(0, std::uint64_t{1} << 63 | a));
  }
  CHECK(mixed.size() == 64 * 64 + 2 * 64);
}
