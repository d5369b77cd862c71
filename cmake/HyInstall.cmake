# What is installed, and how CMake and pkg-config find it. Everything follows
# from the component table: a library installs the headers of its parts.
#
#   install component   holds
#   <library>           the shared library
#   <library>-dev       headers, archive, .pc file, CMake package
#   programs, manuals   the programs, and their manual pages; gdb's commands
#   auto-load           gdb's commands where gdb finds them by itself
#   documentation       README, LICENSE, docs/*.md, examples/*.c
#
# HY_INSTALL=OFF, which is what a parent project gets, installs nothing.
#
# Invariant: every installed path is relative to the prefix, so that a prefix
# can be moved. Upstream: hy_library. Downstream: CPack (cmake/HyPackage.cmake).
include_guard()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(HY_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/Hyperion")

# The public headers of the parts of one library that exist, relative to
# include/hyperion.
function(hy_library_headers out name)
  get_property(parts GLOBAL PROPERTY HY_PARTS_${name})
  set(found "")
  foreach(part IN LISTS parts)
    get_property(headers GLOBAL PROPERTY HY_HEADERS_${part})
    foreach(header IN LISTS headers)
      if(EXISTS "${PROJECT_SOURCE_DIR}/include/hyperion/${header}")
        list(APPEND found "${header}")
      endif()
    endforeach()
  endforeach()
  if(name STREQUAL "hyperion")
    list(APPEND found hyperion.h)
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# A path of the installation as seen from the folder that pkg-config files lie
# in; absolute when the packager asked for absolute folders.
function(hy_relative_to_pkgconfig out path)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${path}")
    cmake_path(ABSOLUTE_PATH path BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
    set(${out} "${path}" PARENT_SCOPE)
    return()
  endif()
  file(RELATIVE_PATH relative "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/${path}")
  string(REGEX REPLACE "/$" "" relative "${relative}")
  set(${out} "\${pcfiledir}/${relative}" PARENT_SCOPE)
endfunction()

function(hy_install_pkgconfig name)
  hy_relative_to_pkgconfig(pc_prefix ".")
  hy_relative_to_pkgconfig(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
  hy_relative_to_pkgconfig(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
  set(pc_name "${name}")
  set(pc_cflags "")
  if(HY_NO_ASM)
    set(pc_cflags " -DHY_NO_ASM=1")
  endif()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/hyperion.pc.in"
    "${PROJECT_BINARY_DIR}/pkgconfig/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/pkgconfig/${name}.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT ${name}-dev)
endfunction()

function(hy_install_library name)
  string(REGEX REPLACE "^hyperion-" "" short "${name}")
  foreach(kind IN ITEMS shared static)
    target_include_directories(${name}_${kind} INTERFACE
      "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  endforeach()
  install(TARGETS ${name}_shared ${name}_static EXPORT Hyperion-${short}
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${name}
            NAMELINK_COMPONENT ${name}-dev
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${name}-dev)
  install(EXPORT Hyperion-${short} NAMESPACE Hyperion::
    FILE HyperionTargets-${short}.cmake
    DESTINATION "${HY_PACKAGE_DIR}" COMPONENT ${name}-dev)
  hy_library_headers(headers ${name})
  foreach(header IN LISTS headers)
    get_filename_component(folder "${header}" DIRECTORY)
    install(FILES "${PROJECT_SOURCE_DIR}/include/hyperion/${header}"
      DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/hyperion/${folder}"
      COMPONENT ${name}-dev)
  endforeach()
  install(FILES "${PROJECT_BINARY_DIR}/HyperionConfig.cmake"
                "${PROJECT_BINARY_DIR}/HyperionConfigVersion.cmake"
    DESTINATION "${HY_PACKAGE_DIR}" COMPONENT ${name}-dev)
  hy_install_pkgconfig(${name})
endfunction()

# A program that users run, with its manual page; it finds the libraries wherever
# the prefix is moved.
function(hy_install_program target)
  if(NOT HY_INSTALL)
    return()
  endif()
  file(RELATIVE_PATH up
    "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "\$ORIGIN/${up}")
  install(TARGETS ${target} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    COMPONENT programs)
  get_target_property(name ${target} OUTPUT_NAME)
  if(NOT name)
    set(name ${target})
  endif()
  install(FILES "${PROJECT_SOURCE_DIR}/docs/man/${name}.1"
    DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT manuals)
endfunction()

# gdb's commands for fibers, once more, where gdb looks when it loads the shared
# library: its whole path below a folder of gdb's ("Auto-loading extensions" in
# gdb's manual). Options are install's.
function(hy_install_auto_load folder)
  install(FILES "${PROJECT_SOURCE_DIR}/lib/runtime/hyperion-gdb.py"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/gdb/auto-load${folder}"
    RENAME "libhyperion.so.${PROJECT_VERSION}-gdb.py" ${ARGN})
endfunction()

# For `source`, anywhere; and for the prefix that was configured.
function(hy_install_debugger)
  install(FILES "${PROJECT_SOURCE_DIR}/lib/runtime/hyperion-gdb.py"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/hyperion" COMPONENT programs)
  install(FILES "${PROJECT_SOURCE_DIR}/docs/man/hyperion-gdb.1"
    DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT manuals)
  hy_install_auto_load("${CMAKE_INSTALL_FULL_LIBDIR}" COMPONENT auto-load)
endfunction()

# One page of documentation, at the same place as in the source tree. A link to
# source that is not installed becomes the words it stood on.
function(hy_install_page page)
  file(READ "${PROJECT_SOURCE_DIR}/${page}" text)
  string(REGEX REPLACE "\\[([^]\n]*)\\]\\((\\.\\./lib|CMakeLists)[^)\n]*\\)" "\\1"
    text "${text}")
  file(WRITE "${PROJECT_BINARY_DIR}/pages/${page}" "${text}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/${page}")
  get_filename_component(folder "${page}" DIRECTORY)
  install(FILES "${PROJECT_BINARY_DIR}/pages/${page}"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}/${folder}" COMPONENT documentation)
endfunction()

function(hy_install_documentation)
  file(GLOB_RECURSE pages CONFIGURE_DEPENDS
    RELATIVE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/docs/*.md")
  foreach(page IN LISTS pages ITEMS README.md)
    hy_install_page(${page})
  endforeach()
  install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}"
    COMPONENT documentation)
  install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DOCDIR}"
    COMPONENT documentation FILES_MATCHING
    PATTERN "*.[ch]" PATTERN "consumer/*")
endfunction()

# Removes what the last `cmake --install` of this build tree has put there.
function(hy_add_uninstall)
  add_custom_target(uninstall COMMAND "${CMAKE_COMMAND}"
    "-DMANIFESTS=${PROJECT_BINARY_DIR}/install_manifest*.txt"
    -P "${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake" VERBATIM)
endfunction()

get_property(HY_LIBRARY_NAMES GLOBAL PROPERTY HY_LIBRARIES)
foreach(name IN LISTS HY_LIBRARY_NAMES)
  # What the tests compare with the symbols that the library exports.
  hy_library_headers(headers ${name})
  list(JOIN headers "\n" lines)
  file(WRITE "${PROJECT_BINARY_DIR}/headers/${name}.txt" "${lines}\n")
endforeach()
if(HY_INSTALL)
  string(REGEX REPLACE "hyperion-" "" HY_PACKAGE_COMPONENTS
    "${HY_LIBRARY_NAMES}")
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/HyperionConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/HyperionConfig.cmake"
    INSTALL_DESTINATION "${HY_PACKAGE_DIR}" NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file(
    "${PROJECT_BINARY_DIR}/HyperionConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
  foreach(name IN LISTS HY_LIBRARY_NAMES)
    hy_install_library(${name})
  endforeach()
  hy_install_documentation()
  hy_install_debugger()
  if(PROJECT_IS_TOP_LEVEL)
    hy_add_uninstall()
    include(HyPackage)
  endif()
endif()

# The reference of the public headers: `ninja docs`.
find_program(HY_DOXYGEN doxygen)
mark_as_advanced(HY_DOXYGEN)
if(HY_DOXYGEN AND PROJECT_IS_TOP_LEVEL)
  configure_file(docs/Doxyfile.in "${PROJECT_BINARY_DIR}/Doxyfile" @ONLY)
  add_custom_target(docs COMMAND sh
    "${PROJECT_SOURCE_DIR}/tests/lint/reference.sh" "${HY_DOXYGEN}"
    "${PROJECT_BINARY_DIR}/Doxyfile"
    COMMENT "Reference in ${PROJECT_BINARY_DIR}/reference/html" VERBATIM)
endif()
