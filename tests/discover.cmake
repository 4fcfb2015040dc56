# Writes OUTPUT, which registers the tests of PROGRAM with CTest: one entry per source file and label. The label is the tag
# [slow], else the tag [gradcheck], else "unit".

execute_process(COMMAND ${LAUNCHER} "${PROGRAM}" --filenames-as-tags --list-tests OUTPUT_VARIABLE listing
                ERROR_VARIABLE errors RESULT_VARIABLE status)
if(NOT listing MATCHES "test cases?\n")
  message(FATAL_ERROR "${PROGRAM} --list-tests: ${status}\n${listing}${errors}")
endif()

# A test is listed as its name, indented by 2 or (further lines) 4, then its tags, indented by 6, the file's first.
# Brackets and semicolons mean something else in lists of CMake.
string(REGEX REPLACE "[]]" ">" listing "${listing}")
string(REGEX REPLACE "[[]" "<" listing "${listing}")
string(REPLACE ";" "," listing "${listing}")
string(REPLACE "\n" ";" lines "${listing}")

set(pairs "")
set(tags "")
foreach(line IN LISTS lines ITEMS "  end")
  if(line MATCHES "^      +<")
    string(APPEND tags "${line}")
  elseif(tags)
    string(REGEX MATCH "<#([^>]+)>" match "${tags}")
    set(file "${CMAKE_MATCH_1}")
    if(tags MATCHES "<slow>")
      list(APPEND pairs "slow:${file}")
    elseif(tags MATCHES "<gradcheck>")
      list(APPEND pairs "gradcheck:${file}")
    else()
      list(APPEND pairs "unit:${file}")
    endif()
    set(tags "")
  endif()
endforeach()
list(SORT pairs)
list(REMOVE_DUPLICATES pairs)

set(filter_unit "~[gradcheck]~[slow]")
set(filter_gradcheck "[gradcheck]~[slow]")
set(filter_slow "[slow]")
set(timeout_unit 1200)
set(timeout_gradcheck 1200)
set(timeout_slow 1800)

# Threads that wait for work sleep, so that tests side by side do not take each other's cores.
set(content "")
foreach(pair IN LISTS pairs)
  string(REGEX MATCH "^([a-z]+):(.+)$" match "${pair}")
  set(label "${CMAKE_MATCH_1}")
  set(file "${CMAKE_MATCH_2}")
  set(command "")
  foreach(word IN LISTS LAUNCHER ITEMS "${PROGRAM}" --filenames-as-tags "[#${file}]${filter_${label}}")
    string(APPEND command " [==[${word}]==]")
  endforeach()
  string(APPEND content "add_test([==[${label}.${file}]==]${command})\n"
         "set_tests_properties([==[${label}.${file}]==] PROPERTIES LABELS ${label} TIMEOUT ${timeout_${label}}"
         " ENVIRONMENT OMP_WAIT_POLICY=passive)\n")
endforeach()
file(WRITE "${OUTPUT}" "${content}")
