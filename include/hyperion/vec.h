/*
 * vec.h - distances between vectors, and 8-bit scalar quantisation.
 *
 * The kernels are chosen once, at the first call, from what the processor
 * offers: scalar, AVX2, AVX-512 (with VNNI), NEON (with dot products).
 * hy_vec_isa() says which; the environment variable HY_ISA caps the choice.
 *
 * Threads and signals: every function is pure but for that first choice, and
 * may be called from any thread and any signal handler. None fails, allocates
 * or touches errno. Pointers need the alignment of their element type and no
 * more (64 bytes is fastest); with n or count 0 they may be NULL. Not a byte
 * beyond the arrays is read.
 *
 * Rounding. Integer results and everything about SQ8 are the same bits on every
 * instruction set. f32 results differ between instruction sets in the order of
 * summation; against the exact value, with u = 2^-24 and barring overflow and
 * underflow,
 *
 *      |dot - exact|  <= (n / 16 + 12) u * sum |a[i] * b[i]|
 *      |l2sq - exact| <= (n / 16 + 12) u * exact
 *      |cos - exact|  <= (n / 8 + 24) u
 *
 * On one machine the result for a pair of vectors is always the same bits:
 * single or batch, whatever the alignment and the place in the batch.
 *
 * NaN in either vector gives NaN. No flush to zero is relied on or set.
 */
#ifndef HYPERION_VEC_H
#define HYPERION_VEC_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/**
 * The instruction set in use: "avx512vnni", "avx512", "avx2", "neon+dotprod",
 * "neon" or "scalar". HY_ISA in the environment, read at the first call, caps
 * it by one of these names; what it does not recognise on this architecture
 * caps nothing. A static string.
 */
HY_API const char *hy_vec_isa(void);

/** Sum of a[i] * b[i]; 0 when n is 0. */
HY_API float hy_vec_dot_f32(const float *a, const float *b, size_t n);

/** Squared Euclidean distance, the sum of (a[i] - b[i])^2. */
HY_API float hy_vec_l2sq_f32(const float *a, const float *b, size_t n);

/**
 * Cosine similarity in [-1, 1]; 0 when either vector is zero (n 0 included).
 * Vectors of any finite magnitude give the right result: squares that leave
 * the range of float are summed again in double. NaN when a vector has a NaN
 * or an infinity.
 */
HY_API float hy_vec_cos_f32(const float *a, const float *b, size_t n);

/**
 * Sum of a[i] * b[i], exact up to n = 131,071. Beyond that it is exact where
 * the sum fits into int32_t and saturates where it does not; see
 * hy_vec_dot_i8_wide.
 */
HY_API int32_t hy_vec_dot_i8(const int8_t *a, const int8_t *b, size_t n);

/** The same for any n, exact. */
HY_API int64_t hy_vec_dot_i8_wide(const int8_t *a, const int8_t *b, size_t n);

/**
 * One query against many rows: out[i] = hy_vec_dot_f32(q, rows + i * stride,
 * n), the same bits, several rows in flight. stride is in elements and may be
 * smaller than n (overlapping rows). out must overlap neither q nor rows.
 */
HY_API void hy_vec_dot_f32_batch(const float *q, const float *rows,
                                 size_t stride, size_t count, size_t n,
                                 float *out);

/** As hy_vec_dot_f32_batch, for hy_vec_l2sq_f32. */
HY_API void hy_vec_l2sq_f32_batch(const float *q, const float *rows,
                                  size_t stride, size_t count, size_t n,
                                  float *out);

/** As hy_vec_dot_f32_batch, for hy_vec_cos_f32. */
HY_API void hy_vec_cos_f32_batch(const float *q, const float *rows,
                                 size_t stride, size_t count, size_t n,
                                 float *out);

/** As hy_vec_dot_f32_batch, for hy_vec_dot_i8; what depends on the query alone
 * is computed once. */
HY_API void hy_vec_dot_i8_batch(const int8_t *q, const int8_t *rows,
                                size_t stride, size_t count, size_t n,
                                int32_t *out);

/**
 * What decodes a vector of 8-bit codes: x[i] ~ bias + scale * (code[i] + 128).
 * sum is the sum of all codes. 16 bytes; reserved is 0.
 */
typedef struct hy_sq8 {
    float scale;       /**< distance between neighbouring codes; 0: constant */
    float bias;        /**< the smallest element, decoded from code -128 */
    int32_t sum;       /**< of the codes; saturates beyond n = 16,777,215 */
    uint32_t reserved; /**< 0 */
} hy_sq8;

/**
 * Quantises n floats to codes, with a scale of their own: bias is the smallest
 * element, the largest gets code 127, and
 *
 *      |x[i] - decoded[i]| <= scale * 0.5001 + 2^-21 * max |x|
 *
 * A constant vector decodes exactly. scale is never smaller than 2^-126 unless
 * it is 0. Input that is not finite: NaN counts as 0; an infinity counts as the
 * largest (negative: the smallest) of the other elements, or as 0 when there
 * are none; so the result always decodes to finite numbers. n 0 gives zeros.
 */
HY_API hy_sq8 hy_vec_sq8_encode(const float *x, size_t n, int8_t *codes);

/** x[i] = bias + scale * (code[i] + 128), rounded after each operation. */
HY_API void hy_vec_sq8_decode(hy_sq8 q, const int8_t *codes, size_t n,
                              float *x);

/**
 * Inner product of two quantised vectors from the integer product of their
 * codes. With m = bias + 128 * scale, so that x[i] ~ m + scale * code[i]:
 *
 *      sum q[i] x[i] = n m_q m_x + m_q scale_x sum_x + m_x scale_q sum_q
 *                      + scale_q scale_x dot
 *
 * computed in double and rounded once. dot is hy_vec_dot_i8 of the codes.
 */
HY_API float hy_vec_sq8_score(hy_sq8 q, hy_sq8 x, int32_t dot, size_t n);

/** hy_vec_sq8_score of hy_vec_dot_i8: the inner product of what both decode
 * to. n at most 131,071. */
HY_API float hy_vec_sq8_dot(hy_sq8 q, const int8_t *qcodes, hy_sq8 x,
                            const int8_t *xcodes, size_t n);

/**
 * out[i] = hy_vec_sq8_dot(q, qcodes, heads[i], rows + i * stride, n), the same
 * bits, several rows in flight; stride is in bytes.
 */
HY_API void hy_vec_sq8_dot_batch(hy_sq8 q, const int8_t *qcodes,
                                 const hy_sq8 *heads, const int8_t *rows,
                                 size_t stride, size_t count, size_t n,
                                 float *out);

HY_END_DECLS

#endif
