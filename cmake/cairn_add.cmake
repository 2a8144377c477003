# SPDX-License-Identifier: Apache-2.0
# What the CMakeLists.txt of the folders are written in, so that each reads as a table of
# contents: cairn_library, cairn_program, cairn_test.

# cairn_library(NAME engine HEADERS … SOURCES … DEPS … PRIVATE_DEPS …)
function(cairn_library)
  cmake_parse_arguments(arg "" "NAME" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target cairn_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(cairn::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${arg_NAME} POSITION_INDEPENDENT_CODE ON
    VERIFY_INTERFACE_HEADER_SETS ON)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${arg_HEADERS})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS} $<BUILD_INTERFACE:cairn_warnings>)
  if(CAIRN_PLANTED_BUG)
    cairn_plant(${target} "${arg_SOURCES}")
  endif()
endfunction()

# Compiles those of the sources that know the planted bug with its switch, and no others, so that
# a tree that goes from bug to bug compiles one file each time. A switch in a header is for all
# who include it, or two halves of one program would disagree.
function(cairn_plant target sources)
  string(TOUPPER "CAIRN_PLANTED_${CAIRN_PLANTED_BUG}" switch)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.h")
  foreach(header ${headers})
    file(STRINGS "${header}" mentions REGEX "${switch}")
    if(mentions)
      target_compile_definitions(${target} PUBLIC ${switch}=1)
      return()
    endif()
  endforeach()
  foreach(source ${sources})
    file(STRINGS "${source}" mentions REGEX "${switch}")
    if(mentions)
      set_source_files_properties(${source} PROPERTIES COMPILE_DEFINITIONS "${switch}=1")
    endif()
  endforeach()
endfunction()

# cairn_program(NAME cairn SOURCES … DEPS …): a program of build/<preset>/bin/, built by the
# target "programs" and so by `make build`.
function(cairn_program)
  cmake_parse_arguments(arg "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${arg_NAME} ${arg_SOURCES})
  target_include_directories(${arg_NAME} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS} cairn_warnings)
  cairn_group(programs ${arg_NAME})
endfunction()

# A target that builds its members and nothing else.
function(cairn_group group member)
  if(NOT TARGET ${group})
    add_custom_target(${group})
  endif()
  add_dependencies(${group} ${member})
endfunction()

# What the ASan tree leaves out: architecture reads sources, integration runs the programs and
# links the installed library as a stranger does.
set(CAIRN_UNSANITIZED_KINDS architecture integration)

# Every test sees where it is; sanitizers also learn what in Debian's libraries to overlook.
function(cairn_test_environment out)
  set(environment "CAIRN_SOURCE_DIR=${PROJECT_SOURCE_DIR}" "CAIRN_BINARY_DIR=${CMAKE_BINARY_DIR}"
    "CAIRN_BIN_DIR=${CMAKE_BINARY_DIR}/bin" "CAIRN_PYTHON=${CAIRN_PYTHON}")
  if(CAIRN_SANITIZER STREQUAL "thread")
    list(APPEND environment
      "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/tsan.supp second_deadlock_stack=1 halt_on_error=1")
  elseif(CAIRN_SANITIZER STREQUAL "address")
    list(APPEND environment "UBSAN_OPTIONS=print_stacktrace=1"
      "ASAN_OPTIONS=detect_stack_use_after_return=1 strict_string_checks=1")
  endif()
  set(${out} "${environment}" PARENT_SCOPE)
endfunction()

function(cairn_test_properties test kind timeout threaded serial)
  set(labels ${kind})
  if(NOT kind IN_LIST CAIRN_UNSANITIZED_KINDS)
    list(APPEND labels sanitized)
  endif()
  if(threaded)
    list(APPEND labels threaded)
  endif()
  math(EXPR timeout "${timeout} * ${CAIRN_TEST_TIMEOUT_FACTOR}")
  cairn_test_environment(environment)
  set_tests_properties(${test} PROPERTIES LABELS "${labels}" TIMEOUT ${timeout} ENVIRONMENT "${environment}")
  if(serial)
    set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

# cairn_test(KIND unit NAME catalog_test SOURCES … DEPS … [TIMEOUT s] [THREADED] [SERIAL])
# One binary per test file, one ctest entry per binary, labelled with its kind, with
# "sanitized" where the ASan tree runs it and "threaded" where the TSan tree does. Built by
# tests_<kind>, tests_sanitized, tests_threaded and tests_all.
function(cairn_test)
  cmake_parse_arguments(arg "THREADED;SERIAL" "KIND;NAME;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT arg_SOURCES)
    set(arg_SOURCES ${arg_NAME}.cc)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  target_include_directories(${arg_NAME} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPS} cairn_warnings GTest::gmock GTest::gtest_main)
  add_test(NAME ${arg_KIND}.${arg_NAME} COMMAND ${arg_NAME})
  cairn_test_properties(${arg_KIND}.${arg_NAME} ${arg_KIND} ${arg_TIMEOUT} ${arg_THREADED} ${arg_SERIAL})
  cairn_group(tests_all ${arg_NAME})
  cairn_group(tests_${arg_KIND} ${arg_NAME})
  if(NOT arg_KIND IN_LIST CAIRN_UNSANITIZED_KINDS)
    cairn_group(tests_sanitized ${arg_NAME})
  endif()
  if(arg_THREADED)
    cairn_group(tests_threaded ${arg_NAME})
  endif()
endfunction()

# cairn_script_test(KIND integration NAME consumer COMMAND … [TIMEOUT s] [SERIAL] [NEEDS target…])
# A test that is a command instead of a gtest binary; it counts as one test. A first line of
# the form "SKIP: reason" and exit status 77 make it a skip.
function(cairn_script_test)
  cmake_parse_arguments(arg "SERIAL" "KIND;NAME;TIMEOUT" "COMMAND;NEEDS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_test(NAME ${arg_KIND}.${arg_NAME} COMMAND ${arg_COMMAND})
  cairn_test_properties(${arg_KIND}.${arg_NAME} ${arg_KIND} ${arg_TIMEOUT} FALSE ${arg_SERIAL})
  set_tests_properties(${arg_KIND}.${arg_NAME} PROPERTIES SKIP_RETURN_CODE 77)
  foreach(target ${arg_NEEDS})
    cairn_group(tests_all ${target})
    cairn_group(tests_${arg_KIND} ${target})
  endforeach()
endfunction()
