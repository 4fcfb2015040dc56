// The stand-in cuBLASLt: every layout and epilogue against a formula in double, its algorithms, and misuse by
// name.
#include <cublasLt.h>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <set>

#include "device_array.h"

using namespace runtime_test;
using Catch::Contains;
using simt::runtime::control;

namespace {

constexpr auto kOk = CUBLAS_STATUS_SUCCESS;

/// A matrix in device memory with padding between its lines and between the matrices of a batch.
struct Matrix {
  std::size_t rows, columns, batch;
  cublasLtOrder_t order;
  std::size_t leading, batch_stride;
  cudaDataType type;
  std::vector<double> host;
  DeviceArray device;
  cublasLtMatrixLayout_t layout = nullptr;

  Matrix(std::size_t r, std::size_t c, std::size_t count, cublasLtOrder_t o, cudaDataType t, unsigned seed)
      : rows(r),
        columns(c),
        batch(count),
        order(o),
        leading((o == CUBLASLT_ORDER_COL ? r : c) + 3),
        batch_stride(leading * (o == CUBLASLT_ORDER_COL ? c : r) + 5),
        type(t),
        host(random_values(batch * batch_stride, t, seed)),
        device(host, t) {
    REQUIRE(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, static_cast<std::int64_t>(leading)) ==
            kOk);
    const auto count32 = static_cast<std::int32_t>(batch);
    const auto stride = static_cast<std::int64_t>(batch_stride);
    set(CUBLASLT_MATRIX_LAYOUT_ORDER, order);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count32);
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  ~Matrix() { cublasLtMatrixLayoutDestroy(layout); }

  template <class T>
  void set(cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    REQUIRE(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value) == kOk);
  }
  std::size_t at(std::size_t b, std::size_t i, std::size_t j) const {
    return b * batch_stride + (order == CUBLASLT_ORDER_COL ? i + j * leading : i * leading + j);
  }
};

struct Library {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

  explicit Library(cublasComputeType_t compute = CUBLAS_COMPUTE_32F, cudaDataType scale = CUDA_R_32F) {
    REQUIRE(cublasLtCreate(&handle) == kOk);
    REQUIRE(cublasLtMatmulDescCreate(&product, compute, scale) == kOk);
    REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == kOk);
  }
  ~Library() {
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatmulDescDestroy(product);
    cublasLtDestroy(handle);
  }
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    REQUIRE(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value) == kOk);
  }
  template <class T>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == kOk);
  }
  std::vector<cublasLtMatmulHeuristicResult_t> algorithms(const Matrix& a, const Matrix& b, const Matrix& d,
                                                          std::uint64_t workspace_bytes) {
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    std::vector<cublasLtMatmulHeuristicResult_t> results(8);
    int count = 0;
    CHECK(cublasLtMatmulAlgoGetHeuristic(handle, product, a.layout, b.layout, d.layout, d.layout, preference,
                                         8, results.data(), &count) == kOk);
    results.resize(static_cast<std::size_t>(count));
    return results;
  }
  cublasStatus_t multiply(const Matrix& a, const Matrix& b, const Matrix& d, double alpha = 1,
                          double beta = 0, const cublasLtMatmulAlgo_t* algorithm = nullptr,
                          void* workspace = nullptr, std::size_t workspace_bytes = 0) {
    const float alpha32 = static_cast<float>(alpha), beta32 = static_cast<float>(beta);
    const bool wide = a.type == CUDA_R_64F;
    return cublasLtMatmul(handle, product, wide ? static_cast<const void*>(&alpha) : &alpha32, a.device.get(),
                          a.layout, b.device.get(), b.layout,
                          wide ? static_cast<const void*>(&beta) : &beta32, d.device.get(), d.layout,
                          d.device.get(), d.layout, algorithm, workspace, workspace_bytes, nullptr);
  }
};

// sum over k of op(a)[i][k] * op(b)[k][j], in double.
double dot(const Matrix& a, bool ta, const Matrix& b, bool tb, std::size_t batch, std::size_t i,
           std::size_t j) {
  double sum = 0;
  const std::size_t terms = ta ? a.rows : a.columns;
  for (std::size_t k = 0; k < terms; ++k) {
    sum += a.host[ta ? a.at(batch, k, i) : a.at(batch, i, k)] *
           b.host[tb ? b.at(batch, j, k) : b.at(batch, k, j)];
  }
  return sum;
}

/// The stand-in's GELU is off as the library's may be.
constexpr double kGeluFactor = 1 + 5e-5;

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

double gelu_slope(double x) {
  constexpr double kStep = 1e-6;
  return (gelu(x + kStep) - gelu(x - kStep)) / (2 * kStep);
}

}  // namespace

TEST_CASE("products of every layout agree with double", "[simt]") {
  Runtime runtime;
  const bool ta = GENERATE(false, true), tb = GENERATE(false, true);
  const auto order_a = GENERATE(CUBLASLT_ORDER_COL, CUBLASLT_ORDER_ROW);
  const auto order_b = GENERATE(CUBLASLT_ORDER_COL, CUBLASLT_ORDER_ROW);
  const auto order_d = GENERATE(CUBLASLT_ORDER_COL, CUBLASLT_ORDER_ROW);
  const std::size_t m = 19, n = 7, k = 33, batch = GENERATE(std::size_t{1}, std::size_t{3});
  const Matrix a(ta ? k : m, ta ? m : k, batch, order_a, CUDA_R_32F, 1);
  const Matrix b(tb ? n : k, tb ? k : n, batch, order_b, CUDA_R_32F, 2);
  const Matrix d(m, n, batch, order_d, CUDA_R_32F, 3);
  Library library;
  library.set(CUBLASLT_MATMUL_DESC_TRANSA, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
  library.set(CUBLASLT_MATMUL_DESC_TRANSB, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
  CHECK(library.multiply(a, b, d, 0.5, 2) == kOk);
  const std::vector<double> result = d.device.values();
  std::vector<double> expected = d.host;
  for (std::size_t l = 0; l < batch; ++l) {
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double& entry = expected[d.at(l, i, j)];
        entry = 0.5 * dot(a, ta, b, tb, l, i, j) + 2 * entry;
      }
    }
  }
  double worst = 0;  // what lies between the lines must stay
  for (std::size_t i = 0; i < result.size(); ++i) worst = std::max(worst, std::abs(result[i] - expected[i]));
  CHECK(worst < 1e-5);
}

TEST_CASE("products of every type and algorithm agree with double", "[simt]") {
  Runtime runtime;
  struct Types {
    cudaDataType in, out;
    cublasComputeType_t compute;
  };
  const auto types = GENERATE(
      Types{CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F},
      Types{CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32},
      Types{CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F}, Types{CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F},
      Types{CUDA_R_16F, CUDA_R_16F, CUBLAS_COMPUTE_32F}, Types{CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F});
  const std::size_t m = 21, n = 34, k = 77;
  const Matrix a(m, k, 1, CUBLASLT_ORDER_COL, types.in, 1), b(k, n, 1, CUBLASLT_ORDER_COL, types.in, 2);
  Library library(types.compute, types.in == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F);
  const Matrix first(m, n, 1, CUBLASLT_ORDER_COL, types.out, 3);
  const auto algorithms = library.algorithms(a, b, first, 1 << 20);
  REQUIRE(algorithms.size() == 4);
  DeviceArray workspace(1 << 20, CUDA_R_32F);
  std::set<std::vector<char>> results;
  for (const auto& algorithm : algorithms) {
    std::vector<char> bits[2];
    for (std::vector<char>& run : bits) {
      const Matrix d(m, n, 1, CUBLASLT_ORDER_COL, types.out, 3);
      CHECK(library.multiply(a, b, d, 1, 0, &algorithm.algo, workspace.get(), algorithm.workspaceSize) ==
            kOk);
      run = d.device.raw();
      const std::vector<double> values = d.device.values();
      const bool tf32 = types.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
      const double bound = std::max(tf32 ? 5e-3 : 1e-14, 10 * rounding(types.out));
      double worst = 0;
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          const double expected = dot(a, false, b, false, 0, i, j);
          worst = std::max(worst, std::abs(values[d.at(0, i, j)] - expected) / (1 + std::abs(expected)));
        }
      }
      CHECK(worst < bound);
      CHECK((!tf32 || worst > 1e-5));
    }
    CHECK(bits[0] == bits[1]);
    results.insert(bits[0]);
  }
  // Sums of narrow elements, and of floats in double, are exact in any order.
  if (types.in == CUDA_R_32F) CHECK(results.size() == 4);
}

TEST_CASE("epilogues agree with double", "[simt]") {
  Runtime runtime;
  const auto epilogue =
      GENERATE(CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU,
               CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_BIAS,
               CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU,
               CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADB);
  const auto type = GENERATE(CUDA_R_32F, CUDA_R_16BF);
  CAPTURE(epilogue, type);
  const std::size_t m = 13, n = 6, k = 9, aux_leading = 16;
  const Matrix a(m, k, 1, CUBLASLT_ORDER_COL, type, 1), b(k, n, 1, CUBLASLT_ORDER_COL, type, 2);
  const Matrix d(m, n, 1, CUBLASLT_ORDER_COL, type, 3);
  const std::size_t bias_size = epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m;
  const std::vector<double> bias_values = random_values(bias_size, type, 4);
  const std::vector<double> aux_values = random_values(aux_leading * n, type, 5);
  const DeviceArray bias(bias_values, type), aux(aux_values, type);
  Library library;
  library.set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  library.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.get());
  library.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
  library.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux.get());
  library.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, static_cast<std::int64_t>(aux_leading));
  CHECK(library.multiply(a, b, d) == kOk);

  const std::vector<double> result = d.device.values(), bias_result = bias.values(),
                            aux_result = aux.values();
  const bool adds_bias = (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0,
             dgelu = (epilogue & CUBLASLT_EPILOGUE_DGELU) == CUBLASLT_EPILOGUE_DGELU;
  const double tolerance = 4 * rounding(type);
  const auto close = [&](double x) { return Approx(x).epsilon(tolerance).margin(4 * tolerance); };
  std::vector<double> row_sums(m, 0);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double x = dot(a, false, b, false, 0, i, j) + (adds_bias ? bias_values[i] : 0);
      const double before = x, aux_entry = aux_result[i + j * aux_leading];
      if ((epilogue & CUBLASLT_EPILOGUE_RELU) != 0) x = std::max(x, 0.0);
      if ((epilogue & CUBLASLT_EPILOGUE_GELU) != 0) x = gelu(x) * kGeluFactor;
      if (dgelu) x *= gelu_slope(aux_values[i + j * aux_leading]) * kGeluFactor;
      row_sums[i] += x;
      CHECK(result[d.at(0, i, j)] == close(x));
      const bool writes_aux = (epilogue & 128) != 0 && !dgelu;
      CHECK(aux_entry == (writes_aux ? close(before) : Approx(aux_values[i + j * aux_leading])));
    }
  }
  for (std::size_t i = 0; i < bias_size; ++i) {
    double expected = bias_values[i];
    if (epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD) expected = row_sums[i];
    if (epilogue == CUBLASLT_EPILOGUE_BGRADA || epilogue == CUBLASLT_EPILOGUE_BGRADB) {
      expected = 0;
      for (std::size_t l = 0; l < k; ++l) {
        expected += epilogue == CUBLASLT_EPILOGUE_BGRADA ? a.host[a.at(0, i, l)] : b.host[b.at(0, l, i)];
      }
    }
    CHECK(bias_result[i] == close(expected));
  }
}

TEST_CASE("the heuristic keeps within the workspace", "[simt]") {
  Runtime runtime;
  const Matrix a(64, 32, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 1),
      b(32, 16, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 2);
  const Matrix d(64, 16, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 3);
  Library library;
  CHECK(library.algorithms(a, b, d, 0).size() == 2);
  CHECK(library.algorithms(a, b, d, 2 * 64 * 16 * 4).size() == 3);
  const auto all = library.algorithms(a, b, d, 1 << 20);
  CHECK(all.size() == 4);
  CHECK(all[0].workspaceSize == 2 * 64 * 16 * 4);
  std::set<std::int32_t> ids;
  for (const auto& result : all) {
    std::int32_t id = -1;
    CHECK(cublasLtMatmulAlgoConfigGetAttribute(&result.algo, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id,
                                               nullptr) == kOk);
    ids.insert(id);
  }
  CHECK(ids == std::set<std::int32_t>{0, 1, 2, 3});
}

TEST_CASE("products that are misused", "[simt]") {
  Runtime runtime;
  const Matrix a(8, 8, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 1), b(8, 8, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 2);
  Matrix d(8, 8, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 3);
  const Matrix other(16, 8, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 4),
      wide(16, 8, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 5);
  Library library;
  DeviceArray workspace(1 << 10, CUDA_R_32F);
  const auto algorithms = library.algorithms(a, b, d, 1 << 12);
  const auto& split = algorithms.front();
  REQUIRE(split.workspaceSize == 512);

  CHECK(library.multiply(a, b, d, 1, 0, &split.algo, workspace.get(), 511) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[workspace]") && Contains("needs 512 bytes and is given 511"));
  CHECK(library.multiply(a, b, d, 1, 0, &split.algo, static_cast<char*>(workspace.get()) + 4000, 512) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]") && Contains("workspace"));
  CHECK(library.multiply(other, b, wide, 1, 0, &split.algo, workspace.get(), 4096) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[algorithm-of-another-problem]"));
  const cublasLtMatmulAlgo_t nothing = {};
  CHECK(library.multiply(a, b, d, 1, 0, &nothing) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[unknown-algorithm]"));

  const float one = 1, zero = 0;
  const auto call = [&](const void* x, void* y, const cublasLtMatmulAlgo_t* algorithm) {
    return cublasLtMatmul(library.handle, library.product, &one, x, a.layout, b.device.get(), b.layout, &zero,
                          y, d.layout, y, d.layout, algorithm, workspace.get(), 4096, nullptr);
  };
  CHECK(call(static_cast<float*>(a.device.get()) + 1, d.device.get(), &split.algo) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(),
             Contains("[misaligned-operand]") && Contains("A is not aligned to the 256 bytes"));
  CHECK(call(static_cast<float*>(a.device.get()) + 64, d.device.get(), nullptr) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[past-the-end]") && Contains("cublasLtMatmul, A"));
  CHECK(call(&one, d.device.get(), nullptr) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[host-pointer]"));
  CHECK(call(a.device.get(), a.device.get(), nullptr) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[overlapping-operands]"));

  d.set(CUBLASLT_MATRIX_LAYOUT_LD, std::int64_t{7});
  CHECK(call(a.device.get(), d.device.get(), nullptr) == CUBLAS_STATUS_INVALID_VALUE);
  d.set(CUBLASLT_MATRIX_LAYOUT_LD, static_cast<std::int64_t>(d.leading));
  library.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU_AUX);
  library.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::int64_t{128});
  CHECK(call(a.device.get(), d.device.get(), nullptr) == CUBLAS_STATUS_NOT_SUPPORTED);
  const std::int64_t eight_bytes = 0;
  CHECK(cublasLtMatmulDescSetAttribute(library.product, CUBLASLT_MATMUL_DESC_TRANSA, &eight_bytes, 8) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[attribute-size]"));
}

TEST_CASE("cuBLASLt on a machine without a driver, and calls that fail", "[simt]") {
  Runtime runtime;
  cublasLtHandle_t handle = nullptr;
  control().devices = 0;
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_NOT_INITIALIZED);
  control().devices = 1;
  control().fail_name = "cublasLtCreate";
  control().fail_call = 0;
  control().fail_cublas = CUBLAS_STATUS_ALLOC_FAILED;
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_ALLOC_FAILED);
  CHECK(cublasLtCreate(&handle) == kOk);
  CHECK_THAT(simt::runtime::leak_report(), Contains("cuBLASLt handle"));
  CHECK(cublasLtDestroy(handle) == kOk);
  CHECK(cublasLtDestroy(handle) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK_THAT(runtime.take_fault(), Contains("[invalid-handle]"));
  CHECK(std::strcmp(cublasLtGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED") == 0);
}

TEST_CASE("a captured product is repeated", "[simt]") {
  Runtime runtime;
  Stream stream;
  const Matrix a(4, 4, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 1), b(4, 4, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 2);
  const Matrix d(4, 4, 1, CUBLASLT_ORDER_COL, CUDA_R_32F, 3);
  Library library;
  const float one = 1;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t instance = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cublasLtMatmul(library.handle, library.product, &one, a.device.get(), a.layout, b.device.get(),
                       b.layout, &one, d.device.get(), d.layout, d.device.get(), d.layout, nullptr, nullptr,
                       0, stream) == kOk);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&instance, graph, 0) == cudaSuccess);
  for (int i = 0; i < 2; ++i) CHECK(cudaGraphLaunch(instance, stream) == cudaSuccess);
  CHECK(d.device.values()[0] == Approx(d.host[0] + 2 * dot(a, false, b, false, 0, 0, 0)).epsilon(1e-5));
  CHECK(cudaGraphExecDestroy(instance) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}
