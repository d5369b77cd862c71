/*
 * fault.c - one handler for SIGSEGV and SIGBUS, the ranges that it answers,
 * and the chain to whoever was there before (fault.h).
 *
 *      hyi_process.fault.first -> slot -> slot -> slot     never freed, reused
 *                                 state    FREE | LIVE | CLOSING
 *                                 base, end, function, ctx
 *                                 readers  threads inside the function
 *
 * A handler pins a slot (readers + 1) and then looks at its state; a detach
 * sets the state and then waits until nobody pins it. Both steps are
 * sequentially consistent, so that one of the two always sees the other.
 *
 * Every asynchronous signal is blocked while the handler runs: the function of
 * another handler may touch a range too, and would find this thread inside.
 *
 * Invariant: what the handler reads is either in a slot that it pins, or was
 * written before the handlers were installed.
 * Upstream: pager, runtime (stacks). Downstream: arch.h (fault), os.h.
 */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "arch.h"
#include "bits.h"
#include "check.h"
#include "order.h"
#include "os.h"
#include "process.h"

enum { SLOT_FREE, SLOT_LIVE, SLOT_CLOSING };
enum { STACK_BYTES = 64 << 10 };

struct hyi_fault_slot {
    _Atomic int state;
    _Atomic unsigned readers;
    _Atomic uintptr_t base, end;
    hyi_fault_function function;
    void *ctx;
    bool parents;                /* not to be had by a child; under the lock */
    struct hyi_fault_slot *next; /* written before the slot is published */
};

/* The slots whose functions this thread is inside of, innermost first. */
struct frame {
    const struct hyi_fault_slot *slot;
    const struct frame *outer;
};

static _Thread_local const struct frame *inside
    __attribute__((tls_model("initial-exec")));

static const int signals[2] = {SIGSEGV, SIGBUS};

static int row_of(int signal)
{
    return signal == signals[1];
}

static bool is_inside(const struct hyi_fault_slot *slot)
{
    for (const struct frame *f = inside; f != NULL; f = f->outer)
        if (f->slot == slot)
            return true;
    return false;
}

static bool holds(const struct hyi_fault_slot *slot, uintptr_t address)
{
    return address >= atomic_load_explicit(&slot->base, memory_order_relaxed) &&
           address < atomic_load_explicit(&slot->end, memory_order_relaxed);
}

/* The pinned slot of address, or NULL. */
static struct hyi_fault_slot *find_and_pin(uintptr_t address)
{
    struct hyi_fault_slot *slot;

    /* Acquire: pairs with the release in take_slot. */
    slot = atomic_load_explicit(&hyi_process.fault.first, memory_order_acquire);
    for (; slot != NULL; slot = slot->next) {
        if (!holds(slot, address))
            continue;
        /* Sequentially consistent, with close_slot: pin, then look. */
        atomic_fetch_add(&slot->readers, 1);
        if (atomic_load(&slot->state) == SLOT_LIVE && holds(slot, address) &&
            !is_inside(slot))
            return slot;
        atomic_fetch_sub(&slot->readers, 1);
    }
    return NULL;
}

static bool answer(int signal, siginfo_t *info, void *context)
{
    struct hy_arch_fault machine;
    struct hyi_fault_slot *slot;
    struct hyi_fault fault;
    struct frame frame;
    bool resolved;

    hy_arch_fault_read(&machine, info, context);
    slot = find_and_pin((uintptr_t)machine.address);
    if (slot == NULL)
        return false;
    fault.address = machine.address;
    fault.pc = machine.pc;
    fault.sp = machine.sp;
    fault.signal = signal;
    fault.write = machine.write;
    fault.context = context;
    frame.slot = slot;
    frame.outer = inside;
    inside = &frame;
    resolved = slot->function(slot->ctx, &fault);
    inside = frame.outer;
    atomic_fetch_sub(&slot->readers, 1);
    return resolved;
}

/* --- the chain ------------------------------------------------------------ */

/*
 * Puts SIG_DFL back. A fault happens again when the handler returns, and the
 * core shows the guilty instruction; a signal that was sent is sent again.
 */
static void give_up(int signal, bool was_sent)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};

    sigaction(signal, &standard, NULL);
    if (was_sent)
        raise(signal);
}

/* The mask that the previous handler would have been given by the kernel. */
static void mask_for(const struct sigaction *previous, int signal,
                     const ucontext_t *context)
{
    sigset_t mask = context->uc_sigmask;

    for (int s = 1; s < NSIG; s++)
        if (sigismember(&previous->sa_mask, s) == 1)
            sigaddset(&mask, s);
    if (!(previous->sa_flags & SA_NODEFER))
        sigaddset(&mask, signal);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void forward(int signal, siginfo_t *info, void *context, bool was_sent)
{
    struct hyi_fault_registry *registry = &hyi_process.fault;
    const struct sigaction *previous = &registry->previous[row_of(signal)];
    _Atomic bool *spent = &registry->spent[row_of(signal)];
    bool standard = previous->sa_handler == SIG_DFL;

    if (!standard && (previous->sa_flags & SA_RESETHAND))
        standard = atomic_exchange(spent, true);
    if (!standard && previous->sa_handler == SIG_IGN) {
        if (was_sent)
            return;
        standard = true; /* the kernel does not let a fault be ignored */
    }
    if (standard) {
        give_up(signal, was_sent);
        return;
    }
    mask_for(previous, signal, context);
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(signal, info, context);
    else
        previous->sa_handler(signal);
}

static void handle(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    bool was_sent = info->si_code <= 0; /* by kill or raise: no address */

    if (was_sent || !answer(signal, info, context))
        forward(signal, info, context, was_sent);
    errno = saved;
}

static bool is_on_top(int signal)
{
    struct sigaction now;

    return sigaction(signal, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
           now.sa_sigaction == handle;
}

/* The previous action is stored before ours is active: a thread may fault at
 * once. */
static int install_one(int row)
{
    struct sigaction ours = {.sa_sigaction = handle};

    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigfillset(&ours.sa_mask);
    sigdelset(&ours.sa_mask, SIGSEGV);
    sigdelset(&ours.sa_mask, SIGBUS);
    sigdelset(&ours.sa_mask, SIGFPE);
    sigdelset(&ours.sa_mask, SIGILL);
    sigdelset(&ours.sa_mask, SIGTRAP);
    atomic_store(&hyi_process.fault.spent[row], false);
    if (sigaction(signals[row], NULL, &hyi_process.fault.previous[row]) != 0 ||
        sigaction(signals[row], &ours, NULL) != 0)
        return -errno;
    return 0;
}

/* A handler that stayed below another one is reached through that one:
 * installing it twice would close a ring. */
static int install(void)
{
    struct hyi_fault_registry *registry = &hyi_process.fault;
    int saved = errno, r = 0;

    for (int row = 0; row < 2 && r == 0; row++) {
        if (registry->installed[row])
            continue;
        r = install_one(row);
        registry->installed[row] = r == 0;
    }
    errno = saved;
    return r;
}

static void uninstall(void)
{
    struct hyi_fault_registry *registry = &hyi_process.fault;
    int saved = errno;

    for (int row = 0; row < 2; row++) {
        if (!registry->installed[row] || !is_on_top(signals[row]))
            continue;
        sigaction(signals[row], &registry->previous[row], NULL);
        registry->installed[row] = false;
    }
    errno = saved;
}

/* --- ranges --------------------------------------------------------------- */

/* With the lock held: a free slot, or a new one at the head of the list. */
static struct hyi_fault_slot *take_slot(void)
{
    struct hyi_fault_registry *registry = &hyi_process.fault;
    struct hyi_fault_slot *slot;
    int saved = errno;

    slot = atomic_load_explicit(&registry->first, memory_order_relaxed);
    for (; slot != NULL; slot = slot->next)
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) ==
            SLOT_FREE)
            return slot;
    slot = calloc(1, sizeof(*slot));
    errno = saved;
    if (slot == NULL)
        return NULL;
    slot->next = atomic_load_explicit(&registry->first, memory_order_relaxed);
    /* Release: pairs with the acquire in find_and_pin. */
    atomic_store_explicit(&registry->first, slot, memory_order_release);
    return slot;
}

/* The handler must be done with it before it may be used again. */
static void close_slot(struct hyi_fault_slot *slot)
{
    _Atomic uint32_t never = 0;

    /* Sequentially consistent, with find_and_pin: close, then look. */
    hyi_store_then_look(&slot->state, SLOT_CLOSING);
    while (atomic_load(&slot->readers) != 0)
        hyi_os_futex_wait(&never, 0, hyi_os_now() + 50000, false);
    atomic_store_explicit(&slot->end, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->base, 0, memory_order_relaxed);
    atomic_store(&slot->state, SLOT_FREE);
}

/* --- fork ----------------------------------------------------------------- */

static unsigned times_inside(const struct hyi_fault_slot *slot)
{
    unsigned n = 0;

    for (const struct frame *f = inside; f != NULL; f = f->outer)
        n += f->slot == slot;
    return n;
}

/* The threads that were inside of a function are not there any more, nor is
 * the memory that was left to the parent. */
static void fork_child(void)
{
    struct hyi_fault_slot *slot =
        atomic_load_explicit(&hyi_process.fault.first, memory_order_relaxed);
    bool any = hyi_process.fault.ranges != 0;

    for (; slot != NULL; slot = slot->next) {
        unsigned mine = times_inside(slot);

        atomic_store_explicit(&slot->readers, mine, memory_order_relaxed);
        if (!slot->parents || mine != 0 ||
            atomic_load_explicit(&slot->state, memory_order_relaxed) !=
                SLOT_LIVE)
            continue;
        close_slot(slot);
        hyi_process.fault.ranges--;
    }
    if (any && hyi_process.fault.ranges == 0)
        uninstall();
}

static const struct hyi_fork_hooks fork_hooks = {.child = fork_child};

static struct hyi_fault_slot *find_overlap(uintptr_t base, uintptr_t end)
{
    struct hyi_fault_slot *slot =
        atomic_load_explicit(&hyi_process.fault.first, memory_order_relaxed);

    for (; slot != NULL; slot = slot->next)
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) ==
                SLOT_LIVE &&
            base < slot->end && slot->base < end)
            return slot;
    return NULL;
}

static int attach_locked(uintptr_t base, uintptr_t end,
                         hyi_fault_function function, void *ctx, bool parents)
{
    struct hyi_fault_slot *slot;
    int r;

    if (find_overlap(base, end) != NULL)
        return -EEXIST;
    hyi_process.lock[HYI_LOCK_FAULT].hooks = &fork_hooks;
    slot = take_slot();
    if (slot == NULL)
        return -ENOMEM;
    slot->function = function;
    slot->ctx = ctx;
    slot->parents = parents;
    atomic_store_explicit(&slot->base, base, memory_order_relaxed);
    atomic_store_explicit(&slot->end, end, memory_order_relaxed);
    atomic_store(&slot->state, SLOT_LIVE); /* with find_and_pin */
    r = install();
    if (r != 0) {
        close_slot(slot);
        if (hyi_process.fault.ranges == 0)
            uninstall();
        return r;
    }
    hyi_process.fault.ranges++;
    return 0;
}

static int attach(void *base, size_t bytes, hyi_fault_function function,
                  void *ctx, bool parents)
{
    uintptr_t start = (uintptr_t)base, end = start + bytes;
    int r;

    HYI_ASSERT(bytes != 0 && end > start);
    hyi_process_lock(HYI_LOCK_FAULT);
    r = attach_locked(start, end, function, ctx, parents);
    hyi_process_unlock(HYI_LOCK_FAULT);
    return r;
}

int hyi_fault_attach(void *base, size_t bytes, hyi_fault_function function,
                     void *ctx)
{
    return attach(base, bytes, function, ctx, false);
}

int hyi_fault_attach_unforked(void *base, size_t bytes,
                              hyi_fault_function function, void *ctx)
{
    return attach(base, bytes, function, ctx, true);
}

/* With the lock held: the slot that was attached at base, or NULL. */
static struct hyi_fault_slot *find(const void *base)
{
    uintptr_t at = (uintptr_t)base;
    struct hyi_fault_slot *slot = find_overlap(at, at + 1);

    return slot != NULL && slot->base == at ? slot : NULL;
}

int hyi_fault_detach(void *base)
{
    struct hyi_fault_slot *slot;

    hyi_process_lock(HYI_LOCK_FAULT);
    slot = find(base);
    if (slot == NULL) {
        hyi_process_unlock(HYI_LOCK_FAULT);
        return -ENOENT;
    }
    HYI_ASSERT(!is_inside(slot));
    close_slot(slot);
    if (--hyi_process.fault.ranges == 0)
        uninstall();
    hyi_process_unlock(HYI_LOCK_FAULT);
    return 0;
}

/* --- alternate stacks ----------------------------------------------------- */

/* At the thread's end: the kernel must forget the stack before it is unmapped.
 */
static void free_stack(void *memory)
{
    stack_t none = {.ss_flags = SS_DISABLE}, now;
    size_t page = hyi_os_page_bytes();

    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == (char *)memory + page)
        sigaltstack(&none, NULL);
    hyi_os_release(memory, page + hyi_os_signal_stack_bytes(STACK_BYTES));
}

static int stack_key(pthread_key_t *key)
{
    struct hyi_fault_registry *registry = &hyi_process.fault;
    int r = 0;

    hyi_process_lock(HYI_LOCK_FAULT);
    if (!registry->has_stack_key) {
        r = -pthread_key_create(&registry->stack_key, free_stack);
        registry->has_stack_key = r == 0;
    }
    *key = registry->stack_key;
    hyi_process_unlock(HYI_LOCK_FAULT);
    return r == 0 ? 0 : -ENOMEM;
}

/* The thread's own, with a guard page below; NULL when there is no memory. */
static void *new_stack(pthread_key_t key, size_t bytes)
{
    size_t page = hyi_os_page_bytes();
    void *memory;

    if (hyi_os_reserve(&memory, page + bytes, HYI_OS_NONE, NULL, false) != 0)
        return NULL;
    if (hyi_os_protect((char *)memory + page, bytes,
                       HYI_OS_READ | HYI_OS_WRITE) != 0 ||
        pthread_setspecific(key, memory) != 0) {
        hyi_os_release(memory, page + bytes);
        return NULL;
    }
    return memory;
}

static int give_stack(pthread_key_t key, size_t bytes)
{
    stack_t stack = {.ss_size = bytes};
    void *memory = pthread_getspecific(key);

    if (memory == NULL)
        memory = new_stack(key, bytes);
    if (memory == NULL)
        return -ENOMEM;
    stack.ss_sp = (char *)memory + hyi_os_page_bytes();
    return sigaltstack(&stack, NULL) == 0 ? 0 : -ENOMEM;
}

int hyi_fault_thread_prepare(void)
{
    size_t bytes = hyi_os_signal_stack_bytes(STACK_BYTES);
    int saved = errno, r;
    pthread_key_t key;
    stack_t now;

    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE) &&
        now.ss_size >= STACK_BYTES)
        return 0;
    r = stack_key(&key);
    if (r == 0)
        r = give_stack(key, bytes);
    errno = saved;
    return r;
}
