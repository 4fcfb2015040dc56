# What `find_package(reprise CONFIG)` finds after an install.

if(NOT REPRISE_INSTALL)
  return()
endif()

include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/reprise")

configure_package_config_file(cmake/reprise-config.cmake.in "${PROJECT_BINARY_DIR}/reprise-config.cmake"
                              INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/reprise-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/reprise-config.cmake" "${PROJECT_BINARY_DIR}/reprise-config-version.cmake"
        DESTINATION "${package_dir}")
if(REPRISE_HAS_ONEDNN)
  install(FILES cmake/FindOneDNN.cmake DESTINATION "${package_dir}")
endif()
install(EXPORT reprise-targets NAMESPACE reprise:: DESTINATION "${package_dir}")
