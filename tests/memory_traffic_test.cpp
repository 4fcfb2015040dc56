// The pool under random traffic, on one thread and on many.
#include "memory_support.h"

#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "sanitizers.h"

using namespace memory_test;

namespace {

#if UNDER_THREAD_SANITIZER || UNDER_ADDRESS_SANITIZER
constexpr int kRounds = 2000;
#else
constexpr int kRounds = 20000;
#endif

/// A size on a logarithmic scale, so that every kind of segment is used.
std::size_t random_size(std::mt19937_64& random, unsigned most_bits) {
  const unsigned bits = std::uniform_int_distribution<unsigned>(0, most_bits)(random);
  return std::uniform_int_distribution<std::size_t>(1, std::size_t{1} << bits)(random);
}

Category random_category(std::mt19937_64& random) {
  return static_cast<Category>(std::uniform_int_distribution<unsigned>(0, kCategories - 1)(random));
}

/// Takes the block at a random place out of the list.
MemoryBlock* pick(std::vector<MemoryBlock*>& blocks, std::mt19937_64& random) {
  std::swap(blocks[std::uniform_int_distribution<std::size_t>(0, blocks.size() - 1)(random)], blocks.back());
  MemoryBlock* const block = blocks.back();
  blocks.pop_back();
  return block;
}

/// Where a block lies, as the ordinal of its segment and the distance from its start: independent of
/// addresses.
struct Place {
  std::size_t segment, offset;
  bool operator==(const Place&) const = default;
};

Place place_of(const Pool& pool, const MemoryBlock& block) {
  const std::vector<SegmentInfo> segments = pool.segments();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto* begin = static_cast<const std::byte*>(segments[i].data);
    const auto* at = static_cast<const std::byte*>(block.data);
    if (at >= begin && at < begin + segments[i].bytes) return {i, static_cast<std::size_t>(at - begin)};
  }
  return {SIZE_MAX, SIZE_MAX};
}

/// A device whose memory nobody may touch, with addresses in no order.
class PretendSource final : public Source {
 public:
  void* allocate(std::size_t) override {
    at_ = at_ * 0x9E3779B97F4A7C15u + 1;
    return reinterpret_cast<void*>((at_ % (std::uint64_t{1} << 20)) << 36);
  }
  void release(void*, std::size_t) noexcept override {}
  std::size_t capacity() const override { return std::size_t{1} << 40; }
  std::string_view name() const override { return "pretended"; }
  bool host_accessible() const override { return false; }

 private:
  std::uint64_t at_ = 1;
};

}  // namespace

TEST_CASE("the books hold under random traffic", "[memory]") {
  const unsigned seed = GENERATE(1u, 2u, 3u);
  std::mt19937_64 random(seed);
  const bool limited = seed == 3;
  Pool pool(limited ? limited_source(host_source(), 16 * kMiB) : host_source(), kCaching);
  std::vector<MemoryTag*> tags{nullptr, pool.tag("a"), pool.tag("b")};
  std::vector<MemoryBlock*> blocks;
  for (int round = 0; round < kRounds; ++round) {
    const unsigned action = std::uniform_int_distribution<unsigned>(0, 99)(random);
    const unsigned share_of_allocations = round / 500 % 2 == 0 ? 60 : 40;
    if (action == 0) {
      pool.release_cached();
    } else if (action < 5 && !blocks.empty()) {
      pool.recategorise(blocks[random() % blocks.size()], random_category(random));
    } else if (action < share_of_allocations || blocks.empty()) {
      try {
        const std::size_t bytes = random_size(random, limited ? 23 : 24);
        blocks.push_back(pool.allocate(bytes, random_category(random), tags[bytes % 3]));
      } catch (const OutOfMemory&) {
        REQUIRE(limited);
      }
    } else {
      pool.free(pick(blocks, random));
    }
    if (round % 50 == 0) check_books(pool);
  }
  if (limited) CHECK(pool.statistics().failures > 0);
  while (!blocks.empty()) pool.free(pick(blocks, random));
  check_books(pool);
  for (const SegmentInfo& segment : pool.segments()) CHECK(segment.blocks.size() == 1);
  pool.release_cached();
  CHECK(pool.statistics().reserved.current == 0);
}

TEST_CASE("the same requests lie at the same places on any source", "[memory]") {
  Pool host(host_source(), kCaching);
  Pool pretended(std::make_unique<PretendSource>(), kCaching);
  std::mt19937_64 random(11);
  std::vector<std::pair<MemoryBlock*, MemoryBlock*>> blocks;
  for (int round = 0; round < 1500; ++round) {
    if (round % 300 == 299) {
      CHECK(host.release_cached() == pretended.release_cached());
    } else if (blocks.empty() || random() % 100 < 55) {
      const std::size_t bytes = random_size(random, 24);
      blocks.emplace_back(host.allocate(bytes, Category::other), pretended.allocate(bytes, Category::other));
      REQUIRE(place_of(host, *blocks.back().first) == place_of(pretended, *blocks.back().second));
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      host.free(blocks.back().first);
      pretended.free(blocks.back().second);
      blocks.pop_back();
    }
  }
  CHECK(host.statistics() == pretended.statistics());
  for (const auto& [a, b] : blocks) {
    host.free(a);
    pretended.free(b);
  }
}

TEST_CASE("threads share a pool and free each other's blocks", "[memory]") {
  constexpr int kThreads = 9;
  const bool passthrough = GENERATE(false, true);
  Pool pool(host_source(), {.passthrough = passthrough});
  std::mutex mutex;
  std::vector<MemoryBlock*> shared;
  std::atomic<int> broken{0};

  const auto mark = [](MemoryBlock* block) {
    std::memset(block->data, static_cast<int>(block->requested % 251), block->requested);
  };
  const auto check_and_free = [&](MemoryBlock* block) {
    const auto* bytes = static_cast<const unsigned char*>(block->data);
    for (std::size_t i = 0; i < block->requested; ++i) broken += bytes[i] != block->requested % 251;
    block->pool->free(block);
  };
  const auto work = [&](unsigned seed) {
    std::mt19937_64 random(seed);
    MemoryTag* const tag = pool.tag(seed % 2 == 0 ? "even" : "odd");
    std::vector<MemoryBlock*> mine;
    for (int round = 0; round < kRounds / 10; ++round) {
      const auto action = random() % 8;
      if (action < 4 || mine.empty()) {
        mine.push_back(
            pool.allocate(random_size(random, action == 0 ? 18 : 11), random_category(random), tag));
        mark(mine.back());
      } else if (action < 6) {
        check_and_free(pick(mine, random));
      } else {
        const std::lock_guard guard(mutex);
        shared.push_back(pick(mine, random));
        std::swap(shared[random() % shared.size()], shared.back());
        mine.push_back(shared.back());
        shared.pop_back();
      }
      if (round % 256 == 0) {
        const MemoryScope scope(pool);
        broken += scope.statistics().all.allocated.current < 0;
        pool.release_cached();
      }
    }
    for (MemoryBlock* block : mine) check_and_free(block);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();

  CHECK(broken == 0);
  const MemoryStatistics statistics = pool.statistics();
  CHECK(statistics.all.allocated.current == 0);
  CHECK(statistics.allocations == statistics.frees);
  check_books(pool);
}

TEST_CASE("the last of many threads takes the pool down", "[memory]") {
  for (int round = 0; round < 50; ++round) {
    const auto pieces = std::make_shared<Pieces>();
    auto pool = std::make_unique<Pool>(std::make_unique<WatchedSource>(pieces), kCaching);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([block = pool->allocate(1000, Category::other)] { block->pool->free(block); });
    }
    pool.reset();
    for (std::thread& thread : threads) thread.join();
    REQUIRE(pieces->empty());
  }
}
