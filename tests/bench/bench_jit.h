/*
 * bench_jit.h - the expression of bench_jit.c in other hands: the compiler's
 * (-O3, no contraction) and assemblers'. Upstream: bench_jit.c.
 * Downstream: bench_jit_o3.c, bench_jit_peers.cpp.
 */
#ifndef HY_BENCH_JIT_H
#define HY_BENCH_JIT_H

#include "bench.h"

#include <stddef.h>
#include <stdint.h>

/* Ten operations over three columns. */
#define JIT_EXPRESSION "(a + b) * (a - b) + c * (a * b + c) - (b - c) * a"

enum { JIT_COLUMNS = 8, EMITTED = 1000 };

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*jit_function)(const void *const *columns, float *out,
                             size_t count);

/* The same in C, and conjunctions of "column < 0.875" (which f32 holds exactly)
 * over 8 and 2 columns. */
void jit_expression_o3(const void *const *columns, float *out, size_t count);
int jit_test8_o3(const void *const *columns, uint64_t row);
int jit_test2_o3(const void *const *columns, uint64_t row);

/* Each makes code; NULL where the peer is absent. */
BENCH_CXX_PEER(
    double (*const asmjit_emit)(void *count)); /* ns an instruction */
BENCH_CXX_PEER(double (*const xbyak_emit)(void *count));
BENCH_CXX_PEER(
    double (*const asmjit_compile)(void *count)); /* ns an expression */
BENCH_CXX_PEER(jit_function (*const asmjit_expression)(void));

#ifdef __cplusplus
}
#endif

#endif
