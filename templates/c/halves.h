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
#include <immintrin.h>
#include <stdint.h>

#define INTAGLIO_HALVES
#define INTAGLIO_VARIANT(result, name, argument, symbol)                                                                  \
    static __attribute__((used)) result name(argument x) __asm__(symbol);                                                 \
    static result name(argument x)

int32_t intaglio_half(float x) __attribute__((simd("notinbranch"), const));
INTAGLIO_VARIANT(int32_t, intaglio_half_1, float, "intaglio_half") { return _cvtss_sh(x, 0); }
INTAGLIO_VARIANT(__m128i, intaglio_half_4, __m128, "_ZGVbN4v_intaglio_half")
{
    return _mm_cvtepu16_epi32(_mm_cvtps_ph(x, 0));
}
INTAGLIO_VARIANT(__m128i, intaglio_half_avx, __m128, "_ZGVcN4v_intaglio_half")
{
    return _mm_cvtepu16_epi32(_mm_cvtps_ph(x, 0));
}
INTAGLIO_VARIANT(__m256i, intaglio_half_8, __m256, "_ZGVdN8v_intaglio_half")
{
    return _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, 0));
}

float intaglio_rounded(float x) __attribute__((simd("notinbranch"), const));
INTAGLIO_VARIANT(float, intaglio_rounded_1, float, "intaglio_rounded") { return _cvtsh_ss(_cvtss_sh(x, 0)); }
INTAGLIO_VARIANT(__m128, intaglio_rounded_4, __m128, "_ZGVbN4v_intaglio_rounded") { return _mm_cvtph_ps(_mm_cvtps_ph(x, 0)); }
INTAGLIO_VARIANT(__m256, intaglio_rounded_avx, __m256, "_ZGVcN8v_intaglio_rounded")
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, 0));
}
INTAGLIO_VARIANT(__m256, intaglio_rounded_8, __m256, "_ZGVdN8v_intaglio_rounded")
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, 0));
}

static inline void intaglio_widen(int64_t n, const uint16_t *from, float *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    for (; i < n; i++) to[i] = _cvtsh_ss(from[i]);
}

#ifdef __AVX512F__
INTAGLIO_VARIANT(__m512i, intaglio_half_16, __m512, "_ZGVeN16v_intaglio_half")
{
    return _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, 0));
}
INTAGLIO_VARIANT(__m512, intaglio_rounded_16, __m512, "_ZGVeN16v_intaglio_rounded")
{
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, 0));
}
#endif

#endif
#endif
