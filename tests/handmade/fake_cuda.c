/* A CUDA driver for tests, of devices whose memory is the host's: what runtime/device/cuda.py and templates/c/cuda.c call. It
   knows which memory is a device's, and refuses copies and kernels (error 700) that take other memory for that.

   Kernels are run by a function that the test gives (fake_kernels), which gets their name and arguments; of what kinds
   these are, the driver finds in the module, and here the test tells it (fake_signature). Work is done at once; a stream
   that captures notes it instead, and launching the graph does it. What can go wrong is set by fake_set(what, value). */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define OUT_OF_MEMORY 2
#define NOT_FOUND 500
#define MUCH (1 << 26) /* bytes: of larger blocks, the rest is not touched */

enum { VERSION, CAPABILITY, SHARED, MEMORY, DEVICES, FAILS, SETTINGS };
static int64_t settings[SETTINGS] = { 12040, 90, 232448, (int64_t)1 << 30, 1, 0 };
static int64_t allocated;
static int lock; /* of what follows, which threads share */
static void enter(void) { while (__sync_lock_test_and_set(&lock, 1)) {} }
static void leave(void) { __sync_lock_release(&lock); }
EXPORT int64_t fake_counts[8]; /* launches, copies, captures, graph launches, live allocations, live pinned blocks, waits
                                for all */

typedef int32_t (*kernels_t)(const char *name, int64_t programs, int32_t threads, int32_t shared, const int64_t *values);
static kernels_t run_kernel;

typedef struct signature { struct signature *next; char *name, *kinds; } signature;
static signature *signatures;

EXPORT void fake_kernels(kernels_t function) { run_kernel = function; }

/* kinds: p for a pointer, i for an int32, in order; Triton's two pointers that follow are not among them. */
EXPORT void fake_signature(const char *name, const char *kinds)
{
    signature *s = malloc(sizeof *s);
    *s = (signature){ signatures, strdup(name), strdup(kinds) };
    signatures = s;
}
EXPORT void fake_set(int32_t what, int64_t value) { settings[what] = value; }

/* ---- Device, context, modules ---- */

EXPORT int32_t cuInit(uint32_t flags) { (void)flags; return settings[DEVICES] ? 0 : 100; }
EXPORT int32_t cuDriverGetVersion(int *version) { *version = (int)settings[VERSION]; return 0; }
EXPORT int32_t cuDeviceGetCount(int *count) { *count = (int)settings[DEVICES]; return 0; }
EXPORT int32_t cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = (int)(attribute == 75 ? settings[CAPABILITY] / 10 : attribute == 76 ? settings[CAPABILITY] % 10 : settings[SHARED]);
    return 0;
}
EXPORT int32_t cuGetErrorString(int32_t error, const char **text)
{
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == 700 ? "an illegal memory access" : "some error";
    return 0;
}
EXPORT int32_t cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(intptr_t)(device + 1); return 0; }
EXPORT int32_t cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
static __thread int depth; /* of the contexts of a thread */
EXPORT int32_t cuCtxSynchronize(void) { fake_counts[6]++; return 0; }
EXPORT int32_t cuCtxSetCurrent(void *context) { return context ? 0 : 201; }
EXPORT int32_t cuCtxPushCurrent_v2(void *context) { return context ? (depth++, 0) : 201; }
EXPORT int32_t cuCtxPopCurrent_v2(void **context) { return (*context = NULL, depth ? (depth--, 0) : 201); }
EXPORT int32_t cuModuleLoadData(void **module, const void *image)
{
    if (memcmp(image, "\177ELF", 4)) return 200; /* as a cubin begins */
    *module = malloc(1);
    return 0;
}
EXPORT int32_t cuModuleUnload(void *module) { free(module); return 0; }
EXPORT int32_t cuModuleGetFunction(void **function, void *module, const char *name)
{
    (void)module;
    *function = strdup(name); /* a few bytes, until the test ends */
    return *name ? 0 : NOT_FOUND;
}
EXPORT int32_t cuFuncSetAttribute(void *function, int attribute, int value)
{
    (void)function;
    return attribute == 8 && value <= settings[SHARED] ? 0 : 1;
}

/* ---- Memory ---- */

typedef struct block { struct block *next; uint64_t at; int64_t bytes; } block;
static block *blocks;

/* Whether memory, if it is not empty, lies in a block. Where its size is unknown, kernels may be given the end of one. */
static int on_device(uint64_t at, int64_t bytes)
{
    int found = !bytes;
    enter();
    for (block *b = blocks; b && !found; b = b->next)
        found = at >= b->at && at - b->at + (bytes > 0 ? (uint64_t)bytes : 0) <= (uint64_t)b->bytes;
    leave();
    return found;
}
static int32_t allocate(void **at, size_t bytes)
{
    int32_t status = OUT_OF_MEMORY;
    enter();
    if (allocated + (int64_t)bytes <= settings[MEMORY] && !posix_memalign(at, 256, bytes ? bytes : 1)) {
        memset(*at, 0xEE, bytes < MUCH ? bytes : MUCH);
        block *b = malloc(sizeof *b);
        *b = (block){ blocks, (uint64_t)(uintptr_t)*at, (int64_t)bytes };
        blocks = b;
        allocated += (int64_t)bytes;
        fake_counts[4]++;
        status = 0;
    }
    leave();
    return status;
}
static int32_t release(void *at)
{
    int32_t status = 1;
    enter();
    for (block **b = &blocks; *b; b = &(*b)->next) {
        if ((*b)->at != (uint64_t)(uintptr_t)at) continue;
        block *found = *b;
        *b = found->next;
        allocated -= found->bytes;
        memset(at, 0xDD, found->bytes < MUCH ? (size_t)found->bytes : MUCH); /* who still reads it shall not find it */
        free(at);
        free(found);
        fake_counts[4]--;
        status = 0;
        break;
    }
    leave();
    return status;
}
EXPORT int32_t cuMemAlloc_v2(uint64_t *at, size_t bytes) { return allocate((void **)at, bytes); }
EXPORT int32_t cuMemFree_v2(uint64_t at) { return release((void *)at); }
EXPORT int32_t cuMemAllocAsync(uint64_t *at, size_t bytes, void *stream) { return stream ? allocate((void **)at, bytes) : 400; }
EXPORT int32_t cuMemFreeAsync(uint64_t at, void *stream) { return stream ? release((void *)at) : 400; }
EXPORT int32_t cuMemHostAlloc(void **at, size_t bytes, uint32_t flags)
{
    (void)flags;
    __sync_fetch_and_add(&fake_counts[5], 1);
    return (*at = malloc(bytes)) ? 0 : OUT_OF_MEMORY;
}
EXPORT int32_t cuMemFreeHost(void *at) { __sync_fetch_and_sub(&fake_counts[5], 1); free(at); return 0; }
static int32_t copied(uint64_t to, uint64_t from, size_t bytes, int to_device, int from_device)
{
    if (on_device(to, (int64_t)bytes) != to_device || on_device(from, (int64_t)bytes) != from_device) return 700;
    memmove((void *)to, (void *)from, bytes);
    return 0;
}
EXPORT int32_t cuMemcpyHtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return copied(to, from, bytes, 1, 0); }
EXPORT int32_t cuMemcpyDtoH_v2(uint64_t to, uint64_t from, size_t bytes) { return copied(to, from, bytes, 0, 1); }
EXPORT int32_t cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return copied(to, from, bytes, 1, 1); }

/* ---- Streams and graphs: lists of work ---- */

typedef struct work {
    struct work *next;
    char *kernel; /* NULL: a copy */
    int64_t programs;
    int32_t threads, shared;
    const char *kinds; /* of the values */
    int64_t values[300];
    uint64_t to, from;
    size_t bytes;
} work;
typedef struct { int capturing; work *first, **last; } stream_t;

static int32_t perform(work *w)
{
    if (!w->kernel) {
        fake_counts[1]++;
        if (w->bytes && !on_device(w->to, (int64_t)w->bytes) && !on_device(w->from, (int64_t)w->bytes)) return 700;
        memmove((void *)w->to, (void *)w->from, w->bytes);
        return 0;
    }
    for (int i = 0; w->programs && w->kinds[i]; i++)
        if (w->kinds[i] == 'p' && w->values[i] && !on_device((uint64_t)w->values[i], -1)) return 700;
    fake_counts[0]++;
    return run_kernel ? run_kernel(w->kernel, w->programs, w->threads, w->shared, w->values) : 0;
}
static int32_t submit(stream_t *stream, work *w)
{
    if (settings[FAILS] && w->kernel) { free(w); return (int32_t)settings[FAILS]; }
    if (stream->capturing) {
        *stream->last = w;
        stream->last = &w->next;
        return 0;
    }
    int32_t status = perform(w);
    free(w);
    return status;
}
EXPORT int32_t cuStreamCreate(void **stream, uint32_t flags) { (void)flags; return (*stream = calloc(1, sizeof(stream_t))) ? 0 : 2; }
EXPORT int32_t cuStreamDestroy_v2(void *stream) { free(stream); return 0; }
EXPORT int32_t cuStreamSynchronize(void *stream)
{
    return stream && ((stream_t *)stream)->capturing ? 900 : 0; /* NULL: the stream of those who have none */
}
EXPORT int32_t cuStreamBeginCapture_v2(void *stream, int mode)
{
    stream_t *s = stream;
    (void)mode;
    s->capturing = 1;
    s->first = NULL;
    s->last = &s->first;
    return 0;
}
EXPORT int32_t cuStreamEndCapture(void *stream, void **graph)
{
    stream_t *s = stream;
    s->capturing = 0;
    fake_counts[2]++;
    *graph = malloc(sizeof(work *));
    *(work **)*graph = s->first;
    return 0;
}
EXPORT int32_t cuGraphInstantiateWithFlags(void **executable, void *graph, uint64_t flags)
{
    (void)flags;
    *executable = malloc(sizeof(work *));
    *(work **)*executable = *(work **)graph;
    return 0;
}
EXPORT int32_t cuGraphDestroy(void *graph) { free(graph); return 0; }
EXPORT int32_t cuGraphExecDestroy(void *executable)
{
    for (work *w = *(work **)executable; w;) { work *next = w->next; free(w); w = next; }
    free(executable);
    return 0;
}
EXPORT int32_t cuGraphLaunch(void *executable, void *stream)
{
    (void)stream;
    fake_counts[3]++;
    for (work *w = *(work **)executable; w; w = w->next) {
        int32_t status = perform(w);
        if (status) return status;
    }
    return 0;
}
EXPORT int32_t cuMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, void *stream)
{
    work *w = calloc(1, sizeof *w);
    w->to = to, w->from = from, w->bytes = bytes;
    return submit(stream, w);
}
EXPORT int32_t cuLaunchKernel(void *function, uint32_t gx, uint32_t gy, uint32_t gz, uint32_t bx, uint32_t by, uint32_t bz,
                              uint32_t shared, void *stream, void **parameters, void **extra)
{
    (void)gy, (void)gz, (void)by, (void)bz, (void)extra;
    work *w = calloc(1, sizeof *w);
    w->kernel = function, w->programs = gx, w->threads = (int32_t)bx, w->shared = (int32_t)shared;
    const signature *s = signatures;
    while (s && strcmp(s->name, w->kernel)) s = s->next;
    if (!s) return NOT_FOUND;
    int count = (int)strlen(s->kinds);
    w->kinds = s->kinds;
    for (int i = 0; i < count; i++) {
        if (s->kinds[i] == 'p') memcpy(&w->values[i], parameters[i], sizeof(int64_t));
        else w->values[i] = *(const int32_t *)parameters[i];
    }
    for (int i = 0; i < 2; i++)
        if (*(void **)parameters[count + i]) return 1; /* no kernel here needs scratch memory */
    return submit(stream, w);
}
