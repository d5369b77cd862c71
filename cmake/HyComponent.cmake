# hy_component and hy_library: what one row of the component table means.
#
#   lib/<name>/*.c  ->  hy_<name> (a static archive, linked alone by its tests)
#   several of them ->  libhyperion*.so and .a (hy_library)
#
# A row whose folder does not exist yet is skipped. The layering itself is
# checked by cmake/HyLayers.cmake.
include_guard()
include(HyLayers)

# Without a build type: our own build is a Release; a parent's build type stays
# as it is, and only our objects are optimised all the same.
set(HY_OPTIMISE "")
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  elseif(NOT CMAKE_C_FLAGS MATCHES "(^| )-O")
    set(HY_OPTIMISE -O2)
  endif()
endif()
# A parent builds what it links, not all that there is.
if(NOT (PROJECT_IS_TOP_LEVEL OR HY_INSTALL OR HY_EXAMPLES OR HY_TESTS
        OR HY_BENCH))
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" PROPERTY EXCLUDE_FROM_ALL ON)
endif()
# Which kind Hyperion::<name> is: an explicit word of ours, else the usual one.
if(NOT DEFINED Hyperion_USE_STATIC AND DEFINED BUILD_SHARED_LIBS
   AND NOT BUILD_SHARED_LIBS)
  set(Hyperion_USE_STATIC ON)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_UNITY_BUILD OFF) # files reuse the names of statics
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
# Its contexts are threads where libc has no ucontext, as musl.
set(HY_OTHER_SWITCH switch_threads)
if(HY_ARCH STREQUAL "generic")
  include(CheckFunctionExists)
  check_function_exists(makecontext HY_HAVE_UCONTEXT)
  if(NOT HY_HAVE_UCONTEXT)
    set(HY_OTHER_SWITCH switch)
  endif()
endif()
set(HY_OS linux)
if(APPLE)
  set(HY_OS darwin)
endif()

add_library(hy_flags INTERFACE)
target_compile_options(hy_flags INTERFACE
  ${HY_OPTIMISE}
  -Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  # A loop that clang leaves as it is was only hinted at.
  $<$<COMPILE_LANG_AND_ID:C,Clang,AppleClang>:-Wno-pass-failed>
  # Without math errno gcc takes malloc for a function that keeps errno, and
  # drops what puts it back.
  -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc
  -fno-builtin-aligned_alloc
  -fno-math-errno -ffp-contract=off -fvisibility=hidden
  -fno-semantic-interposition)
target_compile_definitions(hy_flags INTERFACE _GNU_SOURCE)
# Landing pads for indirect branches, as switch.S has them. No shadow stack is
# claimed, also where that is the compiler's default: none is switched.
if(HY_OS STREQUAL "linux" AND HY_ARCH STREQUAL "x86_64")
  target_compile_options(hy_flags INTERFACE -fcf-protection=branch)
elseif(HY_OS STREQUAL "linux" AND HY_ARCH STREQUAL "aarch64")
  target_compile_options(hy_flags INTERFACE -mbranch-protection=bti)
endif()
if(HY_OTHER_SWITCH STREQUAL "switch")
  target_compile_definitions(hy_flags INTERFACE HY_CONTEXT_THREADS=1)
endif()

# Probes for tracers are notes in the libraries: the header that writes them is
# needed to build, and nothing to run.
if(HY_OS STREQUAL "linux")
  set(probes "switched off (HY_PROBES)")
  if(HY_PROBES)
    include(CheckIncludeFile)
    check_include_file(sys/sdt.h HY_SDT_FOUND)
    set(probes "none: no <sys/sdt.h> (Debian: systemtap-sdt-dev)")
    if(HY_SDT_FOUND)
      set(probes "provider hyperion")
      target_compile_definitions(hy_flags INTERFACE HY_HAVE_SDT=1)
      # The notes name symbols that the optimiser of a whole program drops.
      set_source_files_properties("${PROJECT_SOURCE_DIR}/lib/runtime/probes.c"
        PROPERTIES COMPILE_OPTIONS -fno-lto)
    endif()
  endif()
  set_property(GLOBAL APPEND PROPERTY HY_SUMMARY "probes for tracers: ${probes}")
endif()

# Sources of one component, for this architecture and system.
function(hy_component_sources out name)
  if(name STREQUAL "arch")
    file(GLOB sources CONFIGURE_DEPENDS
      "${PROJECT_SOURCE_DIR}/arch/${HY_ARCH}/*.c"
      "${PROJECT_SOURCE_DIR}/arch/${HY_ARCH}/*.S"
      "${PROJECT_SOURCE_DIR}/arch/generic/vec_scalar.c")
    list(REMOVE_DUPLICATES sources)
    list(FILTER sources EXCLUDE REGEX "/${HY_OTHER_SWITCH}\\.c$")
  else()
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/lib/${name}/*.c")
    list(FILTER sources EXCLUDE REGEX "/os_[a-z]+\\.c$")
    if(name STREQUAL "base")
      list(APPEND sources "${PROJECT_SOURCE_DIR}/lib/base/os_posix.c"
        "${PROJECT_SOURCE_DIR}/lib/base/os_${HY_OS}.c")
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

# Mixing the umbrella and a component in one target would give that target two
# copies of base; CMake refuses it at generate time, because both carry this
# property with different values and name it as one that must agree.
function(hy_refuse_mixing target kind)
  set_target_properties(${target} PROPERTIES
    INTERFACE_HYPERION_MIXES_UMBRELLA_AND_COMPONENT ${kind}
    COMPATIBLE_INTERFACE_STRING HYPERION_MIXES_UMBRELLA_AND_COMPONENT)
endfunction()

# One installed library, shared and static, out of whole components. Users see
# Hyperion::<short>, which is the shared one unless Hyperion_USE_STATIC is set (or
# BUILD_SHARED_LIBS is off), and Hyperion::<short>_shared and _static for those
# who must choose.
function(hy_library name)
  string(REGEX REPLACE "^hyperion-" "" short "${name}")
  set(objects "")
  foreach(component IN LISTS ARGN)
    if(TARGET hy_${component})
      list(APPEND objects "$<TARGET_OBJECTS:hy_${component}>")
    endif()
  endforeach()
  set(map "${PROJECT_SOURCE_DIR}/cmake/hyperion.map")
  foreach(kind IN ITEMS SHARED STATIC)
    string(TOLOWER "${name}_${kind}" target)
    string(TOLOWER "${short}_${kind}" alias)
    add_library(${target} ${kind} ${objects})
    set_target_properties(${target} PROPERTIES
      OUTPUT_NAME ${name} LINKER_LANGUAGE C
      EXPORT_NAME ${alias}
      VERSION ${PROJECT_VERSION}
      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    target_include_directories(${target} PUBLIC
      "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>")
    if(HY_NO_ASM)
      target_compile_definitions(${target} PUBLIC HY_NO_ASM=1)
    endif()
    if(short STREQUAL "hyperion")
      hy_refuse_mixing(${target} umbrella)
    else()
      hy_refuse_mixing(${target} component)
    endif()
    add_library(Hyperion::${alias} ALIAS ${target})
  endforeach()
  target_link_libraries(${name}_shared PRIVATE Threads::Threads m)
  target_link_libraries(${name}_static PUBLIC Threads::Threads m)
  if(Hyperion_USE_STATIC)
    add_library(Hyperion::${short} ALIAS ${name}_static)
  else()
    add_library(Hyperion::${short} ALIAS ${name}_shared)
  endif()
  set_property(GLOBAL APPEND PROPERTY HY_LIBRARIES ${name})
  set_property(GLOBAL PROPERTY HY_PARTS_${name} ${ARGN})
  if(HY_OS STREQUAL "linux")
    # nodelete: a signal handler that somebody saved must never dangle; a
    # plug-in that takes the archive in must stay for the same reason.
    # Bsymbolic: beside another copy, each calls its own functions.
    target_link_options(${name}_shared PRIVATE "LINKER:-Bsymbolic-functions"
      "LINKER:--version-script=${map}" "LINKER:-z,nodelete")
    target_link_options(${name}_static INTERFACE
      "$<$<IN_LIST:$<TARGET_PROPERTY:TYPE>,MODULE_LIBRARY;SHARED_LIBRARY>:\
LINKER:-z,nodelete>")
    set_target_properties(${name}_shared PROPERTIES LINK_DEPENDS "${map}")
    # A sanitizer's functions come from the program, so they stay undefined.
    if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize")
      target_link_options(${name}_shared PRIVATE "LINKER:-z,defs")
    endif()
  endif()
endfunction()

function(hy_summary)
  set(kind "build type ${CMAKE_BUILD_TYPE}")
  if(CMAKE_CONFIGURATION_TYPES)
    set(kind "several build types")
  elseif(NOT CMAKE_BUILD_TYPE)
    set(kind "no build type (itself compiled with -O2)")
    if(NOT HY_OPTIMISE)
      set(kind "no build type (CMAKE_C_FLAGS say how it is optimised)")
    endif()
  elseif(CMAKE_BUILD_TYPE STREQUAL "Debug")
    string(APPEND kind " (not optimised: no figure of it means anything)")
  endif()
  message(STATUS "libhyperion ${PROJECT_VERSION}: arch ${HY_ARCH}, "
    "system ${HY_OS}, ${kind}")
  get_property(lines GLOBAL PROPERTY HY_SUMMARY)
  foreach(line IN LISTS lines)
    message(STATUS "  ${line}")
  endforeach()
endfunction()
