# The CUDA backend's own sources, compiled for the CPU: kernels run on an emulator, and a stand-in runtime takes the place of
# CUDA, cuBLASLt and cuDNN. For tests only; see README.md.

set(REPRISE_SIMT_RACE OFF CACHE BOOL "Kernels are checked for races: much slower")


function(reprise_configure_simt target)
  reprise_configure(${target})
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/include")
  target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS} "${cuDNN_INCLUDE_DIR}")
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas -fno-strict-aliasing)
endfunction()

# Compiles kernels as C++, for the emulator. Indices in kernels are ints by design.
function(reprise_configure_simt_kernels)
  set(options -xc++ -Wno-sign-conversion)
  if(REPRISE_SIMT_RACE)
    list(APPEND options -fsanitize=thread --param=tsan-instrument-func-entry-exit=0)
  endif()
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${options}")
endfunction()

file(GLOB layer CONFIGURE_DEPENDS simt/emulator/*.cpp simt/runtime/*.cpp)
add_library(reprise_simt STATIC ${layer})
reprise_configure_simt(reprise_simt)
target_link_libraries(reprise_simt PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
# The emulator and the stand-in libraries are what tests wait for. Reports need line numbers and names.
target_compile_options(reprise_simt PRIVATE $<$<CONFIG:Release>:-O2 -g1>)
set_source_files_properties(simt/runtime/products.cpp PROPERTIES COMPILE_OPTIONS "-O3;-fno-sanitize=all")
target_link_options(reprise_simt INTERFACE -rdynamic)
if(REPRISE_SIMT_RACE)
  # The checker installs itself when the program starts: whole, as nothing asks for it by name.
  file(GLOB race CONFIGURE_DEPENDS simt/race/*.cpp)
  add_library(reprise_simt_race OBJECT ${race})
  reprise_configure_simt(reprise_simt_race)
  target_link_libraries(reprise_simt INTERFACE reprise_simt_race $<TARGET_OBJECTS:reprise_simt_race>)
endif()

file(GLOB kernels CONFIGURE_DEPENDS cuda/*.cu)
file(GLOB hosts CONFIGURE_DEPENDS cuda/*.cpp)
reprise_configure_simt_kernels(${kernels})
add_library(reprise_cuda_simt STATIC ${kernels} ${hosts})
reprise_configure_simt(reprise_cuda_simt)
target_link_libraries(reprise_cuda_simt PUBLIC reprise_simt)
target_compile_options(reprise_cuda_simt PRIVATE $<$<CONFIG:Release>:-O2 -g1>)
