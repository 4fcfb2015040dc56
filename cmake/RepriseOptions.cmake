# Every option of the build. Parts that only Reprise's own developers want are on by default only in their own builds.

option(REPRISE_BUILD_CLI "Build the program `reprise`" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_BUILD_BENCH "Build the benchmarks, where Google Benchmark is found" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_INSTALL "Make the install target" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_WERROR "Strict warnings, as errors" ${PROJECT_IS_TOP_LEVEL})
option(REPRISE_STD_THREADS "Threads by std::thread instead of OpenMP, for thread checkers; excludes oneDNN" OFF)
option(REPRISE_CUDA "Build the CUDA backend" OFF)

set(REPRISE_ONEDNN AUTO CACHE STRING "Matrix products and convolutions through oneDNN: AUTO (where found), ON, OFF")
set_property(CACHE REPRISE_ONEDNN PROPERTY STRINGS AUTO ON OFF)
set(REPRISE_CPU_ARCH native CACHE STRING "Value of -march; x86-64-v3 for a portable build, empty for the compiler's default")
set(REPRISE_SANITIZE "" CACHE STRING "Sanitizers, separated by commas: address,undefined or thread")

if(REPRISE_STD_THREADS AND REPRISE_ONEDNN STREQUAL "ON")
  message(FATAL_ERROR "REPRISE_STD_THREADS excludes oneDNN, whose threads are OpenMP's: set REPRISE_ONEDNN to OFF")
endif()

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
endif()
