# What Reprise is built on; third_party/README.md says why, which versions and under which licences.

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
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()

message(STATUS "Reprise: oneDNN ${REPRISE_HAS_ONEDNN}, CUDA ${REPRISE_CUDA}, -march=${REPRISE_CPU_ARCH}")
