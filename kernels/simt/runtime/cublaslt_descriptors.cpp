// cuBLASLt: handles, descriptors and their attributes.
#include <cstring>
#include <memory>

#include "simt/runtime/cublaslt_call.h"
#include "simt/runtime/cublaslt_types.h"

using namespace simt::runtime;

struct cublasLtContext {};

namespace {

/// Where an attribute is kept; nowhere when the stand-in does not have it.
struct Field {
  void* data = nullptr;
  std::size_t bytes = 0;
};

template <class T>
Field field(T& member) {
  return {&member, sizeof member};
}

Field find_field(LtProduct& p, cublasLtMatmulDescAttributes_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return field(p.compute);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return field(p.scale);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return field(p.pointer_mode);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return field(p.transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return field(p.transpose_b);
    case CUBLASLT_MATMUL_DESC_TRANSC:
      return field(p.transpose_c);
    case CUBLASLT_MATMUL_DESC_FILL_MODE:
      return field(p.fill_mode);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return field(p.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return field(p.bias);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return field(p.bias_batch_stride);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return field(p.bias_type);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return field(p.aux);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return field(p.aux_leading);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE:
      return field(p.aux_batch_stride);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE:
      return field(p.aux_type);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
      return field(p.multiprocessors);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      return field(p.fast_accumulation);
    default:
      return {};
  }
}

Field find_field(LtLayout& layout, cublasLtMatrixLayoutAttribute_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return field(layout.type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return field(layout.order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return field(layout.rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return field(layout.columns);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return field(layout.leading);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return field(layout.batch);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return field(layout.batch_stride);
    default:
      return {};
  }
}

Field find_field(LtPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
      return field(preference.search_mode);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return field(preference.workspace_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return field(preference.reduction_schemes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return field(preference.alignment[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return field(preference.alignment[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return field(preference.alignment[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return field(preference.alignment[3]);
    case CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT:
      return field(preference.waves);
    case CUBLASLT_MATMUL_PREF_IMPL_MASK:
      return field(preference.implementations);
    default:
      return {};
  }
}

template <class Object, class Handle>
cublasStatus_t create(Handle* handle, const char* kind, const Object& value) {
  return create_object(handle, kind, value) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

template <class Object, class Handle>
cublasStatus_t destroy(Handle handle, const char* kind) {
  return destroy_object<Object>(handle, kind) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

template <class Object, class Handle, class Attribute>
cublasStatus_t set(Handle handle, const char* kind, Attribute attribute, const void* value,
                   std::size_t bytes) {
  if (value == nullptr || !object_exists(handle, kind)) return CUBLAS_STATUS_INVALID_VALUE;
  const Field to = find_field(*reinterpret_cast<Object*>(handle), attribute);
  if (to.data == nullptr) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (bytes != to.bytes) {
    simt::report_host_fault("attribute-size", std::string(kind) + ", attribute " + std::to_string(attribute) +
                                                  ": " + std::to_string(bytes) + " bytes, where it has " +
                                                  std::to_string(to.bytes));
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(to.data, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <class Object, class Handle, class Attribute>
cublasStatus_t get(Handle handle, const char* kind, Attribute attribute, void* value, std::size_t bytes,
                   std::size_t* written) {
  if (!object_exists(handle, kind)) return CUBLAS_STATUS_INVALID_VALUE;
  const Field from = find_field(*reinterpret_cast<Object*>(handle), attribute);
  if (from.data == nullptr) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (written != nullptr) *written = from.bytes;
  if (bytes == 0 && written != nullptr) return CUBLAS_STATUS_SUCCESS;  // asks for the size
  if (value == nullptr || bytes < from.bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(value, from.data, from.bytes);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return lt_call(__func__, kUnsafe, [&] { return create(handle, kLtHandle, cublasLtContext{}); });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return lt_call(__func__, kRelease, [&] { return destroy<cublasLtContext>(handle, kLtHandle); });
}

std::size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

std::size_t cublasLtGetCudartVersion() { return CUDART_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "unknown cuBLAS status";
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the GPU program failed to execute";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    default:
      return cublasLtGetStatusName(status);
  }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return lt_call(__func__, kPlain, [&] {
    LtProduct value;
    value.compute = compute;
    value.scale = scale;
    return create(product, kLtProduct, value);
  });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  return lt_call(__func__, kRelease, [&] { return destroy<LtProduct>(product, kLtProduct); });
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
  return lt_call(__func__, kPlain,
                 [&] { return set<LtProduct>(product, kLtProduct, attribute, value, bytes); });
}

cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute, void* value,
                                              std::size_t bytes, std::size_t* written) {
  return lt_call(__func__, kPlain,
                 [&] { return get<LtProduct>(product, kLtProduct, attribute, value, bytes, written); });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns, std::int64_t leading) {
  return lt_call(__func__, kPlain, [&] {
    LtLayout value;
    value.type = static_cast<std::uint32_t>(type);
    value.rows = rows;
    value.columns = columns;
    value.leading = leading;
    return create(layout, kLtLayout, value);
  });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return lt_call(__func__, kRelease, [&] { return destroy<LtLayout>(layout, kLtLayout); });
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  return lt_call(__func__, kPlain, [&] { return set<LtLayout>(layout, kLtLayout, attribute, value, bytes); });
}

cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, void* value,
                                                std::size_t bytes, std::size_t* written) {
  return lt_call(__func__, kPlain,
                 [&] { return get<LtLayout>(layout, kLtLayout, attribute, value, bytes, written); });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return lt_call(__func__, kPlain, [&] { return create(preference, kLtPreference, LtPreference{}); });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return lt_call(__func__, kRelease, [&] { return destroy<LtPreference>(preference, kLtPreference); });
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  return lt_call(__func__, kPlain,
                 [&] { return set<LtPreference>(preference, kLtPreference, attribute, value, bytes); });
}

cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    void* value, std::size_t bytes, std::size_t* written) {
  return lt_call(__func__, kPlain, [&] {
    return get<LtPreference>(preference, kLtPreference, attribute, value, bytes, written);
  });
}
