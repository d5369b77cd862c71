# What is installed, and how CMake and pkg-config find it. Everything follows
# from the component table: a library installs the headers of its parts.
#
#   install component   holds
#   <library>           the shared library; with the umbrella also the programs
#   <library>-dev       headers, archive, .pc file, CMake package
#   documentation       README, LICENSE, docs/*.md
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

# A program that users run; it finds the libraries wherever the prefix is moved.
function(hy_install_program target)
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "\$ORIGIN/${up}")
  install(TARGETS ${target} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    COMPONENT hyperion)
endfunction()

get_property(HY_LIBRARY_NAMES GLOBAL PROPERTY HY_LIBRARIES)
string(REGEX REPLACE "hyperion-" "" HY_PACKAGE_COMPONENTS "${HY_LIBRARY_NAMES}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/HyperionConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/HyperionConfig.cmake"
  INSTALL_DESTINATION "${HY_PACKAGE_DIR}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/HyperionConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
foreach(name IN LISTS HY_LIBRARY_NAMES)
  hy_install_library(${name})
  # What the tests compare with the symbols that the library exports.
  hy_library_headers(headers ${name})
  list(JOIN headers "\n" lines)
  file(WRITE "${PROJECT_BINARY_DIR}/headers/${name}.txt" "${lines}\n")
endforeach()

file(GLOB documents CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/*.md")
install(FILES README.md LICENSE ${documents}
  DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT documentation)
foreach(folder IN ITEMS design decisions)
  if(EXISTS "${PROJECT_SOURCE_DIR}/docs/${folder}")
    install(DIRECTORY docs/${folder} DESTINATION "${CMAKE_INSTALL_DOCDIR}"
      COMPONENT documentation FILES_MATCHING PATTERN "*.md")
  endif()
endforeach()
if(PROJECT_IS_TOP_LEVEL)
  include(HyPackage)
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
