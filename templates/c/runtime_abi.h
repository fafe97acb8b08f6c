/* The border between a compiled model and the runtime that calls it.

   In:  program.c includes this file and defines `intaglio_plan` and `intaglio_run`; pool.c, linked into every
        model.so, defines the rest. The Python side of these structures is runtime/program.py.
   Out: the thread team in which a program walks its steps, and the pool that lends the threads.
   It must never depend on a model, on Python or on a particular CPU.

   A program is SPMD: `intaglio_run` hands a `walk` function to `intaglio_launch`, which calls it once on every
   thread of the team. All threads walk the same steps in the same order. Within a step the tasks [0, total) are
   shared out dynamically; between steps that depend on each other the program puts a barrier:

       static void walk(intaglio_thread *t)
       {
           const intaglio_call *call = t->call;
           ...
           intaglio_tasks(t, total, grain);                          // open a step
           for (int64_t begin, end; intaglio_next(t, &begin, &end);) // claim parts of it until none is left
               kernel(buf, sizes, begin, end, t->scratch);
           if (intaglio_barrier(t)) return;                          // everything written so far is visible to all
           ...                                                       // the last step needs no barrier
       }
       int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk); }

   Steps that are independent of each other need no barrier between them. Control flow is plain C, as long as every
   thread takes the same branches (decide on values that were written before the last barrier). */

#ifndef INTAGLIO_RUNTIME_ABI_H
#define INTAGLIO_RUNTIME_ABI_H

#include <stdint.h>

#define INTAGLIO_ABI 3 /* changes with any change of this file's structures or meanings */
#define INTAGLIO_EXPORT __attribute__((visibility("default")))

/* ---- The pool: worker threads, one set for the process, shared by all models --------------------------------- */

typedef void (*intaglio_body)(void *arg, int32_t id, int32_t threads);

/* The first loaded model creates the pool, and every other model calls it through this structure only. */
typedef struct intaglio_pool {
    /* Calls body(arg, id, threads) on `threads` threads at once, ids 0 (the caller) to threads - 1, and returns when
       all have returned. `threads` <= wanted is what the pool could spare: concurrent callers share its threads
       evenly, and nobody waits for a busy worker. */
    void (*parallel)(struct intaglio_pool *pool, intaglio_body body, void *arg, int32_t wanted);
} intaglio_pool;

/* cpus: how many threads of all callers together make sense. spin_ns: how long a thread with nothing to do polls
   before it sleeps. NULL when there is no memory. Threads are started on demand, and again in a forked child. */
INTAGLIO_EXPORT intaglio_pool *intaglio_pool_create(int32_t cpus, int64_t spin_ns);

/* Ends and joins the idle threads (all of them, unless a run is in progress). The pool stays usable. */
INTAGLIO_EXPORT void intaglio_pool_stop(intaglio_pool *pool);

/* From now on the i-th worker, in the order in which they are started, runs on the CPUs of the i-th set only; later ones
   run anywhere. A set is INTAGLIO_CPUS bits. Without effect where the system has no such thing. */
#define INTAGLIO_CPUS 1024
INTAGLIO_EXPORT void intaglio_pool_pin(intaglio_pool *pool, int32_t count, const unsigned char *sets);

/* ---- What the runtime calls ---------------------------------------------------------------------------------- */

/* Where a program gets what only the runtime can give; the runtime fills it in. */
typedef struct intaglio_host {
    void *self; /* the first argument of the functions */
    /* Allocates output `index`, whose shape was unknown to intaglio_plan (it told -1 for some dimension). The
       returned memory is C-contiguous and 16-byte aligned. NULL: no memory. To be called by thread 0. */
    void *(*output)(void *self, int32_t index, const int64_t *shape, int32_t rank);
} intaglio_host;

/* The accelerator, for a program of which some steps run there; such a program runs on one thread of the host. Every
   function returns 0, or the device's own number for what went wrong. Work is done in the order of the calls. */
typedef struct intaglio_device {
    void *self; /* the first argument of the functions */
    /* Starts `programs` programs of the manifest's device kernel `kernel`; the numbers of buffers and sizes are its own. */
    int32_t (*launch)(void *self, int32_t kernel, int64_t programs, void *const *buffers, const int64_t *sizes);
    /* Copies between the two memories, or within the device's. to_host: returns when the bytes have arrived. */
    int32_t (*copy)(void *self, void *to, const void *from, int64_t bytes, int32_t to_host);
    /* Memory of the device for block `block`, at least so large; what was in it is lost. */
    int32_t (*reserve)(void *self, int32_t block, int64_t bytes, void **at);
} intaglio_device;

/* One run. Buffers are row-major, C-contiguous; order and types are the manifest's. */
typedef struct intaglio_call {
    void *const *inputs;
    void *const *outputs;   /* NULL at an index: the caller does not want it, or its shape depends on data */
    const int64_t *dims;    /* values of the manifest's symbols */
    const char *weights;    /* weights.bin, page-aligned, read-only */
    char *arena;            /* 64-byte aligned: arena_bytes, then `threads` times scratch_bytes */
    int64_t arena_bytes;    /* a multiple of 64, as intaglio_plan told */
    int64_t scratch_bytes;  /* a multiple of 64, as intaglio_plan told */
    intaglio_pool *pool;    /* NULL: run on the calling thread alone */
    const volatile int32_t *terminate; /* non-zero ends the run at the next barrier; may be NULL */
    int64_t *profile;       /* NULL, or room for the steps + 1 times that intaglio_mark notes */
    int64_t *report;        /* 4 numbers that a failure wants to tell; never NULL */
    const intaglio_host *host;
    const intaglio_device *device; /* NULL where no step needs it */
    char *device_arena;            /* as large as intaglio_plan told, 64-byte aligned */
    const char *device_weights;    /* weights.bin, in the device's memory */
    const uint8_t *resident;       /* NULL, or for each input, then each output, whether it lies in the device's memory */
    int32_t threads;        /* wanted; the team may be smaller */
    int32_t flags;          /* INTAGLIO_FLUSH_DENORMALS */
} intaglio_call;

#define INTAGLIO_FLUSH_DENORMALS 1

#define INTAGLIO_TOO_LARGE (-1) /* what the device says of a buffer that its indices cannot reach the end of */

/* Status of a run. A positive status is a failure of the program itself: 1 + index into the manifest's `errors`. */
#define INTAGLIO_OK 0
#define INTAGLIO_TERMINATED (-1)
#define INTAGLIO_NO_MEMORY (-2)
#define INTAGLIO_ABSURD_SIZE (-3)
#define INTAGLIO_OUTSIDE (-5) /* report: the step, the name of a pointer in its kernel (const char *), index, elements */
#define INTAGLIO_DEVICE (-4) /* report: the number of the launch, -1 for a copy, -2 for memory; what the device said */

/* INTAGLIO_ABI of the model (pool.c). */
INTAGLIO_EXPORT int32_t intaglio_abi(void);

/* For given symbol values: out[0] arena bytes, out[1] scratch bytes of one thread, out[2] the number of threads that
   pays (0: as many as there are), out[3] bytes of the device's arena, out[4...] the dimensions of all outputs in order, -1 where they depend on data.
   Returns 0, or 1 + index into the manifest's `asserts` of a condition on the dims that does not hold.
   Defined by program.c. */
INTAGLIO_EXPORT int32_t intaglio_plan(const int64_t *dims, int64_t *out);

/* Runs the model. Re-entrant: everything it writes is in `call`. Defined by program.c. */
INTAGLIO_EXPORT int32_t intaglio_run(const intaglio_call *call);

/* ---- What a program calls ------------------------------------------------------------------------------------ */

/* Memory that a program asks for during a run, because its size depends on data. `at` is valid behind the next barrier. */
typedef struct intaglio_block {
    void *at;
    int64_t bytes; /* 0: `at` belongs to the host */
} intaglio_block;

/* A thread of the team that walks one run. Programs read the first six fields, the others are private. */
typedef struct intaglio_thread {
    const intaglio_call *call;
    char *scratch;   /* scratch_bytes of its own, 64-byte aligned */
    int32_t id;      /* 0 ... threads - 1; results may not depend on it */
    int32_t threads;
    uint64_t fault;  /* what kernels found wrong with data in this thread's tasks of a step: a bit for each kind */
    intaglio_block *blocks; /* of the run, as given to intaglio_launch_with */
    struct intaglio_team *team;
    int64_t total, grain, chunks; /* the open step */
    int32_t victim;  /* whose share of the open step it takes from: id, id + 1, ... */
    int32_t slot;    /* steps opened since the last barrier */
    uint32_t phase;  /* barriers passed */
    int32_t stopped; /* the run has failed or was terminated */
} intaglio_thread;

/* Calls walk on every thread of a team and returns the status of the run. */
int32_t intaglio_launch(const intaglio_call *call, void (*walk)(intaglio_thread *));

/* The same for a program with `count` blocks, all zero; frees what was reserved for them, however the run ends. */
int32_t intaglio_launch_with(const intaglio_call *call, void (*walk)(intaglio_thread *), intaglio_block *blocks, int32_t count);

/* Makes a block at least `bytes` large and 64-byte aligned; what was in it is lost. To be called by thread 0, when no
   thread uses the block; the run fails where there is no memory. */
void intaglio_reserve(intaglio_thread *t, int32_t block, int64_t bytes);

/* Asks the host for output `index`, of this shape, as block `block`. To be called by thread 0. */
void intaglio_output(intaglio_thread *t, int32_t block, int32_t index, const int64_t *shape, int32_t rank);

/* Whether a size that depends on data is none: below `lower`, or so large that arithmetic on it would overflow. The run
   fails then, and all threads, which see the same size, return from walk. */
int32_t intaglio_absurd(intaglio_thread *t, int64_t size, int64_t lower);

/* The same as intaglio_reserve, for memory of the device. */
void intaglio_reserve_on_device(intaglio_thread *t, int32_t block, int64_t bytes);

/* Step `step`: starts a kernel on the device; nothing where `programs` is 0. Non-zero: return from walk. */
int32_t intaglio_start(intaglio_thread *t, int32_t step, int32_t kernel, int64_t programs, void *const *buffers,
                       const int64_t *sizes);

/* Copies to or from the device. Non-zero: return from walk. */
int32_t intaglio_copy(intaglio_thread *t, void *to, const void *from, int64_t bytes, int32_t to_host);

/* Opens a step of `total` tasks. `grain` >= 1: so many neighbouring tasks are worth claiming at once. */
void intaglio_tasks(intaglio_thread *t, int64_t total, int64_t grain);

/* Claims tasks [*begin, *end) of the open step, not empty; returns 0 when none is left. Bounds are multiples of
   grain, but for `total` itself. A thread gets tasks of its own static share first, so that it finds in its caches
   what it wrote in the step before, and helps the others when that is done. Alone, it gets all tasks at once. */
int32_t intaglio_next(intaglio_thread *t, int64_t *begin, int64_t *end);

/* Waits for all threads of the team. Non-zero: the run is to stop, return from walk. */
int32_t intaglio_barrier(intaglio_thread *t);

/* Makes the run fail with a `status` other than 0; all threads stop at their next barrier (or return at once where all of
   them fail). The numbers go to call->report, for the message. The first failure counts. Returns 1. */
int32_t intaglio_fail(intaglio_thread *t, int32_t status, int64_t a, int64_t b);

/* Makes the run fail with the status, of `statuses`, of the first bit in t->fault. */
void intaglio_faulty(intaglio_thread *t, const int32_t *statuses);

/* Calls a kernel for a part of step `step`. Where accesses are checked, one that is outside ends this call, and the run
   fails. */
#ifdef INTAGLIO_CHECKED
typedef void (*intaglio_kernel)(void *const *restrict, const int64_t *restrict, int64_t, int64_t, char *restrict);
void intaglio_guarded(intaglio_thread *t, int64_t step, intaglio_kernel kernel, void *const *buf, const int64_t *p,
                      int64_t begin, int64_t end, char *scratch);
#else
#define intaglio_guarded(t, step, kernel, buf, p, begin, end, scratch) kernel(buf, p, begin, end, scratch)
#endif

/* Notes the time at which step `step` begins (thread 0 only, and only when profiling); the end is step = steps. */
int64_t intaglio_nanoseconds(void);
static inline void intaglio_mark(const intaglio_thread *t, int64_t step)
{
    if (t->call->profile && t->id == 0) t->call->profile[step] = intaglio_nanoseconds();
}

#endif
