// reprise_bench_probes: what NVIDIA's libraries could do, to decide what ours should ask them for. Every
// product of a GPT-2's training step, bfloat16, by each of cuBLASLt's best heuristics, with several leading
// dimensions and epilogues; and the bytes that a context and each library take from the device.
//
// One line a measurement: JSON.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr int kCandidates = 8, kWarmUp = 2, kRepetitions = 10;

#define CHECK(call)                                                                     \
  do {                                                                                  \
    const auto status = (call);                                                         \
    if (static_cast<int>(status) != 0) {                                                \
      std::fprintf(stderr, "probes: %s: status %d\n", #call, static_cast<int>(status)); \
      std::exit(1);                                                                     \
    }                                                                                   \
  } while (false)

/// Values in [-0.5, 0.5) that look random: zeros would run faster than real data.
__global__ void fill(__nv_bfloat16* data, std::size_t count, unsigned seed) {
  std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  for (; i < count; i += std::size_t{gridDim.x} * blockDim.x) {
    unsigned h = static_cast<unsigned>(i) * 2654435761u + seed;
    h = (h ^ (h >> 15)) * 2246822519u;
    h = (h ^ (h >> 13)) * 3266489917u;
    data[i] = __float2bfloat16(static_cast<float>(h >> 8) * (1.0f / 16777216.0f) - 0.5f);
  }
}

struct Memory {
  explicit Memory(std::size_t count, unsigned seed = 0) {
    CHECK(cudaMalloc(&data, count * sizeof(__nv_bfloat16)));
    fill<<<1024, 256>>>(data, count, seed);
    CHECK(cudaGetLastError());
  }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
  __nv_bfloat16* data = nullptr;
};

/// d (m, n) = op(a) op(b), all column-major.
struct Product {
  std::string name;
  cublasOperation_t op_a, op_b;
  std::int64_t m, n, k, lda, ldb, ldd;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  std::size_t workspace = std::size_t{32} << 20;
  bool any_reduction = false;  // also sums in no fixed order
};

const char* name_of(cublasLtEpilogue_t epilogue) {
  switch (epilogue) {
    case CUBLASLT_EPILOGUE_BIAS:
      return "bias";
    case CUBLASLT_EPILOGUE_GELU_BIAS:
      return "gelu_bias";
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
      return "gelu_aux_bias";
    case CUBLASLT_EPILOGUE_DGELU:
      return "dgelu";
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
      return "dgelu_bgrad";
    case CUBLASLT_EPILOGUE_BGRADA:
      return "bgrada";
    case CUBLASLT_EPILOGUE_BGRADB:
      return "bgradb";
    default:
      return "none";
  }
}

template <class T>
T config_of(const cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  std::size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algo, attribute, &value, sizeof value, &written);
  return value;
}

struct Library {
  Library() {
    CHECK(cublasLtCreate(&handle));
    CHECK(cudaMalloc(&workspace, std::size_t{256} << 20));
    for (auto& event : events) CHECK(cudaEventCreate(&event));
  }
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::array<cudaEvent_t, kRepetitions + 1> events{};
};

void measure(Library& library, const Product& p) {
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulPreference_t preference;
  CHECK(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const bool ta = p.op_a == CUBLAS_OP_T, tb = p.op_b == CUBLAS_OP_T;
  const std::int64_t a_columns = ta ? p.m : p.k, b_columns = tb ? p.k : p.n;
  CHECK(cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, ta ? p.k : p.m, a_columns, p.lda));
  CHECK(cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, tb ? p.n : p.k, b_columns, p.ldb));
  CHECK(cublasLtMatrixLayoutCreate(&d, CUDA_R_16BF, p.m, p.n, p.ldd));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    CHECK(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.op_a);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.op_b);
  const Memory in_a(static_cast<std::size_t>(p.lda * a_columns), 1),
      in_b(static_cast<std::size_t>(p.ldb * b_columns), 2);
  const Memory out(static_cast<std::size_t>(p.ldd * p.n)), aux(static_cast<std::size_t>(p.ldd * p.n), 3);
  const Memory bias(static_cast<std::size_t>(std::max(p.m, p.n)), 4);
  if (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.epilogue);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
    if (p.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || p.epilogue == CUBLASLT_EPILOGUE_DGELU ||
        p.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux.data);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.ldd);
    }
  }
  CHECK(cublasLtMatmulPreferenceCreate(&preference));
  CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &p.workspace, sizeof p.workspace));
  const std::uint32_t scheme =
      p.any_reduction ? CUBLASLT_REDUCTION_SCHEME_MASK : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme,
                                             sizeof scheme));
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library.handle, desc, a, b, d, d, preference,
                                                               kCandidates, found.data(), &count);
  if (status != CUBLAS_STATUS_SUCCESS) count = 0;
  std::printf(
      "{\"probe\": \"product\", \"name\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, \"lda\": %lld, "
      "\"ldb\": %lld, "
      "\"ldd\": %lld, \"epilogue\": \"%s\", \"workspace\": %zu, \"any_reduction\": %s, \"candidates\": [",
      p.name.c_str(), static_cast<long long>(p.m), static_cast<long long>(p.n), static_cast<long long>(p.k),
      static_cast<long long>(p.lda), static_cast<long long>(p.ldb), static_cast<long long>(p.ldd),
      name_of(p.epilogue), p.workspace, p.any_reduction ? "true" : "false");
  const float alpha = 1, beta = 0;
  for (int i = 0; i < count; ++i) {
    const auto& candidate = found[static_cast<std::size_t>(i)];
    const auto run = [&] {
      return cublasLtMatmul(library.handle, desc, &alpha, in_a.data, a, in_b.data, b, &beta, out.data, d,
                            out.data, d, &candidate.algo, library.workspace, candidate.workspaceSize,
                            nullptr);
    };
    cublasStatus_t ran = CUBLAS_STATUS_SUCCESS;
    for (int warm = 0; warm < kWarmUp; ++warm) ran = run();
    if (ran != CUBLAS_STATUS_SUCCESS) continue;
    CHECK(cudaEventRecord(library.events[0]));
    for (std::size_t r = 0; r < kRepetitions; ++r) {
      run();
      CHECK(cudaEventRecord(library.events[r + 1]));
    }
    CHECK(cudaDeviceSynchronize());
    std::vector<float> ms(kRepetitions);
    for (std::size_t r = 0; r < kRepetitions; ++r)
      CHECK(cudaEventElapsedTime(&ms[r], library.events[r], library.events[r + 1]));
    std::sort(ms.begin(), ms.end());
    const double median = ms[kRepetitions / 2];
    const double flops = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    std::printf(
        "%s{\"ms\": %.4f, \"tflops\": %.1f, \"id\": %d, \"tile\": %u, \"stages\": %u, \"split_k\": %d, "
        "\"reduction\": %u, \"workspace\": %zu}",
        i == 0 ? "" : ", ", median, flops * 1e-9 / median,
        config_of<int>(candidate.algo, CUBLASLT_ALGO_CONFIG_ID),
        config_of<std::uint32_t>(candidate.algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
        config_of<std::uint32_t>(candidate.algo, CUBLASLT_ALGO_CONFIG_STAGES_ID),
        config_of<std::int32_t>(candidate.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
        config_of<std::uint32_t>(candidate.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
        candidate.workspaceSize);
  }
  std::printf("]}\n");
  std::fflush(stdout);
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(a);
  cublasLtMatrixLayoutDestroy(b);
  cublasLtMatrixLayoutDestroy(d);
  cublasLtMatmulDescDestroy(desc);
}

/// The three products of the head, whose logits have rows `ld` apart.
void measure_head(Library& library, std::int64_t tokens, std::int64_t width, std::int64_t vocabulary,
                  std::int64_t ld) {
  const auto N = CUBLAS_OP_N, T = CUBLAS_OP_T;
  measure(library, {"head", T, N, vocabulary, tokens, width, width, width, ld});
  measure(library, {"head, dx", N, N, width, tokens, vocabulary, width, ld, width});
  measure(library, {"head, dw", N, T, width, vocabulary, tokens, width, ld, width});
}

/// The products of a layer with (in, out) weights, with the epilogues that could serve.
void measure_layer(Library& library, const std::string& name, std::int64_t tokens, std::int64_t in,
                   std::int64_t out, bool gelu_after, bool gelu_before) {
  const auto N = CUBLAS_OP_N, T = CUBLAS_OP_T;
  const Product forward{name, N, N, out, tokens, in, out, in, out};
  const Product input{name + ", dx", T, N, in, tokens, out, out, out, in};
  const Product weight{name + ", dw", N, T, out, in, tokens, out, in, out};
  const auto with = [&](Product p, cublasLtEpilogue_t epilogue) {
    p.epilogue = epilogue;
    measure(library, p);
  };
  measure(library, forward);
  with(forward, CUBLASLT_EPILOGUE_BIAS);
  if (gelu_after) {
    with(forward, CUBLASLT_EPILOGUE_GELU_BIAS);
    with(forward, CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
  }
  measure(library, input);
  if (gelu_before) {
    with(input, CUBLASLT_EPILOGUE_DGELU);
    with(input, CUBLASLT_EPILOGUE_DGELU_BGRAD);
  }
  measure(library, weight);
  with(weight, CUBLASLT_EPILOGUE_BGRADA);
  Product more = weight;
  more.workspace = std::size_t{128} << 20;
  measure(library, more);
  more.any_reduction = true;
  measure(library, more);
}

std::size_t used_bytes() {
  std::size_t free = 0, total = 0;
  CHECK(cudaMemGetInfo(&free, &total));
  return total - free;
}

void print_bytes(const char* what, std::size_t bytes) {
  std::printf("{\"probe\": \"memory\", \"name\": \"%s\", \"used_bytes\": %zu}\n", what, bytes);
  std::fflush(stdout);
}

}  // namespace

int main() {
  CHECK(cudaFree(nullptr));
  print_bytes("context", used_bytes());
  {
    const Memory first(1024);
    CHECK(cudaDeviceSynchronize());
    print_bytes("first kernel", used_bytes());
  }
  cudnnHandle_t dnn = nullptr;
  CHECK(cudnnCreate(&dnn));
  print_bytes("cuDNN handle", used_bytes());
  cublasLtHandle_t lt = nullptr;
  CHECK(cublasLtCreate(&lt));
  print_bytes("cuBLASLt handle", used_bytes());
  Library library;
  constexpr std::int64_t kTokens = 32768, kWidth = 768;
  measure(library, {"warm-up", CUBLAS_OP_N, CUBLAS_OP_N, 1024, 1024, 1024, 1024, 1024, 1024});
  print_bytes("first product, with 256 MiB of scratch", used_bytes());
  measure_head(library, kTokens, kWidth, 50257, 50257);
  measure_head(library, kTokens, kWidth, 50257, 50304);
  measure_head(library, kTokens, kWidth, 50304, 50304);
  measure_layer(library, "mlp up", kTokens, kWidth, 4 * kWidth, true, false);
  measure_layer(library, "mlp down", kTokens, 4 * kWidth, kWidth, false, true);
  measure_layer(library, "qkv", kTokens, kWidth, 3 * kWidth, false, false);
  measure_layer(library, "projection", kTokens, kWidth, kWidth, false, false);
  print_bytes("end", used_bytes());
}
