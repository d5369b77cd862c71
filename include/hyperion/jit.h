/*
 * jit.h - code memory, and typed expressions over columns that compile to
 * vector machine code.
 *
 *      hy_code *code;  hy_expr *expr;  hy_kernel *k;
 *
 *      hy_code_create(&code, NULL);
 *      hy_expr_parse(&expr, "price * (1 - discount) > $0", &schema, &error);
 *      hy_expr_compile(&k, code, expr, NULL);
 *      hy_kernel_eval(k, columns, params, out, rows);
 *
 * The language. Operators and their precedence are those of C:
 *
 *      c ? a : b    ||    &&    == !=    < <= > >=    + -    * / %    - + !
 *
 * Operands are column names, parameters $0 $1 ..., literals (12, 0xff, 1.5,
 * 1e-3, 1.5f), and calls: min(a, b), max(a, b), abs(a), sqrt(a), and the
 * conversions f32(a), f64(a), i32(a), i64(a), u8(a).
 *
 * Types. Operands convert as in C: u8 and truth values promote to i32, then the
 * larger of i32 < i64 < f32 < f64 is taken. A literal takes the type of the
 * other operand when that type holds it exactly (a literal with a point or an
 * exponent is held by floating-point types only), else it is f64 or i64.
 * Comparisons and logic give truth values, which are stored as uint8_t 0 or 1.
 *
 * Values. Floating point rounds as C does in the default environment, each
 * operation once, never contracted. Integers wrap. Division and remainder by
 * zero give 0, the smallest integer divided by -1 gives itself. Conversion of
 * floating point to integer truncates and saturates, NaN gives 0; integer to
 * smaller integer wraps. A value is true when it is not equal to 0, so NaN is
 * true. min(a, b) is a < b ? a : b, max(a, b) is a > b ? a : b. Interpreter
 * and native code agree bit for bit, except for the payload of a NaN.
 *
 * Threads. hy_code and hy_expr may be used from any thread at once; a kernel
 * may be run by any number of threads at once. Each is destroyed or released
 * once, by any thread. Nothing here may be called from a signal handler but
 * hy_kernel_eval, hy_kernel_test, hy_kernel_backend and hy_expr_type.
 *
 * fork. Kernels run on in parent and child. After a fork neither process writes
 * to code memory that both can see: each takes fresh memory for what it
 * compiles next. A child made by the bare system call, past libc's fork, has no
 * writable view of the code memory: it may run kernels, not compile.
 */
#ifndef HYPERION_JIT_H
#define HYPERION_JIT_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/* ---- code memory --------------------------------------------------------- */

/** Executable memory. */
typedef struct hy_code hy_code;

/** How code gets into executable memory, and what can be done with it. */
enum {
    HY_CODE_AUTO = 0,   /**< the first of the following that works */
    HY_CODE_DUAL = 1,   /**< one memory at two addresses: one is written, the
                             other executed */
    HY_CODE_TOGGLE = 2, /**< pages that are written first and executed after,
                             never both; a page or more for each kernel */
    HY_CODE_NONE = 4,   /**< no code can be written: expressions interpret */
    HY_CODE_NATIVE = 8, /**< caps only: expressions compile to machine code */
    HY_CODE_PATCH = 16  /**< caps only: patch sites are rewritten (patch.h) */
};

/**
 * What this process can do: HY_CODE_DUAL, _TOGGLE, _NATIVE and _PATCH as far as
 * they work, or HY_CODE_NONE. The first call tries them out with a function of
 * a few bytes and keeps the answer. Any thread.
 */
HY_API unsigned hy_code_caps(void);

/** How code memory is made; zero means default. */
typedef struct hy_code_options {
    size_t size;        /**< sizeof(hy_code_options) */
    unsigned mechanism; /**< HY_CODE_AUTO, _DUAL, _TOGGLE or _NONE */
    size_t limit_bytes; /**< executable memory at most; 0 = 64 MiB */
    const char *name;   /**< shown in /proc/self/maps; NULL = "hyperion" */
    hy_report report;   /**< told when a mechanism does not work */
} hy_code_options;

#define HY_CODE_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_code_options), HY_CODE_AUTO, 0, NULL,                        \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/**
 * Creates code memory; none of it is ever writable and executable at one
 * address. It is mapped when the first kernel needs it. Where no code can be
 * written this succeeds, and expressions interpret.
 *
 * @return 0; -EINVAL for out NULL or an unknown mechanism; -E2BIG for options
 * of a newer header; -ENOTSUP when the mechanism asked for does not work here;
 * -ENOMEM.
 */
HY_API int hy_code_create(hy_code **out, const hy_code_options *options);

/**
 * Gives up the caller's hold; the memory goes with its last kernel.
 * @return 0, also for NULL.
 */
HY_API int hy_code_destroy(hy_code *code);

/** Figures of one hy_code; size is set by the caller. */
typedef struct hy_code_stats {
    size_t size;            /**< set by the caller */
    unsigned mechanism;     /**< HY_CODE_DUAL, _TOGGLE or _NONE */
    unsigned regions;       /**< mapped stretches of executable memory */
    size_t mapped_bytes;    /**< executable address space */
    size_t used_bytes;      /**< of them, held by kernels */
    uint64_t kernels;       /**< native kernels alive */
    uint64_t published;     /**< native kernels ever */
    uint64_t emitted_bytes; /**< machine code ever published */
} hy_code_stats;

/** @return 0, or -EINVAL for NULL or a size that cannot hold itself. */
HY_API int hy_code_stats_get(const hy_code *code, hy_code_stats *out);

/* ---- expressions --------------------------------------------------------- */

/** Type of a column, a parameter or a result. */
typedef enum hy_type { HY_F32 = 1, HY_F64, HY_I32, HY_I64, HY_U8 } hy_type;

/** Bytes of one value of a type: 4, 8, 4, 8, 1; 0 for what is no type. */
HY_API size_t hy_type_bytes(hy_type type);

/**
 * A column: its name is a letter, '_' or a byte above 127, then those, digits
 * and dots.
 */
typedef struct hy_column {
    const char *name; /**< as expressions call it */
    hy_type type;     /**< of each value */
} hy_column;

/** What an expression may name. Nothing of it is kept after the parse. */
typedef struct hy_schema {
    size_t size;              /**< sizeof(hy_schema) */
    const hy_column *columns; /**< column_count of them */
    size_t column_count;      /**< at most 65,535 */
    const hy_type *params;    /**< types of $0, $1, ... */
    size_t param_count;       /**< at most 65,535 */
} hy_schema;

#define HY_SCHEMA_INIT                                                         \
    {                                                                          \
        sizeof(hy_schema), NULL, 0, NULL, 0                                    \
    }

/** A parsed expression: typed and immutable. */
typedef struct hy_expr hy_expr;

/** Why an expression was refused. */
typedef struct hy_expr_error {
    size_t position;   /**< byte offset into the source; 0 for the schema */
    char message[120]; /**< one line, without a newline */
} hy_expr_error;

/**
 * Parses and types an expression. At most 128 operators and parentheses may
 * be open at one point, and 2,048 values computed.
 *
 * @param out     the expression, for the caller to destroy
 * @param source  text in UTF-8, ending with a zero
 * @param schema  NULL = no columns and no parameters
 * @param error   filled on -EINVAL and -E2BIG; may be NULL
 * @return 0; -EINVAL for a source or schema that is wrong, as error tells;
 * -E2BIG for one that is too large, or a schema of a newer header; -ENOMEM.
 */
HY_API int hy_expr_parse(hy_expr **out, const char *source,
                         const hy_schema *schema, hy_expr_error *error);

/** NULL is allowed. Kernels made of it live on. */
HY_API void hy_expr_destroy(hy_expr *expr);

/** Type of the result; truth values are HY_U8. 0 for NULL. */
HY_API hy_type hy_expr_type(const hy_expr *expr);

/* ---- kernels ------------------------------------------------------------- */

/** Who evaluates. */
enum {
    HY_EXPR_AUTO = 0,        /**< native code where it can be had */
    HY_EXPR_INTERPRETER = 1, /**< no code is generated */
    HY_EXPR_NATIVE = 2       /**< -ENOTSUP rather than interpret */
};

/** How an expression is compiled; zero means default. */
typedef struct hy_expr_options {
    size_t size;      /**< sizeof(hy_expr_options) */
    unsigned backend; /**< HY_EXPR_AUTO, _INTERPRETER or _NATIVE */
} hy_expr_options;

#define HY_EXPR_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_expr_options), HY_EXPR_AUTO                                  \
    }

/** An expression ready to run. */
typedef struct hy_kernel hy_kernel;

/**
 * Makes an expression runnable. Native code is refused where hy_code_caps()
 * lacks HY_CODE_NATIVE, where code is of HY_CODE_NONE, and for an expression
 * that keeps more intermediate values alive at once than 4,000 bytes of stack
 * hold (some 60 of 8 bytes an element): then HY_EXPR_AUTO interprets.
 *
 * @param out      the kernel, for the caller to release
 * @param code     where native code goes; NULL = none, for the interpreter
 * @param expr     may be destroyed before the kernel
 * @param options  NULL = all defaults
 * @return 0; -EINVAL for out or expr NULL or an unknown backend; -ENOTSUP when
 * HY_EXPR_NATIVE cannot be had; -ENOSPC when HY_EXPR_NATIVE would exceed the
 * limit of code; -E2BIG for options of a newer header; -ENOMEM, or another
 * error of mapping memory under HY_EXPR_NATIVE.
 */
HY_API int hy_expr_compile(hy_kernel **out, hy_code *code, const hy_expr *expr,
                           const hy_expr_options *options);

/** HY_EXPR_INTERPRETER or HY_EXPR_NATIVE; -EINVAL for NULL. */
HY_API int hy_kernel_backend(const hy_kernel *k);

/**
 * Evaluates rows 0 to count - 1.
 *
 * @param k        any number of threads may run it at once
 * @param columns  in schema order, each pointing to count values of its type;
 *                 any alignment; those that the expression does not name may be
 *                 NULL
 * @param params   in schema order, each pointing to one value of its type
 * @param out      count values of hy_expr_type(); truth values as 0 or 1. May
 *                 be a column of the same size of value, or must not overlap
 * @param count    rows; 0 does nothing
 * @return 0; -EINVAL for a NULL that is needed. Allocates nothing.
 */
HY_API int hy_kernel_eval(const hy_kernel *k, const void *const *columns,
                          const void *const *params, void *out, size_t count);

/**
 * Evaluates one row.
 * @return 1 when the result is not 0, else 0; -EINVAL for k NULL. The pointers
 * that the expression needs are not checked.
 */
HY_API int hy_kernel_test(const hy_kernel *k, const void *const *columns,
                          const void *const *params, uint64_t row);

/** Ends a kernel that no thread runs any more. NULL is allowed. */
HY_API void hy_kernel_release(hy_kernel *k);

HY_END_DECLS

#endif
