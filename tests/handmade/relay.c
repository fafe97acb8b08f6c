/* A program by hand, for tests of the thread team: `rounds` times, buffer'[i] = buffer[n - 1 - i] + 1.

   Symbols: n, rounds, steps. Every round depends on what other threads wrote in the round before. In each round the
   elements are cut into `steps` steps without a barrier between them. Output 1 counts the elements that each thread
   took (up to 64 threads); output 2 is 1 where a thread of that number took part. */
#include "runtime_abi.h"
#include <string.h>

static void walk(intaglio_thread *t)
{
    const intaglio_call *call = t->call;
    int64_t n = call->dims[0], rounds = call->dims[1], steps = call->dims[2], taken = 0;
    const int64_t *from = call->inputs[0];
    if (t->id == 0) memset(call->outputs[1], 0, 64 * 8), memset(call->outputs[2], 0, 64 * 8);
    for (int64_t round = 0; round < rounds; round++) {
        int64_t *to = round == rounds - 1 ? call->outputs[0] : (int64_t *)call->arena + round % 2 * n;
        for (int64_t step = 0; step < steps; step++) {
            int64_t low = n * step / steps, high = n * (step + 1) / steps;
            intaglio_tasks(t, high - low, 3);
            for (int64_t begin, end; intaglio_next(t, &begin, &end); taken += end - begin)
                for (int64_t i = low + begin; i < low + end; i++) to[i] = from[n - 1 - i] + 1;
        }
        if (intaglio_barrier(t)) return;
        from = to;
    }
    ((int64_t *)call->outputs[1])[t->id] = taken;
    ((int64_t *)call->outputs[2])[t->id] = 1;
}

int32_t intaglio_plan(const int64_t *dims, int64_t *out)
{
    out[0] = dims[0] * 16 + 64;
    out[1] = out[2] = out[3] = 0;
    out[4] = dims[0];
    out[5] = out[6] = 64;
    return 0;
}

int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk); }
