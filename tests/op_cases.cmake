# The table of operation cases, for the tests and for the benchmark of operations.

set(op_cases_folder "${CMAKE_CURRENT_LIST_DIR}")

# Writes all_operations.h, the list of every operation that the engine's headers declare: structs of reprise/ops with a name.
# An operation that is left out of the table therefore does not compile.
function(reprise_list_operations output)
  set(plain "")
  set(templates "")
  file(GLOB headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/engine/include/reprise/ops/*.h")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
  foreach(header IN LISTS headers)
    # Brackets and semicolons mean something else in lists of CMake.
    file(READ "${header}" text)
    string(REGEX REPLACE "[];[]" "" text "${text}")
    string(REPLACE "\n" ";" lines "${text}")
    set(is_template OFF)
    foreach(line IN LISTS lines)
      if(line MATCHES "^template <")
        set(is_template ON)
      elseif(line MATCHES "^struct ([A-Za-z0-9_]+) ")
        set(struct "${CMAKE_MATCH_1}")
        set(struct_is_template ${is_template})
        set(is_template OFF)
      elseif(line MATCHES "static constexpr std::string_view name =")
        if(struct_is_template)
          list(APPEND templates ", ${struct}Instances")
        else()
          list(APPEND plain "ops::${struct}")
        endif()
      elseif(NOT line MATCHES "^ ")
        set(is_template OFF)
      endif()
    endforeach()
  endforeach()
  list(JOIN plain ",\n         " plain)
  string(REPLACE ";" "" templates "${templates}")
  file(CONFIGURE OUTPUT "${output}" CONTENT "// Written by op_cases.cmake from the engine's headers.
#pragma once

#include \"op_instances.h\"

namespace reprise::op_test {

using AllOperations = Joined<
    List<${plain}>${templates}>;

}  // namespace reprise::op_test
")
endfunction()

# Compiles the cases into TARGET.
function(reprise_add_operation_cases target)
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/generated")
  reprise_list_operations("${generated}/all_operations.h")
  target_include_directories(${target} PRIVATE "${op_cases_folder}" "${generated}")
  file(GLOB sources CONFIGURE_DEPENDS "${op_cases_folder}/op_cases*.cpp")
  target_sources(${target} PRIVATE ${sources})
endfunction()
