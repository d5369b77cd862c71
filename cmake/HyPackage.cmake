# Debian packages: `cpack -G DEB` in the build folder makes three.
#
#   libhyperion0.1     the shared libraries, and what gdb loads with them;
#                      several versions live side by side
#   libhyperion-dev    what is needed to build against them, and documentation
#   hyperion-tools     hyperion-search, hyperion-top, hyperion-gdb.py, their
#                      manual pages
#
# A package for Debian's own folders wants the build tree configured with
# -DCMAKE_INSTALL_PREFIX=/usr, which gives lib/<machine>-linux-gnu.
include_guard()

set(version "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
set(HY_DEB_runtime "libhyperion${version}")
set(HY_DEB_dev libhyperion-dev)
set(HY_DEB_tools hyperion-tools)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libhyperion)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY
  "small operating system in user space for one process")
set(CPACK_PACKAGE_VENDOR "libhyperion")
if(NOT CPACK_PACKAGE_CONTACT) # whoever packages says who that is
  set(CPACK_PACKAGE_CONTACT "the libhyperion developers <hyperion@localhost>")
endif()
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "Fibers, a pager for a terabyte of \
addresses, allocators, rings,\nSIMD kernels and generated code, and a text \
pipeline on all of them.\nThese are the shared libraries.")
set(CPACK_DEBIAN_DEV_DESCRIPTION "Headers, archives, files for CMake and \
pkg-config, documentation\nand examples of libhyperion.")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "hyperion-search indexes text and searches \
it; hyperion-top shows\nwhat a process that uses libhyperion is doing.")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
  "${HY_DEB_runtime} (= ${PROJECT_VERSION}), libc6-dev")

# Other packages learn from ours which of them they need; ours learn it from
# libc's and zlib's.
# CPack asks file(1) what a library is.
find_program(HY_SHLIBDEPS dpkg-shlibdeps)
find_program(HY_FILE file)
mark_as_advanced(HY_SHLIBDEPS HY_FILE)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS
  "${HY_DEB_runtime} (= ${PROJECT_VERSION})")
if(HY_FILE)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
endif()
file(WRITE "${PROJECT_BINARY_DIR}/debian/triggers" "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
  "${PROJECT_BINARY_DIR}/debian/triggers")
if(HY_SHLIBDEPS AND HY_FILE AND NOT CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${PROJECT_BINARY_DIR}")
else()
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS libc6)
endif()

# What each package owes to Debian's policy, and only a package gets: compressed
# by the same program for every build, without a time of its own.
find_program(HY_GZIP gzip)
mark_as_advanced(HY_GZIP)
function(hy_deb_compressed group folder file)
  get_filename_component(name "${file}" NAME)
  set(compressed "${PROJECT_BINARY_DIR}/debian/${name}.gz")
  execute_process(COMMAND "${HY_GZIP}" -9nc "${file}"
    OUTPUT_FILE "${compressed}" COMMAND_ERROR_IS_FATAL ANY)
  install(FILES "${compressed}" DESTINATION "${folder}"
    COMPONENT policy-${group} EXCLUDE_FROM_ALL)
endfunction()

string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE "${PROJECT_BINARY_DIR}/debian/changelog" "\
libhyperion (${PROJECT_VERSION}) unstable; urgency=medium

  * libhyperion ${PROJECT_VERSION}; docs/CHANGELOG.md in libhyperion-dev has the
    changes.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
if(HY_GZIP)
  foreach(group IN ITEMS runtime dev tools)
    set(folder "${CMAKE_INSTALL_DATAROOTDIR}/doc/${HY_DEB_${group}}")
    install(FILES LICENSE DESTINATION "${folder}" RENAME copyright
      COMPONENT policy-${group} EXCLUDE_FROM_ALL)
    hy_deb_compressed(${group} "${folder}"
      "${PROJECT_BINARY_DIR}/debian/changelog")
  endforeach()
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.1")
  foreach(page IN LISTS pages)
    hy_deb_compressed(tools "${CMAKE_INSTALL_MANDIR}/man1" "${page}")
  endforeach()
endif()

if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  hy_install_auto_load(
    "${CPACK_PACKAGING_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}"
    COMPONENT policy-runtime EXCLUDE_FROM_ALL)
endif()

set(members_runtime policy-runtime ${HY_LIBRARY_NAMES})
set(members_dev policy-dev documentation)
foreach(name IN LISTS HY_LIBRARY_NAMES)
  list(APPEND members_dev ${name}-dev)
endforeach()
set(members_tools policy-tools programs)
set(groups runtime dev)
if(HY_EXAMPLES)
  list(APPEND groups tools)
endif()
set(CPACK_COMPONENTS_ALL "")
foreach(group IN LISTS groups)
  string(TOUPPER ${group} GROUP)
  set(CPACK_DEBIAN_${GROUP}_PACKAGE_NAME "${HY_DEB_${group}}")
  list(APPEND CPACK_COMPONENTS_ALL ${members_${group}})
endforeach()
include(CPack)
foreach(group IN LISTS groups)
  cpack_add_component_group(${group})
  foreach(member IN LISTS members_${group})
    cpack_add_component(${member} GROUP ${group})
  endforeach()
endforeach()
