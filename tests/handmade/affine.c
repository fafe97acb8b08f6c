/* A program by hand, for tests: y = x * w + b for x [batch, 3]; z [3, batch] = y transposed, from a copy in the arena.

   Refuses batch > 1000 (assert 0); fails with error 0 and the numbers (batch, 7) when x[0][0] is infinite. */
#include "runtime_abi.h"
#include <math.h>

#define COLUMNS 3

static void product(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)
{
    const float *x = buf[0], *w = buf[1], *b = buf[2];
    float *y = buf[3], *copy = buf[4], *part = (float *)scratch;
    for (int64_t i = begin * COLUMNS; i < end * COLUMNS; i++) {
        part[0] = x[i] * w[i % COLUMNS];
        copy[i] = y[i] = part[0] + b[i % COLUMNS];
    }
}

static void transposed(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)
{
    const float *copy = buf[0];
    float *z = buf[1];
    for (int64_t i = begin; i < end; i++) z[i] = copy[i % p[0] * COLUMNS + i / p[0]];
}

static void walk(intaglio_walker *w)
{
    const intaglio_call *call = w->call;
    int64_t batch = call->dims[0];
    const float *x = call->inputs[0];
    void *const first[] = { (void *)x, (void *)call->weights, (void *)(call->weights + 64), call->outputs[0], call->arena };
    void *const second[] = { call->arena, call->outputs[1] };

    if (batch > 0 && isinf(x[0])) {
        intaglio_fail(w, 1, batch, 7);
        return;
    }
    intaglio_open(w, &(const intaglio_step){ .kernel = product, .buf = first, .buffers = 5, .tasks = batch, .grain = 4,
                                             .scratch = w->scratch, .scratch_bytes = call->scratch_bytes });
    if (intaglio_barrier(w)) return;
    intaglio_open(w, &(const intaglio_step){ .kernel = transposed, .buf = second, .buffers = 2, .p = &batch, .sizes = 1,
                                             .tasks = COLUMNS * batch, .grain = 1, .number = 1 });
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

int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk, NULL, 0, 5); }
