/* What this machine can do at most: loops that do nothing but arithmetic, or nothing but move memory.

   In:  calls from compiler/roofline.py, on as many threads at a time as are to be measured.
   Out: nanoseconds. Each thread works on registers, or on memory of its own. */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
enum { CHAINS = 12, LANES = BYTES / sizeof(float) }; /* so many independent chains hide the latency of two pipes */

typedef float vec __attribute__((vector_size(BYTES), may_alias));

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

EXPORT int64_t intaglio_peak_lanes(void) { return CHAINS * LANES; }

/* `steps` times a multiplication and an addition in each of the lanes of all chains. */
EXPORT int64_t intaglio_peak_multiply_add(int64_t steps)
{
    vec acc[CHAINS], x, y;
    for (int lane = 0; lane < LANES; lane++) x[lane] = 0.5f, y[lane] = 1.0f + (float)lane;
    for (int chain = 0; chain < CHAINS; chain++) acc[chain] = y * (float)chain;
    __asm__ volatile("" : "+m"(x), "+m"(y)); /* values that the compiler cannot fold */
    int64_t begin = now();
    for (int64_t step = 0; step < steps; step++) {
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) acc[chain] = acc[chain] * x + y;
    }
    for (int chain = 1; chain < CHAINS; chain++) acc[0] += acc[chain];
    __asm__ volatile("" : : "m"(acc[0]) : "memory");
    return now() - begin;
}

/* Reads `bytes`, a multiple of eight vectors, so often. */
EXPORT int64_t intaglio_peak_read(const char *from, int64_t bytes, int64_t times)
{
    vec sum[8] = { { 0 } };
    int64_t begin = now();
    for (int64_t time = 0; time < times; time++) {
        for (int64_t i = 0; i < bytes; i += 8 * BYTES) {
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) sum[j] += *(const vec *)(from + i + j * BYTES);
        }
        __asm__ volatile("" : : "m"(sum) : "memory");
    }
    return now() - begin;
}

/* a = b + 3 c (STREAM's triad) on `bytes`, a multiple of four vectors, of each of them, so often. */
EXPORT int64_t intaglio_peak_triad(char *restrict a, const char *restrict b, const char *restrict c, int64_t bytes, int64_t times)
{
    int64_t begin = now();
    for (int64_t time = 0; time < times; time++) {
        for (int64_t i = 0; i < bytes; i += 4 * BYTES) {
#pragma GCC unroll 4
            for (int j = 0; j < 4 * BYTES; j += BYTES)
                *(vec *)(a + i + j) = *(const vec *)(b + i + j) + 3.0f * *(const vec *)(c + i + j);
        }
        __asm__ volatile("" : : : "memory");
    }
    return now() - begin;
}
