/* A program by hand, for tests: y = x * w + b for x [batch, 3]; z [3, batch] = y transposed, from a copy in the arena.

   Refuses batch > 1000 (assert 0); fails with error 0 and the numbers (batch, 7) when x[0][0] is infinite. */
#include "runtime_abi.h"
#include <math.h>

#define COLUMNS 3

static void walk(intaglio_thread *t)
{
    const intaglio_call *call = t->call;
    int64_t batch = call->dims[0];
    const float *x = call->inputs[0], *w = (const float *)call->weights, *b = (const float *)(call->weights + 64);
    float *y = call->outputs[0], *z = call->outputs[1], *copy = (float *)call->arena;

    intaglio_mark(t, 0);
    if (batch > 0 && isinf(x[0])) {
        intaglio_fail(t, 1, batch, 7);
        return;
    }
    intaglio_tasks(t, batch, 4);
    for (int64_t begin, end; intaglio_next(t, &begin, &end);)
        for (int64_t i = begin * COLUMNS; i < end * COLUMNS; i++) {
            float *scratch = (float *)t->scratch;
            scratch[0] = x[i] * w[i % COLUMNS];
            copy[i] = y[i] = scratch[0] + b[i % COLUMNS];
        }
    if (intaglio_barrier(t)) return;
    intaglio_mark(t, 1);
    intaglio_tasks(t, COLUMNS * batch, 1);
    for (int64_t begin, end; intaglio_next(t, &begin, &end);)
        for (int64_t i = begin; i < end; i++) z[i] = copy[i % batch * COLUMNS + i / batch];
    intaglio_mark(t, 2);
}

int32_t intaglio_plan(const int64_t *dims, int64_t *out)
{
    out[0] = (dims[0] * COLUMNS * 4 + 63) / 64 * 64;
    out[1] = 64;
    out[2] = dims[0] < 8 ? 1 : 0;
    out[3] = 0;
    out[4] = out[7] = dims[0];
    out[5] = out[6] = COLUMNS;
    return dims[0] > 1000;
}

int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk); }
