# cmake -C cmake/debug.cmake -S . -B build-debug: no optimisation, every assert.
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_C_FLAGS "-DHY_DEBUG=2 -fno-omit-frame-pointer" CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
