/* Worker threads, which help the walker of a program's steps (walker.c); the contract is in runtime_abi.h.

   In:  calls of the walker, through an intaglio_pool, and of the runtime.
   Out: tasks that are done.
   It must never spin for long, wait for a thread that does nothing for a run, or let one access a run that is over.

   The calling thread can do a whole run alone; workers help if they come in time. A step is over when its tasks are done,
   so a worker that the system has preempted may resume long after its step, or its run, is over. Hence two rules:
   - Memory that such a worker may read is never freed: the pool's workers and teams. All other memory, the jobs and what
     they point at, is accessed only by threads that have claimed a task of the step, which waits for them.
   - A claim is one atomic exchange of a word that holds the number of its step: none succeeds in a step that is over.

   Waiting is always the same: poll for a moment, then sleep on a word of memory (a futex where there is one). A
   forked child has none of its parent's threads: the pool then starts afresh. */

#define _GNU_SOURCE
#include "runtime_abi.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define LINE 64            /* bytes of a cache line: words that one thread writes often have lines of their own */
#define STACK (4 << 20)    /* bytes of a worker's stack, the same with every C library */
#define POLLS 32           /* polls between two reads of the clock: about a microsecond */
#define REST_NS 1000000    /* for so long a worker that took its caller's CPU is not woken */
#define RUN_SPIN_NS 500000 /* within a run: long enough for most steps; waking a thread on an idle CPU takes 50 us */

#ifndef INTAGLIO_LATE
#define INTAGLIO_LATE(id) /* the most critical points for a delay, where tests delay threads */
#endif

/* ---- Waiting for a word of memory ---------------------------------------------------------------------------- */

static inline void relax(void)
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

static inline uint64_t load(const intaglio_word *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void store(intaglio_word *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/* The number of the CPU that runs this thread; negative if the system does not tell it. */
static inline int32_t this_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Where one thread waits. */
typedef struct {
    uint32_t asleep __attribute__((aligned(LINE)));
    int32_t cpu;   /* that ran it last, as far as known */
    intaglio_word rest; /* the time until which it is not worth waking */
} bed;

static inline void note_cpu(bed *self)
{
    int32_t here = this_cpu();
    if (self->cpu != here) __atomic_store_n(&self->cpu, here, __ATOMIC_RELAXED); /* rarely: the line is shared */
}

#ifdef __linux__
/* Sleeps while *word == 1 (may return early). */
static void sleep_on(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0); }
static void wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }
#else
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sleep_cond = PTHREAD_COND_INITIALIZER;
static void sleep_on(uint32_t *word)
{
    pthread_mutex_lock(&sleep_lock);
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE)) pthread_cond_wait(&sleep_cond, &sleep_lock);
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

/* The event that a thread waits for: a change of one of two words. */
typedef struct {
    const intaglio_word *word;
    uint64_t was;
    const intaglio_word *other;
    uint64_t other_was;
} change;

static inline int came(const change *c, int order)
{
    return __atomic_load_n(c->word, order) != c->was || __atomic_load_n(c->other, order) != c->other_was;
}

/* Whether one of these threads runs, or ran last, on this thread's CPU: polling would keep it from running. */
static int in_the_way(bed *const *others, int32_t count)
{
    int32_t here = this_cpu();
    for (int32_t i = 0; here >= 0 && i < count; i++)
        if (__atomic_load_n(&others[i]->cpu, __ATOMIC_RELAXED) == here && !__atomic_load_n(&others[i]->asleep, __ATOMIC_RELAXED))
            return 1;
    return 0;
}

/* Polls for a change that one of `others` makes; gives up after `spin_ns`. Returns whether it came. */
static int poll(bed *self, const change *c, int64_t spin_ns, bed *const *others, int32_t count)
{
    for (int64_t start = 0;;) {
        for (int i = 0; i < POLLS; i++) {
            if (came(c, __ATOMIC_ACQUIRE)) return 1;
            relax();
        }
        int64_t now = intaglio_nanoseconds();
        if (!start) start = now;
        if (now - start >= spin_ns) return 0;
        if (in_the_way(others, count)) {
            store(&self->rest, (uint64_t)(now + REST_NS));
            return 0;
        }
    }
}

/* Sleeps until the change came. drowsy: NULL, or a flag to set first, without which the others do not ring. */
static void sleep_until(bed *self, const change *c, intaglio_word *drowsy)
{
    while (!came(c, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&self->asleep, 1, __ATOMIC_SEQ_CST);
        if (drowsy) __atomic_exchange_n(drowsy, 1, __ATOMIC_SEQ_CST);
        if (!came(c, __ATOMIC_SEQ_CST)) sleep_on(&self->asleep);
        __atomic_store_n(&self->asleep, 0, __ATOMIC_RELAXED);
    }
}

/* To be called after a change (of order SEQ_CST) that the owner of the bed may sleep for: whether it sleeps; the caller
   has to wake it then. */
static inline int sleeps(bed *b)
{
    return __atomic_load_n(&b->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&b->asleep, 0, __ATOMIC_ACQ_REL);
}

static inline void ring(bed *b)
{
    if (sleeps(b)) wake(&b->asleep);
}

/* ---- Teams and workers --------------------------------------------------------------------------------------- */

/* Words that hold a large number, and small ones in their low bits. The numbers of steps and runs are never reused: at one
   step per microsecond they last for nine years. */
#define CHUNK_BITS 16 /* step, chunks */
#define MOST_CHUNKS (((int64_t)1 << CHUNK_BITS) - 1)
#define STEP(word) ((word) >> CHUNK_BITS)
#define CHUNKS(word) ((int64_t)((word) & MOST_CHUNKS))
#define TEAM_BITS 10 /* run, seat, team */
#define SEAT_BITS 12
#define MOST_TEAMS (1 << TEAM_BITS)
#define MOST_SEATS (1 << SEAT_BITS)
#define MAIL(run, seat, team) ((run) << (SEAT_BITS + TEAM_BITS) | (uint64_t)(seat) << TEAM_BITS | (uint64_t)(team))
#define MAIL_RUN(word) ((word) >> (SEAT_BITS + TEAM_BITS))
#define MAIL_SEAT(word) ((int32_t)((word) >> TEAM_BITS & (MOST_SEATS - 1)))
#define MAIL_TEAM(word) ((int32_t)((word) & (MOST_TEAMS - 1)))
#define STOP (~(uint64_t)0)

typedef struct worker {
    bed bed;
    intaglio_word mail; /* the run that it helps, or helped last; or STOP */
    struct pool *pool;
    pthread_t thread;
    int32_t number;      /* of all that were hired */
    int32_t pinned;      /* the pool's `pins` that it follows */
    int32_t placed;      /* whether the user says on which CPUs it runs */
    struct worker *next; /* in the idle list, or in the team it is lent to */
    int32_t moving;      /* a thread changes the fields below */
    int32_t kept_off;    /* whether it may not use all its CPUs */
#ifdef __linux__
    cpu_set_t cpus;      /* all of them, if it is kept off some */
#endif
} worker;

/* The progress of one thread's share of one step: the number of the step (so that it needs no reset), and that of claimed
   chunks. */
typedef struct {
    intaglio_word claimed __attribute__((aligned(LINE)));
} share;

/* One step, in one cache line: `open` is written last, and holds its number and that of its chunks. */
typedef struct {
    intaglio_word open __attribute__((aligned(LINE)));
    intaglio_job job;
} slot;

/* The threads of one run, reused for later runs: never freed, as late workers read it. */
typedef struct intaglio_team {
    slot slots[INTAGLIO_JOBS];                      /* by number of the step */
    intaglio_word run __attribute__((aligned(LINE)));    /* the number of the run */
    intaglio_word first;                                 /* the first step of the run */
    intaglio_word threads;
    intaglio_word done __attribute__((aligned(LINE)));   /* chunks that workers have done, in all runs */
    intaglio_word drowsy __attribute__((aligned(LINE))); /* workers of the run may be asleep */
    bed bed;                                        /* the caller's */
    bed *caller;                                    /* its address, for workers that wait for the caller */
    /* The rest is the caller's alone. */
    uint64_t step;     /* the last one that was opened */
    uint64_t expected; /* the value of `done` when all steps are done */
    struct pool *pool;
    int32_t number;   /* in the pool's table */
    int32_t capacity; /* threads that it has shares for */
    int32_t forks;    /* the pool's, when the run began */
    worker *workers;
    struct intaglio_team *next; /* in the list of those that no run uses */
    bed **beds;                 /* [threads - 1]: of the workers */
    share *shares;              /* [INTAGLIO_JOBS][capacity] */
} team;

typedef struct pool {
    intaglio_pool interface;
    pthread_mutex_t lock; /* of the fields below; held for a few instructions only */
    worker *idle;         /* last in, first out: the first one most likely still polls */
    team *unused;
    int32_t teams;        /* in the table */
    int32_t runs;         /* in progress */
    int32_t hired;
    int32_t forks;        /* how many processes lie between this one and that which made the pool */
    int32_t pins;         /* counts the calls of intaglio_pool_pin */
    int32_t sets;
    unsigned char *set;   /* [sets][SET] */
    int32_t cpus;
    int64_t spin_ns;
    struct pool *next;    /* of all pools of this library, for fork */
    team *table[MOST_TEAMS];
} pool;

static inline slot *slot_of(team *t, uint64_t step) { return &t->slots[step % INTAGLIO_JOBS]; }

/* The chunks to claim of those left in a share: first many, then few, so that all threads finish at the same time. */
static inline int64_t part(int64_t left) { return left > 4 ? left / 4 : 1; }

static inline void do_chunks(const intaglio_job *job, int32_t id, int64_t begin, int64_t end)
{
    end *= job->grain;
    job->body(job->arg, id, begin * job->grain, end < job->total ? end : job->total);
}

static inline share *share_of(team *t, uint64_t step, int32_t owner)
{
    return &t->shares[step % INTAGLIO_JOBS * (uint64_t)t->capacity + (uint64_t)owner];
}

/* Does chunks of the share of thread `owner` in a step of so many chunks, as thread `id`, until none is left to claim.
   Returns their number. */
static int64_t take(team *t, int32_t id, uint64_t step, int64_t chunks, int32_t owner, int32_t threads)
{
    int64_t first = chunks * owner / threads, size = chunks * (owner + 1) / threads - first, done = 0;
    intaglio_word *claimed = &share_of(t, step, owner)->claimed;
    uint64_t seen = __atomic_load_n(claimed, __ATOMIC_RELAXED);
    while (STEP(seen) <= step) { /* else a later step has the slot: this one is over */
        int64_t begin = STEP(seen) == step ? CHUNKS(seen) : 0, left = size - begin;
        if (left <= 0) break;
        uint64_t next = step << CHUNK_BITS | (uint64_t)(begin + part(left));
        INTAGLIO_LATE(id);
        if (!__atomic_compare_exchange_n(claimed, &seen, next, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        seen = next;
        do_chunks(&slot_of(t, step)->job, id, first + begin, first + CHUNKS(next));
        done += CHUNKS(next) - begin;
    }
    return done;
}

/* Reports the chunks that a worker has done; then the step may be over. */
static void tell(team *t, int64_t done)
{
    if (!done) return;
    __atomic_fetch_add(&t->done, (uint64_t)done, __ATOMIC_SEQ_CST);
    ring(&t->bed);
}

/* Lets a worker use all its CPUs again. */
static void free_cpus(worker *w)
{
#ifdef __linux__
    if (!__atomic_load_n(&w->kept_off, __ATOMIC_RELAXED) || __atomic_exchange_n(&w->moving, 1, __ATOMIC_ACQUIRE)) return;
    if (w->kept_off && !__atomic_load_n(&w->placed, __ATOMIC_RELAXED)) pthread_setaffinity_np(w->thread, sizeof w->cpus, &w->cpus);
    __atomic_store_n(&w->kept_off, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&w->moving, 0, __ATOMIC_RELEASE);
#else
    (void)w;
#endif
}

/* Keeps a worker off this CPU until it runs, unless the user places it: where its caller runs it is only in the way. Linux
   wakes a thread there if it takes all other CPUs for busy, as it does the halted ones of a virtual machine
   (available_idle_cpu). */
static void keep_off(worker *w)
{
#ifdef __linux__
    int32_t here = this_cpu();
    if (here < 0 || w->placed || __atomic_exchange_n(&w->moving, 1, __ATOMIC_ACQUIRE)) return;
    if (w->kept_off || !pthread_getaffinity_np(w->thread, sizeof w->cpus, &w->cpus)) {
        cpu_set_t others = w->cpus;
        CPU_CLR(here, &others);
        if (CPU_COUNT(&others) && !pthread_setaffinity_np(w->thread, sizeof others, &others))
            __atomic_store_n(&w->kept_off, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&w->moving, 0, __ATOMIC_RELEASE);
#else
    (void)w;
#endif
}

/* Polls, then sleeps, until the change came. */
static void wait_for(worker *w, const change *c, int64_t spin_ns, bed *const *others, int32_t count, intaglio_word *drowsy)
{
    if (poll(&w->bed, c, spin_ns, others, count)) return;
    sleep_until(&w->bed, c, drowsy);
    free_cpus(w);
}

/* Helps run `run` as thread `id`, until it is over. */
static void serve(worker *w, team *t, int32_t id, uint64_t run)
{
    uint64_t step = load(&t->first);
    for (;;) {
        slot *s = slot_of(t, step);
        uint64_t open = load(&s->open);
        if (STEP(open) < step) {
            change c = {&s->open, open, &t->run, run};
            wait_for(w, &c, RUN_SPIN_NS, &t->caller, 1, &t->drowsy);
            if (load(&t->run) != run) return;
        } else if (STEP(open) > step) {
            step = STEP(open) - (INTAGLIO_JOBS - 1); /* the earliest that may still be open */
        } else {
            const char *arg = __atomic_load_n((char **)&s->job.arg, __ATOMIC_RELAXED);
            for (int i = 0; i < 4; i++) __builtin_prefetch(arg + i * LINE);
            int32_t threads = (int32_t)load(&t->threads);
            INTAGLIO_LATE(id);
            /* The step belongs to this run, which has so many threads: it is not before the run's first one, and the run
               was not over when it was opened. It may be over at any time; only a claim proves that it is not. */
            if (load(&t->run) != run) return;
            note_cpu(&w->bed);
            free_cpus(w);
            tell(t, take(t, id, step, CHUNKS(open), id, threads));
            for (int32_t i = 1, owner = id; i < threads; i++) {
                owner = owner + 1 < threads ? owner + 1 : 0;
                tell(t, take(t, id, step, CHUNKS(open), owner, threads));
            }
            step++;
        }
    }
}

static void *work(void *self)
{
    worker *w = self;
    for (uint64_t mail = 0;;) {
        change c = {&w->mail, mail, &w->mail, mail};
        wait_for(w, &c, w->pool->spin_ns, NULL, 0, NULL);
        mail = load(&w->mail);
        if (mail == STOP) return NULL;
        serve(w, w->pool->table[MAIL_TEAM(mail)], MAIL_SEAT(mail), MAIL_RUN(mail));
    }
}

/* Wakes the workers that sleep, except those that would take a CPU from others. */
static void wake_workers(team *t)
{
    if (!__atomic_exchange_n(&t->drowsy, 0, __ATOMIC_SEQ_CST)) return;
    uint64_t now = (uint64_t)intaglio_nanoseconds(), later = 0;
    for (uint64_t i = 0; i + 1 < t->threads; i++)
        if (load(&t->beds[i]->rest) > now) later = 1;
        else if (sleeps(t->beds[i])) {
            keep_off((worker *)t->beds[i]); /* whose first field it is */
            wake(&t->beds[i]->asleep);
        }
    if (later) store(&t->drowsy, 1);
}

/* Runs jobs: see intaglio_pool. Workers learn of them only if there is more than one chunk. */
static void run(team *t, const intaglio_job *jobs, int32_t count)
{
    if (count == 1 && jobs->total <= jobs->grain) {
        if (jobs->total > 0) jobs->body(jobs->arg, 0, 0, jobs->total);
        return;
    }
    int32_t threads = (int32_t)t->threads;
    uint64_t first = t->step + 1, words[INTAGLIO_JOBS];
    for (int32_t i = 0; i < count; i++) {
        intaglio_job *job = &slot_of(t, first + (uint64_t)i)->job;
        job->body = jobs[i].body, job->total = jobs[i].total, job->grain = jobs[i].grain;
        __atomic_store_n(&job->arg, jobs[i].arg, __ATOMIC_RELAXED);
        if (job->grain <= job->total / MOST_CHUNKS) job->grain = job->total / MOST_CHUNKS + 1;
        int64_t chunks = job->total > 0 ? (job->total + job->grain - 1) / job->grain : 0;
        words[i] = (first + (uint64_t)i) << CHUNK_BITS | (uint64_t)chunks;
        t->expected += (uint64_t)chunks;
    }
    /* The first part is claimed before others can claim, so that workers are woken while the step makes progress. */
    int64_t own = CHUNKS(words[0]) / threads, mine = own ? part(own) : 0;
    __atomic_store_n(&share_of(t, first, 0)->claimed, first << CHUNK_BITS | (uint64_t)mine, __ATOMIC_RELAXED);
    for (int32_t i = 0; i < count; i++) store(&slot_of(t, ++t->step)->open, words[i]);
    note_cpu(&t->bed);
    if (__atomic_load_n(&t->drowsy, __ATOMIC_RELAXED)) wake_workers(t);
    if (mine) do_chunks(&slot_of(t, first)->job, 0, 0, mine);
    wake_workers(t); /* those that fell asleep meanwhile */
    for (int32_t i = 0; i < count; i++)
        for (int32_t owner = 0; owner < threads; owner++)
            mine += take(t, 0, first + (uint64_t)i, CHUNKS(words[i]), owner, threads);
    t->expected -= (uint64_t)mine;
    for (uint64_t done; (done = load(&t->done)) != t->expected;) {
        change c = {&t->done, done, &t->done, done};
        if (!poll(&t->bed, &c, RUN_SPIN_NS, t->beds, threads - 1)) sleep_until(&t->bed, &c, NULL);
    }
}

#define SET (INTAGLIO_CPUS / 8) /* bytes of a set of CPUs */

/* Pins the worker to its set of the pool; a set that the system refuses changes nothing. */
static void pin(const pool *p, worker *w)
{
    w->pinned = p->pins;
    __atomic_store_n(&w->placed, w->number < p->sets, __ATOMIC_RELAXED);
#ifdef __linux__
    if (!w->placed) return;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    memcpy(&cpus, p->set + w->number * SET, sizeof cpus < SET ? sizeof cpus : SET);
    pthread_setaffinity_np(w->thread, sizeof cpus, &cpus);
#endif
}

/* A new worker, or NULL if the system gives no more threads. Signals stay with the threads of the application. */
static worker *hire(pool *p)
{
    worker *w = NULL;
    if (posix_memalign((void **)&w, LINE, sizeof *w)) return NULL;
    memset(w, 0, sizeof *w);
    w->pool = p;
    w->bed.cpu = -1;
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

/* An unused or new team for so many threads, or NULL. */
static team *seat(pool *p, int32_t threads)
{
    for (team **at = &p->unused; *at; at = &(*at)->next)
        if ((*at)->capacity >= threads) {
            team *found = *at;
            *at = found->next;
            return found;
        }
    team *t = NULL;
    void *beds = NULL;
    int32_t capacity = threads > p->cpus ? threads : p->cpus;
    size_t bytes = sizeof *t + INTAGLIO_JOBS * (size_t)capacity * sizeof(share);
    if (p->teams == MOST_TEAMS || !(beds = calloc((size_t)capacity, sizeof(bed *)))) return NULL;
    if (posix_memalign((void **)&t, LINE, bytes)) {
        free(beds);
        return NULL;
    }
    memset(t, 0, bytes);
    t->run = 1;
    t->caller = &t->bed;
    t->pool = p;
    t->number = p->teams;
    t->capacity = capacity;
    t->beds = beds;
    t->shares = (share *)(t + 1);
    return p->table[p->teams++] = t;
}

static team *lend(intaglio_pool *interface, int32_t wanted, int32_t *threads)
{
    pool *p = (pool *)interface;
    worker *workers = NULL;
    int32_t count = 1;

    pthread_mutex_lock(&p->lock);
    int32_t share = (wanted > p->cpus ? wanted : p->cpus) / (p->runs + 1);
    if (wanted > share) wanted = share;
    if (wanted > MOST_SEATS) wanted = MOST_SEATS;
    team *t = seat(p, wanted);
    if (t) {
        for (; count < wanted; count++) {
            worker *w = p->idle;
            if (w) p->idle = w->next;
            else if (!(w = hire(p))) break;
            if (w->pinned != p->pins) pin(p, w);
            w->next = workers;
            workers = w;
        }
        t->forks = p->forks;
        p->runs++;
    }
    pthread_mutex_unlock(&p->lock);
    *threads = count;
    if (!t) return NULL;

    t->workers = workers;
    store(&t->first, t->step + 1);
    store(&t->threads, (uint64_t)count);
    store(&t->drowsy, 1); /* the workers are woken when there is something to do */
    for (worker *w = workers; w; w = w->next) {
        t->beds[--count - 1] = &w->bed;
        __atomic_store_n(&w->mail, MAIL(t->run, count, t->number), __ATOMIC_SEQ_CST);
    }
    return t;
}

static void give_back(team *t)
{
    pool *p = t->pool;
    store(&t->run, t->run + 1);
    pthread_mutex_lock(&p->lock);
    if (t->forks == p->forks) {
        p->runs--;
        for (worker *w = t->workers, *next; w; w = next) {
            next = w->next;
            w->next = p->idle;
            p->idle = w;
        }
    }
    t->next = p->unused;
    p->unused = t;
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

/* The child has no workers; their memory is lost, a few hundred bytes each, and so is that of runs of other threads. */
static void after_fork_in_child(void)
{
    for (pool *p = pools; p; p = p->next) {
        pthread_mutex_init(&p->lock, NULL);
        p->idle = NULL;
        p->runs = p->hired = 0;
        p->forks++;
    }
}

intaglio_pool *intaglio_pool_create(int32_t cpus, int64_t spin_ns)
{
    pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->interface = (intaglio_pool){lend, run, give_back};
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
        __atomic_store_n(&w->mail, STOP, __ATOMIC_SEQ_CST);
        ring(&w->bed);
    }
    for (worker *w = idle, *next; w; w = next) {
        next = w->next;
        pthread_join(w->thread, NULL);
        free(w);
    }
}
