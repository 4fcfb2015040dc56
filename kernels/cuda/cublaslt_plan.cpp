// cuBLASLt's matrices are column-major. A row-major matrix read that way is its transpose, so it is asked for
// c^T = b^T a^T: its first operand is our b, its second our a, and its rows are our n columns.
#include "cuda/cublaslt_plan.h"

#include <array>
#include <string>

#include "cuda/host.h"
#include "cuda/workspace/library.h"

namespace reprise::kernels::cuda::cublaslt {
namespace {

void require(cublasStatus_t status, const char* operation) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  cudaGetLastError();
  throw DeviceError(std::string("[") + operation + "] cuBLASLt: " + cublasLtGetStatusString(status) + " (" +
                    cublasLtGetStatusName(status) + ")");
}

/// One handle a device; it may be used by all threads at once.
cublasLtHandle_t handle_of(int device, const char* operation) {
  struct Handle {
    explicit Handle(const char* creator) { require(cublasLtCreate(&value), creator); }
    cublasLtHandle_t value = nullptr;
  };
  return immortal<PlanCache<int, Handle>>()
      .find(device, [&] { return std::make_unique<Handle>(operation); })
      .value;
}

cudaDataType_t data_type_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return CUDA_R_64F;
    case DType::bfloat16:
      return CUDA_R_16BF;
    case DType::float16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

template <class T>
void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const T& value,
         const char* operation) {
  require(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value), operation);
}

template <class T>
void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value,
         const char* operation) {
  require(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value), operation);
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value, const char* operation) {
  require(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), operation);
}

/// The layout of our (rows, columns) matrix, which cuBLASLt sees transposed if rows are dense.
void create(cublasLtMatrixLayout_t* layout, const Problem& p, DType dtype, const Matrix& matrix,
            std::int64_t rows, std::int64_t columns, const char* operation) {
  if (!matrix.columns_dense) std::swap(rows, columns);
  require(cublasLtMatrixLayoutCreate(layout, data_type_of(dtype), static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), matrix.ld),
          operation);
  if (p.batch == 1) return;
  set(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(p.batch), operation);
  set(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, matrix.batch_stride, operation);
}

}  // namespace

Plan::Plan(const char* operation, const Problem& problem, const EpilogueData& epilogue)
    : dtype_(problem.dtype),
      handle_(handle_of(problem.device, operation)),
      has_epilogue_(problem.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
  describe(operation, problem);
  if (has_epilogue_) {
    // The heuristic reads how far these addresses are aligned, nothing behind them. 16 bytes are what all
    // have: with more, the first address would decide for the later ones.
    const auto stand_in = [](const void* given) {
      return given == nullptr ? nullptr : reinterpret_cast<const void*>(std::uintptr_t{16});
    };
    set_pointers(operation, {stand_in(epilogue.bias), stand_in(epilogue.aux)});
  }
  choose(operation, problem);
}

void Plan::describe(const char* operation, const Problem& p) {
  const bool wide = p.dtype == DType::float64;
  // CUBLAS_COMPUTE_32F never rounds float32 operands to TF32.
  require(cublasLtMatmulDescCreate(product_.place(), wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                   wide ? CUDA_R_64F : CUDA_R_32F),
          operation);
  const cublasLtMatmulDesc_t product = product_.get();
  set(product, CUBLASLT_MATMUL_DESC_TRANSA, p.b.columns_dense ? CUBLAS_OP_T : CUBLAS_OP_N, operation);
  set(product, CUBLASLT_MATMUL_DESC_TRANSB, p.a.columns_dense ? CUBLAS_OP_T : CUBLAS_OP_N, operation);
  if (has_epilogue_) set(product, CUBLASLT_MATMUL_DESC_EPILOGUE, p.epilogue, operation);
  if (p.aux_ld > 0) set(product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.aux_ld, operation);
  create(a_.place(), p, p.dtype, p.b, p.k, p.n, operation);
  create(b_.place(), p, p.dtype, p.a, p.m, p.k, operation);
  create(c_.place(), p, p.result_dtype, p.c, p.m, p.n, operation);
}

void Plan::set_pointers(const char* operation, const EpilogueData& epilogue) {
  if (epilogue.bias != nullptr)
    set(product_.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, epilogue.bias, operation);
  if (epilogue.aux != nullptr)
    set(product_.get(), CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, epilogue.aux, operation);
}

void Plan::choose(const char* operation, const Problem& p) {
  Descriptor<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference;
  require(cublasLtMatmulPreferenceCreate(preference.place()), operation);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    set(preference.get(), attribute, value, operation);
  };
  const std::size_t most_bytes = product_library_bytes(p.batch * p.m * p.n, p.k);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{most_bytes});
  // Split sums meet in the workspace, in float32. Summing them in place would be in no fixed order.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(p.b.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(p.a.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(p.c.alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(p.c.alignment));

  std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, product_.get(), a_.get(), b_.get(), c_.get(), c_.get(),
                                     preference.get(), static_cast<int>(found.size()), found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return;
  require(status, operation);
  for (int i = 0; i < count && !exists_; ++i) {
    const cublasLtMatmulHeuristicResult_t& candidate = found[static_cast<std::size_t>(i)];
    exists_ = candidate.state == CUBLAS_STATUS_SUCCESS && candidate.workspaceSize <= most_bytes;
    if (exists_) algorithm_ = candidate;
  }
}

void Plan::run(const char* operation, cudaStream_t stream, double alpha, const ProblemData& data, Write write,
               void* workspace) {
  const double beta = write == Write::accumulate ? 1 : 0;
  const std::array<double, 2> wide{alpha, beta};
  const std::array<float, 2> narrow{static_cast<float>(alpha), static_cast<float>(beta)};
  const bool is_wide = dtype_ == DType::float64;
  const void* const alpha_at = is_wide ? static_cast<const void*>(&wide[0]) : &narrow[0];
  const void* const beta_at = is_wide ? static_cast<const void*>(&wide[1]) : &narrow[1];

  std::unique_lock lock(mutex_, std::defer_lock);
  if (has_epilogue_) {
    lock.lock();
    set_pointers(operation, data.epilogue);
  }
  require(cublasLtMatmul(handle_, product_.get(), alpha_at, data.b, a_.get(), data.a, b_.get(), beta_at,
                         data.c, c_.get(), data.c, c_.get(), &algorithm_.algo, workspace,
                         algorithm_.workspaceSize, stream),
          operation);
}

Plan& plan_of(const char* operation, const Problem& problem, const EpilogueData& epilogue) {
  return immortal<PlanCache<Problem, Plan>>().find(
      problem, [&] { return std::make_unique<Plan>(operation, problem, epilogue); });
}

std::int64_t alignment_of(const void* address, std::int64_t offset_bytes) {
  const auto bits = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(address)) | offset_bytes | 16;
  return bits & -bits;
}

}  // namespace reprise::kernels::cuda::cublaslt
