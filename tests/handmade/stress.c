/* The thread pool under stress, with threads that are late: a program by itself, which includes pool.c and walker.c.

   stress RUNS THREADS CALLERS LATE_US: as many callers run, at the same time, RUNS runs each, in each of which steps add
   up numbers that the steps before wrote; every number is then checked, and how often each task was done. Where LATE_US is
   other than 0, worker 1 sleeps so long at every claim, and others at random ones. Prints the slowest run in
   milliseconds; exit code 1 where something is wrong. */
static void late(int id);
#define INTAGLIO_LATE(id) late(id)
#include "pool.c"
#include "walker.c"
#include <stdio.h>

#define N 240
#define STEPS 12

static int late_us;
static __thread uint64_t state;

static uint64_t any(uint64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
}

static void late(int id)
{
    if (!late_us || !id) return; /* the caller is in time */
    if (!state) state = (uint64_t)(uintptr_t)&state;
    if (id > 1 && any(8)) return;
    usleep((useconds_t)(id == 1 ? (uint64_t)late_us : any((uint64_t)late_us) + 1));
}

typedef struct {
    int64_t a[N], b[N];
    int32_t times[STEPS][N], taken;
} numbers;

/* to[i] = from[N - 1 - i] + p[0]: what another thread wrote; the second half is a step of its own */
static void add(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch)
{
    const int64_t *from = buf[0];
    int64_t *to = buf[1];
    int32_t *times = buf[2];
    uint64_t *fault = buf[3];
    int64_t *own = (int64_t *)scratch;
    if (own[0]++) __atomic_fetch_or(fault, 1, __ATOMIC_RELAXED); /* two threads with one id */
    for (int64_t i = p[1] + begin; i < p[1] + end; i++) {
        to[i] = from[N - 1 - i] + p[0];
        times[i]++;
    }
    own[0]--;
}

static void walk(intaglio_walker *w)
{
    numbers *n = w->call->outputs[0];
    static const int32_t faults[] = {1};
    for (int64_t s = 0; s < STEPS; s++) {
        for (int half = 0; half < 2; half++) {
            void *buf[] = {s % 2 ? n->b : n->a, s % 2 ? n->a : n->b, n->times[s], &w->next->fault};
            int64_t p[] = {s, half * N / 2};
            intaglio_open(w, &(const intaglio_step){
                .kernel = add, .buf = buf, .buffers = 4, .p = p, .sizes = 2, .tasks = N / 2, .grain = 1 + s,
                .scratch = w->scratch, .scratch_bytes = w->call->scratch_bytes, .faults = faults});
        }
        if (intaglio_barrier(w)) return;
    }
}

int32_t intaglio_plan(const int64_t *dims, int64_t *out) { return dims != NULL && out != NULL; }
int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk, NULL, 0, 6); }

static int runs, threads;
static intaglio_pool *shared;
static int32_t wrong;
static int64_t slowest;

static void *caller(void *unused)
{
    numbers *n = malloc(sizeof *n);
    char *scratch = NULL;
    (void)unused;
    if (!n || posix_memalign((void **)&scratch, LINE, (size_t)threads * LINE)) abort();
    for (int r = 0; r < runs; r++) {
        memset(n, 0, sizeof *n);
        memset(scratch, 0, (size_t)threads * LINE);
        for (int64_t i = 0; i < N; i++) n->a[i] = i;
        int64_t report[4], begin = intaglio_nanoseconds();
        void *outputs[] = {n};
        intaglio_call call = {.outputs = outputs, .arena = scratch, .scratch_bytes = LINE, .pool = shared,
                              .report = report, .threads = threads};
        int32_t bad = intaglio_run(&call);
        int64_t took = intaglio_nanoseconds() - begin, seen = __atomic_load_n(&slowest, __ATOMIC_RELAXED);
        while (took > seen && !__atomic_compare_exchange_n(&slowest, &seen, took, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
        for (int64_t i = 0; i < N; i++) {
            bad |= n->a[i] != i + STEPS * (STEPS - 1) / 2;
            for (int64_t s = 0; s < STEPS; s++) bad |= n->times[s][i] != 1;
        }
        if (bad) __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
    }
    free(n);
    free(scratch);
    return NULL;
}

int main(int count, char **values)
{
    if (count != 5) return 2;
    runs = atoi(values[1]), threads = atoi(values[2]), late_us = atoi(values[4]);
    int callers = atoi(values[3]);
    pthread_t all[64];
    shared = intaglio_pool_create(threads, 50000);
    for (int i = 0; i < callers && i < 64; i++) pthread_create(&all[i], NULL, caller, NULL);
    for (int i = 0; i < callers && i < 64; i++) pthread_join(all[i], NULL);
    intaglio_pool_stop(shared);
    printf("%.3f\n", (double)slowest / 1e6);
    return wrong;
}
