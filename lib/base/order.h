/*
 * order.h - the store of a race in which each side writes its own word and
 * then reads the other's, and at least one must see the other.
 *
 *      this side                           the other side
 *      hyi_store_then_look(&mine, x)       a read-modify-write of other
 *      atomic_load(&other)                 atomic_load(&mine)
 *
 * In C11 a sequentially consistent store would do. It is an exchange, because
 * emulators (QEMU's user mode up to 7.2 at least) run the AArch64 pair
 * STLR; LDAR without the barrier that the architecture puts between the two,
 * so that each side may miss the other; an exchange they keep in order. On
 * x86-64 both compile to the same XCHG.
 */
#ifndef HYI_ORDER_H
#define HYI_ORDER_H

#include <stdatomic.h>

#define hyi_store_then_look(word, value) ((void)atomic_exchange(word, value))

#endif
