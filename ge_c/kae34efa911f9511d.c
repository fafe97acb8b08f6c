#include "bounds.h"
#include <stdint.h>

static inline int64_t ig_add_i64(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t ig_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static inline int64_t ig_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void kae34efa911f9511d(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch) {
    (void)buf, (void)p, (void)scratch;
    if (begin >= end) return;
    const int64_t n0 = p[0];
    const int64_t n1 = p[1];
    const int64_t *restrict b0 = buf[0]; EXTENT(b0, (int64_t)buf[4]);
    const float *restrict b1 = buf[1]; EXTENT(b1, (int64_t)buf[5]);
    float *restrict b2 = buf[2]; EXTENT(b2, (int64_t)buf[6]);
    uint64_t fault0 = 0; /* other than 0 where it was found */
    EXTENT(scratch, (int64_t)buf[7]);
    int64_t rest = begin;
    int64_t o0 = rest % ((n0 + 2047) / 2048);
    for (int64_t task = begin; task < end; task++) {
        // stage 0
        const int64_t i0e = ig_min_i64(2048, n0 - o0 * 2048);
        for (int64_t i0 = 0; i0 < i0e; i0++) {
            const int64_t t0 = AT(b0, i0 + o0 * 2048);
            const int64_t t1 = t0 < 0 ? ig_add_i64(t0, n1) : t0;
            fault0 |= (uint64_t)(t1 ^ ig_min_i64(ig_max_i64(t1, 0), n1 - 1));
            const int64_t t2 = ig_min_i64(ig_max_i64(t1, 0), n1 - 1);
            AT(b2, i0 + o0 * 2048) = AT(b1, t2);
        }
        o0++;
    }
    if (fault0) __atomic_fetch_or((uint64_t *)buf[3], (uint64_t)1 << 0, __ATOMIC_RELAXED);
}
