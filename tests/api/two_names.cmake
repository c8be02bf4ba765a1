# SPDX-License-Identifier: MIT
#
# add_test_for_both_names(name LABELS label... SOURCES file...) builds a Criterion program twice: name_std, linked to the
# shared library and calling malloc, free, ...; and name_pm, calling pm_malloc, pm_free, ... beside the C library's own
# malloc. Sources after STD_SOURCES are part of the first only; PLAIN programs have a main of their own instead of
# Criterion's.

include_guard(DIRECTORY)

find_package(Threads REQUIRED)

# A sanitizer brings a malloc of its own: under one, only pm_* can be tested.
set(TEST_NAMES pm)
if(NOT POOLMALLOC_SANITIZE)
    list(APPEND TEST_NAMES std)
endif()

# Criterion does not work under ThreadSanitizer: see support/suite.h.
set(TEST_RUNNER criterion)
if(POOLMALLOC_SANITIZE MATCHES "thread")
    set(TEST_RUNNER test_suite)
endif()

# Settings all test programs have in common. A malloc that the compiler knows about would be optimised away.
function(set_up_test_program target)
    set_target_properties(${target} PROPERTIES C_STANDARD 11 C_EXTENSIONS ON CXX_STANDARD 17)
    target_compile_definitions(${target} PRIVATE $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE>)
    target_compile_options(${target} PRIVATE -Wall -Wextra -fno-builtin-malloc -fno-builtin-free -fno-builtin-calloc
                                             -fno-builtin-realloc)
    # Clang leaves these forms of operator delete out unless told.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsized-deallocation>)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/tests/api)
    target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()

# A ctest entry: the program, its labels, and a time limit that only a hang reaches.
function(register_test name target labels)
    add_test(NAME ${name} COMMAND ${target} ${ARGN})
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()

function(add_program_for_names names target)
    add_executable(${target} ${ARGN})
    set_up_test_program(${target})
    target_link_libraries(${target} PRIVATE test_support_${names})
endfunction()

function(add_test_for_both_names name)
    cmake_parse_arguments(ARG "PLAIN" "" "LABELS;SOURCES;STD_SOURCES" ${ARGN})
    if(NOT POOLMALLOC_CXX)
        list(FILTER ARG_SOURCES EXCLUDE REGEX "\\.cpp$")
        list(FILTER ARG_STD_SOURCES EXCLUDE REGEX "\\.cpp$")
    endif()
    if(NOT ARG_SOURCES)
        return()
    endif()
    foreach(names IN LISTS TEST_NAMES)
        set(sources ${ARG_SOURCES})
        if(names STREQUAL "std")
            list(APPEND sources ${ARG_STD_SOURCES})
        endif()
        add_program_for_names(${names} ${name}_${names} ${sources})
        if(NOT ARG_PLAIN)
            target_link_libraries(${name}_${names} PRIVATE ${TEST_RUNNER})
        endif()
        register_test(${name}_${names} ${name}_${names} "${ARG_LABELS}")
    endforeach()
endfunction()

# A Criterion program that runs others: drivers are not linked to poolmalloc. The paths of the programs it runs are passed
# as macros: PROGRAM_name for a target of that name; none for C++ programs where there is no compiler for them.
function(add_driver name)
    cmake_parse_arguments(ARG "" "" "LABELS;SOURCES;PROGRAMS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    set_up_test_program(${name})
    target_link_libraries(${name} PRIVATE test_run criterion)
    foreach(program IN LISTS ARG_PROGRAMS)
        if(NOT TARGET ${program}) # for want of a C++ compiler
            continue()
        endif()
        add_dependencies(${name} ${program})
        target_compile_definitions(${name} PRIVATE PROGRAM_${program}="$<TARGET_FILE:${program}>")
    endforeach()
    register_test(${name} ${name} "${ARG_LABELS}")
endfunction()
