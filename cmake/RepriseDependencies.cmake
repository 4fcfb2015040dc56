# What Reprise is built on; third_party/README.md says why, which versions and under which licences.

# Headers for a machine without packages (make bundle); the system's own come first.
set(REPRISE_BUNDLE "${PROJECT_SOURCE_DIR}/third_party/bundle" CACHE PATH "Headers of the dependencies, looked into last")
if(EXISTS "${REPRISE_BUNDLE}")
  list(APPEND CMAKE_SYSTEM_PREFIX_PATH "${REPRISE_BUNDLE}")
endif()

find_package(Threads REQUIRED)
find_package(fmt 9 CONFIG REQUIRED)
find_package(Eigen3 3.4 CONFIG REQUIRED)
if(NOT REPRISE_STD_THREADS)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()

set(REPRISE_HAS_ONEDNN OFF)
if(REPRISE_ONEDNN STREQUAL "ON")
  find_package(OneDNN 2.6 REQUIRED)
elseif(REPRISE_ONEDNN STREQUAL "AUTO" AND NOT REPRISE_STD_THREADS)
  find_package(OneDNN 2.6 QUIET)
endif()
if(OneDNN_FOUND)
  set(REPRISE_HAS_ONEDNN ON)
endif()

if(REPRISE_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "80;90" CACHE STRING "Code for sm_80 and sm_90, and PTX of both for later devices")
  endif()
  if(CMAKE_VERSION VERSION_LESS 3.26)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # which 3.25.1 does not know of nvcc
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  find_package(cuDNN 9 REQUIRED)
elseif(NOT REPRISE_SIMT STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  find_package(cuDNN 9 QUIET)
endif()

# The CUDA backend on the CPU needs NVIDIA's headers only.
if(REPRISE_SIMT STREQUAL "AUTO")
  set(has_simt OFF)
  if(REPRISE_BUILD_TESTS AND CUDAToolkit_FOUND AND cuDNN_FOUND AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(has_simt ON)
  endif()
  set(REPRISE_SIMT ${has_simt})
endif()
if(REPRISE_SIMT AND NOT (CUDAToolkit_FOUND AND cuDNN_FOUND))
  message(FATAL_ERROR "REPRISE_SIMT needs the headers of CUDA and cuDNN")
endif()

message(STATUS "Reprise: oneDNN ${REPRISE_HAS_ONEDNN}, CUDA ${REPRISE_CUDA}, CUDA tests on the CPU ${REPRISE_SIMT}, "
               "-march=${REPRISE_CPU_ARCH}")
