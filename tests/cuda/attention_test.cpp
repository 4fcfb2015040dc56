// Attention on CUDA: sizes, masks, places, and what it refuses.
#include "attention_case.h"
#include "reprise/error.h"

namespace reprise::test::attention {

TEST_CASE("attention on CUDA agrees with the CPU for all sizes", "[simt][cuda]") {
  const Queues queues;
  constexpr Place kPlaces[] = {Place::dense, Place::in_qkv, Place::spread, Place::misaligned};
  constexpr double kDropouts[] = {0.0, 0.3, 0.0, 0.0, 0.5};
  std::size_t turn = 0;  // pairs every size with other places, dropouts and ways of writing
  for (DType dtype : kTrained) {
    for (std::int64_t size : {24, 32, 64, 80, 128}) {
      for (std::int64_t length : {1, 2, 31, 33, 64, 65, 100, 129}) {
        Case c;
        c.dtype = dtype;
        c.size = size;
        c.length = length;
        c.batch = length < 60 ? 2 : 1;
        c.heads = length < 60 ? 2 : 1;
        c.params = {1.0 / std::sqrt(static_cast<double>(size)), turn % 3 != 0, kDropouts[turn % 5]};
        c.place = kPlaces[turn % 4];
        c.write = turn / 4 % 2 == 0 ? Write::overwrite : Write::accumulate;
        check(c, queues);
        ++turn;
      }
    }
  }
}

TEST_CASE("attention on CUDA takes every mask, dropout and place", "[simt][cuda]") {
  const Queues queues;
  for (DType dtype : kTrained) {
    for (std::int64_t length : {36, 67}) {
      for (Place place : {Place::in_qkv, Place::misaligned}) {
        for (int i = 0; i < 4; ++i) {
          Case c;
          c.dtype = dtype;
          c.length = length;
          c.size = 40;
          c.params = {0.2, i % 2 == 0, i / 2 == 0 ? 0.0 : 0.25};
          c.place = place;
          check(c, queues);
        }
      }
    }
  }
}

TEST_CASE("attention on CUDA takes any size of head up to 128", "[simt][cuda]") {
  const Queues queues;
  for (DType dtype : kTrained) {
    for (std::int64_t size : {1, 7, 16, 33, 48, 72, 96, 97, 120}) {
      Case c;
      c.dtype = dtype;
      c.heads = 1;
      c.length = 35;
      c.size = size;
      check(c, queues);
    }
  }
}

TEST_CASE("attention on CUDA takes more sequences than it mixes", "[simt][cuda]") {
  const Queues queues;
  for (DType dtype : kTrained) {
    for (const bool causal : {true, false}) {
      Case c;
      c.dtype = dtype;
      c.batch = 27;
      c.heads = 5;  // 135 sequences: two groups of 64 and a part of one
      c.length = 130;
      c.size = 8;
      c.params.causal = causal;
      check(c, queues);
    }
  }
}

TEST_CASE("attention on CUDA takes any scale", "[simt][cuda]") {
  const Queues queues;
  for (DType dtype : kTrained) {
    for (double scale : {-0.3, 0.0, 0.5}) {
      Case c;
      c.dtype = dtype;
      c.length = 70;
      c.size = 32;
      c.params.scale = scale;
      check(c, queues);
    }
  }
}

TEST_CASE("attention on CUDA gives zero where everything is dropped", "[simt][cuda]") {
  const Queues queues;
  for (DType dtype : kTrained) {
    Case c;
    c.dtype = dtype;
    c.length = 20;
    c.params.dropout = 1.0;
    check(c, queues);
  }
}

TEST_CASE("attention on CUDA adds the node's offset in device memory", "[simt][cuda]") {
  const Queues queues;
  const std::uint64_t offset = 77;
  std::uint64_t* on_device = nullptr;
  succeed(cudaMalloc(reinterpret_cast<void**>(&on_device), sizeof offset));
  succeed(cudaMemcpy(on_device, &offset, sizeof offset, cudaMemcpyHostToDevice));
  for (DType dtype : kTrained) {
    Case c;
    c.dtype = dtype;
    c.length = 20;
    c.params.dropout = 0.5;
    Tensors t(c);
    forward(c, t, queues);  // the CPU's, with kKey
    kernels::Queue queue = queues.cuda();
    queue.node_offset = on_device;
    const RandomKey before{kKey.seed, kKey.node - offset};
    kernels::cuda::attention_forward(queue, c.params, before, t.q.cuda(), t.k.cuda(), t.v.cuda(),
                                     t.out.cuda(), t.statistics.cuda(), {});
    queues.wait();
    check_rows(t.out);
  }
  succeed(cudaFree(on_device));
}

TEST_CASE("attention on CUDA is exact beside large scores", "[simt][cuda]") {
  const Queues queues;
  for (const DType dtype : kTrained) {
    for (const double scale : {1.0, -1.0}) {
      Case c;
      c.dtype = dtype;
      c.length = 70;
      c.size = 2;
      c.params.scale = scale;
      INFO(c.name() << ", scale " << scale);
      Tensors t(c);
      // Scores are 2^23 + 0, 2 or 4 times the scale: exact in float32, as is everything on the way to them.
      t.q.assign([](std::int64_t i) { return i % 2 == 0 ? 8192.0 : 1.0; });
      t.k.assign([](std::int64_t i) { return i % 2 == 0 ? 1024.0 : 2.0 * static_cast<double>(i / 2 % 3); });
      for (Twin* x : {&t.v, &t.dout})  // of one sign, so that no sum cancels
        x->assign([](std::int64_t i) { return 1 + static_cast<double>(i % 5) / 4; });
      forward(c, t, queues);
      check_rows(t.out);
      t.out.upload();
      // dv tells what backward takes the probabilities for; in dq and dk sums of about 0 meet factors of
      // 8192.
      c.to_queries = c.to_keys = false;
      backward(c, t, queues);  // from each side's own statistics
      check_rows(t.dv);
    }
  }
}

TEST_CASE("attention on CUDA refuses what it cannot do", "[simt][cuda]") {
  const Queues queues;
  const auto run = [&](const Case& c, kernels::Workspace workspace = {}) {
    Tensors t(c);
    kernels::cuda::attention_forward(queues.cuda(), c.params, kKey, t.q.cuda(), t.k.cuda(), t.v.cuda(),
                                     t.out.cuda(), t.statistics.cuda(), workspace);
    kernels::cuda::attention_backward(queues.cuda(), c.params, kKey, t.q.cuda(), t.k.cuda(), t.v.cuda(),
                                      t.out.cuda(), t.statistics.cuda(), t.dout.cuda(), t.dq.cuda(c.write),
                                      t.dk.cuda(c.write), t.dv.cuda(c.write), workspace);
    queues.wait();
  };
  for (DType dtype : {DType::float64, DType::int32, DType::boolean}) {
    Case c;
    c.dtype = dtype;
    c.length = 3;
    CHECK_THROWS_AS(run(c), TypeError);
  }
  Case wide;
  wide.length = 3;
  wide.size = 136;
  CHECK_THROWS_WITH(run(wide), Catch::Contains("[attention] heads of size 136"));
  CHECK_THROWS_AS(run(wide), ShapeError);
  Case small;
  small.length = 3;
  CHECK_THROWS_WITH(run(small), Catch::Contains("workspace of"));
  Case empty;
  empty.length = 0;
  CHECK_NOTHROW(run(empty));
  empty.length = 3;
  empty.batch = 0;
  CHECK_NOTHROW(run(empty));
}

}  // namespace reprise::test::attention
