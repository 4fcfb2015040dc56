# Finds cuDNN beside the CUDA toolkit, in the system, or in Python's nvidia-cudnn packages (CUDNN_ROOT names another place).
# Defines cuDNN_FOUND, cuDNN_INCLUDE_DIR, cuDNN_VERSION and, where the library is there too, cuDNN::cudnn.

find_path(cuDNN_INCLUDE_DIR cudnn_version.h HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
if(NOT cuDNN_INCLUDE_DIR)
  find_program(cuDNN_python NAMES python3 python)
  if(cuDNN_python)
    execute_process(COMMAND "${cuDNN_python}" -c "import nvidia.cudnn; print(list(nvidia.cudnn.__path__)[0])"
                    OUTPUT_VARIABLE cudnn_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(cudnn_package)
      find_path(cuDNN_INCLUDE_DIR cudnn_version.h HINTS "${cudnn_package}/include")
    endif()
  endif()
endif()
if(cuDNN_INCLUDE_DIR)
  get_filename_component(cudnn_root "${cuDNN_INCLUDE_DIR}" DIRECTORY)
  find_library(cuDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT "${cudnn_root}" ${CUDAToolkit_LIBRARY_DIR}
               PATH_SUFFIXES lib lib64)
  file(STRINGS "${cuDNN_INCLUDE_DIR}/cudnn_version.h" cudnn_lines REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
  string(REGEX REPLACE ".*MAJOR +([0-9]+).*MINOR +([0-9]+).*PATCHLEVEL +([0-9]+).*" "\\1.\\2.\\3" cuDNN_VERSION
         "${cudnn_lines}")
endif()

include(FindPackageHandleStandardArgs)
if(REPRISE_CUDA)
  find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_INCLUDE_DIR cuDNN_LIBRARY VERSION_VAR cuDNN_VERSION)
else()
  find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_INCLUDE_DIR VERSION_VAR cuDNN_VERSION)
endif()
mark_as_advanced(cuDNN_INCLUDE_DIR cuDNN_LIBRARY cuDNN_python)

if(cuDNN_FOUND AND cuDNN_LIBRARY AND NOT TARGET cuDNN::cudnn)
  add_library(cuDNN::cudnn UNKNOWN IMPORTED)
  set_target_properties(cuDNN::cudnn PROPERTIES IMPORTED_LOCATION "${cuDNN_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${cuDNN_INCLUDE_DIR}")
endif()
