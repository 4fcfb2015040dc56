# Tests of the CUDA backend: on the emulator (label simt) and, in a build with CUDA, on a device (label gpu).

file(GLOB cuda_tests CONFIGURE_DEPENDS cuda/*_test.cpp)
file(GLOB cuda_support CONFIGURE_DEPENDS cuda/*_run.cpp)

# Compiles the tests of the CUDA backend, and SOURCES, into TARGET.
function(reprise_add_cuda_tests target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES")
  add_executable(${target} ${cuda_tests} ${cuda_support} ${arg_SOURCES} op_run.cpp main.cpp)
  reprise_configure(${target})
  target_link_libraries(${target} PRIVATE reprise::reprise Catch2::Catch2)
  reprise_add_operation_cases(${target})
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/cuda"
                             "${PROJECT_SOURCE_DIR}/kernels" "${PROJECT_SOURCE_DIR}/engine")
  target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS} "${cuDNN_INCLUDE_DIR}")
  target_precompile_headers(${target} PRIVATE <catch2/catch.hpp>)
  target_compile_options(${target} PRIVATE -fopenmp-simd -Wno-unknown-pragmas $<$<CONFIG:Release>:-O1>)
endfunction()

# One entry of CTest for each of FILES, in each of ORDERS.
function(reprise_add_cuda_entries target label)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "PART" "FILES;ORDERS")
  foreach(file IN LISTS arg_FILES)
    cmake_path(GET file STEM stem)
    foreach(order IN LISTS arg_ORDERS)
      set(name ${label}.${arg_PART}${stem}.${order})
      add_test(NAME ${name} COMMAND ${target} --filenames-as-tags "[#${stem}]~[slow]")
      set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 1800
                           ENVIRONMENT "OMP_WAIT_POLICY=passive;SIMT_ORDER=${order}")
    endforeach()
  endforeach()
endfunction()

if(REPRISE_SIMT)
  file(GLOB engine_tests CONFIGURE_DEPENDS simt/engine/*_test.cpp)
  reprise_add_cuda_tests(reprise_simt_tests SOURCES ${engine_tests} simt/host_guard.cpp)
  set_target_properties(reprise_simt_tests PROPERTIES REPRISE_ON_SIMT ON)
  target_link_libraries(reprise_simt_tests PRIVATE reprise_simt)
  target_compile_definitions(reprise_simt_tests PRIVATE REPRISE_SIMT)  # faults can be injected
  if(REPRISE_SIMT_RACE)
    set(orders forward)  # a race is found in any order
  else()
    set(orders forward reverse random)
  endif()
  reprise_add_cuda_entries(reprise_simt_tests simt FILES ${cuda_tests} ORDERS ${orders})
  reprise_add_cuda_entries(reprise_simt_tests simt FILES ${engine_tests} ORDERS forward)
  add_test(NAME slow.simt COMMAND reprise_simt_tests "[slow]")
  set_tests_properties(slow.simt PROPERTIES LABELS slow TIMEOUT 5400 ENVIRONMENT OMP_WAIT_POLICY=passive)
  foreach(test training_test matmul_test conv_test)
    set_property(TEST simt.${test}.forward APPEND PROPERTY ENVIRONMENT SIMT_HOST_GUARD=1)
  endforeach()

  # The program itself, whose CUDA device is the emulator.
  if(TARGET reprise_cli)
    add_executable(reprise_on_simt "${PROJECT_SOURCE_DIR}/cli/main.cpp")
    set_target_properties(reprise_on_simt PROPERTIES REPRISE_ON_SIMT ON)
    target_link_libraries(reprise_on_simt PRIVATE reprise_cli_parts)
    reprise_configure(reprise_on_simt)
    set(model gpt --layers 2 --width 16 --heads 2 --seq 16 --batch 2 --device cuda)
    set(images resnet --layers 1 --width 4 --batch 4 --device cuda)
    set(program.info info)
    set(program.compare_gpt compare ${model} --dropout 0.1 --steps 3 --segments none,blocks,nested,cheap
        --report "${CMAKE_CURRENT_BINARY_DIR}/simt_report")
    set(program.compare_gpt_bfloat16 compare ${model} --dtype bfloat16 --loss-chunk 10 --steps 2 --segments none,blocks)
    set(program.compare_gpt_graph compare ${model} --graph --steps 4 --segments none,blocks)
    set(program.compare_resnet compare ${images} --steps 2 --segments none,blocks,cheap)
    set(program.train_resnet_graph train ${images} --graph --steps 3)
    set(program.train_gpt_arena train ${model} --arena --segments blocks --steps 4 --sample 0)
    foreach(test info compare_gpt compare_gpt_bfloat16 compare_gpt_graph compare_resnet train_resnet_graph train_gpt_arena)
      add_test(NAME simt.program.${test} COMMAND reprise_on_simt ${program.${test}})
      set_tests_properties(simt.program.${test} PROPERTIES LABELS simt TIMEOUT 600 ENVIRONMENT OMP_WAIT_POLICY=passive)
    endforeach()
    set_tests_properties(simt.program.train_gpt_arena PROPERTIES FAIL_REGULAR_EXPRESSION "did not come as planned")
  endif()

  # The layer itself: every fault that it must find is planted.
  file(GLOB layer_tests CONFIGURE_DEPENDS simt/layer/*_test.* simt/runtime/*_test.*)
  file(GLOB layer_sources CONFIGURE_DEPENDS simt/layer/*.cpp simt/layer/*.cu simt/runtime/*.cpp simt/runtime/*.cu)
  file(GLOB layer_kernels CONFIGURE_DEPENDS simt/layer/*.cu simt/runtime/*.cu)
  add_executable(reprise_simt_layer_tests ${layer_sources})
  reprise_configure_simt_kernels(${layer_kernels})
  reprise_configure_simt(reprise_simt_layer_tests)
  target_include_directories(reprise_simt_layer_tests PRIVATE "${PROJECT_SOURCE_DIR}/kernels"
                             "${PROJECT_SOURCE_DIR}/kernels/include" "${CMAKE_CURRENT_SOURCE_DIR}/simt/layer")
  target_link_libraries(reprise_simt_layer_tests PRIVATE reprise_simt Catch2::Catch2)
  # Catch2's own code, all of it in main.cpp: GCC 12 misreads it when it is sanitized.
  set_source_files_properties(simt/layer/main.cpp PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
  target_compile_options(reprise_simt_layer_tests PRIVATE -g $<$<CONFIG:Release>:-O1>)  # reports name lines
  reprise_add_cuda_entries(reprise_simt_layer_tests simt PART layer. FILES ${layer_tests} ORDERS forward)
endif()

if(REPRISE_CUDA)
  reprise_add_cuda_tests(reprise_gpu_tests)
  target_link_libraries(reprise_gpu_tests PRIVATE CUDA::cudart_static)
  reprise_add_cuda_entries(reprise_gpu_tests gpu FILES ${cuda_tests} ORDERS forward)
endif()
