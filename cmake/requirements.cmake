# SPDX-License-Identifier: MIT
#
# What tests and benchmarks need beyond a C compiler. POOLMALLOC_CXX says whether there is a C++ compiler, and the
# target `criterion` is there when Criterion is. Tests or benchmarks that were asked for by ON need all of it; by AUTO
# those are built for which all is there, and one line says what is missing.

if(NOT POOLMALLOC_BUILD_TESTS AND NOT POOLMALLOC_BUILD_BENCH)
  return()
endif()

# ---- What is there -----------------------------------------------------------------------------------------------------

set(POOLMALLOC_CXX TRUE)
if(NOT CMAKE_CXX_COMPILER)
  unset(CMAKE_CXX_COMPILER CACHE) # it may have been installed since
endif()
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
else()
  set(POOLMALLOC_CXX FALSE)
endif()

if(POOLMALLOC_BUILD_TESTS)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(PC_CRITERION QUIET criterion)
  endif()
  find_path(CRITERION_INCLUDE criterion/criterion.h HINTS ${PC_CRITERION_INCLUDEDIR})
  find_library(CRITERION_LIBRARY criterion HINTS ${PC_CRITERION_LIBDIR})
  if(CRITERION_INCLUDE AND CRITERION_LIBRARY)
    add_library(criterion INTERFACE)
    target_include_directories(criterion SYSTEM INTERFACE ${CRITERION_INCLUDE})
    target_link_libraries(criterion INTERFACE ${CRITERION_LIBRARY})
  endif()
endif()

# ---- What is missing ---------------------------------------------------------------------------------------------------

set(incomplete "")

# pm_require(what option found name): `what` cannot be complete without `name`, which is there if `found`.
function(pm_require what option found name)
  if(NOT ${option} OR ${found})
    return()
  endif()
  if(NOT ${option} STREQUAL "AUTO")
    message(FATAL_ERROR "${option}=${${option}} needs ${name}. AUTO builds the ${what} for which all is there.")
  endif()
  list(APPEND incomplete "${what} without ${name}")
  set(incomplete "${incomplete}" PARENT_SCOPE)
endfunction()

set(criterion_found FALSE)
if(TARGET criterion)
  set(criterion_found TRUE)
endif()
pm_require(tests POOLMALLOC_BUILD_TESTS ${criterion_found} "Criterion (Debian: libcriterion-dev)")
pm_require(tests POOLMALLOC_BUILD_TESTS ${POOLMALLOC_CXX} "a C++ compiler (Debian: g++)")
pm_require(benchmarks POOLMALLOC_BUILD_BENCH ${POOLMALLOC_CXX} "a C++ compiler (Debian: g++)")
if(incomplete)
  list(JOIN incomplete ", " incomplete)
  message(STATUS "Not all is built: ${incomplete}")
endif()
