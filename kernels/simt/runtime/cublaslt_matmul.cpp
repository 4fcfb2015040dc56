// cublasLtMatmul: checks its operands when called, and computes when the stream comes to it.
#include <cmath>

#include "simt/runtime/cublaslt_call.h"
#include "simt/runtime/cublaslt_types.h"
#include "simt/runtime/operands.h"

namespace simt::runtime {
namespace {

struct Operands {
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void* d = nullptr;
  double alpha = 1, beta = 0;
  Range workspace;
};

std::ptrdiff_t row_stride(const LtLayout& layout) {
  return layout.order == CUBLASLT_ORDER_COL ? 1 : layout.leading;
}

std::ptrdiff_t column_stride(const LtLayout& layout) {
  return layout.order == CUBLASLT_ORDER_COL ? layout.leading : 1;
}

Range bytes_of(const LtLayout& layout, const void* data) {
  const auto last = static_cast<std::ptrdiff_t>(layout.rows - 1) * row_stride(layout) +
                    static_cast<std::ptrdiff_t>(layout.columns - 1) * column_stride(layout) +
                    (layout.batch - 1) * layout.batch_stride;
  return range(data, (static_cast<std::size_t>(last) + 1) * element_bytes(data_type(layout)));
}

Range vector_bytes(const void* data, cudaDataType type, std::size_t length, std::size_t batch,
                   std::int64_t stride) {
  return range(data, (length + (batch - 1) * static_cast<std::size_t>(stride)) * element_bytes(type));
}

Range bias_bytes(const LtProblem& p) {
  return vector_bytes(p.product.bias, p.bias_type(), p.bias_size(), p.batch, p.product.bias_batch_stride);
}

Range aux_bytes(const LtProblem& p) {
  const auto length = (p.columns - 1) * static_cast<std::size_t>(p.product.aux_leading) + p.rows;
  return vector_bytes(p.product.aux, p.aux_type(), length, p.batch, p.product.aux_batch_stride);
}

template <class T>
const void* at_element(const void* data, cudaDataType type, T index) {
  return static_cast<const char*>(data) +
         static_cast<std::ptrdiff_t>(index) * static_cast<std::ptrdiff_t>(element_bytes(type));
}

MatrixView view(const LtLayout& layout, const void* data, std::size_t batch, int transpose) {
  const MatrixView matrix{
      at_element(data, data_type(layout), static_cast<std::int64_t>(batch) * layout.batch_stride),
      data_type(layout),
      layout.rows,
      layout.columns,
      row_stride(layout),
      column_stride(layout)};
  return transpose == CUBLAS_OP_N ? matrix : matrix.transposed();
}

template <class T>
T load(const void* data, cudaDataType type, std::ptrdiff_t index) {
  T number = 0;
  with_element(
      type, [&](auto element) { number = to_number<T>(static_cast<const decltype(element)*>(data)[index]); });
  return number;
}

template <class T>
void store(const void* data, cudaDataType type, std::ptrdiff_t index, T number) {
  with_element(type, [&](auto element) {
    auto* to = const_cast<decltype(element)*>(static_cast<const decltype(element)*>(data));
    to[index] = from_number<decltype(element)>(number);
    mark_written(range(to + index, sizeof element));
  });
}

template <class T>
T gelu(T x) {
  const T inner = T(0.7978845608028654) * (x + T(0.044715) * x * x * x);
  return T(0.5) * x * (1 + std::tanh(inner));
}

template <class T>
T gelu_slope(T x) {
  const T c = T(0.7978845608028654), t = std::tanh(c * (x + T(0.044715) * x * x * x));
  return T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * c * (1 + 3 * T(0.044715) * x * x);
}

/// The library's GELU is off by up to so much, in float32 too.
constexpr double kGeluFactor = 1 + 5e-5;

// One matrix of the batch: the epilogue, from the product to D.
template <class T>
class Epilogue {
 public:
  Epilogue(const LtProblem& problem, const Operands& operands, std::size_t batch)
      : p_(problem),
        alpha_(static_cast<T>(operands.alpha)),
        beta_(static_cast<T>(operands.beta)),
        c_(view(problem.c, operands.c, batch, CUBLAS_OP_N)),
        d_(view(problem.d, operands.d, batch, CUBLAS_OP_N)),
        bias_(at_element(problem.product.bias, problem.bias_type(),
                         static_cast<std::int64_t>(batch) * problem.product.bias_batch_stride)),
        aux_(at_element(problem.product.aux, problem.aux_type(),
                        static_cast<std::int64_t>(batch) * problem.product.aux_batch_stride)) {}

  void run(const std::vector<T>& product) {
    std::vector<T> row_sums(p_.rows);
    for (std::size_t j = 0; j < p_.columns; ++j) {
      for (std::size_t i = 0; i < p_.rows; ++i) {
        const T result = element(i, j, product[i + j * p_.rows]);
        row_sums[i] += result;
        store(d_.data, d_.type, offset(d_, i, j), result);
      }
    }
    if (p_.product.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD) write_bias_gradient(row_sums);
  }

  void write_bias_gradient(const std::vector<T>& sums) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      store(bias_, p_.bias_type(), static_cast<std::ptrdiff_t>(i), sums[i]);
    }
  }

 private:
  static std::ptrdiff_t offset(const MatrixView& matrix, std::size_t i, std::size_t j) {
    return static_cast<std::ptrdiff_t>(i) * matrix.row_stride +
           static_cast<std::ptrdiff_t>(j) * matrix.column_stride;
  }

  T element(std::size_t i, std::size_t j, T product) {
    T x = alpha_ * product;
    // C is not read where it does not count: it may hold NaN.
    if (beta_ != 0) x += beta_ * load<T>(c_.data, c_.type, offset(c_, i, j));
    if (p_.adds_bias()) x += load<T>(bias_, p_.bias_type(), static_cast<std::ptrdiff_t>(i));
    const auto aux = static_cast<std::ptrdiff_t>(i) + static_cast<std::ptrdiff_t>(j) * p_.product.aux_leading;
    if (p_.has(CUBLASLT_EPILOGUE_DGELU))
      return x * gelu_slope(load<T>(aux_, p_.aux_type(), aux)) * static_cast<T>(kGeluFactor);
    if (p_.uses_aux()) store(aux_, p_.aux_type(), aux, x);
    if (p_.has(CUBLASLT_EPILOGUE_GELU)) return gelu(x) * static_cast<T>(kGeluFactor);
    // NaN becomes 0, as with the library.
    if (p_.has(CUBLASLT_EPILOGUE_RELU)) return x > 0 ? x : T(0);
    return x;
  }

  const LtProblem& p_;
  T alpha_, beta_;
  MatrixView c_, d_;
  const void *bias_, *aux_;
};

template <class T>
void compute(const LtProblem& p, const Operands& operands, const LtAlgorithm& algorithm) {
  for (std::size_t batch = 0; batch < p.batch; ++batch) {
    const MatrixView a = view(p.a, operands.a, batch, p.product.transpose_a);
    const MatrixView b = view(p.b, operands.b, batch, p.product.transpose_b);
    Epilogue<T> epilogue(p, operands, batch);
    if (p.product.epilogue == CUBLASLT_EPILOGUE_BGRADA) epilogue.write_bias_gradient(sum_rows<T>(a));
    if (p.product.epilogue == CUBLASLT_EPILOGUE_BGRADB)
      epilogue.write_bias_gradient(sum_rows<T>(b.transposed()));
    epilogue.run(multiply<T>(a, b, algorithm.order, p.in_tf32()));
  }
}

struct Operand {
  const char* name;
  Range bytes;
  bool is_written;
};

std::vector<Operand> list_operands(const LtProblem& p, const Operands& operands) {
  const std::string who = "cublasLtMatmul";
  std::vector<Operand> list = {{"A", bytes_of(p.a, operands.a), false},
                               {"B", bytes_of(p.b, operands.b), false},
                               {"D", bytes_of(p.d, operands.d), true}};
  if (operands.beta != 0) list.push_back({"C", bytes_of(p.c, operands.c), false});
  if (p.adds_bias() || p.writes_bias_gradient())
    list.push_back({"bias", bias_bytes(p), p.writes_bias_gradient()});
  if (p.uses_aux()) list.push_back({"auxiliary matrix", aux_bytes(p), !p.has(CUBLASLT_EPILOGUE_DGELU)});
  if (operands.workspace.bytes != 0) list.push_back({"workspace", operands.workspace, true});
  return list;
}

bool operands_are_good(const std::vector<Operand>& list, const LtProblem& p, const Operands& operands) {
  for (const Operand& operand : list) {
    const std::string who = std::string("cublasLtMatmul, ") + operand.name;
    if (!operand_is_good(operand.bytes, who)) return false;
    if (!operand.is_written) continue;
    for (const Operand& other : list) {
      // D may be C, entry by entry.
      const bool in_place = operands.c == operands.d && operand.bytes.begin == operands.d &&
                            std::string_view(other.name) == "C" && p.c.leading == p.d.leading;
      if (&other == &operand || in_place) continue;
      if (!operands_are_apart(operand.bytes, other.bytes, who + " overlaps " + other.name)) return false;
    }
  }
  return true;
}

bool alignment_is_kept(const cublasLtMatmulAlgo_t& given, const Operands& operands) {
  const void* const pointers[] = {operands.a, operands.b, operands.beta != 0 ? operands.c : nullptr,
                                  operands.d};
  constexpr const char* kNames[] = {"A", "B", "C", "D"};
  for (int matrix = 0; matrix < 4; ++matrix) {
    const std::string who = std::string("cublasLtMatmul, ") + kNames[matrix];
    if (!operand_is_aligned(pointers[matrix], lt_promised_alignment(given, matrix), who)) return false;
  }
  return true;
}

cublasStatus_t enqueue_product(const LtProblem& problem, Operands operands, const LtAlgorithm& algorithm,
                               cudaStream_t stream) {
  operands.workspace.bytes = algorithm.workspace_bytes(problem);
  const std::vector<Operand> list = list_operands(problem, operands);
  if (!operands_are_good(list, problem, operands)) return CUBLAS_STATUS_INVALID_VALUE;
  count_epilogue(problem.product.epilogue);
  Work work;
  work.name = "cublasLtMatmul";
  work.type = cudaGraphNodeTypeKernel;
  for (const Operand& operand : list) work.touches.push_back(operand.bytes);
  work.run = [problem, operands, algorithm] {
    const OpenDeviceMemory open;
    spoil_workspace(operands.workspace);
    if (problem.in_double()) {
      compute<double>(problem, operands, algorithm);
    } else {
      compute<float>(problem, operands, algorithm);
    }
    return cudaSuccess;
  };
  return lt_status(enqueue(stream, std::move(work)));
}

double scalar(const LtProblem& problem, const void* number) {
  return problem.in_double() ? *static_cast<const double*>(number) : *static_cast<const float*>(number);
}

}  // namespace
}  // namespace simt::runtime

using namespace simt::runtime;

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha,
                              const void* A, cublasLtMatrixLayout_t a_layout, const void* B,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* C,
                              cublasLtMatrixLayout_t c_layout, void* D, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
  return lt_call(__func__, kPlain, [&] {
    if (!object_exists(handle, kLtHandle)) return CUBLAS_STATUS_NOT_INITIALIZED;
    const LtProblem problem = lt_problem(product, a_layout, b_layout, c_layout, d_layout);
    if (problem.status != CUBLAS_STATUS_SUCCESS) return problem.status;
    if (alpha == nullptr || beta == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    const Operands operands{A, B, C, D, scalar(problem, alpha), scalar(problem, beta), range(workspace, 0)};
    if (algo == nullptr) {
      return enqueue_product(problem, operands, lt_default_algorithm(problem, workspace_bytes), stream);
    }
    LtAlgorithm algorithm;
    if (!lt_find_algorithm(problem, *algo, &algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
    if (!alignment_is_kept(*algo, operands)) return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes < algorithm.workspace_bytes(problem)) {
      simt::report_host_fault("workspace", "cublasLtMatmul: the algorithm needs " +
                                               with_commas(algorithm.workspace_bytes(problem)) +
                                               " bytes and is given " + with_commas(workspace_bytes));
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    return enqueue_product(problem, operands, algorithm, stream);
  });
}
