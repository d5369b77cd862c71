/*
 * fiber_throw.cpp - exceptions in fibers that wait in the middle of them: in a
 * try block, in a destructor while the stack is unwound, in a catch block, in
 * nested ones, and before they throw again. Each fiber must find its own
 * exception, and its own count of those in flight, whatever the others of its
 * thread were doing. "leaves" shows what becomes of one that nobody catches.
 */
#include <hyperion/hyperion.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#define CHECK(condition)                                                       \
    ((condition)                                                               \
         ? (void)checks++                                                      \
         : (std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition),       \
            std::_Exit(1)))

namespace
{

constexpr int fibers = 64;
constexpr int rounds = 40;

std::atomic<long> checks{0};
std::atomic<int> ended{0};
hy_mutex mutex;

/* What a fiber throws: it knows whose it is, and how deep it was. */
struct mine : std::runtime_error {
    int owner, depth;
    mine(int of, int at)
        : std::runtime_error(std::to_string(of)), owner(of), depth(at)
    {
    }
};

void blocks(void *)
{
}

/* Waits in one of several ways. */
void pause(int way)
{
    switch (way % 4) {
    case 0:
        hy_fiber_sleep(hy_after(1000));
        break;
    case 1:
        CHECK(hy_mutex_lock(&mutex, HY_FOREVER) == 0);
        hy_fiber_yield();
        CHECK(hy_mutex_unlock(&mutex) == 0);
        break;
    case 2:
        CHECK(hy_offload(blocks, nullptr, HY_FOREVER) == 0);
        break;
    default:
        hy_fiber_yield();
    }
}

/* Waits while the stack is unwound, and throws and catches there. */
struct guard {
    int owner, way;
    ~guard()
    {
        int flying = std::uncaught_exceptions();

        CHECK(flying == 1);
        pause(way);
        CHECK(std::uncaught_exceptions() == flying);
        try {
            pause(way + 1);
            throw mine(owner, -1);
        } catch (const mine &e) {
            pause(way + 2);
            CHECK(e.owner == owner && e.depth == -1);
            CHECK(std::uncaught_exceptions() == flying);
        }
        pause(way + 3);
        CHECK(std::uncaught_exceptions() == flying);
    }
};

__attribute__((noinline)) void descend(int owner, int depth, int way)
{
    guard g{owner, way};

    CHECK(std::uncaught_exceptions() == 0);
    pause(way + depth);
    if (depth == 0)
        throw mine(owner, way);
    descend(owner, depth - 1, way + 1);
}

/* Catches, waits, and throws the same again. */
void again(int owner, int depth, int way)
{
    try {
        descend(owner, depth, way);
        CHECK(false);
    } catch (const mine &e) {
        std::exception_ptr before = std::current_exception();

        CHECK(e.owner == owner && e.depth == way + depth);
        pause(way);
        CHECK(std::current_exception() == before);
        CHECK(std::uncaught_exceptions() == 0);
        try {
            pause(way + 1);
            throw std::logic_error(e.what());
        } catch (const std::logic_error &inner) {
            pause(way + 2);
            CHECK(std::stoi(inner.what()) == owner);
            CHECK(std::current_exception() != before);
        }
        pause(way + 3);
        CHECK(std::current_exception() == before);
        throw;
    }
}

void nests(int owner, int depth, int way)
{
    try {
        again(owner, depth, way);
    } catch (...) {
        pause(way);
        std::throw_with_nested(mine(owner, -2));
    }
}

void storm(void *arg)
{
    int owner = *static_cast<int *>(arg);

    for (int round = 0; round < rounds; round++) {
        int depth = (owner + round) % 5, way = owner * 7 + round;

        CHECK(std::current_exception() == nullptr);
        CHECK(std::uncaught_exceptions() == 0);
        try {
            nests(owner, depth, way);
            CHECK(false);
        } catch (const mine &outer) {
            pause(way);
            CHECK(outer.owner == owner && outer.depth == -2);
            try {
                std::rethrow_if_nested(outer);
                CHECK(false);
            } catch (const mine &inner) {
                pause(way + 1);
                CHECK(inner.owner == owner && inner.depth == way + depth);
            }
        }
        pause(way);
    }
    ended++;
}

/* An exception that one fiber caught is thrown again in another. */
struct handover {
    std::exception_ptr what;
    hy_event ready;
};

void gives(void *arg)
{
    handover *h = static_cast<handover *>(arg);

    try {
        throw mine(4711, 0);
    } catch (...) {
        pause(0);
        h->what = std::current_exception();
        hy_event_set(&h->ready);
        pause(3);
        CHECK(std::current_exception() == h->what);
    }
    ended++;
}

void takes(void *arg)
{
    handover *h = static_cast<handover *>(arg);

    CHECK(hy_event_wait(&h->ready, HY_FOREVER) == 0);
    try {
        std::rethrow_exception(h->what);
    } catch (const mine &e) {
        pause(0);
        CHECK(e.owner == 4711);
    }
    ended++;
}

hy_runtime *runtime(unsigned workers)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = nullptr;

    o.workers = workers;
    CHECK(hy_runtime_init(&rt, &o) == 0);
    return rt;
}

void spawn(hy_runtime *rt, void (*entry)(void *), void *arg)
{
    CHECK(hy_fiber_spawn(rt, entry, arg, nullptr, nullptr) == 0);
}

void many(unsigned workers)
{
    hy_runtime *rt = runtime(workers);
    static int numbers[fibers];
    handover h = {};

    ended = 0;
    for (int i = 0; i < fibers; i++) {
        numbers[i] = i;
        spawn(rt, storm, &numbers[i]);
    }
    spawn(rt, takes, &h);
    spawn(rt, gives, &h);
    CHECK(hy_runtime_run(rt) == 0);
    CHECK(ended == fibers + 2);
    CHECK(hy_runtime_destroy(rt) == 0);
}

/* A thread that has an exception lends itself to fibers. */
void polled_in_catch()
{
    hy_runtime *rt = runtime(1);
    int number = 1;

    ended = 0;
    spawn(rt, storm, &number);
    try {
        throw mine(99, 0);
    } catch (const mine &e) {
        std::exception_ptr before = std::current_exception();

        while (ended == 0) {
            CHECK(hy_runtime_poll(rt, hy_after(1000000)) >= 0);
            CHECK(std::current_exception() == before);
            CHECK(std::uncaught_exceptions() == 0);
        }
        CHECK(e.owner == 99);
    }
    CHECK(hy_runtime_destroy(rt) == 0);
}

/* Nobody catches it: no frame is left, and std::terminate sees it. */
struct witness {
    ~witness()
    {
        std::_Exit(3);
    }
};

void leaves(void *)
{
    witness w;

    hy_fiber_yield();
    throw mine(12, 0);
}

[[noreturn]] void terminates()
{
    try {
        std::rethrow_exception(std::current_exception());
    } catch (const mine &e) {
        std::_Exit(e.owner == 12 && hy_fiber_self().id != 0 ? 77 : 4);
    }
    std::_Exit(5);
}

} // namespace

#ifdef main /* a plug-in, whose name is this */
extern "C" int main(int argc, char **argv);
#endif

int main(int argc, char **argv)
{
    if (argc > 1 && std::strcmp(argv[1], "leaves") == 0) {
        hy_runtime *rt = runtime(1);

        std::set_terminate(terminates);
        spawn(rt, leaves, nullptr);
        hy_runtime_run(rt);
        return 2;
    }
    many(1);
    many(2);
    polled_in_catch();
    std::printf("%ld checks\n", checks.load());
    return 0;
}
