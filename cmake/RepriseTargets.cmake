# How a layer or a program of Reprise is made.

# Compiles TARGET the way all our code is compiled.
function(reprise_configure target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  if(REPRISE_CPU_ARCH)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-march=${REPRISE_CPU_ARCH}>)
  endif()
  if(REPRISE_WERROR)
    # GCC 12 sees overlaps and overruns in plain concatenations of std::string; AddressSanitizer sees the real ones.
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Werror>
      $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow>)
  endif()
  if(REPRISE_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${REPRISE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
    target_link_options(${target} PUBLIC -fsanitize=${REPRISE_SANITIZE})
  endif()
  if(REPRISE_LIBFUZZER)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
  endif()
endfunction()

# Compiles SOURCES, of the current folder, for every processor of the kind: they look at which it is.
function(reprise_compile_for_any_processor)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties(${ARGV} PROPERTIES COMPILE_OPTIONS "-march=x86-64;-mno-sse3" SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# Defines the layer NAME in the current folder: every source below it (except backends of CUDA), its public headers in include/, and
# the layers that it may see. The target is reprise_NAME, known to users as reprise::NAME.
function(reprise_add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LAYERS")
  set(target reprise_${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  # See kernels/CMakeLists.txt. What says how much scratch CUDA takes is part of every program.
  list(FILTER sources EXCLUDE REGEX "^${CMAKE_CURRENT_SOURCE_DIR}/(cuda/[^/]*$|cuda_absent/|simt/)")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/*.h")

  add_library(${target} STATIC ${sources})
  add_library(reprise::${name} ALIAS ${target})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${headers})
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  list(TRANSFORM arg_LAYERS PREPEND reprise_)
  target_link_libraries(${target} PUBLIC ${arg_LAYERS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} VERIFY_INTERFACE_HEADER_SETS ON)
  reprise_configure(${target})
  if(REPRISE_INSTALL)
    install(TARGETS ${target} EXPORT reprise-targets FILE_SET HEADERS)
  endif()
endfunction()

# Defines one program per source of the current folder, named PREFIX_<source>.
function(reprise_add_programs prefix)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES")
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM stem)
    add_executable(${prefix}_${stem} "${source}")
    target_link_libraries(${prefix}_${stem} PRIVATE reprise::reprise ${arg_LIBRARIES})
    reprise_configure(${prefix}_${stem})
  endforeach()
endfunction()
