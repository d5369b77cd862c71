# cmake -C cmake/no_asm.cmake -S . -B build-no-asm: the generic half of arch/.
set(HY_NO_ASM ON CACHE BOOL "")
set(HY_TESTS ON CACHE BOOL "")
