// cuBLASLt: what stands behind its handles, and a product whose descriptors agree.
#pragma once

#include <cublasLt.h>

#include <cstdint>

#include "simt/runtime/objects.h"
#include "simt/runtime/products.h"

namespace simt::runtime {

constexpr const char* kLtHandle = "cuBLASLt handle";
constexpr const char* kLtProduct = "cuBLASLt product descriptor";
constexpr const char* kLtLayout = "cuBLASLt layout";
constexpr const char* kLtPreference = "cuBLASLt preference";

struct LtProduct {
  std::int32_t compute = CUBLAS_COMPUTE_32F, scale = CUDA_R_32F, pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N, transpose_c = CUBLAS_OP_N;
  std::int32_t fill_mode = 2;  // full
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  std::int64_t bias_batch_stride = 0;
  std::int32_t bias_type = -1;
  void* aux = nullptr;
  std::int64_t aux_leading = 0, aux_batch_stride = 0;
  std::int32_t aux_type = -1;
  std::int32_t multiprocessors = 0;
  std::int8_t fast_accumulation = 0;
};

struct LtLayout {
  std::uint32_t type = CUDA_R_32F;
  std::int32_t order = CUBLASLT_ORDER_COL;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t leading = 0;
  std::int32_t batch = 1;
  std::int64_t batch_stride = 0;
};

struct LtPreference {
  std::uint32_t search_mode = 0;
  std::uint64_t workspace_bytes = 0;
  std::uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C and D
  float waves = 0;
  std::uint64_t implementations = ~std::uint64_t{0};
};

inline cudaDataType data_type(const LtLayout& layout) { return static_cast<cudaDataType>(layout.type); }

/// The sizes of a product; the status says why the library would refuse it.
struct LtProblem {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  LtProduct product;
  LtLayout a, b, c, d;
  std::size_t rows = 0, columns = 0, terms = 0, batch = 1;

  bool in_double() const { return product.compute == CUBLAS_COMPUTE_64F; }
  bool in_tf32() const { return product.compute == CUBLAS_COMPUTE_32F_FAST_TF32; }
  bool has(unsigned epilogue_bits) const { return (product.epilogue & epilogue_bits) == epilogue_bits; }
  /// Adds a bias, rather than writing a gradient of one.
  bool adds_bias() const { return has(CUBLASLT_EPILOGUE_BIAS); }
  bool writes_bias_gradient() const;
  bool uses_aux() const { return has(128); }
  /// The element type of the bias or its gradient, and of the auxiliary matrix.
  cudaDataType bias_type() const;
  cudaDataType aux_type() const;
  /// Entries of the bias or its gradient.
  std::size_t bias_size() const { return product.epilogue == CUBLASLT_EPILOGUE_BGRADB ? columns : rows; }
};

/// Checks that the descriptors agree and that the library has such a product.
LtProblem lt_problem(cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d);

/// One way to compute a product.
struct LtAlgorithm {
  int id = 0;
  SumOrder order;
  /// For the partial sums of its splits.
  std::size_t workspace_bytes(const LtProblem& problem) const;
};

/// The algorithm that the library itself would take, within the workspace.
LtAlgorithm lt_default_algorithm(const LtProblem& problem, std::size_t workspace_bytes);

/// The algorithm that the heuristic gave; false, with a fault reported, when it was not given for this
/// problem.
bool lt_find_algorithm(const LtProblem& problem, const cublasLtMatmulAlgo_t& given, LtAlgorithm* algorithm);

/// Alignment in bytes of A, B, C and D that the heuristic was promised.
std::size_t lt_promised_alignment(const cublasLtMatmulAlgo_t& given, int matrix);

}  // namespace simt::runtime
