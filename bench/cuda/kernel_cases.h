// The kernels that are measured, family by family.
#pragma once

#include "measure.h"

namespace reprise::bench {

void measure_elementwise(Suite& suite);
void measure_copies(Suite& suite);
void measure_reductions(Suite& suite);
void measure_row_norms(Suite& suite);
void measure_batch_norm(Suite& suite);
void measure_softmax(Suite& suite);
void measure_cross_entropy(Suite& suite);
void measure_embedding(Suite& suite);
void measure_dropout(Suite& suite);
void measure_optimiser(Suite& suite);
void measure_attention(Suite& suite);
void measure_products(Suite& suite);
void measure_convolutions(Suite& suite);

/// The element types of kernels that memory bounds.
inline constexpr DType kMeasured[] = {DType::float32, DType::bfloat16};

/// Bytes of `arrays` arrays of `elements` elements.
inline double bytes_of(double arrays, std::int64_t elements, DType dtype) {
  return arrays * static_cast<double>(elements) * static_cast<double>(size_of(dtype));
}

}  // namespace reprise::bench
