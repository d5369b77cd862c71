/*
 * inline_throw.cpp - exceptions thrown and caught on contexts of the inline
 * switch, with switches between: inside the try block, in functions that the
 * exception then leaves, and while other contexts throw theirs.
 */
#include <hyperion/inline/context.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

constexpr int contexts = 8;
constexpr int rounds = 500;

struct flow {
    hy_inline_context self;
    int number = 0;
    int caught = 0;
    int destroyed = 0;
    std::vector<char> stack = std::vector<char>(256 << 10);
};

hy_inline_context home;
flow flows[contexts];

struct guard {
    flow &owner;
    ~guard()
    {
        owner.destroyed++;
    }
};

void pause(flow &f)
{
    hy_inline_context_switch(&f.self, &home, nullptr);
}

__attribute__((noinline)) void descend(flow &f, int depth)
{
    guard g{f};

    hy_inline_context_switch(&f.self, &home, nullptr);
    if (depth == 0)
        throw std::runtime_error(std::to_string(f.number));
    descend(f, depth - 1);
    pause(f);
}

void entry(void *arg, void *)
{
    flow &f = *static_cast<flow *>(arg);

    for (int depth = f.number;; depth = (depth + 1) % 5) {
        try {
            pause(f);
            descend(f, depth % 5);
        } catch (const std::runtime_error &e) {
            if (e.what() == std::to_string(f.number))
                f.caught++;
        }
        pause(f);
    }
}

} // namespace

int main()
{
    int caught = 0, destroyed = 0;

    for (int i = 0; i < contexts; i++) {
        flows[i].number = i;
        if (hy_inline_context_make(&flows[i].self, flows[i].stack.data(),
                                   flows[i].stack.size(), entry,
                                   &flows[i]) != 0)
            return 1;
    }
    for (int round = 0; round < rounds; round++) {
        for (flow &f : flows)
            hy_inline_context_switch(&home, &f.self, nullptr);
        try { /* the thread's own stack throws as well */
            throw round;
        } catch (int thrown) {
            if (thrown != round)
                return 2;
        }
    }
    for (const flow &f : flows) {
        /* Five depths take 2+1, .., 2+5 switches. */
        if (f.caught < rounds / 7 || f.destroyed < f.caught)
            return 3;
        caught += f.caught;
        destroyed += f.destroyed;
    }
    std::printf("%d caught, %d destroyed\n", caught, destroyed);
    return 0;
}
