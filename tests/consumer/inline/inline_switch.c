/*
 * inline_switch.c - the inline switch as one program after another compiles it
 * (inline_all.sh): inlined at several places and in loops, in frames that are
 * found by the stack pointer, the frame pointer and the base pointer, with
 * integers, floating-point values and structs alive across it.
 */
#include <hyperion/inline/context.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 64 << 10, ROUNDS = 1000 };

struct sequence {
    hy_inline_context self, user;
    uint64_t factor;
    int moving;
    __attribute__((aligned(16))) char stack[STACK_BYTES];
};

/* Inlined twice below, so that its switches are four. */
static inline void *give(struct sequence *s, uint64_t value)
{
    if (value & 1)
        return hy_inline_context_switch(&s->self, &s->user,
                                        (void *)(uintptr_t)value);
    return hy_inline_context_switch(&s->self, &s->user,
                                    (void *)(uintptr_t)value);
}

static void count_plain(struct sequence *s, uint64_t add)
{
    double sum = 0;
    float half = 0.5f;
    long double wide = 0;

    for (uint64_t i = 0;; i++) {
        add += (uint64_t)(uintptr_t)give(s, i * s->factor + add);
        sum += half;
        wide += 1;
        if (sum != (double)(i + 1) / 2 || wide != (long double)(i + 1))
            abort();
    }
}

static void count_moving(struct sequence *s, uint64_t add)
{
    struct {
        __attribute__((aligned(64))) volatile uint64_t kept[8];
    } frame;
    volatile char *block = (volatile char *)__builtin_alloca(s->factor + 1);

    for (uint64_t i = 0;; i++) {
        frame.kept[i & 7] = i;
        block[s->factor] = (char)i;
        add += (uint64_t)(uintptr_t)give(s, i * s->factor + add);
        if (frame.kept[i & 7] != i || block[s->factor] != (char)i ||
            ((uintptr_t)&frame & 63) != 0)
            abort();
    }
}

static void begin(void *arg, void *value)
{
    struct sequence *s = (struct sequence *)arg;

    if (s->moving)
        count_moving(s, (uint64_t)(uintptr_t)value);
    else
        count_plain(s, (uint64_t)(uintptr_t)value);
}

static uint64_t take(struct sequence *s, uint64_t add)
{
    return (uint64_t)(uintptr_t)hy_inline_context_switch(
        &s->user, &s->self, (void *)(uintptr_t)add);
}

int main(void)
{
    static struct sequence s[4];
    uint64_t wrong = 0;

    for (int i = 0; i < 4; i++) {
        s[i].factor = (uint64_t)i + 3;
        s[i].moving = i & 1;
        if (hy_inline_context_make(&s[i].self, s[i].stack, STACK_BYTES, begin,
                                   &s[i]) != 0)
            return 1;
    }
    for (uint64_t round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 4; i++)
            wrong += take(&s[i], 2) != round * s[i].factor + 2 * (round + 1);
    printf("%d switches, %d wrong\n", 8 * ROUNDS, (int)wrong);
    return wrong != 0;
}
