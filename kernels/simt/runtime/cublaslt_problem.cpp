// cuBLASLt: which products the library takes, and the algorithms that its heuristic offers.
#include <algorithm>
#include <array>
#include <bit>

#include "simt/runtime/cublaslt_call.h"
#include "simt/runtime/cublaslt_types.h"

namespace simt::runtime {
namespace {

constexpr std::uint64_t kAlgorithmMark = 0x5265707269736500u;
constexpr std::size_t kWorkspaceUnit = 256;

// The ones with a workspace come first: a backend that offers none, or loses it, takes another.
constexpr std::array<LtAlgorithm, 4> kAlgorithms = {{
    {1, {SumOrder::kForward, 2}},
    {0, {SumOrder::kForward, 1}},
    {3, {SumOrder::kEvenOdd, 4}},
    {2, {SumOrder::kBackward, 1}},
}};

bool types_are_known(const LtProblem& p) {
  const cudaDataType a = data_type(p.a), d = data_type(p.d);
  if (data_type(p.b) != a || data_type(p.c) != d) return false;
  switch (p.product.compute) {
    case CUBLAS_COMPUTE_64F:
      return p.product.scale == CUDA_R_64F && a == CUDA_R_64F && d == CUDA_R_64F;
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return p.product.scale == CUDA_R_32F && a == CUDA_R_32F && d == CUDA_R_32F;
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      return p.product.scale == CUDA_R_32F && (a == CUDA_R_32F || a == CUDA_R_16BF || a == CUDA_R_16F) &&
             (d == CUDA_R_32F || d == a);
    default:
      return false;
  }
}

bool epilogue_is_known(const LtProblem& p) {
  switch (p.product.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DGELU:
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
      break;
    default:
      return false;
  }
  const bool has_bias = p.adds_bias() || p.writes_bias_gradient();
  if (has_bias && p.bias_type() != data_type(p.d)) return false;
  // Gradients of all matrices of a batch would meet in one vector.
  if (p.writes_bias_gradient() && p.batch > 1 && p.product.bias_batch_stride == 0) return false;
  return !p.uses_aux() || p.aux_type() == data_type(p.d);
}

bool layout_is_good(const LtLayout& layout) {
  if (layout.order != CUBLASLT_ORDER_COL && layout.order != CUBLASLT_ORDER_ROW) return false;
  const std::uint64_t length = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
  return layout.rows != 0 && layout.columns != 0 && layout.leading >= 0 &&
         static_cast<std::uint64_t>(layout.leading) >= length && layout.batch > 0 && layout.batch_stride >= 0;
}

bool aux_is_good(const LtProblem& p) {
  if (!p.uses_aux()) return true;
  return p.product.aux_leading % 8 == 0 && p.product.aux_batch_stride % 8 == 0 &&
         p.product.aux_leading >= 0 && static_cast<std::size_t>(p.product.aux_leading) >= p.rows;
}

bool results_overlap(const LtLayout& d) {
  const std::uint64_t lines = d.order == CUBLASLT_ORDER_COL ? d.columns : d.rows;
  const std::uint64_t length = d.order == CUBLASLT_ORDER_COL ? d.rows : d.columns;
  const std::uint64_t extent = (lines - 1) * static_cast<std::uint64_t>(d.leading) + length;
  return d.batch > 1 && static_cast<std::uint64_t>(d.batch_stride) < extent;
}

cublasStatus_t check(LtProblem& p) {
  for (const LtLayout* layout : {&p.a, &p.b, &p.c, &p.d}) {
    if (!layout_is_good(*layout) || layout->batch != p.d.batch) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool a_as_is = p.product.transpose_a == CUBLAS_OP_N, b_as_is = p.product.transpose_b == CUBLAS_OP_N;
  p.rows = a_as_is ? p.a.rows : p.a.columns;
  p.terms = a_as_is ? p.a.columns : p.a.rows;
  p.columns = b_as_is ? p.b.columns : p.b.rows;
  p.batch = static_cast<std::size_t>(p.d.batch);
  const bool agree = (b_as_is ? p.b.rows : p.b.columns) == p.terms && p.d.rows == p.rows &&
                     p.d.columns == p.columns && p.c.rows == p.rows && p.c.columns == p.columns;
  if (!agree || !aux_is_good(p) || results_overlap(p.d)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool supported = types_are_known(p) && epilogue_is_known(p) && p.c.order == p.d.order &&
                         p.product.transpose_c == CUBLAS_OP_N && p.product.fill_mode == 2 &&
                         p.product.pointer_mode == CUBLASLT_POINTER_MODE_HOST;
  return supported ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

// Tells one problem from another: an algorithm is good for the one that it was found for.
std::uint64_t signature(const LtProblem& p) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3u + (hash >> 29); };
  for (const LtLayout* layout : {&p.a, &p.b, &p.c, &p.d}) {
    for (const std::uint64_t value :
         {layout->rows, layout->columns, static_cast<std::uint64_t>(layout->leading),
          static_cast<std::uint64_t>(layout->order), std::uint64_t{layout->type},
          static_cast<std::uint64_t>(layout->batch)}) {
      add(value);
    }
  }
  for (const std::int32_t value : {p.product.compute, p.product.transpose_a, p.product.transpose_b,
                                   static_cast<std::int32_t>(p.product.epilogue)}) {
    add(static_cast<std::uint64_t>(value));
  }
  return hash;
}

cublasLtMatmulAlgo_t encode(const LtAlgorithm& algorithm, const LtProblem& problem,
                            const LtPreference& preference) {
  cublasLtMatmulAlgo_t code = {};
  code.data[0] = kAlgorithmMark + static_cast<std::uint64_t>(algorithm.id);
  code.data[1] = signature(problem);
  for (int matrix = 0; matrix < 4; ++matrix) code.data[2 + matrix] = preference.alignment[matrix];
  return code;
}

cublasStatus_t offer(const LtProblem& problem, const LtPreference& preference, int requested,
                     cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  if (problem.status != CUBLAS_STATUS_SUCCESS) return problem.status;
  for (const LtAlgorithm& algorithm : kAlgorithms) {
    const std::size_t bytes = algorithm.workspace_bytes(problem);
    if (*count == requested || bytes > preference.workspace_bytes) continue;
    cublasLtMatmulHeuristicResult_t& result = results[(*count)++];
    result = {};
    result.algo = encode(algorithm, problem, preference);
    result.workspaceSize = bytes;
    result.wavesCount = 1;
  }
  return *count == 0 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}

}  // namespace

bool LtProblem::writes_bias_gradient() const {
  return product.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD || product.epilogue == CUBLASLT_EPILOGUE_BGRADA ||
         product.epilogue == CUBLASLT_EPILOGUE_BGRADB;
}

cudaDataType LtProblem::bias_type() const {
  return product.bias_type < 0 ? data_type(d) : static_cast<cudaDataType>(product.bias_type);
}

cudaDataType LtProblem::aux_type() const {
  return product.aux_type < 0 ? data_type(d) : static_cast<cudaDataType>(product.aux_type);
}

LtProblem lt_problem(cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  LtProblem problem;
  bool exist = object_exists(product, kLtProduct);
  for (const cublasLtMatrixLayout_t layout : {a, b, c, d}) exist = exist && object_exists(layout, kLtLayout);
  if (!exist) {
    problem.status = CUBLAS_STATUS_INVALID_VALUE;
    return problem;
  }
  problem.product = *reinterpret_cast<const LtProduct*>(product);
  problem.a = *reinterpret_cast<const LtLayout*>(a);
  problem.b = *reinterpret_cast<const LtLayout*>(b);
  problem.c = *reinterpret_cast<const LtLayout*>(c);
  problem.d = *reinterpret_cast<const LtLayout*>(d);
  problem.status = check(problem);
  return problem;
}

std::size_t LtAlgorithm::workspace_bytes(const LtProblem& problem) const {
  if (order.splits == 1) return 0;
  const std::size_t number = problem.in_double() ? sizeof(double) : sizeof(float);
  const std::size_t bytes = order.splits * problem.batch * problem.rows * problem.columns * number;
  return (bytes + kWorkspaceUnit - 1) / kWorkspaceUnit * kWorkspaceUnit;
}

LtAlgorithm lt_default_algorithm(const LtProblem& problem, std::size_t workspace_bytes) {
  return *std::find_if(kAlgorithms.begin(), kAlgorithms.end(), [&](const LtAlgorithm& algorithm) {
    return algorithm.workspace_bytes(problem) <= workspace_bytes;
  });
}

bool lt_find_algorithm(const LtProblem& problem, const cublasLtMatmulAlgo_t& given, LtAlgorithm* algorithm) {
  for (const LtAlgorithm& known : kAlgorithms) {
    if (given.data[0] != kAlgorithmMark + static_cast<std::uint64_t>(known.id)) continue;
    *algorithm = known;
    if (given.data[1] == signature(problem)) return true;
    report_host_fault(
        "algorithm-of-another-problem",
        "cublasLtMatmul with an algorithm that the heuristic gave for other sizes, types or orders");
    return false;
  }
  report_host_fault("unknown-algorithm", "cublasLtMatmul with an algorithm that no heuristic gave");
  return false;
}

std::size_t lt_promised_alignment(const cublasLtMatmulAlgo_t& given, int matrix) {
  return given.data[2 + matrix];
}

}  // namespace simt::runtime

using namespace simt::runtime;

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  return lt_call(__func__, kPlain, [&] {
    if (results == nullptr || count == nullptr || requested <= 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (!object_exists(handle, kLtHandle) || !object_exists(preference, kLtPreference)) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    const auto& limits = *reinterpret_cast<const LtPreference*>(preference);
    for (const std::uint32_t alignment : limits.alignment) {
      if (!std::has_single_bit(alignment)) return CUBLAS_STATUS_INVALID_VALUE;
    }
    return offer(lt_problem(product, a, b, c, d), limits, requested, results, count);
  });
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  return lt_call(__func__, kPlain, [&] {
    if (algorithm == nullptr || result == nullptr || !object_exists(handle, kLtHandle)) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    const LtProblem problem = lt_problem(product, a, b, c, d);
    if (problem.status != CUBLAS_STATUS_SUCCESS) return problem.status;
    LtAlgorithm found;
    if (!lt_find_algorithm(problem, *algorithm, &found)) return CUBLAS_STATUS_NOT_SUPPORTED;
    *result = {};
    result->algo = *algorithm;
    result->workspaceSize = found.workspace_bytes(problem);
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, std::size_t bytes, std::size_t* written) {
  return lt_call(__func__, kPlain, [&] {
    if (algorithm == nullptr || value == nullptr || bytes != sizeof(std::int32_t))
      return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute != CUBLASLT_ALGO_CONFIG_ID) return CUBLAS_STATUS_NOT_SUPPORTED;
    *static_cast<std::int32_t*>(value) = static_cast<std::int32_t>(algorithm->data[0] - kAlgorithmMark);
    if (written != nullptr) *written = sizeof(std::int32_t);
    return CUBLAS_STATUS_SUCCESS;
  });
}
