# hy_check_layers: configure fails when a component includes what its row of
# the component table does not allow, or tests for an architecture or a system
# outside the folders that may know them.
include_guard()

# Which component owns the public header <hyperion/...>.
function(hy_header_owner out header)
  get_property(components GLOBAL PROPERTY HY_COMPONENTS)
  foreach(component IN LISTS components)
    get_property(headers GLOBAL PROPERTY HY_HEADERS_${component})
    if(header IN_LIST headers)
      set(${out} ${component} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${out} "" PARENT_SCOPE)
endfunction()

function(hy_check_public_include file header name depends)
  # No owner yet: a row further down, so a higher layer, or no row at all.
  hy_header_owner(owner "${header}")
  if(NOT owner OR (NOT owner STREQUAL "base" AND NOT owner STREQUAL name
                   AND NOT owner IN_LIST depends))
    message(FATAL_ERROR "${file} includes <hyperion/${header}>, which belongs "
      "to '${owner}': not among the DEPENDS of '${name}' in CMakeLists.txt")
  endif()
endfunction()

function(hy_check_private_include file header folder)
  set(root "${PROJECT_SOURCE_DIR}")
  if(header MATCHES "\\.\\./")
    message(FATAL_ERROR "${file} includes \"${header}\": no ../")
  endif()
  if(NOT EXISTS "${folder}/${header}" AND NOT EXISTS "${root}/lib/base/${header}"
     AND NOT header STREQUAL "arch.h")
    message(FATAL_ERROR "${file} includes \"${header}\", which is neither in "
      "its own folder, nor in lib/base, nor arch.h")
  endif()
endfunction()

function(hy_check_layers name)
  get_property(layer GLOBAL PROPERTY HY_LAYER_${name})
  get_property(depends GLOBAL PROPERTY HY_DEPENDS_${name})
  foreach(dep IN LISTS depends)
    get_property(dep_layer GLOBAL PROPERTY HY_LAYER_${dep})
    if(NOT dep_layer LESS layer)
      message(FATAL_ERROR "'${name}' (layer ${layer}) DEPENDS on '${dep}' "
        "(layer ${dep_layer}): only lower layers may be used")
    endif()
  endforeach()
  set(folder "${PROJECT_SOURCE_DIR}/lib/${name}")
  if(name STREQUAL "arch")
    set(folder "${PROJECT_SOURCE_DIR}/arch")
  endif()
  file(GLOB_RECURSE files CONFIGURE_DEPENDS
    "${folder}/*.c" "${folder}/*.h" "${folder}/*.S")
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY
    CMAKE_CONFIGURE_DEPENDS ${files})
  foreach(file IN LISTS files)
    get_filename_component(own "${file}" DIRECTORY)
    file(STRINGS "${file}" includes REGEX "^[ \t]*#[ \t]*include")
    foreach(line IN LISTS includes)
      if(line MATCHES "<hyperion/([^>]+)>")
        hy_check_public_include("${file}" "${CMAKE_MATCH_1}" ${name} "${depends}")
      elseif(line MATCHES "\"([^\"]+)\"")
        hy_check_private_include("${file}" "${CMAKE_MATCH_1}" "${own}")
      endif()
    endforeach()
    if(NOT name STREQUAL "arch")
      file(STRINGS "${file}" bad
        REGEX "__(x86_64|aarch64|AVX|ARM|i386|arm)[A-Za-z0-9_]*")
      if(NOT file MATCHES "/os_[a-z]+\\.[ch]$")
        file(STRINGS "${file}" system REGEX "__(linux|APPLE)__")
        list(APPEND bad ${system})
      endif()
      if(bad)
        message(FATAL_ERROR "${file} tests for an architecture or a system: "
          "${bad}\nThat belongs into arch/ or lib/base/os_*.c")
      endif()
    endif()
  endforeach()
endfunction()
