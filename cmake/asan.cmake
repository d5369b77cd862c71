# cmake -C cmake/asan.cmake -S . -B build-asan: addresses, leaks, undefined
# behaviour. clang, because gcc 12 missed an overflow that clang reported; plain
# tests, because a report from a child process must not be lost.
set(CMAKE_C_COMPILER clang CACHE STRING "")
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g" CACHE STRING "")
set(CMAKE_C_FLAGS "-fsanitize=address,undefined -fno-sanitize-recover=all \
-fno-omit-frame-pointer -DHY_DEBUG=2" CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
set(HY_TEST_PLAIN ON CACHE BOOL "")
set(HY_EXAMPLES OFF CACHE BOOL "")
set(HY_TEST_TIMEOUT 600 CACHE STRING "")
