/*
 * bench_fibers_peers.cpp - Boost.Context's fcontext and Boost.Fiber as peers.
 */
#include "bench_fibers.h"

#include <cstdlib>
#include <memory>
#include <vector>

#ifdef HY_HAVE_BOOST_CONTEXT

#include <boost/context/detail/fcontext.hpp>

namespace
{

namespace ctx = boost::context::detail;

struct stack {
    char *memory = static_cast<char *>(std::malloc(STACK_BYTES));
    ~stack()
    {
        std::free(memory);
    }
    ctx::fcontext_t make(void (*entry)(ctx::transfer_t))
    {
        return ctx::make_fcontext(memory + STACK_BYTES, STACK_BYTES, entry);
    }
};

uint64_t switches_left;
ctx::fcontext_t main_context;

/* Both contexts run this: every switch returns to the same instruction. As the
   library's, each counts in a register. */
void bounce(ctx::transfer_t t)
{
    for (;;) {
        for (uint64_t i = switches_left / 2; i > 0; i--)
            t = ctx::jump_fcontext(t.fctx, nullptr);
        ctx::jump_fcontext(main_context, nullptr);
    }
}

void enter(ctx::transfer_t t)
{
    ctx::fcontext_t other = static_cast<ctx::fcontext_t>(t.data);

    main_context = t.fctx;
    t = ctx::jump_fcontext(other, nullptr);
    bounce(t);
}

double same_site(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count);
    stack a, b;
    uint64_t start;

    switches_left = n;
    start = bench_now();
    ctx::jump_fcontext(a.make(enter), b.make(bounce));
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

void answer(ctx::transfer_t t)
{
    for (;;)
        t = ctx::jump_fcontext(t.fctx, t.data);
}

/* Main and one context, each at its own place in the code. */
double two_sites(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count);
    stack a;
    ctx::transfer_t t = {a.make(answer), nullptr};
    uint64_t start = bench_now();

    for (uint64_t i = 0; i < n; i += 2)
        t = ctx::jump_fcontext(t.fctx, nullptr);
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

ctx::fcontext_t ring[RING_CONTEXTS];
unsigned ring_at;

__attribute__((noinline)) void ring_next()
{
    unsigned self = ring_at, next = (self + 1) % RING_CONTEXTS;
    ctx::transfer_t t;

    if (switches_left-- == 0)
        ctx::jump_fcontext(main_context, nullptr);
    ring_at = next;
    t = ctx::jump_fcontext(ring[next], nullptr);
    /* Whoever came here was the one before. */
    ring[(self + RING_CONTEXTS - 1) % RING_CONTEXTS] = t.fctx;
}

__attribute__((noinline)) int ring_nested(int depth)
{
    int r = 0;

    if (depth == 0)
        ring_next();
    else
        r = ring_nested(depth - 1) + 1;
    BENCH_USE(r);
    return r;
}

void ring_entry(ctx::transfer_t t)
{
    if (t.data != nullptr)
        main_context = t.fctx;
    else
        ring[(ring_at + RING_CONTEXTS - 1) % RING_CONTEXTS] = t.fctx;
    for (;;)
        ring_nested(NESTED_CALLS);
}

double nested(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count);
    stack stacks[RING_CONTEXTS];
    uint64_t start;

    for (unsigned i = 0; i < RING_CONTEXTS; i++)
        ring[i] = stacks[i].make(ring_entry);
    switches_left = n;
    ring_at = 0;
    start = bench_now();
    ctx::jump_fcontext(ring[0], stacks);
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

} // namespace

extern "C" {
extern double (*const fcontext_same_site)(void *) = same_site;
extern double (*const fcontext_two_sites)(void *) = two_sites;
extern double (*const fcontext_nested)(void *) = nested;
}

#else

extern "C" {
extern double (*const fcontext_same_site)(void *) = nullptr;
extern double (*const fcontext_two_sites)(void *) = nullptr;
extern double (*const fcontext_nested)(void *) = nullptr;
}

#endif

#ifdef HY_HAVE_BOOST_FIBER

#include <boost/fiber/all.hpp>

namespace
{

namespace fibers = boost::fibers;

/* Stacks of 16 KiB: with its default of 128 KiB, 100,000 do not fit. */
using allocator = fibers::fixedsize_stack;

double yield(void *load)
{
    auto l = static_cast<fiber_load *>(load);
    uint64_t rounds = l->count / l->fibers + 1, start = 0, end = 0;
    std::vector<fibers::fiber> all;
    unsigned ready = 0;

    all.reserve(l->fibers);
    for (unsigned i = 0; i < l->fibers; i++)
        all.emplace_back(std::allocator_arg, allocator(16384), [&] {
            boost::this_fiber::yield();
            if (ready++ == 0)
                start = bench_now();
            for (uint64_t k = 0; k < rounds; k++)
                boost::this_fiber::yield();
            end = bench_now();
        });
    for (auto &fiber : all)
        fiber.join();
    return static_cast<double>(end - start) /
           static_cast<double>(rounds * l->fibers);
}

double spawn(void *count)
{
    uint64_t n = *static_cast<uint64_t *>(count), ran = 0, start = bench_now();

    for (uint64_t i = 0; i < n; i++)
        fibers::fiber(std::allocator_arg, allocator(16384), [&] {
            ran++;
        }).join();
    if (ran != n)
        bench_wrong("boost fibers spawned");
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

uint64_t skynet_node(uint64_t first, uint64_t leaves)
{
    uint64_t sums[SKYNET_WIDTH] = {}, sum = 0;
    fibers::fiber children[SKYNET_WIDTH];

    if (leaves == 1)
        return first;
    for (uint64_t i = 0; i < SKYNET_WIDTH; i++)
        children[i] =
            fibers::fiber(std::allocator_arg, allocator(16384), [=, &sums] {
                uint64_t share = leaves / SKYNET_WIDTH;

                sums[i] = skynet_node(first + i * share, share);
            });
    for (uint64_t i = 0; i < SKYNET_WIDTH; i++) {
        children[i].join();
        sum += sums[i];
    }
    return sum;
}

/* ns a leaf; the fibers above the leaves are 11 % more. */
double skynet(void *load)
{
    auto l = static_cast<fiber_load *>(load);
    uint64_t start = bench_now(), n = l->count;

    if (skynet_node(0, n) != n * (n - 1) / 2)
        bench_wrong("boost skynet");
    return static_cast<double>(bench_now() - start) / static_cast<double>(n);
}

/* Resident bytes of each of 20,000 fibers that wait. */
double bytes(void *)
{
    enum { MANY = 20000 };
    uint64_t before = bench_field("/proc/self/status", "VmRSS:");
    std::vector<fibers::fiber> all;
    bool open = false;

    all.reserve(MANY);
    for (unsigned i = 0; i < MANY; i++)
        all.emplace_back(std::allocator_arg, allocator(16384), [&] {
            while (!open)
                boost::this_fiber::yield();
        });
    boost::this_fiber::yield();
    before = bench_field("/proc/self/status", "VmRSS:") - before;
    open = true;
    for (auto &fiber : all)
        fiber.join();
    return static_cast<double>(before) * 1024 / MANY;
}

} // namespace

extern "C" {
extern double (*const boost_fiber_bytes)(void *) = bytes;
extern double (*const boost_fiber_yield)(void *) = yield;
extern double (*const boost_fiber_spawn)(void *) = spawn;
extern double (*const boost_fiber_skynet)(void *) = skynet;
}

#else

extern "C" {
extern double (*const boost_fiber_bytes)(void *) = nullptr;
extern double (*const boost_fiber_yield)(void *) = nullptr;
extern double (*const boost_fiber_spawn)(void *) = nullptr;
extern double (*const boost_fiber_skynet)(void *) = nullptr;
}

#endif
