/*
 * expr.h - an expression between its source text and what runs it.
 *
 *      source --expr_lex--> tokens --expr_parse--> operands
 *             --expr_build--> nodes (struct hy_arch_jit_node, arch.h)
 *             --expr_interp--> blocks of values, or
 *             --expr_native--> machine code
 *
 * Nodes stand in the order in which they are computed; an operand always has a
 * smaller index than its user.
 *
 *      index   0          1           2        root       .. truth
 *            | COLUMN 0 | CONST 0.5 | MUL 0 1 | ... root | NE root 0 |
 *
 * Nodes up to root make up hy_kernel_eval; those up to truth, hy_kernel_test.
 */
#ifndef HYI_EXPR_H
#define HYI_EXPR_H

#include <hyperion/jit.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "arch.h"
#include "code.h"

enum {
    HYI_EXPR_NODES_MAX = 2048,
    HYI_EXPR_OPEN_MAX = 128,
    HYI_EXPR_SCRATCH_BYTES = 16384, /* of stack, for the interpreter */
    HYI_EXPR_NO_SLOT = 0xffff
};

struct hy_expr {
    _Atomic uint32_t holds; /* the caller's, and one for each kernel */
    uint16_t count, root, truth;
    uint16_t column_count; /* distinct columns that are read */
    uint16_t param_count;
    uint16_t slot_count;
    const struct hy_arch_jit_node *nodes;
    const uint64_t *constants; /* each in the low bytes of its own type */
    const uint16_t *columns;   /* which columns are read, rising by first use */
    const uint16_t *params;
    const uint16_t *slots; /* the interpreter's buffer of each node */
};

/* --- expr_lex.c: tokens --------------------------------------------------- */

enum hyi_token_kind {
    HYI_TOKEN_END,
    HYI_TOKEN_INTEGER,
    HYI_TOKEN_FLOAT,  /* 1.5 */
    HYI_TOKEN_SINGLE, /* 1.5f */
    HYI_TOKEN_NAME,
    HYI_TOKEN_PARAM,
    HYI_TOKEN_SIGN, /* one of hyi_sign */
    HYI_TOKEN_BAD   /* message says why */
};

/* Signs of one character are that character. */
enum hyi_sign {
    HYI_SIGN_LE = 256,
    HYI_SIGN_GE,
    HYI_SIGN_EQ,
    HYI_SIGN_NE,
    HYI_SIGN_AND,
    HYI_SIGN_OR
};

struct hyi_token {
    enum hyi_token_kind kind;
    size_t position, length;
    int sign;
    uint64_t integer; /* also the parameter's number */
    double number;
    const char *message;
};

/* Reads the token at *position and moves it behind. */
void hyi_expr_lex(const char *source, size_t *position, struct hyi_token *out);

bool hyi_expr_is_name(const char *text);

/* --- expr_build.c: typed nodes -------------------------------------------- */

/* A value on the way into an operation: a node, or a literal without a type. */
struct hyi_operand {
    enum { HYI_OPERAND_NODE, HYI_OPERAND_INTEGER, HYI_OPERAND_FLOAT } kind;
    bool negative; /* of an integer literal: its magnitude is in integer */
    uint16_t node;
    uint64_t integer;
    double number;
    size_t position;
};

struct hyi_builder {
    struct hy_arch_jit_node *nodes;
    uint64_t *constants;
    uint32_t count, capacity, constant_count;
    size_t position; /* of the operation being built, for errors */
    int error;       /* 0, or what the parse returns */
    hy_expr_error *message;
};

/* Notes the first error of a parse; later ones are its consequences. */
void hyi_expr_fail(struct hyi_builder *b, int error, size_t position,
                   const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct hyi_operand hyi_expr_leaf(struct hyi_builder *b, unsigned op,
                                 unsigned type, unsigned which);
struct hyi_operand hyi_expr_single(struct hyi_builder *b, float value);

/* op: an operation of arch.h on values; what is wrong goes to b->message. */
struct hyi_operand hyi_expr_unary(struct hyi_builder *b, unsigned op,
                                  struct hyi_operand a);
struct hyi_operand hyi_expr_plus(struct hyi_builder *b, struct hyi_operand a);
struct hyi_operand hyi_expr_not(struct hyi_builder *b, struct hyi_operand a);
struct hyi_operand hyi_expr_binary(struct hyi_builder *b, unsigned op,
                                   struct hyi_operand left,
                                   struct hyi_operand right);
struct hyi_operand hyi_expr_logic(struct hyi_builder *b, unsigned op,
                                  struct hyi_operand left,
                                  struct hyi_operand right);
struct hyi_operand hyi_expr_select(struct hyi_builder *b,
                                   struct hyi_operand condition,
                                   struct hyi_operand yes,
                                   struct hyi_operand no);
struct hyi_operand hyi_expr_convert(struct hyi_builder *b, unsigned type,
                                    struct hyi_operand a);

/* Drops what nothing uses and lays the expression out; 0 or -ENOMEM. */
int hyi_expr_finish(struct hyi_builder *b, struct hyi_operand root,
                    struct hy_expr **out);

/* --- expr_interp.c ---------------------------------------------------------
 */

/* One operation on count values; dst may be a or b. */
typedef void (*hyi_expr_function)(void *dst, const void *a, const void *b,
                                  const void *c, size_t count);

/* NULL for leaves. */
hyi_expr_function hyi_expr_operation(const struct hy_arch_jit_node *node);

/* Bytes of a value in columns and in the interpreter's buffers. */
unsigned hyi_expr_bytes(unsigned type);

void hyi_expr_interpret(const hy_expr *expr, unsigned root,
                        const void *const *columns, const void *const *params,
                        void *out, size_t first, size_t count);

/* --- expr_compile.c --------------------------------------------------------
 */

typedef int (*hyi_eval_function)(const void *const *columns,
                                 const void *const *params, void *out,
                                 size_t count);
typedef int (*hyi_test_function)(const void *const *columns,
                                 const void *const *params, uint64_t row);

struct hy_kernel {
    hyi_eval_function eval; /* NULL: interpret */
    hyi_test_function test;
    const hy_expr *expr;
    hy_code *code;
    struct hyi_code_span span;
    uint32_t test_at, pool_at; /* offsets into the span */
};

/* --- expr_native.c ---------------------------------------------------------
 */

/*
 * Emits eval and test of expr into code memory. 0, -ENOTSUP when it has no
 * native form, or the error of hyi_code_publish.
 */
int hyi_expr_emit(const hy_expr *expr, hy_code *code, struct hy_kernel *k);

#endif
