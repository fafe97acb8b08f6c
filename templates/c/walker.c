/* The walker of a program's steps, on the thread that calls it; the contract is in runtime_abi.h.

   In:  calls from program.c and from the runtime.
   Out: tasks that are done, by this thread or, where there is a pool, with the help of its threads; the status of the run.
   It must never need threads: a program that runs on one is linked without pool.c. */

#define _GNU_SOURCE
#include "bounds.h"
#include "runtime_abi.h"

#include <sched.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define LINE 64 /* bytes of a cache line: what threads write is that far apart */

int32_t intaglio_abi(void) { return INTAGLIO_ABI; }

int64_t intaglio_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- Walking a program --------------------------------------------------------------------------------------- */

/* Sets this thread's floating-point mode, which is the same for all threads of a run; returns the old one. */
static uint64_t set_float_mode(uint64_t mode)
{
#if defined(__SSE2__)
    uint64_t before = _mm_getcsr();
    _mm_setcsr((uint32_t)mode);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(before));
    __asm__ __volatile__("msr fpcr, %0" : : "r"(mode));
    return before;
#else
    return mode;
#endif
}

static uint64_t float_mode(int32_t flags)
{
#if defined(__SSE2__)
    return flags & INTAGLIO_FLUSH_DENORMALS ? 0x9fc0 : 0x1f80; /* all exceptions masked, round to nearest; FTZ, DAZ */
#else
    return flags & INTAGLIO_FLUSH_DENORMALS ? 1 << 24 : 0;
#endif
}

static int32_t fail(intaglio_walker *w, int32_t status, int64_t a, int64_t b, int64_t c, int64_t d)
{
    int32_t none = 0;
    if (__atomic_compare_exchange_n(&w->status, &none, status, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        int64_t *report = w->call->report;
        report[0] = a, report[1] = b, report[2] = c, report[3] = d;
    }
    return 1;
}

int32_t intaglio_fail(intaglio_walker *w, int32_t status, int64_t a, int64_t b) { return fail(w, status, a, b, 0, 0); }

#ifdef INTAGLIO_CHECKED

static _Thread_local struct {
    const intaglio_opened *opened;
    jmp_buf back;
} guarded; /* the kernel that this thread is in */

_Noreturn void intaglio_outside(const char *name, int64_t index, int64_t extent)
{
    const intaglio_opened *o = guarded.opened;
    fail(o->walker, INTAGLIO_OUTSIDE, o->step.number, (int64_t)(intptr_t)name, index, extent);
    longjmp(guarded.back, 1);
}

#endif

/* ---- The record of a run ------------------------------------------------------------------------------------- */

/* The record of a step that begins at `now`; NULL if nobody asks, or there is no room. */
static intaglio_record *record(const intaglio_walker *w, int64_t step, int64_t now)
{
    intaglio_profile *profile = w->call->profile;
    if (!profile || profile->count++ >= profile->capacity) return NULL;
    size_t work = (size_t)w->call->threads * sizeof(intaglio_work);
    intaglio_record *r = (void *)((char *)profile->records + (size_t)(profile->count - 1) * (sizeof *r + work));
    r->step = step, r->begin = r->end = now;
    memset(r->work, 0, work);
    return r;
}

static inline int64_t now_if_recorded(const intaglio_walker *w) { return w->call->profile ? intaglio_nanoseconds() : 0; }

/* Adds what a thread did since `begin`; returns the time. */
static int64_t add_work(intaglio_work *work, int64_t begin)
{
    int64_t end = intaglio_nanoseconds();
    if (!work->claims++) {
        work->begin = begin;
#ifdef __linux__
        static _Thread_local int64_t number;
        if (!number) number = syscall(SYS_gettid);
        work->thread = number, work->cpu = sched_getcpu();
#else
        work->thread = work->cpu = -1;
#endif
    }
    work->end = end, work->busy += end - begin;
    return end;
}

/* Adds what this thread did, all of a step that begins at `begin`. */
static void record_alone(const intaglio_walker *w, int64_t step, int64_t begin)
{
    intaglio_record *r = record(w, step, begin);
    if (r) r->end = add_work(r->work, begin);
}

/* ---- Steps --------------------------------------------------------------------------------------------------- */

/* Runs tasks of a step, on any thread. If accesses are checked, the first one out of bounds ends this call. */
static void call_kernel(void *arg, int32_t id, int64_t begin, int64_t end)
{
    const intaglio_opened *o = arg;
    const intaglio_step *step = &o->step;
    set_float_mode(o->walker->mode);
#ifdef INTAGLIO_CHECKED
    guarded.opened = o;
    if (setjmp(guarded.back)) return;
#endif
    int64_t start = o->record ? intaglio_nanoseconds() : 0;
    step->kernel(step->buf, step->p, begin, end, step->scratch + id * step->scratch_bytes);
    if (o->record) add_work(&o->record->work[id], start);
}

static inline intaglio_opened *opened(const intaglio_walker *w, int32_t i) { return (void *)(w->steps + i * w->stride); }

/* Makes the run fail if the step's kernel has found a fault in data. */
static void conclude(intaglio_walker *w, const intaglio_opened *o)
{
    if (o->fault) intaglio_fail(w, o->step.faults[__builtin_ctzll(o->fault)], 0, 0);
}

static void fill_next(intaglio_walker *w)
{
    w->next = opened(w, w->opened);
    w->next->fault = 0;
}

/* Runs the steps that are open. */
static void finish(intaglio_walker *w)
{
    intaglio_job jobs[INTAGLIO_JOBS];
    int64_t now = now_if_recorded(w);
    for (int32_t i = 0; i < w->opened; i++) {
        intaglio_opened *o = opened(w, i);
        o->record = record(w, o->step.number, now);
        jobs[i] = (intaglio_job){call_kernel, o, o->step.tasks, o->step.grain};
    }
    w->call->pool->run(w->team, jobs, w->opened);
    now = now_if_recorded(w);
    for (int32_t i = 0; i < w->opened; i++) {
        conclude(w, opened(w, i));
        if (opened(w, i)->record) opened(w, i)->record->end = now;
    }
    w->opened = 0;
    fill_next(w);
}

void intaglio_open(intaglio_walker *w, const intaglio_step *step)
{
    intaglio_opened *o = w->next;
    o->step = *step;
    if (!w->team) {
        o->record = record(w, step->number, now_if_recorded(w));
        if (step->tasks > 0) call_kernel(o, 0, 0, step->tasks);
        if (o->record) o->record->end = intaglio_nanoseconds();
        conclude(w, o);
        o->fault = 0;
        return;
    }
    o->step.buf = memcpy(o->words, step->buf, (size_t)step->buffers * sizeof *step->buf);
    o->step.p = memcpy(o->words + step->buffers, step->p, (size_t)step->sizes * sizeof *step->p);
    if (++w->opened == INTAGLIO_JOBS || (w->call->profile && w->call->profile->alone)) finish(w);
    else fill_next(w);
}

int32_t intaglio_barrier(intaglio_walker *w)
{
    if (w->opened) finish(w);
    const volatile int32_t *terminate = w->call->terminate;
    if (terminate && *terminate) intaglio_fail(w, INTAGLIO_TERMINATED, 0, 0);
    return w->status != 0;
}

int32_t intaglio_launch(const intaglio_call *call, void (*walk)(intaglio_walker *), intaglio_block *blocks, int32_t count,
                        int32_t words)
{
    intaglio_opened alone;
    intaglio_walker w = {
        .call = call,
        .blocks = blocks,
        .scratch = call->arena + call->arena_bytes,
        .threads = 1,
        .steps = (char *)&alone,
        .mode = float_mode(call->flags),
    };
    w.stride = (int64_t)(sizeof alone + (size_t)words * sizeof *alone.words + LINE - 1) / LINE * LINE;
    char *steps = NULL;
    struct intaglio_team *lent = NULL;
    if (call->pool && call->threads > 1 && !posix_memalign((void **)&steps, LINE, (size_t)w.stride * INTAGLIO_JOBS))
        lent = call->pool->lend(call->pool, call->threads, &w.threads);
    if (w.threads > 1) w.team = lent, w.steps = steps;
    for (int32_t i = 0; i < (w.team ? INTAGLIO_JOBS : 1); i++) opened(&w, i)->walker = &w;
    fill_next(&w);
    uint64_t before = set_float_mode(w.mode);
    int64_t begin = now_if_recorded(&w);
    walk(&w);
    if (w.opened && !w.status) finish(&w);
    if (call->profile) call->profile->begin = begin, call->profile->end = intaglio_nanoseconds();
    set_float_mode(before);
    if (lent) call->pool->give_back(lent);
    free(steps);
    for (int32_t i = 0; i < count; i++)
        if (blocks[i].bytes) free(blocks[i].at);
    return w.status;
}

/* ---- Memory whose size depends on data ----------------------------------------------------------------------- */

#define LARGEST ((int64_t)1 << 40) /* no dimension is larger */

void intaglio_reserve(intaglio_walker *w, int32_t block, int64_t bytes)
{
    intaglio_block *b = &w->blocks[block];
    if (b->at && b->bytes >= bytes) return;
    if (b->bytes) free(b->at);
    b->at = NULL;
    b->bytes = bytes > 0 ? bytes : 1;
    if (bytes < 0 || posix_memalign(&b->at, LINE, (size_t)b->bytes)) {
        b->at = NULL;
        b->bytes = 0;
        intaglio_fail(w, INTAGLIO_NO_MEMORY, 0, 0);
    }
}

void intaglio_output(intaglio_walker *w, int32_t block, int32_t index, const int64_t *shape, int32_t rank)
{
    const intaglio_host *host = w->call->host;
    w->blocks[block].at = host->output(host->self, index, shape, rank);
    if (!w->blocks[block].at) intaglio_fail(w, INTAGLIO_NO_MEMORY, 0, 0);
}

int32_t intaglio_call_host(intaglio_walker *w, int32_t step, int32_t call, void *const *buffers, const int64_t *shapes)
{
    const intaglio_host *host = w->call->host;
    int64_t begin = now_if_recorded(w);
    int32_t failed = host->call(host->self, call, buffers, shapes);
    record_alone(w, step, begin);
    return failed ? intaglio_fail(w, INTAGLIO_HOST, 0, 0) : 0;
}

void intaglio_reserve_on_device(intaglio_walker *w, int32_t block, int64_t bytes)
{
    const intaglio_device *device = w->call->device;
    void *at = NULL;
    int32_t status = bytes < 0 ? -1 : device->reserve(device->self, block, bytes, &at);
    w->blocks[block].at = at;
    if (status) intaglio_fail(w, INTAGLIO_DEVICE, -2, status);
}

int32_t intaglio_start(intaglio_walker *w, int32_t step, int32_t kernel, int64_t programs, void *const *buffers,
                       const int64_t *sizes)
{
    const intaglio_device *device = w->call->device;
    if (w->call->terminate && *w->call->terminate) return intaglio_fail(w, INTAGLIO_TERMINATED, 0, 0);
    int64_t begin = now_if_recorded(w);
    int32_t status = programs > 0 ? device->launch(device->self, kernel, programs, buffers, sizes) : 0;
    record_alone(w, step, begin);
    return status ? intaglio_fail(w, INTAGLIO_DEVICE, step, status) : 0;
}

int32_t intaglio_copy(intaglio_walker *w, void *to, const void *from, int64_t bytes, int32_t to_host)
{
    const intaglio_device *device = w->call->device;
    int32_t status = bytes > 0 ? device->copy(device->self, to, from, bytes, to_host) : 0;
    return status ? intaglio_fail(w, INTAGLIO_DEVICE, -1, status) : 0;
}

int32_t intaglio_absurd(intaglio_walker *w, int64_t size, int64_t lower)
{
    return (size < lower || size > LARGEST || size < -LARGEST) && intaglio_fail(w, INTAGLIO_ABSURD_SIZE, size, 0);
}
