// What a pool counts: categories, tags, peaks, scopes.
#include "memory_support.h"

#include <vector>

using namespace memory_test;

TEST_CASE("bytes print with a unit", "[memory]") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024u) == "1.00 KiB");
  CHECK(format_bytes(std::size_t{1536}) == "1.50 KiB");
  CHECK(format_bytes((std::int64_t{1} << 20) - 1) == "1.00 MiB");
  CHECK(format_bytes(std::int64_t{20} << 20) == "20.00 MiB");
  CHECK(format_bytes(std::int64_t{3} << 30) == "3.00 GiB");
  CHECK(format_bytes(-2048) == "-2.00 KiB");
  CHECK(format_bytes(SIZE_MAX) == "16.00 EiB");
}

TEST_CASE("usage is split by category", "[memory]") {
  Pool pool(host_source(), kCaching);
  std::vector<MemoryBlock*> blocks;
  for (std::size_t i = 0; i < kCategories; ++i)
    blocks.push_back(pool.allocate(100 * (i + 1), static_cast<Category>(i)));
  const MemoryStatistics statistics = pool.statistics();
  for (std::size_t i = 0; i < kCategories; ++i) {
    const auto bytes = static_cast<std::int64_t>(100 * (i + 1));
    CHECK_FALSE(name_of(static_cast<Category>(i)).empty());
    CHECK(statistics.by_category[i].requested == Counter{.current = bytes, .peak = bytes, .total = bytes});
  }
  CHECK(statistics.of(Category::workspace).allocated.current == 768);
  for (MemoryBlock* block : blocks) pool.free(block);
  check_books(pool);
}

TEST_CASE("activations count together with recomputed ones", "[memory]") {
  Pool pool(host_source(), kCaching);
  MemoryBlock* const a = pool.allocate(1000, Category::activations);
  MemoryBlock* const b = pool.allocate(500, Category::recomputed);
  pool.free(a);
  MemoryBlock* const c = pool.allocate(700, Category::recomputed);
  MemoryBlock* const d = pool.allocate(5000, Category::parameters);
  const MemoryStatistics statistics = pool.statistics();
  CHECK(statistics.activations.requested == Counter{.current = 1200, .peak = 1500, .total = 2200});
  CHECK(statistics.of(Category::activations).requested.peak == 1000);
  CHECK(statistics.of(Category::recomputed).requested.peak == 1200);
  for (MemoryBlock* block : {b, c, d}) pool.free(block);
}

TEST_CASE("a block can change its category", "[memory]") {
  Pool pool(host_source(), kCaching);
  MemoryBlock* const block = pool.allocate(300, Category::activations);
  pool.recategorise(block, Category::recomputed);
  CHECK(block->category == Category::recomputed);
  CHECK(pool.statistics().activations.requested == Counter{.current = 300, .peak = 300, .total = 300});
  check_books(pool);
  pool.recategorise(block, Category::gradients);
  const MemoryStatistics statistics = pool.statistics();
  CHECK(statistics.activations.requested == Counter{.current = 0, .peak = 300, .total = 300});
  CHECK(statistics.of(Category::activations).allocated == Counter{.current = 0, .peak = 512, .total = 512});
  CHECK(statistics.of(Category::gradients).allocated == Counter{.current = 512, .peak = 512, .total = 0});
  CHECK(statistics.all.allocated == Counter{.current = 512, .peak = 512, .total = 512});
  pool.recategorise(block, Category::gradients);
  CHECK(pool.statistics() == statistics);
  pool.recategorise(block, Category::activations);
  CHECK(pool.statistics().activations.requested.current == 300);
  pool.free(block);
  check_books(pool);
}

TEST_CASE("usage is split by tag", "[memory]") {
  Pool pool(host_source(), kCaching);
  Pool other(host_source(), kCaching);
  MemoryTag* const second = pool.tag("block 2");
  MemoryTag* const first = pool.tag("block 1");
  CHECK(pool.tag("block 2") == second);
  MemoryBlock* const a = pool.allocate(1000, Category::activations, first);
  MemoryBlock* const b = pool.allocate(10, Category::activations, second);
  MemoryBlock* const c = pool.allocate(20, Category::workspace, second);
  pool.free(b);
  CHECK(pool.usage(first).requested == Counter{.current = 1000, .peak = 1000, .total = 1000});
  CHECK(pool.usage(second).requested == Counter{.current = 20, .peak = 30, .total = 30});
  CHECK(pool.usage(second).allocated == Counter{.current = 256, .peak = 512, .total = 512});
  const auto listed = pool.usage_by_tag();
  REQUIRE(listed.size() == 2);
  CHECK(listed[0].first == "block 2");
  CHECK(listed[1].second == pool.usage(first));
  CHECK_THROWS_AS(other.usage(first), ValueError);
  MemoryBlock* const foreign = other.allocate(10, Category::other, first);
  CHECK(foreign->tag == nullptr);
  other.free(foreign);
  check_books(pool);
  pool.reset_peaks();
  CHECK(pool.usage(second).requested.peak == 20);
  pool.free(a);
  pool.free(c);
}

TEST_CASE("peaks can start again", "[memory]") {
  Pool pool(host_source(), kCaching);
  MemoryBlock* const kept = pool.allocate(100, Category::parameters);
  pool.free(pool.allocate(30 * kMiB, Category::activations));
  pool.release_cached();
  pool.reset_peaks();
  const MemoryStatistics statistics = pool.statistics();
  CHECK(statistics.all.requested.peak == 100);
  CHECK(statistics.reserved.peak == static_cast<std::int64_t>(2 * kMiB));
  CHECK(statistics.activations.requested.peak == 0);
  CHECK(statistics.of(Category::parameters).requested.peak == 100);
  CHECK(statistics.all.requested.total == static_cast<std::int64_t>(100 + 30 * kMiB));
  pool.free(kept);
}

TEST_CASE("scopes nest", "[memory]") {
  Pool pool(host_source(), kCaching);
  const auto touch = [&](std::size_t bytes) { pool.free(pool.allocate(bytes, Category::activations)); };
  MemoryBlock* const kept = pool.allocate(1000, Category::parameters);
  touch(5000);
  {
    const MemoryScope outer(pool);
    CHECK(outer.statistics().all.requested == Counter{.current = 1000, .peak = 1000, .total = 0});
    touch(2000);
    {
      const MemoryScope inner(pool);
      touch(300);
      CHECK(inner.statistics().all.requested == Counter{.current = 1000, .peak = 1300, .total = 300});
      CHECK(inner.statistics().activations.requested.peak == 300);
      CHECK(inner.statistics().allocations == 1);
      CHECK(inner.statistics().frees == 1);
      touch(3000);
      CHECK(outer.statistics().all.requested.peak == 4000);
    }
    {
      const MemoryScope inner(pool);
      touch(10);
      CHECK(inner.statistics().all.requested.peak == 1010);
    }
    CHECK(outer.statistics().all.requested == Counter{.current = 1000, .peak = 4000, .total = 5310});
    CHECK(pool.statistics().all.requested.peak == 6000);
    touch(8000);
    CHECK(pool.statistics().all.requested.peak == 9000);
  }
  CHECK(pool.statistics().all.requested == Counter{.current = 1000, .peak = 9000, .total = 19310});
  pool.free(kept);
}

TEST_CASE("a scope sees its own reserved bytes, retries and failures", "[memory]") {
  const std::unique_ptr<Pool> pool = limited_pool(4 * kMiB);
  pool->free(pool->allocate(4 * kMiB, Category::other));
  const MemoryScope scope(*pool);
  MemoryBlock* const block = pool->allocate(1, Category::other);
  CHECK_THROWS_AS(pool->allocate(3 * kMiB, Category::other), OutOfMemory);
  const MemoryStatistics statistics = scope.statistics();
  CHECK(statistics.reserved.total == static_cast<std::int64_t>(2 * kMiB));
  CHECK(statistics.reserved.peak == static_cast<std::int64_t>(4 * kMiB));
  CHECK(statistics.source_allocations == 1);
  CHECK(statistics.source_frees == 1);
  CHECK(statistics.retries == 1);
  CHECK(statistics.failures == 1);
  pool->free(block);
}

TEST_CASE("scopes may close in any order", "[memory]") {
  Pool pool(host_source(), kCaching);
  const auto touch = [&](std::size_t bytes) { pool.free(pool.allocate(bytes, Category::other)); };
  auto a = std::make_unique<MemoryScope>(pool);
  touch(100);
  auto b = std::make_unique<MemoryScope>(pool);
  touch(200);
  auto c = std::make_unique<MemoryScope>(pool);
  touch(50);
  CHECK(b->statistics().all.requested.peak == 200);
  b.reset();
  CHECK(c->statistics().all.requested.peak == 50);
  CHECK(a->statistics().all.requested.peak == 200);
  a.reset();
  touch(60);
  CHECK(c->statistics().all.requested.peak == 60);
  CHECK(pool.statistics().all.requested.peak == 200);
  c.reset();
  CHECK(pool.statistics().all.requested.peak == 200);
}

TEST_CASE("a scope may outlive its pool", "[memory]") {
  const auto pieces = std::make_shared<Pieces>();
  auto pool = std::make_unique<Pool>(std::make_unique<WatchedSource>(pieces), kCaching);
  {
    const MemoryScope scope(*pool);
    pool->free(pool->allocate(10, Category::other));
    pool.reset();
    CHECK(scope.statistics().allocations == 1);
  }
  CHECK(pieces->empty());
}
