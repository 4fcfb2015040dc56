// Changes in place: counted, allowed where harmless, and an error that names the value where a gradient would
// be wrong.
#include "tape_support.h"

#include <algorithm>

#include "reprise/in_place.h"

using namespace tape_test;

TEST_CASE("every change in place counts as a version of the memory", "[in_place]") {
  Tensor x = values({3});
  CHECK(x.version() == 0);
  x.fill_(1);
  x.zero_();
  x.copy_(values({3}));
  x.add_(values({3}), 0.5);
  x.mul_(2);
  CHECK(x.version() == 5);
  CHECK(reshape(x, {1, 3}).version() == 5);
  CHECK(x.detach().version() == 5);
  CHECK(x.clone().version() == 0);
}

TEST_CASE("changes in place compute what they say", "[in_place]") {
  Tensor x = tensor<double>({1, 2, 3}, {3});
  x.add_(tensor<double>({10, 20, 30}, {3}));
  CHECK(elements_of(x) == Doubles{11, 22, 33});
  x.add_(x, 2);
  CHECK(elements_of(x) == Doubles{33, 66, 99});
  x.mul_(0.5);
  CHECK(elements_of(x) == Doubles{16.5, 33, 49.5});
  x.copy_(tensor<float>({1, 2, 4}, {3}));
  CHECK(elements_of(x) == Doubles{1, 2, 4});
  Tensor overlapping = slice(x, 0, 1, 3);
  overlapping.copy_(slice(x, 0, 0, 2));
  CHECK(elements_of(x) == Doubles{1, 1, 2});
  overlapping.add_(slice(x, 0, 0, 2));
  CHECK(elements_of(x) == Doubles{1, 2, 3});
  Tensor turned = values({3, 3});
  const Doubles before = elements_of(turned);
  turned.copy_(permute(turned, {1, 0}));
  for (std::size_t i = 0; i < 9; ++i) CHECK(elements_of(turned)[i] == before[i % 3 * 3 + i / 3]);

  CHECK_THROWS_WITH(x.add_(values({2})), Contains("[add_] sizes differ: (2) into (3)"));
  CHECK_THROWS_WITH(x.copy_(values({2})), Contains("[copy_]"));
  CHECK_THROWS_WITH(x.add_(ones({3})), Contains("[add_] float32 added to float64"));
  CHECK_THROWS_AS(Tensor().fill_(1), Error);
  CHECK(x.version() == 6);
}

namespace {

/// A view with strides of one's own.
struct AsStrided {
  Shape shape;
  std::vector<std::int64_t> strides;
  static constexpr std::string_view name = "as_strided";
  Specs infer(SpecSpan in) const { return {Spec{in[0].dtype, in[0].device, false, shape}}; }
  void view(const Spec&, const Strides&, int, Strides& to, std::int64_t&) const {
    std::copy(strides.begin(), strides.end(), to.begin());
  }
  bool operator==(const AsStrided&) const = default;
};

/// Whether each element has an offset of its own, by writing all of them down.
bool really_distinct(const Tensor& x) {
  std::vector<std::int64_t> offsets{0};
  for (int axis = 0; axis < x.rank(); ++axis) {
    std::vector<std::int64_t> more;
    for (std::int64_t i = 0; i < x.shape()[axis]; ++i) {
      for (const std::int64_t offset : offsets)
        more.push_back(offset + i * x.strides()[static_cast<std::size_t>(axis)]);
    }
    offsets = more;
  }
  std::sort(offsets.begin(), offsets.end());
  return std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end();
}

}  // namespace

TEST_CASE("views that overlap are told from views that do not", "[in_place]") {
  // Never wrong about an overlap, whatever the strides.
  for (std::int64_t a = 0; a < 8; ++a) {
    for (std::int64_t b = 0; b < 8; ++b) {
      for (const std::int64_t m : {1, 2, 3, 4}) {
        for (const std::int64_t n : {0, 1, 2, 3}) {
          const Tensor view = apply(AsStrided{Shape{2, m, n}, {25, a, b}}, values({64}));
          CAPTURE(a, b, m, n);
          if (has_distinct_elements(view)) CHECK(really_distinct(view));
        }
      }
    }
  }
  // Right about all views that are made of tensors without gaps.
  const Tensor whole = values({2, 3, 4, 5});
  for (const Tensor& view : {whole, permute(whole, {3, 1, 0, 2}), slice(whole, 2, 1, 4, 2),
                             reshape(whole, {6, 20}), select(whole, 1, 2), to_channels_last(whole),
                             transpose(slice(to_channels_last(whole), 1, 1, 3), 0, 3), slice(whole, 1, 1, 1),
                             scalar(1), apply(AsStrided{Shape{8}, {9}}, values({64}))})
    CHECK(has_distinct_elements(view));
  CHECK_FALSE(has_distinct_elements(expand(values({1, 3}), Shape{2, 3})));
}

TEST_CASE("windows that overlap are not changed in place, nor added to as a gradient", "[in_place]") {
  const auto windows = [](const Tensor& x) { return apply(AsStrided{Shape{3, 2}, {1, 1}}, x); };
  const Tensor x = tensor<double>({1, 2, 3, 4}, {4});
  Tensor view = windows(x);
  CHECK(elements_of(view) == Doubles{1, 2, 2, 3, 3, 4});
  CHECK_THROWS_WITH(view.mul_(2), Contains("shows the same memory several times; change a clone()"));
  CHECK_THROWS_AS(view.fill_(2), TapeError);
  CHECK(elements_of(x) == Doubles{1, 2, 3, 4});
  Tensor leaf = ones({3, 2}, kDouble).set_requires_grad(true);
  leaf.set_grad(windows(zeros({4}, kDouble)));
  (sum(leaf * 1.0) + sum(square(leaf))).backward();
  CHECK(elements_of(leaf.grad()) == Doubles(6, 3.0));
}

TEST_CASE("memory that a view shows twice is not changed in place", "[in_place]") {
  Tensor wide = expand(values({1, 3}), Shape{2, 3});
  for (const auto& change : std::vector<std::function<void()>>{[&] { wide.mul_(2); }, [&] { wide.fill_(2); },
                                                               [&] {
                                                                 wide.add_(values({2, 3}));
                                                               },
                                                               [&] {
                                                                 wide.copy_(values({2, 3}));
                                                               }}) {
    CHECK_THROWS_WITH(change(), Contains("several times along axis 0"));
  }
  CHECK(wide.version() == 0);
}

TEST_CASE("a leaf that wants a gradient changes only under NoGrad", "[in_place]") {
  Tensor w = leaf_values({3}).set_name("w");
  CHECK_THROWS_WITH(w.fill_(1), Contains("[fill_] 'w' (3) wants a gradient") && Contains("NoGrad"));
  CHECK_THROWS_AS(w.add_(values({3})), TapeError);
  CHECK_THROWS_AS(w.copy_(values({3})), TapeError);
  CHECK_THROWS_AS(w.mul_(2), TapeError);
  CHECK(w.version() == 0);
  const NoGrad no_grad;
  w.mul_(2);
  CHECK(w.version() == 1);
}

TEST_CASE("a recorded result never changes in place", "[in_place]") {
  const Tensor w = leaf_values({3});
  Tensor y = exp(w);
  CHECK_THROWS_WITH(y.mul_(2),
                    Contains("[mul_] the result of exp (3) was recorded for backward; change a clone()"));
  Tensor row = slice(y, 0, 0, 1);
  CHECK_THROWS_AS(row.fill_(1), TapeError);
  const NoGrad no_grad;
  CHECK_THROWS_AS(y.fill_(1), TapeError);
}

TEST_CASE("what backward saved and was changed is an error that names it", "[in_place]") {
  const NothingLeft check;
  Tensor x = values({3}).set_name("batch");
  Tensor w = leaf_values({3}).set_name("weight");
  struct Change {
    const char* what;
    std::function<void()> run;
    const char* named;
  };
  const std::vector<Change> changes{
      {"an input", [&] { x.mul_(2); }, "'batch' (3)"},
      {"an input through a view",
       [&] {
         reshape(x, {1, 3}).mul_(2);
       },
       "'batch' (3)"},
      {"an input through detach", [&] { x.detach().mul_(2); }, "'batch' (3)"},
      {"a parameter",
       [&] {
         const NoGrad no_grad;
         w.mul_(2);
       },
       "'weight' (3)"},
      {"a parameter through detach", [&] { w.detach().mul_(2); }, "'weight' (3)"},
      {"with one's own kernel",
       [&] {
         const NoGrad no_grad;
         change_in_place("mine", w);
       },
       "'weight' (3)"},
  };
  for (const Change& change : changes) {
    CAPTURE(change.what);
    const Tensor y = sum(x * w * w);
    change.run();
    CHECK_THROWS_WITH(y.backward(),
                      Contains("[mul]") && Contains(change.named) && Contains("was changed in place"));
    CHECK_FALSE(w.grad().defined());
  }
}

TEST_CASE("a saved output that was changed through a detached handle is an error", "[in_place]") {
  const Tensor w = leaf_values({3});
  const Tensor y = exp(w);
  y.detach().mul_(2);
  CHECK_THROWS_WITH(sum(y).backward(), Contains("[exp]") && Contains("the result of exp (3)"));
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("a saved view of a changed parameter names the parameter", "[in_place]") {
  Tensor w = leaf_values({2, 3}).set_name("weight");
  const Tensor y = sum(square(reshape(w, {6})));
  {
    const NoGrad no_grad;
    w.mul_(2);
  }
  CHECK_THROWS_WITH(y.backward(), Contains("a view of 'weight' (2, 3)"));
}

TEST_CASE("what no backward reads may change", "[in_place]") {
  Tensor x = values({3});
  Tensor w = leaf_values({3});
  const Tensor y = sum(x + w);
  x.mul_(2);
  {
    const NoGrad no_grad;
    w.mul_(2);
  }
  y.backward();
  CHECK(elements_of(w.grad()) == Doubles{1, 1, 1});
}

TEST_CASE("accumulating into a gradient counts as a change of it", "[in_place]") {
  Tensor w = leaf_values({3});
  sum(w).backward();
  const Tensor gradient = w.grad();
  Tensor v = leaf_values({3});
  const Tensor penalty = sum(gradient * v);
  sum(w).backward();
  CHECK(gradient.version() == 1);
  CHECK_THROWS_WITH(penalty.backward(), Contains("was changed in place"));
}

TEST_CASE("a source that wants a gradient is not lost without a word", "[in_place]") {
  const Tensor w = leaf_values({2, 3});
  const Tensor y = exp(w);
  Tensor buffer = zeros({2, 2, 3}, kDouble);
  for (const Tensor& source : {w, y}) {
    Tensor row = select(buffer, 0, 1);
    CHECK_THROWS_WITH(row.copy_(source),
                      Contains("[copy_] the source") && Contains("concatenate") && Contains("detach()"));
    CHECK_THROWS_AS(row.add_(source), TapeError);
    CHECK_THROWS_AS(row.add_(source, 0.5), TapeError);
  }
  CHECK(buffer.version() == 0);
  CHECK(elements_of(sum(buffer)) == Doubles{0});
  Tensor row = select(buffer, 0, 1);
  row.copy_(y.detach());
  {
    const NoGrad no_grad;
    row.add_(w);
  }
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(elements_of(row)[i] == Approx(elements_of(y)[i] + elements_of(w)[i]));
}

TEST_CASE("changes in place stay in the integers, as out of place", "[in_place]") {
  for (const DType dtype : {DType::int32, DType::int64}) {
    Tensor x = arange(4, {.dtype = dtype});
    for (const double factor : {0.5, 1e300, std::nan("")}) {
      CHECK_THROWS_WITH(x.mul_(factor), Contains("[mul_] the scalar") && Contains("does not fit into the"));
      CHECK_THROWS_AS(x.add_(x, factor), TypeError);
      CHECK_THROWS_AS(x * factor, TypeError);
      CHECK_THROWS_AS(x.fill_(factor), ValueError);
    }
    CHECK(x.version() == 0);
    x.mul_(-3).add_(x, 2);
    CHECK(x.to(DType::int64).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, -9, -18, -27});
  }
  Tensor large = arange(2);
  for (const double factor : {0x1p53, -0x1p53, 0x1p62}) {  // 2^53 + 1 would be 2^53
    CHECK_THROWS_WITH(large * factor, Contains("[mul] the scalar") && Contains("2^53"));
    CHECK_THROWS_WITH(large.mul_(factor), Contains("[mul_] the scalar"));
  }
  CHECK((large + (0x1p53 - 1)).to_vector<std::int64_t>()[0] == (std::int64_t{1} << 53) - 1);
  Tensor mask = zeros({3}, {.dtype = DType::boolean});
  CHECK_THROWS_WITH(mask.mul_(1), Contains("[mul_] does not take bool"));
  CHECK_THROWS_WITH(mask.add_(mask), Contains("[add_] does not take bool"));
  CHECK_THROWS_AS(mask.fill_(2), ValueError);
  mask.fill_(true);
  CHECK(mask.to(DType::int64).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 1, 1});
}

TEST_CASE("an overlapping source is read as it was", "[in_place]") {
  for (const std::int64_t shift : {-2, -1, 1, 2}) {
    for (const bool adding : {false, true}) {
      CAPTURE(shift, adding);
      Tensor whole = values({5, 7});
      const Doubles before = elements_of(whole);
      const auto part = [&](std::int64_t from) { return slice(whole, 1, from, from + 3); };
      Tensor target = part(2);
      adding ? target.add_(part(2 + shift), 0.5) : target.copy_(part(2 + shift));
      for (std::int64_t i = 0; i < 35; ++i) {
        const std::int64_t column = i % 7;
        const auto at = static_cast<std::size_t>(i);
        const double read = column < 2 || column > 4 ? 0 : before[static_cast<std::size_t>(i + shift)];
        const double kept = column < 2 || column > 4 || adding ? before[at] : 0;
        CHECK(elements_of(whole)[at] == kept + (adding ? 0.5 : 1) * read);
      }
    }
  }
}
