# cmake -C cmake/aarch64.cmake -S . -B build-aarch64: cross-compiled; ctest runs
# under qemu-user, which shows that the code functions, not that its memory
# orders suffice.
set(CMAKE_SYSTEM_NAME Linux CACHE STRING "")
set(CMAKE_SYSTEM_PROCESSOR aarch64 CACHE STRING "")
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc CACHE STRING "")
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-L;/usr/aarch64-linux-gnu"
  CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
set(HY_TEST_PLAIN ON CACHE BOOL "")
set(HY_TEST_TIMEOUT 600 CACHE STRING "")
