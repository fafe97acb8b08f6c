/* Tiles: the matrix unit of CPUs with AMX, eight registers of up to 16 rows by 64 bytes.

   In:  the numbers of registers, which are literals; addresses of rows, and their distance in bytes.
   Out: tiles_granted, and the unit's instructions as functions and macros; functions that use them are TILED.
   It must never use the unit where the CPU or the system lacks it, or does not permit it to this process: callers ask
   tiles_granted first, and do without.

       tiles_begin(rows, bytes)        before the first instruction: rows[8] and bytes[8] of each register
       tiles_end()                     after the last one: the system then has no tiles to save
       tile_zero(t), tile_load(t, from, stride), tile_store(t, to, stride)
       tile_bf16(c, a, b)              c[m][n] += sum over k of a[m][2k, 2k+1] * b[k][2n, 2n+1], of bf16, in f32
       tile_ss, tile_us(c, a, b)       the same for quadruples of bytes, of which a's are signed or unsigned, in i32

   Where INTAGLIO_EMULATE is defined, plain C does the same: Intel, "Intel 64 and IA-32 Architectures Software Developer's
   Manual", TDPBF16PS and TDPBSSD. Denormals count as zeros there, and so they do here. */

#ifndef INTAGLIO_TILES_H
#define INTAGLIO_TILES_H

#include <stdint.h>
#include <string.h>

enum { TILE_ROWS = 16, TILE_BYTES = 64, TILES_OF_BF16 = 22, TILES_OF_BYTES = 25 }; /* the last two: bits of CPUID */

#if defined(INTAGLIO_EMULATE)

#define TILED
typedef struct {
    uint32_t word[16][16];
    int rows, words;
} intaglio_tile;
static _Thread_local intaglio_tile intaglio_tiles[8];

static inline int tiles_granted(int unit) { return unit > 0; }

static inline void tiles_begin(const uint8_t *rows, const uint16_t *bytes)
{
    memset(intaglio_tiles, 0, sizeof(intaglio_tiles));
    for (int t = 0; t < 8; t++) intaglio_tiles[t].rows = rows[t], intaglio_tiles[t].words = bytes[t] / 4;
}

static inline void tiles_end(void) {}

static inline void tile_zero(int t) { memset(intaglio_tiles[t].word, 0, sizeof(intaglio_tiles[t].word)); }

static inline void tile_load(int t, const void *from, int64_t stride)
{
    tile_zero(t);
    for (int r = 0; r < intaglio_tiles[t].rows; r++)
        memcpy(intaglio_tiles[t].word[r], (const char *)from + r * stride, intaglio_tiles[t].words * 4);
}

static inline void tile_store(int t, void *to, int64_t stride)
{
    for (int r = 0; r < intaglio_tiles[t].rows; r++)
        memcpy((char *)to + r * stride, intaglio_tiles[t].word[r], intaglio_tiles[t].words * 4);
}

static inline float intaglio_normal(uint32_t bits)
{
    float value;
    bits = bits & 0x7f800000 ? bits : bits & 0x80000000;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t intaglio_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits & 0x7f800000 ? bits : bits & 0x80000000;
}

static inline void tile_bf16(int c, int a, int b)
{
    const int depth = intaglio_tiles[a].words < intaglio_tiles[b].rows ? intaglio_tiles[a].words : intaglio_tiles[b].rows;
    for (int m = 0; m < intaglio_tiles[c].rows; m++)
        for (int n = 0; n < intaglio_tiles[c].words; n++) {
            float even = 0, odd = 0;
            for (int k = 0; k < depth; k++) {
                const uint32_t x = intaglio_tiles[a].word[m][k], y = intaglio_tiles[b].word[k][n];
                even = intaglio_normal(intaglio_bits(even + intaglio_normal(x << 16) * intaglio_normal(y << 16)));
                odd = intaglio_normal(intaglio_bits(odd + intaglio_normal(x & 0xffff0000) * intaglio_normal(y & 0xffff0000)));
            }
            const float sum = intaglio_normal(intaglio_bits(even + odd));
            intaglio_tiles[c].word[m][n] = intaglio_bits(intaglio_normal(intaglio_tiles[c].word[m][n]) + sum);
        }
}

#define INTAGLIO_TILE_BYTES(name, type_a)                                                                                 \
    static inline void name(int c, int a, int b)                                                                          \
    {                                                                                                                     \
        const intaglio_tile *const x = &intaglio_tiles[a], *const y = &intaglio_tiles[b];                                 \
        const int depth = x->words < y->rows ? x->words : y->rows;                                                        \
        for (int m = 0; m < intaglio_tiles[c].rows; m++)                                                                  \
            for (int k = 0; k < depth; k++)                                                                               \
                for (int n = 0; n < intaglio_tiles[c].words; n++)                                                         \
                    for (int i = 0; i < 4; i++)                                                                           \
                        intaglio_tiles[c].word[m][n] += (uint32_t)((type_a)(x->word[m][k] >> 8 * i)                       \
                                                                   * (int8_t)(y->word[k][n] >> 8 * i));                   \
    }
INTAGLIO_TILE_BYTES(tile_ss, int8_t)
INTAGLIO_TILE_BYTES(tile_us, uint8_t)

#else

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <sys/syscall.h>
#define TILED __attribute__((target("amx-tile,amx-bf16,amx-int8")))

long syscall(long number, ...);

/* Whether this process may use the unit for bf16 or for bytes. Linux gives the permission to all threads when it is asked
   for the first time: Documentation/arch/x86/xstate.rst. */
static inline int tiles_granted(int unit)
{
    enum { NO = 1, YES, REQUEST = 0x1023, TILE_DATA = 18, TILES = 24 };
    static int known;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!answer) {
        unsigned a, b, c, d = 0;
        const int has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> TILES & 1 && d >> unit & 1;
        answer = has && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == YES;
}

static inline TILED void tiles_begin(const uint8_t *rows, const uint16_t *bytes)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } layout = {.palette = 1};
    memcpy(layout.bytes, bytes, 8 * sizeof(uint16_t));
    memcpy(layout.rows, rows, 8);
    __asm__ volatile("ldtilecfg %0" ::"m"(layout));
}

static inline TILED void tiles_end(void) { __asm__ volatile("tilerelease"); }

/* The instructions themselves: <immintrin.h>, which has functions for them, takes longer to compile than a kernel. */
#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define tile_load(t, from, stride)                                                                                        \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"((const void *)(from)), "r"((int64_t)(stride)) : "memory")
#define tile_store(t, to, stride)                                                                                         \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"((void *)(to)), "r"((int64_t)(stride)) : "memory")
#define INTAGLIO_TILE(instruction, c, a, b) __asm__ volatile(instruction " %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define tile_bf16(c, a, b) INTAGLIO_TILE("tdpbf16ps", c, a, b)
#define tile_ss(c, a, b) INTAGLIO_TILE("tdpbssd", c, a, b)
#define tile_us(c, a, b) INTAGLIO_TILE("tdpbusd", c, a, b)

#else /* a compiler without the instructions */

#define TILED
static inline int tiles_granted(int unit) { return unit < 0; }
static inline void tiles_begin(const uint8_t *rows, const uint16_t *bytes) { (void)rows, (void)bytes; }
static inline void tiles_end(void) {}
#define tile_zero(t) ((void)0)
#define tile_load(t, from, stride) ((void)(from))
#define tile_store(t, to, stride) ((void)(to))
#define tile_bf16(c, a, b) ((void)0)
#define tile_ss(c, a, b) ((void)0)
#define tile_us(c, a, b) ((void)0)

#endif
#endif
#endif
