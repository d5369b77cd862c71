# hy_component and hy_library: what one row of the component table means.
#
#   lib/<name>/*.c  ->  hy_<name> (a static archive, linked alone by its tests)
#   several of them ->  libhyperion*.so and .a (hy_library)
#
# A row whose folder does not exist yet is skipped. The layering itself is
# checked by cmake/HyLayers.cmake.
include_guard()
include(HyLayers)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
find_package(Threads REQUIRED)

# The architecture whose half of arch/ is built.
set(HY_ARCH generic)
if(NOT HY_NO_ASM)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(HY_ARCH x86_64)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(HY_ARCH aarch64)
  endif()
endif()
set(HY_OS linux)
if(APPLE)
  set(HY_OS darwin)
endif()

add_library(hy_flags INTERFACE)
target_compile_options(hy_flags INTERFACE
  -Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  -fno-math-errno -ffp-contract=off -fvisibility=hidden
  -fno-semantic-interposition)
target_compile_definitions(hy_flags INTERFACE _GNU_SOURCE)

# Sources of one component, for this architecture and system.
function(hy_component_sources out name)
  if(name STREQUAL "arch")
    file(GLOB sources CONFIGURE_DEPENDS
      "${PROJECT_SOURCE_DIR}/arch/${HY_ARCH}/*.c"
      "${PROJECT_SOURCE_DIR}/arch/${HY_ARCH}/*.S"
      "${PROJECT_SOURCE_DIR}/arch/generic/vec_scalar.c")
    list(REMOVE_DUPLICATES sources)
  else()
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/lib/${name}/*.c")
    list(FILTER sources EXCLUDE REGEX "/os_[a-z]+\\.c$")
    if(name STREQUAL "base")
      list(APPEND sources "${PROJECT_SOURCE_DIR}/lib/base/os_${HY_OS}.c")
    endif()
  endif()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(hy_component name layer)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "HEADERS;DEPENDS")
  set_property(GLOBAL APPEND PROPERTY HY_COMPONENTS ${name})
  set_property(GLOBAL PROPERTY HY_LAYER_${name} ${layer})
  set_property(GLOBAL PROPERTY HY_HEADERS_${name} ${arg_HEADERS})
  set_property(GLOBAL PROPERTY HY_DEPENDS_${name} ${arg_DEPENDS})
  hy_component_sources(sources ${name})
  if(NOT sources)
    return()
  endif()
  hy_check_layers(${name})
  add_library(hy_${name} STATIC ${sources})
  target_include_directories(hy_${name}
    PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    PRIVATE "${PROJECT_SOURCE_DIR}/lib/base" "${PROJECT_SOURCE_DIR}/arch")
  target_link_libraries(hy_${name} PRIVATE hy_flags)
  if(HY_NO_ASM)
    target_compile_definitions(hy_${name} PUBLIC HY_NO_ASM=1)
  endif()
  if(NOT name STREQUAL "arch" AND NOT name STREQUAL "base")
    target_link_libraries(hy_${name} PUBLIC hy_base)
  elseif(name STREQUAL "base")
    target_link_libraries(hy_base PUBLIC hy_arch Threads::Threads m)
  endif()
  foreach(dep IN LISTS arg_DEPENDS)
    if(TARGET hy_${dep})
      target_link_libraries(hy_${name} PUBLIC hy_${dep})
    endif()
  endforeach()
endfunction()

# One installed library, shared and static, out of whole components.
function(hy_library name)
  set(objects "")
  foreach(component IN LISTS ARGN)
    if(TARGET hy_${component})
      list(APPEND objects "$<TARGET_OBJECTS:hy_${component}>")
    endif()
  endforeach()
  set(map "${PROJECT_SOURCE_DIR}/cmake/hyperion.map")
  foreach(kind IN ITEMS SHARED STATIC)
    string(TOLOWER "${name}_${kind}" target)
    add_library(${target} ${kind} ${objects})
    set_target_properties(${target} PROPERTIES
      OUTPUT_NAME ${name} LINKER_LANGUAGE C
      VERSION ${PROJECT_VERSION}
      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    target_include_directories(${target} PUBLIC
      "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>")
    target_link_libraries(${target} PUBLIC Threads::Threads m)
    if(HY_NO_ASM)
      target_compile_definitions(${target} PUBLIC HY_NO_ASM=1)
    endif()
    set_property(GLOBAL APPEND PROPERTY HY_LIBRARIES ${target})
  endforeach()
  if(HY_OS STREQUAL "linux")
    string(TOLOWER "${name}_shared" target)
    # nodelete: a signal handler that somebody saved must never dangle.
    target_link_options(${target} PRIVATE
      "LINKER:--version-script=${map}" "LINKER:-z,nodelete" "LINKER:-z,defs")
    set_target_properties(${target} PROPERTIES LINK_DEPENDS "${map}")
  endif()
endfunction()

function(hy_summary)
  message(STATUS "libhyperion ${PROJECT_VERSION}: arch ${HY_ARCH}, "
    "system ${HY_OS}, build type ${CMAKE_BUILD_TYPE}")
  get_property(lines GLOBAL PROPERTY HY_SUMMARY)
  foreach(line IN LISTS lines)
    message(STATUS "  ${line}")
  endforeach()
endfunction()
