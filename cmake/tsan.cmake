# cmake -C cmake/tsan.cmake -S . -B build-tsan: data races. clang, plain tests.
set(CMAKE_C_COMPILER clang CACHE STRING "")
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g" CACHE STRING "")
set(CMAKE_C_FLAGS "-fsanitize=thread -fno-omit-frame-pointer -DHY_DEBUG=2"
  CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
set(HY_TEST_PLAIN ON CACHE BOOL "")
set(HY_EXAMPLES OFF CACHE BOOL "")
set(HY_TEST_TIMEOUT 600 CACHE STRING "")
