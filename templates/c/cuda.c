/* Starts Triton's kernels through the CUDA driver: the functions of an intaglio_device (runtime_abi.h) for NVIDIA GPUs.

   In:  an intaglio_cuda, which runtime/device/cuda.py fills in: the driver's functions, a stream, and the loaded kernels.
   Out: work in that stream, without Python and without a link to the driver's library.
   Linked into models for such GPUs. The signatures are those of the CUDA driver API, as of CUDA 12. */

#include "runtime_abi.h"
#include <stddef.h>

#define MOST 256 /* buffers and sizes of a kernel, together */

typedef struct intaglio_cuda_kernel {
    void *function; /* CUfunction */
    int32_t threads, shared, buffers, sizes;
} intaglio_cuda_kernel;

typedef struct intaglio_cuda {
    int32_t (*launch)(void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t block_x,
                      uint32_t block_y, uint32_t block_z, uint32_t shared, void *stream, void **parameters,
                      void **extra);                                           /* cuLaunchKernel */
    int32_t (*copy)(uint64_t to, uint64_t from, size_t bytes, void *stream);   /* cuMemcpyAsync */
    int32_t (*synchronize)(void *stream);                                      /* cuStreamSynchronize */
    void *stream;
    const intaglio_cuda_kernel *kernels;
    int32_t capturing; /* the stream records a graph: nothing may wait for it */
} intaglio_cuda;

INTAGLIO_EXPORT int32_t intaglio_cuda_launch(void *self, int32_t kernel, int64_t programs, void *const *buffers,
                                             const int64_t *sizes)
{
    const intaglio_cuda *cuda = self;
    const intaglio_cuda_kernel *k = &cuda->kernels[kernel];
    int32_t narrow[MOST], count = 0;
    void *parameters[MOST + 2], *none = NULL;
    for (int32_t i = 0; i < k->buffers; i++) parameters[count++] = (void *)&buffers[i];
    for (int32_t i = 0; i < k->sizes; i++) {
        if (sizes[i] > INT32_MAX || sizes[i] < INT32_MIN) return 1; /* CUDA_ERROR_INVALID_VALUE */
        narrow[i] = (int32_t)sizes[i];
        parameters[count++] = &narrow[i];
    }
    parameters[count++] = &none; /* Triton's global and profiling scratch memory */
    parameters[count++] = &none;
    if (programs > INT32_MAX) return 1;
    return cuda->launch(k->function, (uint32_t)programs, 1, 1, (uint32_t)k->threads, 1, 1, (uint32_t)k->shared,
                        cuda->stream, parameters, NULL);
}

INTAGLIO_EXPORT int32_t intaglio_cuda_copy(void *self, void *to, const void *from, int64_t bytes, int32_t to_host)
{
    const intaglio_cuda *cuda = self;
    int32_t status = cuda->copy((uint64_t)(uintptr_t)to, (uint64_t)(uintptr_t)from, (size_t)bytes, cuda->stream);
    return status || !to_host || cuda->capturing ? status : cuda->synchronize(cuda->stream);
}
