/* A program by hand, for tests of threads: `rounds` times, buffer'[i] = buffer[n - 1 - i] + 1.

   Symbols: n, rounds, steps. Every round depends on what other threads wrote in the round before. In each round the
   elements are cut into `steps` steps without a barrier between them. Output 1 counts the elements that each thread
   took (up to 64 threads); output 2 is 1 where a thread of that number could have taken some. */
#include "runtime_abi.h"
#include <string.h>

static void reversed(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)
{
    const int64_t *from = buf[0], low = p[0], n = p[1];
    int64_t *to = buf[1];
    for (int64_t i = low + begin; i < low + end; i++) to[i] = from[n - 1 - i] + 1;
    *(int64_t *)scratch += end - begin;
}

static void walk(intaglio_walker *w)
{
    const intaglio_call *call = w->call;
    int64_t n = call->dims[0], rounds = call->dims[1], steps = call->dims[2];
    int64_t *from = call->inputs[0], *taken = call->outputs[1], *present = call->outputs[2];
    memset(taken, 0, 64 * 8);
    memset(present, 0, 64 * 8);
    memset(w->scratch, 0, (size_t)(w->threads * call->scratch_bytes));
    for (int64_t round = 0; round < rounds; round++) {
        int64_t *to = round == rounds - 1 ? call->outputs[0] : (int64_t *)call->arena + round % 2 * n;
        for (int64_t step = 0; step < steps; step++) {
            int64_t low = n * step / steps, high = n * (step + 1) / steps;
            intaglio_open(w, &(const intaglio_step){ .kernel = reversed, .buf = (void *[]){ from, to }, .buffers = 2,
                                                     .p = (int64_t[]){ low, n }, .sizes = 2, .tasks = high - low, .grain = 3,
                                                     .scratch = w->scratch, .scratch_bytes = call->scratch_bytes });
        }
        if (intaglio_barrier(w)) return;
        from = to;
    }
    for (int32_t i = 0; i < w->threads && i < 64; i++) {
        taken[i] = *(int64_t *)(w->scratch + i * call->scratch_bytes);
        present[i] = 1;
    }
}

int32_t intaglio_plan(const int64_t *dims, int64_t *out)
{
    out[0] = dims[0] * 16 + 64;
    out[1] = 64;
    out[2] = out[3] = 0;
    out[4] = dims[0];
    out[5] = out[6] = 64;
    return 0;
}

int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk, NULL, 0, 4); }
