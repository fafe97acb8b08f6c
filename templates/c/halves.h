/* Rounding to f16 by the CPU's instruction, in loops that gcc vectorises.

   In:  nothing. Out: INTAGLIO_HALVES, if the instruction can be used, and then
       intaglio_half(x)      the bits of the f16 nearest to x, half to even; a quiet NaN for NaN
       intaglio_rounded(x)   the same as an f32
       intaglio_widen(n, from, to)   n numbers of f16 as f32
   gcc vectorises no conversion of f16, but calls of functions that are declared to have vector variants. It takes for granted
   those of all instruction sets up to the target's, as the x86-64 vector function ABI names them: b is SSE (4 lanes), c AVX (4
   integers or 8 floats), d AVX2 (8), e AVX-512 (16). A call for 8 elements takes half the time of the same by integers, which
   kernels do without this file. */

#ifndef INTAGLIO_HALVES_H
#define INTAGLIO_HALVES_H

#if defined(__F16C__) && defined(__AVX2__) && defined(__GNUC__) && !defined(__clang__)
#include <stdint.h>

#define INTAGLIO_HALVES
/* The compiler's own types and functions: <immintrin.h>, which names them, takes longer to compile than a kernel. */
#define INTAGLIO_VECTOR(type, lanes) type __attribute__((vector_size(lanes * sizeof(type)), may_alias))
typedef INTAGLIO_VECTOR(float, 4) intaglio_f4;
typedef INTAGLIO_VECTOR(float, 8) intaglio_f8;
typedef INTAGLIO_VECTOR(float, 16) intaglio_f16;
typedef INTAGLIO_VECTOR(int32_t, 4) intaglio_i4;
typedef INTAGLIO_VECTOR(int32_t, 8) intaglio_i8;
typedef INTAGLIO_VECTOR(int32_t, 16) intaglio_i16;
typedef INTAGLIO_VECTOR(uint16_t, 8) intaglio_h8;
typedef INTAGLIO_VECTOR(uint16_t, 16) intaglio_h16;
typedef INTAGLIO_VECTOR(short, 8) intaglio_s8;
typedef INTAGLIO_VECTOR(short, 16) intaglio_s16;

static inline intaglio_s8 intaglio_halves_4(intaglio_f4 x) { return __builtin_ia32_vcvtps2ph(x, 0); }
static inline intaglio_s8 intaglio_halves_8(intaglio_f8 x) { return __builtin_ia32_vcvtps2ph256(x, 0); }

#define INTAGLIO_VARIANT(result, name, argument, symbol)                                                                  \
    static __attribute__((used)) result name(argument x) __asm__(symbol);                                                 \
    static result name(argument x)

int32_t intaglio_half(float x) __attribute__((simd("notinbranch"), const));
INTAGLIO_VARIANT(int32_t, intaglio_half_1, float, "intaglio_half")
{
    return (uint16_t)intaglio_halves_4((intaglio_f4){x})[0];
}
INTAGLIO_VARIANT(intaglio_i4, intaglio_half_4, intaglio_f4, "_ZGVbN4v_intaglio_half")
{
    const intaglio_h8 halves = (intaglio_h8)intaglio_halves_4(x);
    return __builtin_convertvector(__builtin_shufflevector(halves, halves, 0, 1, 2, 3), intaglio_i4);
}
INTAGLIO_VARIANT(intaglio_i4, intaglio_half_avx, intaglio_f4, "_ZGVcN4v_intaglio_half") { return intaglio_half_4(x); }
INTAGLIO_VARIANT(intaglio_i8, intaglio_half_8, intaglio_f8, "_ZGVdN8v_intaglio_half")
{
    return __builtin_convertvector((intaglio_h8)intaglio_halves_8(x), intaglio_i8);
}

float intaglio_rounded(float x) __attribute__((simd("notinbranch"), const));
INTAGLIO_VARIANT(intaglio_f4, intaglio_rounded_4, intaglio_f4, "_ZGVbN4v_intaglio_rounded")
{
    return __builtin_ia32_vcvtph2ps(intaglio_halves_4(x));
}
INTAGLIO_VARIANT(float, intaglio_rounded_1, float, "intaglio_rounded") { return intaglio_rounded_4((intaglio_f4){x})[0]; }
INTAGLIO_VARIANT(intaglio_f8, intaglio_rounded_8, intaglio_f8, "_ZGVdN8v_intaglio_rounded")
{
    return __builtin_ia32_vcvtph2ps256(intaglio_halves_8(x));
}
INTAGLIO_VARIANT(intaglio_f8, intaglio_rounded_avx, intaglio_f8, "_ZGVcN8v_intaglio_rounded") { return intaglio_rounded_8(x); }

static inline void intaglio_widen(int64_t n, const uint16_t *from, float *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        intaglio_s8 halves;
        __builtin_memcpy(&halves, from + i, sizeof(halves));
        const intaglio_f8 wide = __builtin_ia32_vcvtph2ps256(halves);
        __builtin_memcpy(to + i, &wide, sizeof(wide));
    }
    for (; i < n; i++) to[i] = __builtin_ia32_vcvtph2ps((intaglio_s8){(short)from[i]})[0];
}

#ifdef __AVX512F__
static inline intaglio_s16 intaglio_halves_16(intaglio_f16 x)
{
    return __builtin_ia32_vcvtps2ph512_mask(x, 0, (intaglio_s16){0}, (unsigned short)-1);
}
INTAGLIO_VARIANT(intaglio_i16, intaglio_half_16, intaglio_f16, "_ZGVeN16v_intaglio_half")
{
    return __builtin_convertvector((intaglio_h16)intaglio_halves_16(x), intaglio_i16);
}
INTAGLIO_VARIANT(intaglio_f16, intaglio_rounded_16, intaglio_f16, "_ZGVeN16v_intaglio_rounded")
{
    enum { CURRENT_ROUNDING = 4 };
    return __builtin_ia32_vcvtph2ps512_mask(intaglio_halves_16(x), (intaglio_f16){0}, (unsigned short)-1, CURRENT_ROUNDING);
}
#endif

#endif
#endif
