# The CUDA backend for real devices. CMAKE_CUDA_ARCHITECTURES says which.

file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cu cuda/*.cpp)
add_library(reprise_cuda STATIC ${cuda_sources})
reprise_configure(reprise_cuda)
target_include_directories(reprise_cuda PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}" include)
target_link_libraries(reprise_cuda PRIVATE CUDA::cudart_static CUDA::cublasLt cuDNN::cudnn ${CMAKE_DL_LIBS})
target_compile_features(reprise_cuda PRIVATE cuda_std_20)
target_compile_options(reprise_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--threads=2>)
if(REPRISE_CUDA_COMPACT)
  target_compile_options(reprise_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
else()
  target_compile_options(reprise_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
endif()
# Exponentials of scores need no subnormal numbers; without them each is one instruction.
set_source_files_properties(cuda/attention_forward.cu cuda/attention_key_gradients.cu cuda/attention_query_gradient.cu
  PROPERTIES COMPILE_OPTIONS -ftz=true)
# Which devices the program has code for, to tell a mismatch by name at the start.
string(REPLACE ";" "," architectures "${CMAKE_CUDA_ARCHITECTURES}")
set_source_files_properties(cuda/device.cpp PROPERTIES
  COMPILE_DEFINITIONS "REPRISE_CUDA_ARCHITECTURES=\"${architectures}\"")
