/*
 * bench_vec_fast.c - the plain loops at -Ofast for this processor.
 */
#define SUFFIX fast
#include "bench_vec_loops.h"
