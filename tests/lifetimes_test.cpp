// What may outlive what: pools, their segments and traces, and threads.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "reprise/memory/trace.h"
#include "reprise/predict.h"
#include "tape_support.h"

using namespace tape_test;

namespace {

std::shared_ptr<Pool> fresh_pool() { return std::make_shared<Pool>(host_source()); }

/// Puts the default pool back.
struct PoolBefore {
  std::shared_ptr<Pool> pool = default_pool();
  ~PoolBefore() { set_default_pool(pool); }
};

const checkpoint::SegmentOptions kDropped{.spare_last = false};

/// d/dx sum(sin(exp(x))).
Doubles derivative(const Tensor& x) {
  Doubles result;
  for (const double at : elements_of(x)) result.push_back(std::cos(std::exp(at)) * std::exp(at));
  return result;
}

void check_gradient(const Tensor& x) {
  const Doubles dx = elements_of(x.grad()), wanted = derivative(x);
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(dx[i] == Approx(wanted[i]));
}

/// Computes when it is destroyed.
struct Late {
  bool* right;
  ~Late() {
    Tensor x = leaf_values({64, 64});
    const checkpoint::Segment segment("late");
    sum(sin(exp(x))).backward();
    const Tensor product = matmul(ones({64, 64}), ones({64, 64}));
    *right = std::abs(elements_of(x.grad())[5] - derivative(x)[5]) < 1e-12 &&
             product.to_vector<float>() == std::vector<float>(64 * 64, 64.0f);
  }
};

bool* at_exit_right = nullptr;

}  // namespace

TEST_CASE("a segment outlives the pool that it was opened under", "[lifetimes]") {
  const PoolBefore restore;
  for (const bool open : {true, false}) {  // when the pool is replaced
    CAPTURE(open);
    set_default_pool(fresh_pool());
    std::optional<checkpoint::Segment> segment;
    segment.emplace("a name that is too long to lie in the string itself", kDropped);
    Tensor x, loss;
    if (open) set_default_pool(fresh_pool());
    x = leaf_values({64});
    loss = sum(sin(exp(x)));
    segment.reset();
    if (!open) set_default_pool(fresh_pool());
    const SpanTrace trace;
    loss.backward();
    check_gradient(x);
    // Of another pool's segment nothing is booked in the new one.
    CHECK(default_pool()->usage_by_tag().empty());
    loss = {};
    x = {};
    set_default_pool(nullptr);
    bool named = false;
    for (const Span& span : trace.spans())
      named |= span.segment == "a name that is too long to lie in the string itself";
    CHECK(named);
  }
}

TEST_CASE("a tag is booked in its own pool alone, though another has the same address", "[lifetimes]") {
  std::shared_ptr<MemoryTag> tag;
  for (int i = 0; i < 100; ++i) {
    const auto pool = fresh_pool();
    if (i == 0) tag = pool->share_tag("first");
    MemoryBlock* const block = pool->allocate(100, Category::other, tag.get());
    CHECK((block->tag == tag.get()) == (i == 0));
    pool->free(block);
    if (i > 0) CHECK_THROWS_WITH(pool->usage(tag.get()), Contains("not this pool's"));
  }
}

TEST_CASE("a trace of a pool outlives the pool's owner", "[lifetimes]") {
  auto pool = fresh_pool();
  const auto trace = std::make_unique<MemoryTrace>(*pool);
  MemoryTag* const tag = pool->tag("a name that is too long to lie in the string itself");
  pool->free(pool->allocate(100, Category::other, tag));
  MemoryBlock* const late = pool->allocate(300, Category::other, tag);
  pool.reset();
  late->pool->free(late);
  std::int64_t bytes = 0, frees = 0;
  for (const MemoryEvent& event : trace->events()) {
    if (event.action == MemoryEvent::Action::allocate) {
      bytes += event.requested;
      CHECK(event.tag == "a name that is too long to lie in the string itself");
    }
    frees += event.action == MemoryEvent::Action::free ? 1 : 0;
  }
  CHECK(bytes == 400);
  CHECK(frees == 2);
}

TEST_CASE("spans around a prediction keep the names of its segments", "[lifetimes]") {
  const SpanTrace trace;
  checkpoint::predict({}, [] {
    const Tensor x = randn({10, 10}).set_requires_grad(true);
    return [x](checkpoint::PhaseMeter&) {
      Tensor loss;
      {
        const checkpoint::Segment segment("inside of a prediction that is over", kDropped);
        loss = sum(sin(exp(x)));
      }
      loss.backward();
      Tensor(x).clear_grad();
    };
  });
  std::int64_t named = 0;
  for (const Span& span : trace.spans())
    named += span.segment == "inside of a prediction that is over" ? 1 : 0;
  CHECK(named > 3);
}

TEST_CASE("destructors of a thread's own variables may compute", "[lifetimes]") {
  bool first = false, second = false;
  std::thread([&] {
    thread_local std::unique_ptr<Late> before_all = std::unique_ptr<Late>(new Late{&first});
    const Tensor x = matmul(ones({64, 64}), ones({64, 64}));
    thread_local std::unique_ptr<Late> after_all = std::unique_ptr<Late>(new Late{&second});
    CHECK(before_all != after_all);
  }).join();
  CHECK(first);
  CHECK(second);
  CHECK(live_nodes() == 0);
}

TEST_CASE("the program may compute until its very end", "[lifetimes]") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    static bool right = false;
    at_exit_right = &right;
    std::atexit([] {  // as destructors of static variables: after this thread's own are gone
      { const Late late{at_exit_right}; }
      _exit(*at_exit_right ? 0 : 3);
    });
    { const Tensor x = exp(leaf_values({3})); }
    std::exit(4);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
