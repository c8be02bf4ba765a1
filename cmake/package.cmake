# SPDX-License-Identifier: MIT
#
# What a program that links the libraries needs: the targets poolmalloc::poolmalloc, ::static, ::wrap, ::api, ::object
# and ::object_static, the same whether a project includes this one or finds its installation; and what is installed,
# which can be moved as a whole.

# ---- Usage requirements ------------------------------------------------------------------------------------------------

# A linker takes what a program's own objects refer to, and a program may reach malloc through libc or libstdc++ alone:
# without these options it would run without the pools, and nobody would say so. The option files, of which a command
# line uses the same, stand beside the libraries.

# pm_link_options(library file) hands an option file to those who link `library`.
function(pm_link_options library file)
  target_link_options(${library} INTERFACE
    $<BUILD_INTERFACE:LINKER:@${PROJECT_SOURCE_DIR}/src/${file}>
    $<INSTALL_INTERFACE:LINKER:@${installed_libdir}/${file}>)
endfunction()

set(installed_libdir $<INSTALL_PREFIX>/${CMAKE_INSTALL_LIBDIR})
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(installed_libdir ${CMAKE_INSTALL_LIBDIR})
endif()

# As poolmalloc.options, with the library's path. These options come first on the command line, so that no other malloc
# comes before; CMake adds the library once more where it adds libraries, and the path to find it when the program runs.
target_link_options(poolmalloc INTERFACE
  LINKER:--push-state,--no-as-needed,$<TARGET_LINKER_FILE:$<TARGET_NAME:poolmalloc>>,--pop-state)
pm_link_options(poolmalloc_static poolmalloc_static.options)
target_link_options(poolmalloc_wrap INTERFACE -static)
pm_link_options(poolmalloc_wrap poolmalloc_wrap.options)

set_target_properties(poolmalloc_static PROPERTIES EXPORT_NAME static)
set_target_properties(poolmalloc_wrap PROPERTIES EXPORT_NAME wrap)
set_target_properties(poolmalloc_api PROPERTIES EXPORT_NAME api)
set_target_properties(poolobject PROPERTIES EXPORT_NAME object)
set_target_properties(poolobject_static PROPERTIES EXPORT_NAME object_static)
set(libraries poolmalloc poolmalloc_static poolmalloc_wrap poolmalloc_api poolobject poolobject_static)
foreach(library IN LISTS libraries)
  get_target_property(name ${library} EXPORT_NAME)
  if(NOT name)
    set(name ${library})
  endif()
  add_library(poolmalloc::${name} ALIAS ${library})
  target_include_directories(${library} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()

# ---- Installation ------------------------------------------------------------------------------------------------------

if(NOT POOLMALLOC_INSTALL)
  return()
endif()

install(TARGETS ${libraries} EXPORT poolmalloc)
install(FILES include/poolmalloc.h include/poolobject.h include/poolobject.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md docs/statistics.md docs/statistics.schema.json docs/objects.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES src/poolmalloc.options src/poolmalloc_static.options src/poolmalloc_wrap.options
  DESTINATION ${CMAKE_INSTALL_LIBDIR})

# For find_package.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/poolmalloc)
configure_package_config_file(cmake/poolmallocConfig.cmake.in ${PROJECT_BINARY_DIR}/poolmallocConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/poolmallocConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/poolmallocConfig.cmake ${PROJECT_BINARY_DIR}/poolmallocConfigVersion.cmake
  DESTINATION ${config_dir})
install(EXPORT poolmalloc NAMESPACE poolmalloc:: FILE poolmallocTargets.cmake DESTINATION ${config_dir})

# For pkg-config. Paths begin at the directory of the .pc file.
file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})

# pm_pkg_config(name description libs): `libs` is what pkg-config --libs says. Linker options stand in one word each with
# what they apply to: pkg-config may reorder words and drop repeated ones.
function(pm_pkg_config name description libs)
  configure_file(cmake/poolmalloc.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

pm_pkg_config(poolmalloc "malloc for small objects, as a shared library"
  "-L\${libdir} -Wl,@\${libdir}/poolmalloc.options")
pm_pkg_config(poolmalloc-static "malloc for small objects, inside the program"
  "-Wl,@\${libdir}/poolmalloc_static.options \${libdir}/libpoolmalloc.a")
pm_pkg_config(poolmalloc-wrap "malloc for small objects, inside a fully static program"
  "-static -Wl,@\${libdir}/poolmalloc_wrap.options \${libdir}/libpoolmalloc_wrap.a")
pm_pkg_config(poolmalloc-api "pools for small objects beside the program's own malloc"
  "\${libdir}/libpoolmalloc_api.a")
pm_pkg_config(poolobject "reference-counted objects with a collector of cycles" "-L\${libdir} -lpoolobject")
pm_pkg_config(poolobject-static "reference-counted objects with a collector of cycles, inside the program"
  "\${libdir}/libpoolobject.a -pthread")
