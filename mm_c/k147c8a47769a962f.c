#include <stddef.h>
#include "bounds.h"
#include <stdint.h>

static inline int64_t ig_floordiv_i64(int64_t a, int64_t b) {
    return b == 0 ? 0 : b == -1 ? (int64_t)((uint64_t)0 - (uint64_t)a) : (int64_t)(a / b - (a % b != 0 && (a < 0) != (b < 0)));
}

static inline int64_t ig_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
typedef int8_t elem;
typedef int8_t elem_b;
typedef uint32_t elem_c;
typedef elem_c vec __attribute__((vector_size(8 * sizeof(elem_c)), aligned(sizeof(elem_c)), may_alias));
typedef int32_t ivec __attribute__((vector_size(8 * sizeof(elem_c))));
enum { LANES = 8, SIGNED = (elem)-1 < 0, BIASED = SIGNED && 0 };
#ifdef INTAGLIO_EMULATE
#define UNIT
static inline vec dot(vec sum, vec a, vec b) {
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        const ivec shifted = (ivec)(a << (24 - 8 * i));
        sum += (SIGNED && !BIASED ? (vec)(shifted >> 24) : (vec)shifted >> 24) * (vec)((ivec)(b << (24 - 8 * i)) >> 24);
    }
    return sum;
}
#else
#define UNIT
typedef int16_t halves __attribute__((vector_size(8 * sizeof(elem_c))));
static inline vec dot(vec sum, vec a, vec b) {
    const halves even = SIGNED ? (halves)a << 8 >> 8 : (halves)(a & 0x00ff00ffu);
    const halves odd = SIGNED ? (halves)a >> 8 : (halves)(a >> 8 & 0x00ff00ffu);
    sum += (vec)_mm256_madd_epi16((__m256i)even, (__m256i)((halves)b << 8 >> 8));
    sum += (vec)_mm256_madd_epi16((__m256i)odd, (__m256i)((halves)b >> 8));
    return sum;
}
#endif

// The last elements of a row, and zeros.
static inline uint32_t last_of(const elem *row, int64_t count) {
    uint32_t word = 0;
    for (int64_t i = 0; i < count; i++) word |= (uint32_t)(uint8_t)row[i] << 8 * i;
    return word;
}

static inline vec broadcast(uint32_t word) {
    return (word - (vec){0}) ^ (BIASED ? 0x80808080u : 0);
}

enum { NR = 16, MR = 4, KR = 4 };

static UNIT __attribute__((noinline)) void gemm_tile_1(int64_t taps, int64_t depth, const elem *const *a, int64_t pitch,
        const elem_b *b, int64_t b_stride, elem_c *c, int64_t c_stride) {
    vec acc[1][2];
    _Pragma("GCC unroll 32") for (int r = 0; r < 1; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
            acc[r][v] = BIASED ? *(const vec *)(b + v * LANES * 4) : (vec){0};
    if (BIASED) b += b_stride;
    for (int64_t tap = 0; tap < taps; tap++, a += pitch) {
        const elem *row[1];
        _Pragma("GCC unroll 32") for (int r = 0; r < 1; r++) row[r] = a[r];
        int64_t k = 0;
        for (; k + 4 <= depth; k += 4, b += b_stride) {
            vec bv[2];
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) bv[v] = *(const vec *)(b + v * LANES * 4);
            _Pragma("GCC unroll 32") for (int r = 0; r < 1; r++) {
                uint32_t word;
                memcpy(&word, row[r] + k, 4);
                const vec x = broadcast(word);
                _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) acc[r][v] = dot(acc[r][v], x, bv[v]);
            }
        }
        if (k == depth) continue;
        _Pragma("GCC unroll 32") for (int r = 0; r < 1; r++) {
            const vec x = broadcast(last_of(row[r] + k, depth - k));
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
                acc[r][v] = dot(acc[r][v], x, *(const vec *)(b + v * LANES * 4));
        }
        b += b_stride;
    }
    _Pragma("GCC unroll 32") for (int r = 0; r < 1; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) *(vec *)(c + r * c_stride + v * LANES) = acc[r][v];
}

static UNIT __attribute__((noinline)) void gemm_tile_2(int64_t taps, int64_t depth, const elem *const *a, int64_t pitch,
        const elem_b *b, int64_t b_stride, elem_c *c, int64_t c_stride) {
    vec acc[2][2];
    _Pragma("GCC unroll 32") for (int r = 0; r < 2; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
            acc[r][v] = BIASED ? *(const vec *)(b + v * LANES * 4) : (vec){0};
    if (BIASED) b += b_stride;
    for (int64_t tap = 0; tap < taps; tap++, a += pitch) {
        const elem *row[2];
        _Pragma("GCC unroll 32") for (int r = 0; r < 2; r++) row[r] = a[r];
        int64_t k = 0;
        for (; k + 4 <= depth; k += 4, b += b_stride) {
            vec bv[2];
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) bv[v] = *(const vec *)(b + v * LANES * 4);
            _Pragma("GCC unroll 32") for (int r = 0; r < 2; r++) {
                uint32_t word;
                memcpy(&word, row[r] + k, 4);
                const vec x = broadcast(word);
                _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) acc[r][v] = dot(acc[r][v], x, bv[v]);
            }
        }
        if (k == depth) continue;
        _Pragma("GCC unroll 32") for (int r = 0; r < 2; r++) {
            const vec x = broadcast(last_of(row[r] + k, depth - k));
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
                acc[r][v] = dot(acc[r][v], x, *(const vec *)(b + v * LANES * 4));
        }
        b += b_stride;
    }
    _Pragma("GCC unroll 32") for (int r = 0; r < 2; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) *(vec *)(c + r * c_stride + v * LANES) = acc[r][v];
}

static UNIT __attribute__((noinline)) void gemm_tile_3(int64_t taps, int64_t depth, const elem *const *a, int64_t pitch,
        const elem_b *b, int64_t b_stride, elem_c *c, int64_t c_stride) {
    vec acc[3][2];
    _Pragma("GCC unroll 32") for (int r = 0; r < 3; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
            acc[r][v] = BIASED ? *(const vec *)(b + v * LANES * 4) : (vec){0};
    if (BIASED) b += b_stride;
    for (int64_t tap = 0; tap < taps; tap++, a += pitch) {
        const elem *row[3];
        _Pragma("GCC unroll 32") for (int r = 0; r < 3; r++) row[r] = a[r];
        int64_t k = 0;
        for (; k + 4 <= depth; k += 4, b += b_stride) {
            vec bv[2];
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) bv[v] = *(const vec *)(b + v * LANES * 4);
            _Pragma("GCC unroll 32") for (int r = 0; r < 3; r++) {
                uint32_t word;
                memcpy(&word, row[r] + k, 4);
                const vec x = broadcast(word);
                _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) acc[r][v] = dot(acc[r][v], x, bv[v]);
            }
        }
        if (k == depth) continue;
        _Pragma("GCC unroll 32") for (int r = 0; r < 3; r++) {
            const vec x = broadcast(last_of(row[r] + k, depth - k));
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
                acc[r][v] = dot(acc[r][v], x, *(const vec *)(b + v * LANES * 4));
        }
        b += b_stride;
    }
    _Pragma("GCC unroll 32") for (int r = 0; r < 3; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) *(vec *)(c + r * c_stride + v * LANES) = acc[r][v];
}

static UNIT __attribute__((noinline)) void gemm_tile_4(int64_t taps, int64_t depth, const elem *const *a, int64_t pitch,
        const elem_b *b, int64_t b_stride, elem_c *c, int64_t c_stride) {
    vec acc[4][2];
    _Pragma("GCC unroll 32") for (int r = 0; r < 4; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
            acc[r][v] = BIASED ? *(const vec *)(b + v * LANES * 4) : (vec){0};
    if (BIASED) b += b_stride;
    for (int64_t tap = 0; tap < taps; tap++, a += pitch) {
        const elem *row[4];
        _Pragma("GCC unroll 32") for (int r = 0; r < 4; r++) row[r] = a[r];
        int64_t k = 0;
        for (; k + 4 <= depth; k += 4, b += b_stride) {
            vec bv[2];
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) bv[v] = *(const vec *)(b + v * LANES * 4);
            _Pragma("GCC unroll 32") for (int r = 0; r < 4; r++) {
                uint32_t word;
                memcpy(&word, row[r] + k, 4);
                const vec x = broadcast(word);
                _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) acc[r][v] = dot(acc[r][v], x, bv[v]);
            }
        }
        if (k == depth) continue;
        _Pragma("GCC unroll 32") for (int r = 0; r < 4; r++) {
            const vec x = broadcast(last_of(row[r] + k, depth - k));
            _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++)
                acc[r][v] = dot(acc[r][v], x, *(const vec *)(b + v * LANES * 4));
        }
        b += b_stride;
    }
    _Pragma("GCC unroll 32") for (int r = 0; r < 4; r++)
        _Pragma("GCC unroll 32") for (int v = 0; v < 2; v++) *(vec *)(c + r * c_stride + v * LANES) = acc[r][v];
}

static void gemm_tile(int64_t count, int64_t taps, int64_t depth, const elem *const *rows, int64_t pitch,
                      const elem_b *b, int64_t b_stride, elem_c *c) {
    if (count <= 1) { gemm_tile_1(taps, depth, rows, pitch, b, b_stride, c, NR); return; }
    if (count <= 2) { gemm_tile_2(taps, depth, rows, pitch, b, b_stride, c, NR); return; }
    if (count <= 3) { gemm_tile_3(taps, depth, rows, pitch, b, b_stride, c, NR); return; }
    gemm_tile_4(taps, depth, rows, pitch, b, b_stride, c, NR);
}

void k147c8a47769a962f(void *const *restrict buf, const int64_t *restrict p, int64_t begin, int64_t end, char *restrict scratch) {
    const int64_t n0 = p[0];
    const int64_t n1 = p[1];
    const int64_t n2 = p[2];
    const int64_t n3 = p[3];
    const int64_t n4 = p[4];
    const int8_t *restrict b0 = buf[0]; EXTENT(b0, (int64_t)buf[3]);
    const int8_t *restrict b1 = buf[1]; EXTENT(b1, (int64_t)buf[4]);
    int32_t *restrict b2 = buf[2]; EXTENT(b2, (int64_t)buf[5]);
    EXTENT(scratch, (int64_t)buf[6]);
    const int64_t M = n0, N = n1, K = n1, panel_rows = ((n1 + 3) / 4 * 4);
    const int64_t row_blocks = (ig_floordiv_i64(n0 - 1, n3) + 1), block_rows = (ig_floordiv_i64(n0 - 1, ig_max_i64(0, ig_floordiv_i64(n0 - 1, n3)) * 4 + 4) * 4 + 4);
    const int64_t panels = (N + NR - 1) / NR, panels_per_task = n4;
    const int64_t column_blocks = (panels + panels_per_task - 1) / panels_per_task;

    for (int64_t task = begin; task < end; task++) {
        // Neighbouring tasks share a block of the larger operand: it then comes from memory once.
        const int64_t within = task % (row_blocks * column_blocks);
        const int64_t row_block = N >= M ? within % row_blocks : within / column_blocks;
        const int64_t column_block = N >= M ? within / row_blocks : within % column_blocks;
        const int64_t m_begin = row_block * block_rows, m_end = m_begin + block_rows < M ? m_begin + block_rows : M;
        const int64_t panel_begin = column_block * panels_per_task;
        const int64_t panel_end = panel_begin + panels_per_task < panels ? panel_begin + panels_per_task : panels;
        for (int64_t panel = panel_begin; panel < panel_end; panel++) {
            const int64_t n_begin = panel * NR, columns = n_begin + NR < N ? NR : N - n_begin;
            const elem_b *b = (const elem_b *)RANGE(b1, 0 + panel * panel_rows * NR, panel_rows * NR);
            const int64_t b_stride = NR * KR;
            for (int64_t m_tile = m_begin; m_tile < m_end; m_tile += MR) {
                const int64_t count = m_tile + MR < m_end ? MR : m_end - m_tile;
                const elem *rows[MR]; EXTENT(rows, MR);
                for (int64_t r = 0; r < MR; r++) {
                    const int64_t m = m_tile + (r < count ? r : count - 1);
                    AT(rows, r) = (const elem *)RANGE(b0, (m * n1), K);
                }
                elem_c result[MR * NR] __attribute__((aligned(64))); EXTENT(result, MR * NR);
                gemm_tile(count, 1, K, rows, MR, b, b_stride, result);
                for (int64_t r = 0; r < count; r++) {
                    const int64_t m = m_tile + r;
                    const elem_c *restrict sums = RANGE(result, r * NR, NR); EXTENT(sums, NR);
                    if (columns == NR) {
                        #pragma omp simd
                        for (int64_t column = 0; column < NR; column++) {
                            const int64_t n = n_begin + column;
                            const int32_t acc = (int32_t)AT(sums, column);
                            AT(b2, m * n1 + n) = acc;
                        }
                    }
                    else {
                        #pragma omp simd
                        for (int64_t column = 0; column < columns; column++) {
                            const int64_t n = n_begin + column;
                            const int32_t acc = (int32_t)AT(sums, column);
                            AT(b2, m * n1 + n) = acc;
                        }
                    }
                }
            }
        }
    }
}
