/*
 * 14_from_cpp.cc - fibers from C++11: a function object as a fiber, locks that
 * unlock themselves, and exceptions that are thrown, caught and carried to who
 * joins.
 *
 * Shown: what to wrap. An exception must not leave the function that
 * hy_fiber_spawn was given: run() catches it, and get() throws it again in the
 * fiber, or the thread, that waits for the result.
 */
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include <hyperion/hyperion.h>

namespace
{

void check(int result, const char *what)
{
    if (result != 0)
        throw std::runtime_error(std::string(what) + ": error " +
                                 std::to_string(-result));
}

/* A value that a fiber computes. */
template <typename T> class Task
{
  public:
    Task(hy_runtime *rt, std::function<T()> work) : state(new State)
    {
        std::unique_ptr<std::shared_ptr<State>> arg(
            new std::shared_ptr<State>(state));

        state->work = std::move(work);
        check(hy_fiber_spawn(rt, run, arg.get(), nullptr, &fiber), "spawn");
        arg.release();
    }

    T get()
    {
        check(hy_fiber_join(fiber, HY_FOREVER), "join");
        if (state->error)
            std::rethrow_exception(state->error);
        return state->value;
    }

  private:
    struct State {
        std::function<T()> work;
        T value{};
        std::exception_ptr error;
    };

    static void run(void *arg)
    {
        std::unique_ptr<std::shared_ptr<State>> state(
            static_cast<std::shared_ptr<State> *>(arg));

        try {
            (*state)->value = (*state)->work();
        } catch (...) {
            (*state)->error = std::current_exception();
        }
    }

    std::shared_ptr<State> state;
    hy_fiber fiber;
};

class Lock
{
  public:
    explicit Lock(hy_mutex &m) : mutex(m)
    {
        check(hy_mutex_lock(&mutex, HY_FOREVER), "lock");
    }
    ~Lock()
    {
        hy_mutex_unlock(&mutex);
    }
    Lock(const Lock &) = delete;
    Lock &operator=(const Lock &) = delete;

  private:
    hy_mutex &mutex;
};

hy_mutex printing;

long fibonacci(int n)
{
    if (n < 2)
        return n;
    Task<long> before(nullptr, [n] { return fibonacci(n - 1); });

    return fibonacci(n - 2) + before.get();
}

long refuse(int n)
{
    hy_fiber_yield(); /* others run while this one is on its way to throw */
    throw std::invalid_argument("no Fibonacci number " + std::to_string(n));
}

int show(int n)
{
    try {
        Task<long> task(nullptr,
                        [n] { return n < 0 ? refuse(n) : fibonacci(n); });
        long value = task.get();
        Lock lock(printing);

        std::printf("fibonacci(%d) = %ld\n", n, value);
        return 0;
    } catch (const std::invalid_argument &e) {
        Lock lock(printing);

        std::printf("%s\n", e.what());
        return 1;
    }
}

} // namespace

int main()
{
    hy_runtime *rt = nullptr;
    int refused = 0;

    try {
        check(hy_runtime_init(&rt, nullptr), "runtime");
        Task<int> good(rt, [] { return show(15); });
        Task<int> bad(rt, [] { return show(-1); });

        check(hy_runtime_run(rt), "run");
        refused = good.get() + bad.get();
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
    }
    hy_runtime_destroy(rt);
    return refused == 1 ? 0 : 1;
}
