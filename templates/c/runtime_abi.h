/* The interface between a compiled model and the runtime that calls it.

   In:  program.c includes this file and defines `intaglio_plan` and `intaglio_run`; walker.c and pool.c, linked
        into every model.so, define the rest. The Python side of these structures is runtime/run/program.py.
   Out: the walker of a program's steps, and the pool whose threads help with their tasks.
   It must never depend on a model, on Python or on a particular CPU.

   A program is one function that walks the steps, always on the thread that calls it. A step is a kernel over tasks
   [0, tasks), which may be done in any order, by any thread, and are shared out dynamically. Between steps that depend
   on each other the program puts a barrier:

       static void walk(intaglio_walker *w)
       {
           const intaglio_call *call = w->call;
           ...
           intaglio_open(w, &(const intaglio_step){ .kernel = kernel, ... });
           if (intaglio_barrier(w)) return; // the steps opened before are done, and their results are visible
           ...                              // the last step needs no barrier
       }
       int32_t intaglio_run(const intaglio_call *call) { return intaglio_launch(call, walk, NULL, 0, words); }

   Steps that are independent of each other need no barrier between them, and run at the same time. Control flow is
   plain C: its conditions were written before the last barrier. A step is over when its tasks are done, whichever
   threads did them: a run never waits for a thread that does nothing for it. */

#ifndef INTAGLIO_RUNTIME_ABI_H
#define INTAGLIO_RUNTIME_ABI_H

#include "words.h"

#include <stddef.h>
#include <stdint.h>

#define INTAGLIO_ABI 6 /* changes with any change of this file's structures or meanings */
#ifndef INTAGLIO_EXPORT /* else the functions are those of a library with an interface of its own */
#define INTAGLIO_EXPORT __attribute__((visibility("default")))
#endif

/* ---- The pool: worker threads, one set for the process, shared by all models --------------------------------- */

/* Tasks [0, total), of which body(arg, id, begin, end) does [begin, end). grain: the number, >= 1, of neighbouring tasks
   that are claimed at once; bounds are multiples of it, or `total`. id: of the thread, see `lend`. */
typedef struct intaglio_job {
    void (*body)(void *arg, int32_t id, int64_t begin, int64_t end);
    void *arg;
    int64_t total, grain;
} intaglio_job;

#define INTAGLIO_JOBS 8 /* the most that run at the same time */

/* The first loaded model creates the pool, and every other model calls it through this structure only. */
typedef struct intaglio_pool {
    /* Lends the calling thread some workers, until `give_back`. *threads <= wanted is how many there are with the caller:
       concurrent callers share the workers evenly, and nobody waits for a busy one. Threads have ids 0 (the caller) to
       *threads - 1; no two do tasks under the same id at the same time. NULL, and *threads 1, if there is no memory. */
    struct intaglio_team *(*lend)(struct intaglio_pool *pool, int32_t wanted, int32_t *threads);
    /* Does all tasks of up to INTAGLIO_JOBS jobs, by the caller and those workers that come in time, and returns when they
       are done. A thread first does tasks of its own static share of a job, whose data it may have in its caches from
       earlier steps, then helps the others. */
    void (*run)(struct intaglio_team *team, const intaglio_job *jobs, int32_t count);
    void (*give_back)(struct intaglio_team *team);
} intaglio_pool;

/* cpus: the number of threads, of all callers together, that can run at once. spin_ns: how long a thread with nothing to
   do polls before it sleeps. NULL if there is no memory. Threads are started on demand, and again in a forked child. */
INTAGLIO_EXPORT intaglio_pool *intaglio_pool_create(int32_t cpus, int64_t spin_ns);

/* Ends and joins the idle threads (all of them, unless a run is in progress). The pool stays usable. */
INTAGLIO_EXPORT void intaglio_pool_stop(intaglio_pool *pool);

/* From now on the i-th worker, in the order in which they are started, runs on the CPUs of the i-th set only; later ones
   run anywhere. A set is INTAGLIO_CPUS bits. Without effect if the system has no affinity of threads. */
#define INTAGLIO_CPUS 1024
INTAGLIO_EXPORT void intaglio_pool_pin(intaglio_pool *pool, int32_t count, const unsigned char *sets);

/* ---- What the runtime calls ---------------------------------------------------------------------------------- */

/* The services of the runtime for a program, which the runtime fills in. */
typedef struct intaglio_host {
    void *self; /* the first argument of the functions */
    /* Allocates output `index`, whose shape was unknown to intaglio_plan (some dimension was -1). The returned memory is
       C-contiguous and 16-byte aligned. NULL: no memory. */
    void *(*output)(void *self, int32_t index, const int64_t *shape, int32_t rank);
    /* Does the manifest's host call `call` on buffers, its inputs and outputs, whose dimensions `shapes` has one after the
       other. Non-zero: it failed, and the host knows why. */
    int32_t (*call)(void *self, int32_t call, void *const *buffers, const int64_t *shapes);
} intaglio_host;

/* The accelerator, for a program of which some steps run there; such a program runs on one thread of the host. Every
   function returns 0, or an error code of the device. Work is done in the order of the calls. */
typedef struct intaglio_device {
    void *self; /* the first argument of the functions */
    /* Starts `programs` programs of the manifest's device kernel `kernel`; the numbers of buffers and sizes are its own. */
    int32_t (*launch)(void *self, int32_t kernel, int64_t programs, void *const *buffers, const int64_t *sizes);
    /* Copies between the two memories, or within the device's. to_host: returns when the bytes have arrived. */
    int32_t (*copy)(void *self, void *to, const void *from, int64_t bytes, int32_t to_host);
    /* Allocates at least so many bytes of the device's memory for block `block`; its old contents are lost. */
    int32_t (*reserve)(void *self, int32_t block, int64_t bytes, void **at);
} intaglio_device;

/* A line of memory that one thread writes: what it did for a step. Times are nanoseconds of the monotonic clock. */
typedef struct intaglio_work {
    int64_t begin, end;  /* of its first and its last task; 0: it did none */
    int64_t busy;        /* of that, the time in the kernel */
    int64_t claims;      /* ranges of tasks */
    int64_t thread, cpu; /* the system's numbers; -1 if it does not tell them */
    int64_t unused[2];
} intaglio_work;

/* A step of a run. Steps that ran at the same time begin and end together. */
typedef struct intaglio_record {
    int64_t step, begin, end;
    int64_t unused[5];
    intaglio_work work[]; /* [threads] of the call */
} intaglio_record;

/* What is recorded of a run. */
typedef struct intaglio_profile {
    intaglio_record *records; /* [capacity], 64-byte aligned */
    int64_t capacity;
    int64_t count;      /* of the steps of the run; those beyond the capacity have no record */
    int64_t begin, end; /* of the run */
    int64_t alone;      /* whether each step waits for the one before, even if it does not depend on it */
} intaglio_profile;

/* One run. Buffers are row-major, C-contiguous; order and types are the manifest's. */
typedef struct intaglio_call {
    void *const *inputs;
    void *const *outputs;   /* NULL at an index: the caller does not want it, or its shape depends on data */
    const int64_t *dims;    /* values of the manifest's symbols */
    const char *weights;    /* weights.bin, page-aligned, read-only */
    char *arena;            /* 64-byte aligned: arena_bytes, then `threads` times scratch_bytes */
    int64_t arena_bytes;    /* a multiple of 64, from intaglio_plan */
    int64_t scratch_bytes;  /* a multiple of 64, from intaglio_plan */
    intaglio_pool *pool;    /* NULL: run on the calling thread alone */
    const volatile int32_t *terminate; /* non-zero ends the run at the next barrier; may be NULL */
    intaglio_profile *profile; /* NULL, or where the run is recorded */
    int64_t *report;        /* 4 numbers, the details of a failure; never NULL */
    const intaglio_host *host;
    const intaglio_device *device; /* NULL if no step needs it */
    char *device_arena;            /* of the size from intaglio_plan, 64-byte aligned */
    const char *device_weights;    /* weights.bin, in the device's memory */
    const uint8_t *resident;       /* NULL, or for each input, then each output, whether it lies in the device's memory */
    int32_t threads;        /* wanted; there may be fewer */
    int32_t flags;          /* INTAGLIO_FLUSH_DENORMALS */
} intaglio_call;

#define INTAGLIO_FLUSH_DENORMALS 1

#define INTAGLIO_TOO_LARGE (-1) /* the error code for a buffer with more elements than indices of the device can reach */

/* Status of a run. A positive status is a failure of the program itself: 1 + index into the manifest's `errors`. */
#define INTAGLIO_OK 0
#define INTAGLIO_TERMINATED (-1)
#define INTAGLIO_NO_MEMORY (-2)
#define INTAGLIO_ABSURD_SIZE (-3)
#define INTAGLIO_OUTSIDE (-5) /* report: the step, the name of a pointer in its kernel (const char *), index, elements */
#define INTAGLIO_HOST (-6) /* a function of the host has failed */
#define INTAGLIO_DEVICE (-4) /* report: the number of the launch, -1 for a copy, -2 for memory; the device's error code */

/* INTAGLIO_ABI of the model (walker.c). */
INTAGLIO_EXPORT int32_t intaglio_abi(void);

/* For given symbol values: out[0] arena bytes, out[1] scratch bytes of one thread, out[2] the number of threads that
   pays (0: as many as there are), out[3] bytes of the device's arena, out[4...] the dimensions of all outputs in order,
   -1 if they depend on data. Returns 0, or 1 + index into the manifest's `asserts` of a condition on the dims that does
   not hold. Defined by program.c. */
INTAGLIO_EXPORT int32_t intaglio_plan(const int64_t *dims, int64_t *out);

/* Runs the model. Re-entrant: everything it writes is in `call`. Defined by program.c. */
INTAGLIO_EXPORT int32_t intaglio_run(const intaglio_call *call);

/* ---- What a program calls ------------------------------------------------------------------------------------ */

/* Memory that a program asks for during a run, because its size depends on data. */
typedef struct intaglio_block {
    void *at;
    int64_t bytes; /* 0: `at` belongs to the host */
} intaglio_block;

typedef void (*intaglio_kernel)(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch);

/* A kernel over tasks, see intaglio_job. */
typedef struct intaglio_step {
    intaglio_kernel kernel;
    void *const *buf;         /* [buffers] */
    const int64_t *p;         /* [sizes] */
    int32_t buffers, sizes;
    int64_t tasks, grain;
    char *scratch;            /* of thread 0; the others' follow */
    int64_t scratch_bytes;    /* of one thread, a multiple of 64 */
    const int32_t *faults;    /* the status for each bit that the kernel sets in `fault`; NULL: it sets none */
    int64_t number;           /* of the step */
} intaglio_step;

/* A step with the memory that it owns until it is done. */
typedef struct intaglio_opened {
    intaglio_word fault; /* the faults that the kernel found in data: it sets a bit (atomically) for each kind */
    intaglio_step step;
    struct intaglio_walker *walker;
    intaglio_record *record; /* NULL: nobody asks */
    uint64_t words[]; /* copies of buf and p */
} intaglio_opened;

/* The walker of one run. Programs read the first five fields, the others are private. */
typedef struct intaglio_walker {
    const intaglio_call *call;
    intaglio_block *blocks;  /* as given to intaglio_launch */
    char *scratch;           /* scratch_bytes of each thread, one after the other, 64-byte aligned */
    int32_t threads;         /* that may do tasks; results may not depend on it */
    intaglio_opened *next;   /* the one that the next intaglio_open fills; its `fault` may be among the buffers */
    struct intaglio_team *team;
    char *steps;             /* [INTAGLIO_JOBS] of intaglio_opened, `stride` bytes apart */
    int64_t stride;
    int32_t opened;          /* steps that are not done */
    int32_t status;          /* the first failure */
    uint64_t mode;           /* of floating-point arithmetic, for every thread */
} intaglio_walker;

/* Calls walk, waits for the steps that it has opened, and returns the status of the run. The `count` blocks are all zero;
   memory reserved for them is freed, however the run ends. words: the most buffers and sizes, together, of a step. */
int32_t intaglio_launch(const intaglio_call *call, void (*walk)(intaglio_walker *), intaglio_block *blocks, int32_t count,
                        int32_t words);

/* Makes a block at least `bytes` large and 64-byte aligned; no open step may use it, and its old contents are lost. The
   run fails if there is no memory. */
void intaglio_reserve(intaglio_walker *w, int32_t block, int64_t bytes);

/* Asks the host for output `index`, of this shape, as block `block`. */
void intaglio_output(intaglio_walker *w, int32_t block, int32_t index, const int64_t *shape, int32_t rank);

/* Whether a size that depends on data is impossible: below `lower`, or so large that arithmetic on it would overflow. The
   run fails then: return from walk. */
int32_t intaglio_absurd(intaglio_walker *w, int64_t size, int64_t lower);

/* Step `step`: calls a function of the host; all steps before it are done. Non-zero: return from walk. */
int32_t intaglio_call_host(intaglio_walker *w, int32_t step, int32_t call, void *const *buffers, const int64_t *shapes);

/* The same as intaglio_reserve, for memory of the device. */
void intaglio_reserve_on_device(intaglio_walker *w, int32_t block, int64_t bytes);

/* Step `step`: starts a kernel on the device, unless `programs` is 0. Non-zero: return from walk. */
int32_t intaglio_start(intaglio_walker *w, int32_t step, int32_t kernel, int64_t programs, void *const *buffers,
                       const int64_t *sizes);

/* Copies to or from the device. Non-zero: return from walk. */
int32_t intaglio_copy(intaglio_walker *w, void *to, const void *from, int64_t bytes, int32_t to_host);

/* Opens a step, which is done at the next barrier, or sooner. Its arrays are copied. */
void intaglio_open(intaglio_walker *w, const intaglio_step *step);

/* Waits until all steps that were opened are done. Non-zero: the run is to stop, return from walk. */
int32_t intaglio_barrier(intaglio_walker *w);

/* Makes the run fail with a `status` other than 0; walk returns at once or at the next barrier. The numbers go to
   call->report, for the message. The first failure counts. Returns 1. */
int32_t intaglio_fail(intaglio_walker *w, int32_t status, int64_t a, int64_t b);

/* The monotonic clock. */
int64_t intaglio_nanoseconds(void);

#endif
