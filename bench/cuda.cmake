# Benchmarks of the CUDA backend, for bench/gpu_check.sh. Without a GPU they run on the emulator, where only `--smoke` makes
# sense: a test proves that.

enable_testing()
find_package(nlohmann_json 3.11 CONFIG REQUIRED)
find_package(CLI11 2.1 CONFIG REQUIRED)

# A program of the sources in cuda/ on the backend that the build has: the device's, or the emulator.
function(reprise_add_cuda_benchmark target)
  list(TRANSFORM ARGN PREPEND "${PROJECT_SOURCE_DIR}/bench/cuda/")
  add_executable(${target} ${ARGN})
  reprise_configure(${target})
  target_link_libraries(${target} PRIVATE reprise::reprise CLI11::CLI11 nlohmann_json::nlohmann_json)
  target_compile_definitions(${target} PRIVATE REPRISE_WORKLOADS="${PROJECT_SOURCE_DIR}/bench/cuda/workloads.json")
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)  # what they measure is in the library
  if(NOT REPRISE_CUDA)
    set_target_properties(${target} PROPERTIES REPRISE_ON_SIMT ON)
    if(REPRISE_BUILD_TESTS)
      add_test(NAME bench.${target}.smoke COMMAND ${target} --smoke)
      set_tests_properties(bench.${target}.smoke PROPERTIES LABELS simt TIMEOUT 600 ENVIRONMENT OMP_WAIT_POLICY=passive)
    endif()
  endif()
endfunction()

if(REPRISE_CUDA OR REPRISE_SIMT)
  reprise_add_cuda_benchmark(reprise_bench_cuda kernels.cpp measure.cpp elementwise_cases.cpp row_cases.cpp
                             training_cases.cpp product_cases.cpp)
  reprise_add_cuda_benchmark(reprise_bench_steps steps.cpp measure.cpp)
endif()

# What compute-sanitizer must find fault with.
if(REPRISE_CUDA)
  add_executable(reprise_bench_canary cuda/canary.cu)
  target_link_libraries(reprise_bench_canary PRIVATE CUDA::cudart_static)
  target_compile_options(reprise_bench_canary PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
endif()

# What NVIDIA's libraries could do.
if(REPRISE_CUDA)
  add_executable(reprise_bench_probes cuda/probes.cu)
  target_link_libraries(reprise_bench_probes PRIVATE CUDA::cudart_static CUDA::cublasLt cuDNN::cudnn)
  target_compile_features(reprise_bench_probes PRIVATE cuda_std_20)
endif()

find_package(Python3 3.9 COMPONENTS Interpreter QUIET)
if(REPRISE_BUILD_TESTS AND Python3_FOUND)
  foreach(test gpu_table machine_code)
    add_test(NAME unit.${test} COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/tests/${test}_test.py")
    set_tests_properties(unit.${test} PROPERTIES LABELS unit)
  endforeach()
endif()
