/*
 * sim_help.c - what several of the tests share (sim_help.h).
 */
#include "sim_help.h"

struct member {
    sim_body body;
    void *shared;
    int index, thread;
    hy_fiber fiber;
};

hy_runtime *sim_runtime(unsigned workers, unsigned flags)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;

    o.workers = workers;
    o.flags = flags;
    o.stack_bytes = 16 << 10;
    if (sim_draw(2) == 0)
        o.fibers_max = 64; /* kept exactly: slots are used again at once */
    SIM_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    return rt;
}

int sim_spawn(hy_runtime *rt, void (*entry)(void *), void *arg, hy_fiber *out)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    if (sim_draw(2) == 0)
        return hy_fiber_spawn(rt, entry, arg, NULL, out);
    o.flags = HY_FIBER_MIGRATE;
    return hy_fiber_spawn(rt, entry, arg, &o, out);
}

hy_deadline sim_deadline(void)
{
    switch (sim_draw(4)) {
    case 0:
        return HY_NOW;
    case 1:
        return hy_after(sim_draw(300));
    default:
        return HY_FOREVER;
    }
}

static void member_main(void *arg)
{
    struct member *m = arg;

    m->body(m->shared, m->index);
}

void sim_crew(sim_body body, void *shared, int count, bool cancels)
{
    struct member member[SIM_CREW_MOST];
    hy_runtime *rt = sim_runtime(1 + (unsigned)sim_draw(2), 0);

    SIM_CHECK(count <= SIM_CREW_MOST);
    SIM_CHECK_EQ(hy_runtime_start(rt), 0);
    for (int i = 0; i < count; i++) {
        struct member *m = &member[i];

        *m = (struct member){body, shared, i, -1, {0}};
        if (sim_draw(2) == 0)
            m->thread = sim_start(member_main, m);
        else
            SIM_CHECK_EQ(sim_spawn(rt, member_main, m, &m->fiber), 0);
    }
    if (cancels && member[0].fiber.id != 0)
        hy_fiber_cancel(member[0].fiber);
    for (int i = 0; i < count; i++)
        if (member[i].thread >= 0)
            sim_join(member[i].thread);
        else
            SIM_CHECK_EQ(hy_fiber_join(member[i].fiber, HY_FOREVER), 0);
    SIM_CHECK_EQ(hy_runtime_stop(rt), 0);
    SIM_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    SIM_CHECK_EQ(hy_runtime_destroy(rt), 0);
}
