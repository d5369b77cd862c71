/*
 * fault.h - the registry of address ranges whose faults (SIGSEGV, SIGBUS) the
 * library answers, and the chain to the handlers of the host.
 *
 *      signal -> one handler -> range that holds the address? -> its function
 *                                  true: resolved, the instruction runs again
 *                                  false, or no range: the previous handler,
 *                                  with its own flags honoured; SIG_DFL is put
 *                                  back and the instruction runs again
 *                                  (a signal that was sent is sent again)
 *
 * The handlers are installed with the first range and, after the last one is
 * gone, restored if ours is still on top; else ours stays and forwards, and a
 * later range relies on the handler above to forward in its turn. A handler
 * that the host installs on top and that does not forward hides every range.
 *
 * The previous handler gets the signal mask that its own flags ask for, and
 * runs on the alternate stack if the thread has one. A fault while the signal
 * is blocked ends the process: the kernel does not deliver it.
 */
#ifndef HYI_FAULT_H
#define HYI_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hyi_fault {
    void *address;
    void *pc, *sp; /* NULL where the machine does not tell */
    int signal;
    bool write;    /* false where the machine does not tell */
    void *context; /* the ucontext_t */
};

/*
 * Runs in the faulting thread's signal handler: raw system calls and lock-free
 * state only. A fault of the same range inside it goes to the previous handler.
 */
typedef bool (*hyi_fault_function)(void *ctx, const struct hyi_fault *fault);

/*
 * Registers [base, base + bytes). 0, -EEXIST when it overlaps a range of this
 * registry, -ENOMEM, or the error of sigaction. Any thread.
 */
int hyi_fault_attach(void *base, size_t bytes, hyi_fault_function function,
                     void *ctx);

/*
 * The same for memory that children of fork do not inherit: they do not have
 * the range either, and other memory may come to its place. One call, because
 * another thread may fork at any moment.
 */
int hyi_fault_attach_unforked(void *base, size_t bytes,
                              hyi_fault_function function, void *ctx);

/*
 * Removes it; on return no thread runs its function any more. -ENOENT. Not
 * from inside a fault function.
 */
int hyi_fault_detach(void *base);

/*
 * Gives the calling thread an alternate signal stack of at least 64 KiB if it
 * has none or a smaller one; freed when the thread ends. Needed where the
 * thread's own stack may be what overflowed. 0 or -ENOMEM.
 */
int hyi_fault_thread_prepare(void);

#endif
