/* Sixteen whole-number sums at once, by instruction set, beside the floats of `vector.h`. Whole numbers are summed exactly, so
 * all variants give the same bits. Run so far: plain C, AVX2, and AVX512 with VNNI and without; NEON was never compiled.
 *
 * A pair is two neighbouring numbers of a row of activations, as int16 in 32 bits; a quad is four, as int8. Each lane multiplies
 * them with its own weights and adds. `halves`: sixteen float16 scales.
 */
#ifndef PELLUCID_INTEGERS_H
#define PELLUCID_INTEGERS_H

#include "vector.h"

INLINE float half_value(uint16_t half) { /* IEEE half; subnormals, infinities and NaN too */
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    const uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE int32_t four_bytes(const void *p) { int32_t x; memcpy(&x, p, 4); return x; }

#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__) && defined(__AVX512BW__)
typedef __m512i i16;      /* sums */
typedef __m512i pairs16;  /* int16 weights, two a lane */
typedef __m512i quads16;  /* weights 0 .. 15, four a lane */
typedef __m512i q16;      /* sums of quads of one group */
INLINE i16 izero(void) { return _mm512_setzero_si512(); }
INLINE pairs16 load_pairs(const void *p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256(p)); }
INLINE v16 ifloat(i16 a) { return _mm512_cvtepi32_ps(a); }
INLINE i16 isub(i16 a, int32_t b) { return _mm512_sub_epi32(a, _mm512_set1_epi32(b)); }
INLINE v16 halves(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE quads16 low_quads(const void *p) { return _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(15)); }
INLINE quads16 high_quads(const void *p) {
    return _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p), 4), _mm512_set1_epi8(15));
}
INLINE q16 qzero(void) { return _mm512_setzero_si512(); }
#ifdef __AVX512VNNI__
#define ALL_QUADS /* of weights 0 .. 255, too: elsewhere the sum of two products could be too large */
INLINE quads16 load_quads(const void *p) { return _mm512_loadu_si512(p); }
INLINE i16 add_pairs(i16 sum, int32_t x, pairs16 w) { return _mm512_dpwssd_epi32(sum, _mm512_set1_epi32(x), w); }
INLINE q16 add_quads(q16 sum, int32_t x, quads16 w) { return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x)); }
INLINE i16 qsum(q16 a) { return a; }
#else
INLINE i16 add_pairs(i16 sum, int32_t x, pairs16 w) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_set1_epi32(x), w));
}
INLINE q16 add_quads(q16 sum, int32_t x, quads16 w) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, _mm512_set1_epi32(x)));
}
INLINE i16 qsum(q16 a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#endif

#elif !defined(PELLUCID_PLAIN) && !defined(__AVX512F__) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
typedef struct { __m256i lo, hi; } i16, pairs16, quads16, q16;
/* GCC 12 would multiply for all rows first, run out of registers, and keep the sums in memory: they are to stay where they are. */
#define STAY(a) __asm__ volatile("" : "+x"((a).lo), "+x"((a).hi))
INLINE i16 izero(void) { return (i16){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE pairs16 load_pairs(const void *p) {
    return (pairs16){_mm256_cvtepi8_epi16(_mm_loadu_si128(p)), _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE i16 add_pairs(i16 sum, int32_t x, pairs16 w) {
    const __m256i both = _mm256_set1_epi32(x);
    sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(both, w.lo));
    sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(both, w.hi));
    STAY(sum);
    return sum;
}
INLINE v16 ifloat(i16 a) { return (v16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
INLINE i16 isub(i16 a, int32_t b) {
    return (i16){_mm256_sub_epi32(a.lo, _mm256_set1_epi32(b)), _mm256_sub_epi32(a.hi, _mm256_set1_epi32(b))};
}
INLINE v16 halves(const void *p) {
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE quads16 low_quads(const void *p) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (quads16){_mm256_and_si256(_mm256_loadu_si256(p), mask), _mm256_and_si256(_mm256_loadu_si256((const __m256i *)p + 1), mask)};
}
INLINE quads16 high_quads(const void *p) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (quads16){_mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256(p), 4), mask),
                     _mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256((const __m256i *)p + 1), 4), mask)};
}
INLINE q16 qzero(void) { return (q16){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
/* Two products of 15 and 127 and their sum over eight quads are 30,480: no int16 overflows. */
INLINE q16 add_quads(q16 sum, int32_t x, quads16 w) {
    const __m256i all = _mm256_set1_epi32(x);
    sum.lo = _mm256_add_epi16(sum.lo, _mm256_maddubs_epi16(w.lo, all));
    sum.hi = _mm256_add_epi16(sum.hi, _mm256_maddubs_epi16(w.hi, all));
    STAY(sum);
    return sum;
}
INLINE i16 qsum(q16 a) {
    const __m256i one = _mm256_set1_epi16(1);
    return (i16){_mm256_madd_epi16(a.lo, one), _mm256_madd_epi16(a.hi, one)};
}

#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
typedef struct { int32x4_t x[4]; } i16;
typedef struct { int16x8_t x[4]; } pairs16;
typedef struct { int8x16_t x[4]; } quads16;
typedef struct { int16x8_t x[8]; } q16;
INLINE i16 izero(void) { i16 r; QUARTERS r.x[i] = vdupq_n_s32(0); return r; }
INLINE pairs16 load_pairs(const void *p) { pairs16 r; QUARTERS r.x[i] = vmovl_s8(vld1_s8((const int8_t *)p + 8 * i)); return r; }
INLINE i16 add_pairs(i16 sum, int32_t x, pairs16 w) {
    const int16x8_t both = vreinterpretq_s16_s32(vdupq_n_s32(x));
    QUARTERS sum.x[i] = vaddq_s32(
        sum.x[i], vpaddq_s32(vmull_s16(vget_low_s16(both), vget_low_s16(w.x[i])), vmull_high_s16(both, w.x[i])));
    return sum;
}
INLINE v16 ifloat(i16 a) { v16 r; QUARTERS r.x[i] = vcvtq_f32_s32(a.x[i]); return r; }
INLINE i16 isub(i16 a, int32_t b) { QUARTERS a.x[i] = vsubq_s32(a.x[i], vdupq_n_s32(b)); return a; }
INLINE v16 halves(const void *p) {
    v16 r;
    QUARTERS r.x[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * i)));
    return r;
}
INLINE quads16 low_quads(const void *p) {
    quads16 r;
    QUARTERS r.x[i] = vreinterpretq_s8_u8(vandq_u8(vld1q_u8((const uint8_t *)p + 16 * i), vdupq_n_u8(15)));
    return r;
}
INLINE quads16 high_quads(const void *p) {
    quads16 r;
    QUARTERS r.x[i] = vreinterpretq_s8_u8(vshrq_n_u8(vld1q_u8((const uint8_t *)p + 16 * i), 4));
    return r;
}
INLINE q16 qzero(void) { q16 r; for (int i = 0; i < 8; i++) r.x[i] = vdupq_n_s16(0); return r; }
INLINE q16 add_quads(q16 sum, int32_t x, quads16 w) {
    const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(x));
    QUARTERS {
        sum.x[2 * i] = vmlal_s8(sum.x[2 * i], vget_low_s8(all), vget_low_s8(w.x[i]));
        sum.x[2 * i + 1] = vmlal_high_s8(sum.x[2 * i + 1], all, w.x[i]);
    }
    return sum;
}
INLINE i16 qsum(q16 a) {
    i16 r;
    QUARTERS r.x[i] = vpaddq_s32(vpaddlq_s16(a.x[2 * i]), vpaddlq_s16(a.x[2 * i + 1]));
    return r;
}

#else
#define ONE_BY_ONE
#define IN_TURN for (int i = 0; i < 16; i++)
typedef struct { int32_t x[16]; } i16, q16;
typedef struct { int8_t x[32]; } pairs16;
typedef struct { int8_t x[64]; } quads16;
INLINE i16 izero(void) { i16 r; IN_TURN r.x[i] = 0; return r; }
INLINE pairs16 load_pairs(const void *p) { pairs16 r; memcpy(r.x, p, sizeof r.x); return r; }
INLINE i16 add_pairs(i16 sum, int32_t x, pairs16 w) {
    int16_t both[2];
    memcpy(both, &x, 4);
    IN_TURN sum.x[i] += both[0] * w.x[2 * i] + both[1] * w.x[2 * i + 1];
    return sum;
}
INLINE v16 ifloat(i16 a) { float r[16]; IN_TURN r[i] = (float)a.x[i]; return vload(r); }
INLINE i16 isub(i16 a, int32_t b) { IN_TURN a.x[i] -= b; return a; }
INLINE v16 halves(const void *p) {
    uint16_t each[16];
    float r[16];
    memcpy(each, p, sizeof each);
    IN_TURN r[i] = half_value(each[i]);
    return vload(r);
}
INLINE quads16 low_quads(const void *p) { quads16 r; for (int i = 0; i < 64; i++) r.x[i] = ((const uint8_t *)p)[i] & 15; return r; }
INLINE quads16 high_quads(const void *p) { quads16 r; for (int i = 0; i < 64; i++) r.x[i] = ((const uint8_t *)p)[i] >> 4; return r; }
INLINE q16 qzero(void) { return izero(); }
INLINE q16 add_quads(q16 sum, int32_t x, quads16 w) {
    int8_t all[4];
    memcpy(all, &x, 4);
    IN_TURN for (int j = 0; j < 4; j++) sum.x[i] += all[j] * w.x[4 * i + j];
    return sum;
}
INLINE i16 qsum(q16 a) { return a; }
#endif

#endif
