/* Sixteen floats at once, by instruction set: everything above this file is written once.
 *
 * Each operation works on every lane alone and rounds once, as IEEE 754 says, so all variants give the same bits. `vfma` rounds
 * once, too: the plain variant calls fmaf for it.
 *
 * PAIRS: the processor multiplies bfloat16 numbers by twos (`vfma_pair`): a lane adds the product of the first ones, rounds, adds
 * that of the second ones, and rounds, as two `vfma` of the same numbers would. Only sums below 2^-126 differ: they are zero.
 */
#ifndef PELLUCID_VECTOR_H
#define PELLUCID_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__)
#include <immintrin.h>
#define VARIANT "AVX512"
typedef __m512 v16;
INLINE v16 vset(float x) { return _mm512_set1_ps(x); }
INLINE v16 vload(const float *p) { return _mm512_loadu_ps(p); }
INLINE v16 vload_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
#ifdef __AVX512BF16__
#define PAIRS
#undef VARIANT
#define VARIANT "AVX512-BF16"
typedef __m512i pairs; /* the first number of a lane in the upper half of its 32 bits: VDPBF16PS begins there */
INLINE pairs vload_pairs(const void *p) { return _mm512_loadu_si512(p); }
INLINE v16 vfma_pair(uint32_t a, pairs b, v16 c) {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
}
#endif
INLINE void vstore(float *p, v16 a) { _mm512_storeu_ps(p, a); }
INLINE v16 vadd(v16 a, v16 b) { return _mm512_add_ps(a, b); }
INLINE v16 vsub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
INLINE v16 vmul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
INLINE v16 vdiv(v16 a, v16 b) { return _mm512_div_ps(a, b); }
INLINE v16 vfma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE v16 vwhere_less(v16 a, v16 b, v16 yes, v16 no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes); }
INLINE v16 vexponent(v16 a, v16 n) { /* a * 2^k, where n = k + 1.5 * 2^23 */
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}

#elif !defined(PELLUCID_PLAIN) && defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define VARIANT "AVX2"
typedef struct { __m256 lo, hi; } v16;
INLINE v16 vset(float x) { __m256 a = _mm256_set1_ps(x); return (v16){a, a}; }
INLINE v16 vload(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE __m256 half_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
INLINE v16 vload_bf16(const uint16_t *p) { return (v16){half_bf16(p), half_bf16(p + 8)}; }
INLINE void vstore(float *p, v16 a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
INLINE v16 vadd(v16 a, v16 b) { return (v16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INLINE v16 vsub(v16 a, v16 b) { return (v16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INLINE v16 vmul(v16 a, v16 b) { return (v16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INLINE v16 vdiv(v16 a, v16 b) { return (v16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
INLINE v16 vfma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
INLINE v16 vwhere_less(v16 a, v16 b, v16 yes, v16 no) {
    return (v16){_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                 _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
INLINE __m256 half_exponent(__m256 a, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
INLINE v16 vexponent(v16 a, v16 n) { return (v16){half_exponent(a.lo, n.lo), half_exponent(a.hi, n.hi)}; }

#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define VARIANT "NEON"
typedef struct { float32x4_t x[4]; } v16;
#define QUARTERS for (int i = 0; i < 4; i++)
INLINE v16 vset(float x) { v16 r; QUARTERS r.x[i] = vdupq_n_f32(x); return r; }
INLINE v16 vload(const float *p) { v16 r; QUARTERS r.x[i] = vld1q_f32(p + 4 * i); return r; }
INLINE v16 vload_bf16(const uint16_t *p) {
    v16 r;
    QUARTERS r.x[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
    return r;
}
INLINE void vstore(float *p, v16 a) { QUARTERS vst1q_f32(p + 4 * i, a.x[i]); }
INLINE v16 vadd(v16 a, v16 b) { QUARTERS a.x[i] = vaddq_f32(a.x[i], b.x[i]); return a; }
INLINE v16 vsub(v16 a, v16 b) { QUARTERS a.x[i] = vsubq_f32(a.x[i], b.x[i]); return a; }
INLINE v16 vmul(v16 a, v16 b) { QUARTERS a.x[i] = vmulq_f32(a.x[i], b.x[i]); return a; }
INLINE v16 vdiv(v16 a, v16 b) { QUARTERS a.x[i] = vdivq_f32(a.x[i], b.x[i]); return a; }
INLINE v16 vfma(v16 a, v16 b, v16 c) { QUARTERS c.x[i] = vfmaq_f32(c.x[i], a.x[i], b.x[i]); return c; }
INLINE v16 vwhere_less(v16 a, v16 b, v16 yes, v16 no) {
    QUARTERS no.x[i] = vbslq_f32(vcltq_f32(a.x[i], b.x[i]), yes.x[i], no.x[i]);
    return no;
}
INLINE v16 vexponent(v16 a, v16 n) {
    QUARTERS a.x[i] = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.x[i]), vshlq_n_s32(vreinterpretq_s32_f32(n.x[i]), 23)));
    return a;
}

#else
#define VARIANT "plain C"
typedef struct { float x[16]; } v16;
#define LANES for (int i = 0; i < 16; i++)
INLINE v16 vset(float x) { v16 r; LANES r.x[i] = x; return r; }
INLINE v16 vload(const float *p) { v16 r; memcpy(r.x, p, sizeof r.x); return r; }
INLINE v16 vload_bf16(const uint16_t *p) {
    v16 r;
    LANES { uint32_t bits = (uint32_t)p[i] << 16; memcpy(&r.x[i], &bits, 4); }
    return r;
}
INLINE void vstore(float *p, v16 a) { memcpy(p, a.x, sizeof a.x); }
INLINE v16 vadd(v16 a, v16 b) { LANES a.x[i] += b.x[i]; return a; }
INLINE v16 vsub(v16 a, v16 b) { LANES a.x[i] -= b.x[i]; return a; }
INLINE v16 vmul(v16 a, v16 b) { LANES a.x[i] *= b.x[i]; return a; }
INLINE v16 vdiv(v16 a, v16 b) { LANES a.x[i] /= b.x[i]; return a; }
INLINE v16 vfma(v16 a, v16 b, v16 c) { LANES c.x[i] = fmaf(a.x[i], b.x[i], c.x[i]); return c; }
INLINE v16 vwhere_less(v16 a, v16 b, v16 yes, v16 no) { LANES no.x[i] = a.x[i] < b.x[i] ? yes.x[i] : no.x[i]; return no; }
INLINE v16 vexponent(v16 a, v16 n) {
    LANES { uint32_t x, k; memcpy(&x, &a.x[i], 4); memcpy(&k, &n.x[i], 4); x += k << 23; memcpy(&a.x[i], &x, 4); }
    return a;
}
#endif

/* The sum of the lanes, halves upon halves. */
INLINE float vsum(v16 a) {
    float x[16];
    vstore(x, a);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* e^x to about one part in 10^7: x = k ln 2 + r, e^r by its series to r^7, 2^k into the exponent. Below -87 it is zero; above
 * 88 it is e^88. A NaN stays one. */
INLINE v16 vexp(v16 x) {
    const v16 least = vset(-87.0f), most = vset(88.0f), magic = vset(12582912.0f);
    v16 y = vwhere_less(x, least, least, x);
    y = vwhere_less(most, y, most, y);
    v16 n = vfma(y, vset(1.44269504f), magic);
    v16 k = vsub(n, magic);
    v16 r = vfma(k, vset(-0.693145752f), y); /* ln 2 in two parts; the first has few bits, so that this product is exact */
    r = vfma(k, vset(-1.42860677e-6f), r);
    v16 p = vset(1.0f / 5040);
    p = vfma(p, r, vset(1.0f / 720));
    p = vfma(p, r, vset(1.0f / 120));
    p = vfma(p, r, vset(1.0f / 24));
    p = vfma(p, r, vset(1.0f / 6));
    p = vfma(p, r, vset(0.5f));
    p = vfma(p, r, vset(1.0f));
    p = vfma(p, r, vset(1.0f));
    return vwhere_less(x, least, vset(0.0f), vexponent(p, n));
}

#endif
