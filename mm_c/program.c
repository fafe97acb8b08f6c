/* The whole model: a function that walks its steps in order, some of them in files of their own. */
#include "places.h"
#include "bounds.h"
#include <stdint.h>


KERNEL(k147c8a47769a962f);

int32_t intaglio_plan(const int64_t *d, int64_t *out)
{
    (void)d;
    out[0] = 0;
    int64_t scratch = 0;
    out[1] = (scratch + 63) / 64 * 64;
    int64_t work = 0; /* operations */
    work += 1 * ((d[0] * 1179648));
    out[2] = work < 400000 ? 1 : 0;
    out[3] = 0;
    out[4] = d[0];
    out[5] = 768;
    return 0;
}

static int32_t steps(intaglio_walker *w, const intaglio_places *at)
{
    const intaglio_call *const call = w->call;
    int64_t *const d = at->d;
    char *const arena = call->arena, *const device_arena = call->device_arena;
    char **const region = at->region, **const scratch = at->scratch, **const device = at->device;
    int64_t *const scratch_bytes = at->scratch_bytes;
    (void)call, (void)d, (void)arena, (void)device_arena, (void)region, (void)scratch, (void)device, (void)scratch_bytes;

    { /* step 0 */
        void *const buf[] = { call->inputs[0], (void *)(call->weights + 0), call->outputs[0] EXTENTS((void *)((d[0] * 768)), (void *)(589824), (void *)((d[0] * 768)), (void *)(0)) };
        const int64_t p[] = { d[0], 768, 589824, 96, 1 };
        intaglio_mark(w, 0);
        intaglio_open(w, &(const intaglio_step){
            .kernel = k147c8a47769a962f, .number = 0, .buf = buf, .p = p,
            .buffers = sizeof buf / sizeof *buf, .sizes = sizeof p / sizeof *p,
            .tasks = ((d[0] + 95) / 96 * 48), .grain = 1,
            .scratch = w->scratch, .scratch_bytes = call->scratch_bytes,
        });
    }

    return 0;
}

static void walk(intaglio_walker *w)
{
    const intaglio_places at = { .d = (int64_t *)w->call->dims }; /* which no step writes */
    if (steps(w, &at)) return;
    intaglio_mark(w, 1);
}

int32_t intaglio_run(const intaglio_call *call)
{
    return intaglio_launch(call, walk, NULL, 0, 12);
}
