/* Worker threads and the team in which a program walks its steps; the contract is in runtime_abi.h.

   In:  calls from program.c and from the runtime.
   Out: threads that have run.
   It must never spin for long, wait for a worker that another run uses, or keep state of a run in the pool.

   Waiting is always the same: poll for a moment, then sleep on a word of memory (a futex where there is one). A
   forked child has none of its parent's threads: the pool then starts afresh. */

#define _GNU_SOURCE
#include "bounds.h"
#include "runtime_abi.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define LINE 64            /* bytes of a cache line: what one thread writes often, others do not share */
#define SLOTS 8            /* steps that may be open between two barriers */
#define STACK (4 << 20)    /* bytes of a worker's stack, the same with every C library */
#define POLLS 32           /* polls between two looks at the clock: about a microsecond */

int32_t intaglio_abi(void) { return INTAGLIO_ABI; }

int64_t intaglio_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- Waiting for a word of memory ---------------------------------------------------------------------------- */

static inline void relax(void)
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

static inline uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/* The number of the CPU that runs this thread, negative where the system does not tell. */
static inline int32_t this_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Where the threads of a group were seen last, NOWHERE before they start. A thread that waits for the others must not
   poll on the CPU that one of them needs to go on. */
#define NOWHERE (-1)
typedef struct {
    int32_t *cpus;
    int32_t threads;
    int32_t self; /* the thread that waits; -1: none of the group */
} group;

static inline void seen(int32_t *cpu)
{
    int32_t here = this_cpu();
    if (*cpu != here) __atomic_store_n(cpu, here, __ATOMIC_RELAXED); /* rarely: the line is shared */
}

static int shares_cpu(group others)
{
    int32_t here = this_cpu();
    for (int32_t i = 0; here >= 0 && i < others.threads; i++) {
        int32_t cpu = __atomic_load_n(&others.cpus[i], __ATOMIC_RELAXED);
        if (i != others.self && (cpu == here || cpu == NOWHERE)) return 1;
    }
    return 0;
}

/* Polls until *word differs from `old`; gives up after `spin_ns`. Returns whether it differs. */
static int changed(const uint32_t *word, uint32_t old, int64_t spin_ns, group others)
{
    int64_t start = 0;
    for (;;) {
        for (int i = 0; i < POLLS; i++) {
            if (load(word) != old) return 1;
            relax();
        }
        int64_t now = intaglio_nanoseconds();
        if (!start) start = now;
        if (now - start >= spin_ns) return 0;
        if (shares_cpu(others)) sched_yield();
    }
}

#ifdef __linux__
/* Sleeps while *word == old (may return early). */
static void sleep_on(uint32_t *word, uint32_t old) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0); }
static void wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }
#else
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sleep_cond = PTHREAD_COND_INITIALIZER;
static void sleep_on(uint32_t *word, uint32_t old)
{
    pthread_mutex_lock(&sleep_lock);
    if (load(word) == old) pthread_cond_wait(&sleep_cond, &sleep_lock);
    pthread_mutex_unlock(&sleep_lock);
}
static void wake(uint32_t *word)
{
    (void)word;
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&sleep_cond);
    pthread_mutex_unlock(&sleep_lock);
}
#endif

/* ---- The pool ------------------------------------------------------------------------------------------------ */

/* A worker's mailbox: the poster swaps in POSTED and wakes the worker if it found ASLEEP. */
enum { EMPTY, POSTED, ASLEEP };

/* Counts the workers of one `parallel` that are not done; the top bit tells that the caller sleeps. */
#define CALLER_SLEEPS 0x80000000u

typedef struct worker {
    uint32_t mail __attribute__((aligned(LINE)));
    intaglio_body body; /* the posted job; NULL: end the thread */
    void *arg;
    int32_t id, threads;
    int32_t caller_cpu;
    int32_t *cpu; /* where to tell the CPU it runs on */
    uint32_t *pending;
    int64_t spin_ns;
    pthread_t thread;
    int32_t number;      /* of all that were hired */
    int32_t pinned;      /* the pool's `pins` that it follows */
    struct worker *next; /* in the idle list, or in the team it works for */
} worker;

typedef struct pool {
    intaglio_pool interface;
    pthread_mutex_t lock; /* of the fields below; held for a few instructions only */
    worker *idle;         /* last in, first out: the one that most likely still polls */
    int32_t runs;         /* in progress */
    int32_t hired;
    int32_t pins;         /* counts the calls of intaglio_pool_pin */
    int32_t sets;
    unsigned char *set;   /* [sets][SET] */
    int32_t cpus;
    int64_t spin_ns;
    struct pool *next;    /* of all pools of this library, for fork */
} pool;

static void *work(void *self)
{
    worker *w = self;
    for (;;) {
        if (!changed(&w->mail, EMPTY, w->spin_ns, (group){&w->caller_cpu, 1, -1})) {
            uint32_t expected = EMPTY;
            if (__atomic_compare_exchange_n(&w->mail, &expected, ASLEEP, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                while (load(&w->mail) == ASLEEP) sleep_on(&w->mail, ASLEEP);
        }
        __atomic_store_n(&w->mail, EMPTY, __ATOMIC_RELAXED);
        if (!w->body) return NULL;
        seen(w->cpu);
        w->body(w->arg, w->id, w->threads);
        uint32_t *pending = w->pending; /* from the next line on, the worker belongs to others again */
        if (__atomic_fetch_sub(pending, 1, __ATOMIC_ACQ_REL) == (CALLER_SLEEPS | 1)) wake(pending);
    }
}

static void post(worker *w)
{
    if (__atomic_exchange_n(&w->mail, POSTED, __ATOMIC_ACQ_REL) == ASLEEP) wake(&w->mail);
}

#define SET (INTAGLIO_CPUS / 8) /* bytes of a set of CPUs */

/* Lets the worker run where the pool says; a set that the system refuses changes nothing. */
static void pin(const pool *p, worker *w)
{
    w->pinned = p->pins;
#ifdef __linux__
    if (w->number >= p->sets) return;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    memcpy(&cpus, p->set + w->number * SET, sizeof cpus < SET ? sizeof cpus : SET);
    pthread_setaffinity_np(w->thread, sizeof cpus, &cpus);
#endif
}

/* A new worker, or NULL when the system gives no more threads. Signals stay with the threads of the application. */
static worker *hire(pool *p)
{
    worker *w = NULL;
    if (posix_memalign((void **)&w, LINE, sizeof *w)) return NULL;
    memset(w, 0, sizeof *w);
    w->spin_ns = p->spin_ns;
    w->caller_cpu = this_cpu();
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, &attributes, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!failed) {
        w->number = p->hired++;
        return w;
    }
    free(w);
    return NULL;
}

static void parallel(intaglio_pool *interface, intaglio_body body, void *arg, int32_t wanted)
{
    pool *p = (pool *)interface;
    worker *team = NULL;
    int32_t threads = 1;

    pthread_mutex_lock(&p->lock);
    p->runs++;
    int32_t share = (wanted > p->cpus ? wanted : p->cpus) / p->runs;
    if (wanted > share) wanted = share;
    for (; threads < wanted; threads++) {
        worker *w = p->idle;
        if (w) p->idle = w->next;
        else if (!(w = hire(p))) break;
        if (w->pinned != p->pins) pin(p, w);
        w->next = team;
        team = w;
    }
    pthread_mutex_unlock(&p->lock);

    uint32_t pending = (uint32_t)threads - 1;
    int32_t cpus[threads]; /* of the workers; [0] is unused */
    int32_t id = threads, here = this_cpu();
    for (worker *w = team, *next; w; w = next) {
        next = w->next;
        w->body = body;
        w->arg = arg;
        w->id = --id;
        w->threads = threads;
        w->pending = &pending;
        __atomic_store_n(&w->caller_cpu, here, __ATOMIC_RELAXED); /* the worker may be looking at it */
        w->cpu = &cpus[w->id];
        *w->cpu = NOWHERE;
        post(w);
    }

    body(arg, 0, threads);

    for (uint32_t left; (left = load(&pending)) & ~CALLER_SLEEPS;)
        if ((left & CALLER_SLEEPS) || !changed(&pending, left, p->spin_ns, (group){cpus, threads, 0})) {
            left = __atomic_or_fetch(&pending, CALLER_SLEEPS, __ATOMIC_ACQ_REL);
            if (left & ~CALLER_SLEEPS) sleep_on(&pending, left);
        }

    pthread_mutex_lock(&p->lock);
    p->runs--;
    for (worker *w = team, *next; w; w = next) {
        next = w->next;
        w->next = p->idle;
        p->idle = w;
    }
    pthread_mutex_unlock(&p->lock);
}

static pool *pools; /* only ever grows; the runtime creates pools one at a time */

static void before_fork(void)
{
    for (pool *p = pools; p; p = p->next) pthread_mutex_lock(&p->lock);
}

static void after_fork_in_parent(void)
{
    for (pool *p = pools; p; p = p->next) pthread_mutex_unlock(&p->lock);
}

/* The workers did not come along; what they own is lost, a few hundred bytes each. */
static void after_fork_in_child(void)
{
    for (pool *p = pools; p; p = p->next) {
        pthread_mutex_init(&p->lock, NULL);
        p->idle = NULL;
        p->runs = p->hired = 0;
    }
}

intaglio_pool *intaglio_pool_create(int32_t cpus, int64_t spin_ns)
{
    pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->interface.parallel = parallel;
    pthread_mutex_init(&p->lock, NULL);
    p->cpus = cpus > 0 ? cpus : 1;
    p->spin_ns = spin_ns;
    if (!pools) pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    p->next = pools;
    pools = p;
    return &p->interface;
}

void intaglio_pool_pin(intaglio_pool *interface, int32_t count, const unsigned char *sets)
{
    pool *p = (pool *)interface;
    unsigned char *copy = malloc((size_t)count * SET);
    if (!copy) return;
    memcpy(copy, sets, (size_t)count * SET);
    pthread_mutex_lock(&p->lock);
    free(p->set);
    p->set = copy;
    p->sets = count;
    p->pins++;
    pthread_mutex_unlock(&p->lock);
}

void intaglio_pool_stop(intaglio_pool *interface)
{
    pool *p = (pool *)interface;
    pthread_mutex_lock(&p->lock);
    worker *idle = p->idle;
    p->idle = NULL;
    pthread_mutex_unlock(&p->lock);
    for (worker *w = idle; w; w = w->next) {
        w->body = NULL;
        post(w);
    }
    for (worker *w = idle, *next; w; w = next) {
        next = w->next;
        pthread_join(w->thread, NULL);
        free(w);
    }
}

/* ---- The team ------------------------------------------------------------------------------------------------ */

/* How much of one thread's share of one step is claimed: the number of the phase (so that nobody has to reset it) in
   the upper half, the number of claimed chunks in the lower. */
typedef struct {
    uint64_t claimed __attribute__((aligned(LINE)));
} share;

typedef struct intaglio_team {
    const intaglio_call *call;
    void (*walk)(intaglio_thread *);
    intaglio_block *blocks;
    uint32_t arrived __attribute__((aligned(LINE))); /* at barriers, in all */
    uint32_t phase __attribute__((aligned(LINE)));   /* barriers completed: what threads wait for */
    uint32_t sleepers;
    int32_t status;  /* the first failure */
    int32_t stopped; /* the status that the last barrier saw was a failure */
    int32_t *cpus;   /* [call->threads], behind the shares */
    share shares[];  /* [SLOTS][call->threads] */
} intaglio_team;

#define BARRIER_SPIN_NS 500000 /* long enough for most steps: to wake a thread on an idle CPU takes 50 us */

/* Every thread of a run computes with the same floating-point mode, whatever the application has set. */
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

static void walk_team(void *arg, int32_t id, int32_t threads)
{
    intaglio_team *team = arg;
    const intaglio_call *call = team->call;
    intaglio_thread t = {
        .call = call,
        .scratch = call->arena + call->arena_bytes + id * call->scratch_bytes,
        .id = id,
        .threads = threads,
        .blocks = team->blocks,
        .team = team,
    };
    uint64_t before = set_float_mode(float_mode(call->flags));
    team->walk(&t);
    set_float_mode(before);
}

int32_t intaglio_launch(const intaglio_call *call, void (*walk)(intaglio_thread *))
{
    return intaglio_launch_with(call, walk, NULL, 0);
}

int32_t intaglio_launch_with(const intaglio_call *call, void (*walk)(intaglio_thread *), intaglio_block *blocks, int32_t count)
{
    int32_t threads = call->pool && call->threads > 1 ? call->threads : 1;
    intaglio_team *team, alone;
    size_t shares = (size_t)threads * SLOTS * sizeof(share), cpus = (size_t)threads * sizeof(int32_t);
    if (threads == 1 || posix_memalign((void **)&team, LINE, sizeof *team + shares + cpus)) {
        team = &alone;
        threads = 1;
        shares = 0;
    }
    memset(team, 0, sizeof *team + shares);
    team->call = call;
    team->walk = walk;
    team->blocks = blocks;
    if (threads > 1) {
        team->cpus = (int32_t *)((char *)team->shares + shares);
        for (int32_t i = 0; i < threads; i++) team->cpus[i] = NOWHERE;
    }
    if (threads > 1) call->pool->parallel(call->pool, walk_team, team, threads);
    else walk_team(team, 0, 1);
    int32_t status = team->status;
    if (team != &alone) free(team);
    for (int32_t i = 0; i < count; i++)
        if (blocks[i].bytes) free(blocks[i].at);
    return status;
}

/* ---- Memory whose size depends on data ----------------------------------------------------------------------- */

#define LARGEST ((int64_t)1 << 40) /* no dimension is larger */

void intaglio_reserve(intaglio_thread *t, int32_t block, int64_t bytes)
{
    intaglio_block *b = &t->blocks[block];
    if (b->at && b->bytes >= bytes) return;
    if (b->bytes) free(b->at);
    b->at = NULL;
    b->bytes = bytes > 0 ? bytes : 1;
    if (bytes < 0 || posix_memalign(&b->at, LINE, (size_t)b->bytes)) {
        b->at = NULL;
        b->bytes = 0;
        intaglio_fail(t, INTAGLIO_NO_MEMORY, 0, 0);
    }
}

void intaglio_output(intaglio_thread *t, int32_t block, int32_t index, const int64_t *shape, int32_t rank)
{
    const intaglio_host *host = t->call->host;
    t->blocks[block].at = host->output(host->self, index, shape, rank);
    if (!t->blocks[block].at) intaglio_fail(t, INTAGLIO_NO_MEMORY, 0, 0);
}

void intaglio_reserve_on_device(intaglio_thread *t, int32_t block, int64_t bytes)
{
    const intaglio_device *device = t->call->device;
    void *at = NULL;
    int32_t status = bytes < 0 ? -1 : device->reserve(device->self, block, bytes, &at);
    t->blocks[block].at = at;
    if (status) intaglio_fail(t, INTAGLIO_DEVICE, -2, status);
}

int32_t intaglio_start(intaglio_thread *t, int32_t step, int32_t kernel, int64_t programs, void *const *buffers,
                       const int64_t *sizes)
{
    const intaglio_device *device = t->call->device;
    if (t->call->terminate && *t->call->terminate) return intaglio_fail(t, INTAGLIO_TERMINATED, 0, 0);
    int32_t status = programs > 0 ? device->launch(device->self, kernel, programs, buffers, sizes) : 0;
    return status ? intaglio_fail(t, INTAGLIO_DEVICE, step, status) : 0;
}

int32_t intaglio_copy(intaglio_thread *t, void *to, const void *from, int64_t bytes, int32_t to_host)
{
    const intaglio_device *device = t->call->device;
    int32_t status = bytes > 0 ? device->copy(device->self, to, from, bytes, to_host) : 0;
    return status ? intaglio_fail(t, INTAGLIO_DEVICE, -1, status) : 0;
}

int32_t intaglio_absurd(intaglio_thread *t, int64_t size, int64_t lower)
{
    return (size < lower || size > LARGEST || size < -LARGEST) && intaglio_fail(t, INTAGLIO_ABSURD_SIZE, size, 0);
}

void intaglio_tasks(intaglio_thread *t, int64_t total, int64_t grain)
{
    if (t->threads > 1) {
        if (++t->slot >= SLOTS) intaglio_barrier(t), t->slot = 0;
        if (grain < total >> 30) grain = total >> 30; /* chunk numbers fit 32 bits */
    }
    t->total = t->stopped ? 0 : total;
    t->grain = grain;
    t->chunks = (t->total + grain - 1) / grain;
    t->victim = 0;
}

int32_t intaglio_next(intaglio_thread *t, int64_t *begin, int64_t *end)
{
    if (t->threads == 1) {
        *begin = 0;
        *end = t->total;
        t->total = 0;
        return *end > 0;
    }
    for (; t->victim < t->threads; t->victim++) {
        int32_t owner = t->id + t->victim;
        if (owner >= t->threads) owner -= t->threads;
        int64_t first = t->chunks * owner / t->threads;
        int64_t size = t->chunks * (owner + 1) / t->threads - first;
        uint64_t *claimed = &t->team->shares[t->slot * t->threads + owner].claimed;
        uint64_t phase = (uint64_t)(t->phase + 1) << 32;
        uint64_t seen = __atomic_load_n(claimed, __ATOMIC_RELAXED);
        for (;;) {
            int64_t done = (seen ^ phase) >> 32 ? 0 : (int64_t)(uint32_t)seen;
            int64_t left = size - done;
            if (left <= 0) break;
            int64_t take = left > 4 ? left / 4 : 1; /* large parts first, small ones to even out the end */
            if (__atomic_compare_exchange_n(claimed, &seen, phase | (uint64_t)(done + take), 0, __ATOMIC_RELAXED,
                                            __ATOMIC_RELAXED)) {
                *begin = (first + done) * t->grain;
                *end = (first + done + take) * t->grain;
                if (*end > t->total) *end = t->total;
                return 1;
            }
        }
    }
    return 0;
}

void intaglio_faulty(intaglio_thread *t, const int32_t *statuses)
{
    intaglio_fail(t, statuses[__builtin_ctzll(t->fault)], 0, 0);
    t->fault = 0;
}

int32_t intaglio_barrier(intaglio_thread *t)
{
    intaglio_team *team = t->team;
    const volatile int32_t *terminate = t->call->terminate;
    uint32_t phase = t->phase++;
    t->slot = 0;
    if (t->threads > 1) seen(&team->cpus[t->id]);
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == (uint32_t)t->threads * t->phase) {
        int32_t status = __atomic_load_n(&team->status, __ATOMIC_RELAXED);
        if (!status && terminate && *terminate) __atomic_store_n(&team->status, status = INTAGLIO_TERMINATED, __ATOMIC_RELAXED);
        team->stopped = status != 0;
        if (t->threads > 1) {
            __atomic_store_n(&team->phase, t->phase, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&team->sleepers, __ATOMIC_SEQ_CST)) wake(&team->phase);
        }
    } else if (!changed(&team->phase, phase, BARRIER_SPIN_NS, (group){team->cpus, t->threads, t->id})) {
        __atomic_add_fetch(&team->sleepers, 1, __ATOMIC_SEQ_CST);
        while (load(&team->phase) == phase) sleep_on(&team->phase, phase);
        __atomic_sub_fetch(&team->sleepers, 1, __ATOMIC_SEQ_CST);
    }
    return t->stopped = team->stopped;
}

static int32_t fail(intaglio_thread *t, int32_t status, int64_t a, int64_t b, int64_t c, int64_t d)
{
    int32_t none = 0;
    if (__atomic_compare_exchange_n(&t->team->status, &none, status, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        int64_t *report = t->call->report;
        report[0] = a, report[1] = b, report[2] = c, report[3] = d;
    }
    return 1;
}

int32_t intaglio_fail(intaglio_thread *t, int32_t status, int64_t a, int64_t b) { return fail(t, status, a, b, 0, 0); }

/* ---- Checked accesses ---------------------------------------------------------------------------------------- */

#ifdef INTAGLIO_CHECKED

static _Thread_local struct {
    intaglio_thread *thread;
    int64_t step;
    jmp_buf back;
} guarded; /* the kernel that this thread is in */

void intaglio_guarded(intaglio_thread *t, int64_t step, intaglio_kernel kernel, void *const *buf, const int64_t *p,
                      int64_t begin, int64_t end, char *scratch)
{
    guarded.thread = t;
    guarded.step = step;
    if (!setjmp(guarded.back)) kernel(buf, p, begin, end, scratch);
}

_Noreturn void intaglio_outside(const char *name, int64_t index, int64_t extent)
{
    fail(guarded.thread, INTAGLIO_OUTSIDE, guarded.step, (int64_t)(intptr_t)name, index, extent);
    longjmp(guarded.back, 1);
}

#endif
