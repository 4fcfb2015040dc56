// Attention on CUDA whatever shared memory the device has: blocks of the widest heads have tiles of two
// sizes.
#include "attention_case.h"
#include "reprise/error.h"
#if defined(REPRISE_SIMT)
#include "cuda/workspace/device.h"
#include "simt/runtime/control.h"
#endif

namespace reprise::test::attention {
namespace {

void check_widest_heads() {
  const Queues queues;
  std::size_t turn = 0;  // pairs every case with another place and way of writing
  for (DType dtype : kTrained) {
    for (std::int64_t size : {97, 104, 128}) {
      for (std::int64_t length : {1, 33, 65, 130}) {
        for (int i = 0; i < 4; ++i) {
          Case c;
          c.dtype = dtype;
          c.heads = 1;
          c.length = length;
          c.size = size;
          c.params = {1.0 / std::sqrt(static_cast<double>(size)), i % 2 == 0, i / 2 == 0 ? 0.0 : 0.3};
          c.place = turn % 3 == 0 ? Place::misaligned : Place::in_qkv;
          c.write = turn / 3 % 2 == 0 ? Write::overwrite : Write::accumulate;
          check(c, queues);
          ++turn;
        }
      }
    }
  }
}

/// Gradients have the same bits every time, whichever of them are wanted; the others are not written.
void check_wanted_gradients(std::int64_t size) {
  const Queues queues;
  for (DType dtype : kTrained) {
    Case c;
    c.dtype = dtype;
    c.length = 70;
    c.size = size;
    c.params.dropout = 0.1;
    Tensors all(c);
    forward(c, all, queues);
    all.out.upload();
    all.statistics.upload();
    backward(c, all, queues);
    for (int wanted = 0; wanted < 8; ++wanted) {
      INFO(name_of(dtype) << " wanted " << wanted);
      c.to_queries = (wanted & 1) != 0;
      c.to_keys = (wanted & 2) != 0;
      c.to_values = (wanted & 4) != 0;
      Tensors some(c);
      forward(c, some, queues);
      some.out.upload();
      some.statistics.upload();
      backward(c, some, queues);
      const auto same = [](Twin& a, Twin& b, bool of_wanted) {
        const std::vector<double> expected = a.cuda_values(), found = b.cuda_values();
        for (std::size_t i = 0; i < expected.size(); ++i) {
          if (of_wanted ? found[i] != expected[i] : !std::isnan(found[i])) return false;
        }
        return true;
      };
      CHECK(same(all.dq, some.dq, c.to_queries));
      CHECK(same(all.dk, some.dk, c.to_keys));
      CHECK(same(all.dv, some.dv, c.to_values));
    }
  }
}

}  // namespace

TEST_CASE("attention on CUDA takes the widest heads", "[simt][cuda]") { check_widest_heads(); }

TEST_CASE("attention on CUDA gives the gradients that are wanted, the same bits every time", "[simt][cuda]") {
  check_wanted_gradients(48);
}

#if defined(REPRISE_SIMT)

/// The device lets a block have so much shared memory while this lives.
struct SharedBytes {
  explicit SharedBytes(std::size_t bytes) { simt::runtime::control().max_shared_bytes = bytes; }
  ~SharedBytes() { simt::runtime::control().max_shared_bytes = simt::runtime::Control().max_shared_bytes; }
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;
};

TEST_CASE("attention on CUDA takes the widest heads with little shared memory", "[simt][cuda]") {
  const SharedBytes device(kernels::cuda::kLeastSharedBytes);
  check_widest_heads();
}

TEST_CASE("attention on CUDA gives the same bits every time with little shared memory", "[simt][cuda]") {
  const SharedBytes device(kernels::cuda::kLeastSharedBytes);
  check_wanted_gradients(128);
}

TEST_CASE("attention on CUDA says how much shared memory a head needs", "[simt][cuda]") {
  enum class Pass { forward, keys, queries };
  struct Need {
    DType dtype;
    Pass pass;
    const char* bytes;
  };
  const Need needs[] = {
      {DType::float32, Pass::forward, "101376"}, {DType::bfloat16, Pass::forward, "69632"},
      {DType::float32, Pass::keys, "89600"},     {DType::bfloat16, Pass::keys, "88192"},
      {DType::float32, Pass::queries, "89600"},  {DType::float16, Pass::queries, "87040"},
  };
  const Queues queues;
  const SharedBytes device(64 << 10);
  for (const Need& need : needs) {
    Case c;
    c.dtype = need.dtype;
    c.length = 3;
    c.size = 120;
    c.to_queries = need.pass == Pass::queries;
    c.to_keys = c.to_values = need.pass == Pass::keys;
    Tensors t(c);
    const auto run = [&] { need.pass == Pass::forward ? forward(c, t, queues) : backward(c, t, queues); };
    CHECK_THROWS_MATCHES(
        run(), DeviceError,
        Catch::Message(std::string("[attention] head size 120 needs ") + need.bytes +
                       " bytes of shared memory in a block, this device has 65536; make it smaller or use "
                       "the CPU"));
    queues.wait();
  }
}

#endif

}  // namespace reprise::test::attention
