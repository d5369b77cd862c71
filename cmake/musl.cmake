# cmake -C cmake/musl.cmake -S . -B build-musl: static programs with musl-gcc.
# The kernel's headers come after musl's own.
cmake_host_system_information(RESULT machine QUERY OS_PLATFORM)
set(CMAKE_C_COMPILER musl-gcc CACHE STRING "")
set(CMAKE_C_FLAGS "-idirafter /usr/include \
-idirafter /usr/include/${machine}-linux-gnu"
  CACHE STRING "")
set(CMAKE_EXE_LINKER_FLAGS "-static" CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
set(HY_TEST_PLAIN ON CACHE BOOL "")
set(HY_EXAMPLES OFF CACHE BOOL "")
