// The scope of a segment: as an expression, left by an exception, and what errors in it say.
#include "tape_support.h"

using namespace tape_test;
using checkpoint::Segment;

TEST_CASE("a segment is an expression, too", "[segment]") {
  Tensor w = leaf_values({6});
  const Tensor y = checkpoint::segment("head", [&] { return sum(sin(exp(w))); }, {.spare_last = false});
  reset_tape_counters();
  y.backward();
  CHECK(tape_counters().replayed_nodes == 1);
  int i = 0;
  int& same = checkpoint::segment("reference", [&]() -> int& { return i; });
  CHECK(&same == &i);
}

TEST_CASE("a segment left by an exception drops nothing and stays usable", "[segment][exceptions]") {
  const NothingLeft check;
  Tensor w = leaf_values({6});
  Tensor y = w;
  CHECK_THROWS_WITH(checkpoint::segment("outer",
                                        [&] {
                                          y = exp(y);
                                          checkpoint::segment("inner", [&] {
                                            y = sin(y);
                                            throw std::runtime_error("midway");
                                          });
                                        }),
                    "midway");
  Tensor z = exp(w);
  z = sin(z);
  reset_tape_counters();
  sum(y).backward();
  CHECK(tape_counters().replayed_nodes == 0);
  const auto got = bits_of(w.grad());
  w.clear_grad();
  sum(z).backward();
  CHECK(bits_of(w.grad()) == got);
}

TEST_CASE("the anomaly mode names what made a NaN in a replay", "[segment]") {
  Tensor x = leaf_values({6});
  Tensor y;
  Cube::forward_fuse.left = -1;
  {
    const Segment segment("s", {.spare_last = false});
    y = sum(sin(log(x * 1.0)));
  }
  const AnomalyMode anomaly;
  CHECK_THROWS_WITH(y.backward(), Contains("[log] the first NaN is in output 0 of its replay"));
  CHECK_FALSE(x.grad().defined());
}
