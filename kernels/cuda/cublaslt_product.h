// Products whose operands are prepared, with and without an epilogue.
#pragma once

#include <optional>

#include "cuda/cublaslt_plan.h"
#include "cuda/workspace/products.h"

namespace reprise::kernels::cuda::cublaslt {

/// What cuBLASLt does beside a product.
struct Epilogue {
  cublasLtEpilogue_t kind = CUBLASLT_EPILOGUE_DEFAULT;
  EpilogueData data;
  std::int64_t aux_ld = 0;
};

/// Copies into the workspace what cuBLASLt cannot read where it lies.
void copy_inputs(const Queue& queue, const PreparedProduct& p);

/// c (=, +=) alpha a b.
void run_product(const Queue& queue, const PreparedProduct& p, double alpha, Write write, void* scratch);

/// c (=, +=) a b with an epilogue; false, with nothing done, when cuBLASLt has no way.
bool run_epilogue(const Queue& queue, const PreparedProduct& p, const Epilogue& epilogue, Write write,
                  void* scratch);

/// Whether GELU and its derivative are epilogues: they are exact to about 5e-5 relative, which 16 bits cannot
/// tell, but wider types can.
inline bool has_gelu(DType dtype) { return size_of(dtype) == 2; }

/// How far apart the rows of an epilogue's auxiliary matrix are; nothing when it cannot be one.
std::optional<std::int64_t> aux_ld_of(const ConstView& matrix);

}  // namespace reprise::kernels::cuda::cublaslt
