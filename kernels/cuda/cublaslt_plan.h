// cuBLASLt: products as it takes them, and the algorithm that it runs for each.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <mutex>

#include "cuda/plan_cache.h"
#include "reprise/kernels/view.h"

namespace reprise::kernels::cuda::cublaslt {

/// One operand: rows (or columns, where `columns_dense`) without gaps inside, `ld` elements apart.
struct Matrix {
  std::int64_t ld = 0;
  std::int64_t batch_stride = 0;
  bool columns_dense = false;
  std::int64_t alignment = 16;  // of every matrix in the batch, in bytes, up to 16
  auto operator<=>(const Matrix&) const = default;
};

/// c (batch, m, n) (=, +=) alpha a (batch, m, k) b (batch, k, n), then the epilogue: all that decides how it
/// is computed. No size is 0, c has dense rows. Whether c is overwritten and what alpha is must not decide.
struct Problem {
  int device = 0;
  DType dtype = DType::float32;         // of a and b
  DType result_dtype = DType::float32;  // of c, the bias and what the epilogue reads or writes
  std::int64_t m = 0, n = 0, k = 0, batch = 1;
  Matrix a, b, c;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  std::int64_t aux_ld = 0;  // of what the epilogue reads or writes beside c
  auto operator<=>(const Problem&) const = default;
};

/// Operands of the epilogue, aligned to 16 bytes; null where it has none. Gradient epilogues write the bias
/// and read the auxiliary matrix, the others the other way round.
struct EpilogueData {
  const void* bias = nullptr;
  const void* aux = nullptr;
};

struct ProblemData {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  EpilogueData epilogue;
};

/// Owns one of cuBLASLt's descriptors.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
class Descriptor {
 public:
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Handle get() const { return handle_; }
  Handle* place() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

/// A problem with the algorithm that the heuristic chose for it.
class Plan {
 public:
  Plan(const char* operation, const Problem& problem, const EpilogueData& epilogue);

  /// False when cuBLASLt has no algorithm for the problem that does with `product_library_bytes`.
  bool exists() const { return exists_; }

  /// `workspace` has `product_library_bytes`, at a multiple of 256.
  void run(const char* operation, cudaStream_t stream, double alpha, const ProblemData& data, Write write,
           void* workspace);

 private:
  void describe(const char* operation, const Problem& problem);
  void set_pointers(const char* operation, const EpilogueData& epilogue);
  void choose(const char* operation, const Problem& problem);

  DType dtype_;
  cublasLtHandle_t handle_;
  bool has_epilogue_, exists_ = false;
  std::mutex mutex_;  // the epilogue's pointers are part of the descriptor
  Descriptor<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> product_;
  Descriptor<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> a_, b_, c_;
  cublasLtMatmulHeuristicResult_t algorithm_{};
};

/// The plan of this problem, made when it is first asked for. `epilogue` is what the first call will use.
Plan& plan_of(const char* operation, const Problem& problem, const EpilogueData& epilogue = {});

/// The largest power of two up to 16 that divides the address and all the offsets.
std::int64_t alignment_of(const void* address, std::int64_t offset_bytes = 0);

}  // namespace reprise::kernels::cuda::cublaslt
