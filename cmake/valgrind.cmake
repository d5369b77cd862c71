# cmake -C cmake/valgrind.cmake -S . -B build-valgrind: ctest runs each unit
# test under valgrind's memcheck.
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g" CACHE STRING "")
# All registers are right at each access, because a trapped one runs again.
set(CMAKE_CROSSCOMPILING_EMULATOR "valgrind;--quiet;--error-exitcode=99;\
--vex-iropt-register-updates=allregs-at-mem-access;\
--suppressions=${CMAKE_CURRENT_LIST_DIR}/../tests/valgrind.supp;\
--leak-check=full;--errors-for-leak-kinds=definite;--fair-sched=yes;\
--show-leak-kinds=definite;--child-silent-after-fork=yes;--num-callers=30"
  CACHE STRING "")
set(HY_TESTS ON CACHE BOOL "")
set(HY_TEST_PLAIN ON CACHE BOOL "")
set(HY_EXAMPLES OFF CACHE BOOL "")
set(HY_TEST_TIMEOUT 600 CACHE STRING "")
