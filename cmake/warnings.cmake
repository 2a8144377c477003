# SPDX-License-Identifier: Apache-2.0
# Each -Wno- stands beside the report that explains it.
add_library(cairn_warnings INTERFACE)
target_compile_options(cairn_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Woverloaded-virtual -Wnon-virtual-dtor -Wcast-align -Wnull-dereference -Wextra-semi -Wundef)
if(CAIRN_WARNINGS_AS_ERRORS)
  target_compile_options(cairn_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Fires on designated initialisers of members that have defaults: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=96868
  target_compile_options(cairn_warnings INTERFACE -Wno-missing-field-initializers)
  # False positives on short std::string appends: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
  target_compile_options(cairn_warnings INTERFACE -Wno-restrict)
  # False positives through inlined std::optional and Abseil: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=80635
  target_compile_options(cairn_warnings INTERFACE -Wno-maybe-uninitialized)
  # Fires inside libstdc++ and Abseil at -O2: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105580
  target_compile_options(cairn_warnings INTERFACE -Wno-null-dereference)
endif()
