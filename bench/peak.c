// What this machine can do at most: `peak THREADS` prints "<GFLOP/s> <GB/s>".
//
// GFLOP/s: fused multiply-adds on registers alone; twelve independent chains hide the latency of two FMA pipes.
// GB/s: a[i] = b[i] + s * c[i] (STREAM's triad) on arrays far larger than any cache, counting the three arrays once.
// Each is the best of many short repeats: other programs can only make one slower.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef VECTOR_BYTES
#error "give -DVECTOR_BYTES=64, 32 or 16"
#endif

enum { CHAINS = 12, STEPS = 300000, LANES = VECTOR_BYTES / sizeof(float) };
static const size_t TRIAD = (size_t)24 << 20; // floats in each array, all threads together: 96 MiB

typedef float vec __attribute__((vector_size(VECTOR_BYTES)));

static int threads;
static pthread_barrier_t barrier;
static float *a, *b, *c;
static volatile float sink; // results go here, so that no loop is optimised away

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void multiply_add(int thread) {
    vec acc[CHAINS], x, y;
    (void)thread;
    for (int lane = 0; lane < LANES; lane++) {
        x[lane] = 0.5f;
        y[lane] = 1.0f + lane;
    }
    for (int chain = 0; chain < CHAINS; chain++) acc[chain] = y * (float)chain;
    __asm__ volatile("" : "+m"(x), "+m"(y)); // values the compiler cannot fold
    for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) acc[chain] = acc[chain] * x + y;
    }
    for (int chain = 1; chain < CHAINS; chain++) acc[0] += acc[chain];
    sink = acc[0][0];
}

static void triad(int thread) {
    size_t first = TRIAD / threads * thread, last = TRIAD / threads * (thread + 1);
    for (size_t i = first; i < last; i++) a[i] = b[i] + 3.0f * c[i];
    sink = a[first];
}

static void fill(int thread) { // each thread touches its own pages first
    size_t first = TRIAD / threads * thread, last = TRIAD / threads * (thread + 1);
    for (size_t i = first; i < last; i++) a[i] = b[i] = c[i] = 1.0f;
}

// Seconds of the fastest of `repeats` runs of `work` on all threads at once.
static double best(void (*work)(int), int repeats, int thread) {
    double fastest = 1e30;
    for (int repeat = 0; repeat < repeats; repeat++) {
        pthread_barrier_wait(&barrier);
        double start = now();
        work(thread);
        pthread_barrier_wait(&barrier);
        double seconds = now() - start;
        if (seconds < fastest) fastest = seconds;
    }
    return fastest;
}

static void *body(void *argument) {
    int thread = (int)(size_t)argument;
    best(fill, 1, thread);
    double compute = best(multiply_add, 400, thread), memory = best(triad, 30, thread);
    if (thread == 0) {
        printf("%.1f ", 2e-9 * STEPS * CHAINS * LANES * threads / compute);
        printf("%.2f\n", 1e-9 * 3 * sizeof(float) * TRIAD / memory);
    }
    return NULL;
}

int main(int argc, char **argv) {
    threads = argc > 1 ? atoi(argv[1]) : 1;
    a = malloc(TRIAD * sizeof(float)), b = malloc(TRIAD * sizeof(float)), c = malloc(TRIAD * sizeof(float));
    pthread_t *others = malloc(threads * sizeof(pthread_t));
    if (threads < 1 || !a || !b || !c || !others || pthread_barrier_init(&barrier, NULL, threads)) return 1;
    for (int thread = 1; thread < threads; thread++)
        if (pthread_create(&others[thread], NULL, body, (void *)(size_t)thread)) return 1;
    body((void *)0);
    for (int thread = 1; thread < threads; thread++) pthread_join(others[thread], NULL);
    return 0;
}
