/* Vectors of sixteen float32 numbers (f32x16), one implementation per instruction set. All other code is written once on top
 * of them.
 *
 * Each operation acts on every lane separately and rounds once (IEEE 754), so all implementations give the same bits. That
 * includes `vfma`, for which plain C calls fmaf.
 *
 * BF16_PAIRS is defined where the processor has a dot product of bfloat16 pairs (`vdot_bf16`). A lane adds the product of the
 * first numbers, rounds, adds the product of the second ones, and rounds, as two `vfma` of the same numbers would; only sums
 * below 2^-126 differ, which it flushes to zero.
 */
#ifndef PELLUCID_VECTOR_H
#define PELLUCID_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define FOR_LANES for (int i = 0; i < 16; i++)

#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__)
#include <immintrin.h>
#define VARIANT "AVX512"
typedef __m512 f32x16;
INLINE f32x16 vset(float x) { return _mm512_set1_ps(x); }
INLINE f32x16 vload(const float *p) { return _mm512_loadu_ps(p); }
INLINE f32x16 vload_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
#ifdef __AVX512BF16__
#define BF16_PAIRS
#undef VARIANT
#define VARIANT "AVX512-BF16"
typedef __m512i bf16x32; /* two in each lane; the first is in the upper half of its 32 bits, where VDPBF16PS begins */
INLINE bf16x32 vload_bf16x32(const void *p) { return _mm512_loadu_si512(p); }
INLINE f32x16 vdot_bf16(uint32_t a, bf16x32 b, f32x16 c) {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
}
#endif
INLINE void vstore(float *p, f32x16 a) { _mm512_storeu_ps(p, a); }
INLINE f32x16 vadd(f32x16 a, f32x16 b) { return _mm512_add_ps(a, b); }
INLINE f32x16 vsub(f32x16 a, f32x16 b) { return _mm512_sub_ps(a, b); }
INLINE f32x16 vmul(f32x16 a, f32x16 b) { return _mm512_mul_ps(a, b); }
INLINE f32x16 vdiv(f32x16 a, f32x16 b) { return _mm512_div_ps(a, b); }
INLINE f32x16 vfma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE f32x16 vselect_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) { /* a < b ? yes : no */
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
INLINE f32x16 vldexp(f32x16 a, f32x16 n) { /* a 2^k, where n = k + 1.5 * 2^23 */
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}

#elif !defined(PELLUCID_PLAIN) && defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define VARIANT "AVX2"
typedef struct { __m256 lo, hi; } f32x16;
INLINE f32x16 vset(float x) { __m256 a = _mm256_set1_ps(x); return (f32x16){a, a}; }
INLINE f32x16 vload(const float *p) { return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE __m256 load_bf16x8(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
INLINE f32x16 vload_bf16(const uint16_t *p) { return (f32x16){load_bf16x8(p), load_bf16x8(p + 8)}; }
INLINE void vstore(float *p, f32x16 a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
INLINE f32x16 vadd(f32x16 a, f32x16 b) { return (f32x16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INLINE f32x16 vsub(f32x16 a, f32x16 b) { return (f32x16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INLINE f32x16 vmul(f32x16 a, f32x16 b) { return (f32x16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INLINE f32x16 vdiv(f32x16 a, f32x16 b) { return (f32x16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
INLINE f32x16 vfma(f32x16 a, f32x16 b, f32x16 c) {
    return (f32x16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
INLINE f32x16 vselect_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
    return (f32x16){_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                 _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
INLINE __m256 ldexp8(__m256 a, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
INLINE f32x16 vldexp(f32x16 a, f32x16 n) { return (f32x16){ldexp8(a.lo, n.lo), ldexp8(a.hi, n.hi)}; }

#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define VARIANT "NEON"
typedef struct { float32x4_t x[4]; } f32x16;
#define FOR_QUARTERS for (int i = 0; i < 4; i++)
INLINE f32x16 vset(float x) { f32x16 r; FOR_QUARTERS r.x[i] = vdupq_n_f32(x); return r; }
INLINE f32x16 vload(const float *p) { f32x16 r; FOR_QUARTERS r.x[i] = vld1q_f32(p + 4 * i); return r; }
INLINE f32x16 vload_bf16(const uint16_t *p) {
    f32x16 r;
    FOR_QUARTERS r.x[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
    return r;
}
INLINE void vstore(float *p, f32x16 a) { FOR_QUARTERS vst1q_f32(p + 4 * i, a.x[i]); }
INLINE f32x16 vadd(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = vaddq_f32(a.x[i], b.x[i]); return a; }
INLINE f32x16 vsub(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = vsubq_f32(a.x[i], b.x[i]); return a; }
INLINE f32x16 vmul(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = vmulq_f32(a.x[i], b.x[i]); return a; }
INLINE f32x16 vdiv(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = vdivq_f32(a.x[i], b.x[i]); return a; }
INLINE f32x16 vfma(f32x16 a, f32x16 b, f32x16 c) { FOR_QUARTERS c.x[i] = vfmaq_f32(c.x[i], a.x[i], b.x[i]); return c; }
INLINE f32x16 vselect_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
    FOR_QUARTERS no.x[i] = vbslq_f32(vcltq_f32(a.x[i], b.x[i]), yes.x[i], no.x[i]);
    return no;
}
INLINE f32x16 vldexp(f32x16 a, f32x16 n) {
    FOR_QUARTERS a.x[i] = vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(a.x[i]), vshlq_n_s32(vreinterpretq_s32_f32(n.x[i]), 23)));
    return a;
}

#elif !defined(PELLUCID_PLAIN) && defined(__wasm_simd128__)
#include <wasm_simd128.h>
typedef struct { v128_t x[4]; } f32x16;
#define FOR_QUARTERS _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
INLINE f32x16 vset(float x) { f32x16 r; FOR_QUARTERS r.x[i] = wasm_f32x4_splat(x); return r; }
INLINE f32x16 vload(const float *p) { f32x16 r; FOR_QUARTERS r.x[i] = wasm_v128_load(p + 4 * i); return r; }
INLINE f32x16 vload_bf16(const uint16_t *p) {
    f32x16 r;
    FOR_QUARTERS r.x[i] = wasm_i32x4_shl(wasm_u32x4_load16x4(p + 4 * i), 16);
    return r;
}
INLINE void vstore(float *p, f32x16 a) { FOR_QUARTERS wasm_v128_store(p + 4 * i, a.x[i]); }
INLINE f32x16 vadd(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = wasm_f32x4_add(a.x[i], b.x[i]); return a; }
INLINE f32x16 vsub(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = wasm_f32x4_sub(a.x[i], b.x[i]); return a; }
INLINE f32x16 vmul(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = wasm_f32x4_mul(a.x[i], b.x[i]); return a; }
INLINE f32x16 vdiv(f32x16 a, f32x16 b) { FOR_QUARTERS a.x[i] = wasm_f32x4_div(a.x[i], b.x[i]); return a; }
#ifdef __wasm_relaxed_simd__
#define VARIANT "WASM relaxed"
/* Rounds once only where the browser uses the processor's fused instruction: `wasm/exports.c` probes it. */
INLINE v128_t fma4(v128_t a, v128_t b, v128_t c) { return wasm_f32x4_relaxed_madd(a, b, c); }
#else
#define VARIANT "WASM exact"
/* Lanes of s = a b + c in double, where a b is exact, rounded to odd: where the sum is not exact, its last bit is set. What is
 * rounded to float32 from there is a b + c rounded once (Boldo and Melquiond 2008), below 2^-126, too. */
static __attribute__((noinline)) v128_t round_to_odd(v128_t product, v128_t c, v128_t s) {
    const v128_t from_c = wasm_f64x2_sub(s, product); /* Knuth's sum: s plus `error` is exact */
    const v128_t error = wasm_f64x2_add(wasm_f64x2_sub(product, wasm_f64x2_sub(s, from_c)), wasm_f64x2_sub(c, from_c));
    const v128_t even = wasm_i64x2_eq(wasm_v128_and(s, wasm_i64x2_splat(1)), wasm_i64x2_splat(0));
    const v128_t inexact = wasm_v128_and(even, wasm_v128_or(wasm_f64x2_lt(error, wasm_f64x2_splat(0.0)),
                                                            wasm_f64x2_gt(error, wasm_f64x2_splat(0.0))));
    /* The error's sign tells on which side of s the sum lies; away from zero the bits count up. */
    const v128_t outwards = wasm_i64x2_ge(wasm_v128_xor(error, s), wasm_i64x2_splat(0));
    const v128_t step = wasm_v128_bitselect(wasm_i64x2_splat(1), wasm_i64x2_splat(-1), outwards);
    return wasm_i64x2_add(s, wasm_v128_and(step, inexact));
}
/* Two lanes of a b + c as doubles that round to float32 as the exact sums do. Only a sum halfway between two float32 numbers
 * can round wrongly, and one below 2^-125, whose last bits float32 lacks. */
INLINE v128_t fma2(v128_t a, v128_t b, v128_t c) {
    const v128_t product = wasm_f64x2_mul(a, b), s = wasm_f64x2_add(product, c);
    const v128_t halfway = wasm_i64x2_eq(wasm_v128_and(s, wasm_i64x2_splat(0x1fffffff)), wasm_i64x2_splat(0x10000000));
    const v128_t small = wasm_f64x2_lt(wasm_f64x2_abs(s), wasm_f64x2_splat(0x1p-125));
    return wasm_v128_any_true(wasm_v128_or(halfway, small)) ? round_to_odd(product, c, s) : s;
}
INLINE v128_t upper_half(v128_t a) { return wasm_i64x2_shuffle(a, a, 1, 1); }
INLINE v128_t widen2(v128_t a) { return wasm_f64x2_promote_low_f32x4(a); }
INLINE v128_t fma4(v128_t a, v128_t b, v128_t c) {
    const v128_t low = fma2(widen2(a), widen2(b), widen2(c));
    const v128_t high = fma2(widen2(upper_half(a)), widen2(upper_half(b)), widen2(upper_half(c)));
    return wasm_i64x2_shuffle(wasm_f32x4_demote_f64x2_zero(low), wasm_f32x4_demote_f64x2_zero(high), 0, 2);
}
#endif
INLINE f32x16 vfma(f32x16 a, f32x16 b, f32x16 c) { FOR_QUARTERS c.x[i] = fma4(a.x[i], b.x[i], c.x[i]); return c; }
INLINE f32x16 vselect_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
    FOR_QUARTERS no.x[i] = wasm_v128_bitselect(yes.x[i], no.x[i], wasm_f32x4_lt(a.x[i], b.x[i]));
    return no;
}
INLINE f32x16 vldexp(f32x16 a, f32x16 n) {
    FOR_QUARTERS a.x[i] = wasm_i32x4_add(a.x[i], wasm_i32x4_shl(n.x[i], 23));
    return a;
}

#else
#define VARIANT "plain C"
typedef struct { float x[16]; } f32x16;
INLINE f32x16 vset(float x) { f32x16 r; FOR_LANES r.x[i] = x; return r; }
INLINE f32x16 vload(const float *p) { f32x16 r; memcpy(r.x, p, sizeof r.x); return r; }
INLINE f32x16 vload_bf16(const uint16_t *p) {
    f32x16 r;
    FOR_LANES { uint32_t bits = (uint32_t)p[i] << 16; memcpy(&r.x[i], &bits, 4); }
    return r;
}
INLINE void vstore(float *p, f32x16 a) { memcpy(p, a.x, sizeof a.x); }
INLINE f32x16 vadd(f32x16 a, f32x16 b) { FOR_LANES a.x[i] += b.x[i]; return a; }
INLINE f32x16 vsub(f32x16 a, f32x16 b) { FOR_LANES a.x[i] -= b.x[i]; return a; }
INLINE f32x16 vmul(f32x16 a, f32x16 b) { FOR_LANES a.x[i] *= b.x[i]; return a; }
INLINE f32x16 vdiv(f32x16 a, f32x16 b) { FOR_LANES a.x[i] /= b.x[i]; return a; }
INLINE f32x16 vfma(f32x16 a, f32x16 b, f32x16 c) { FOR_LANES c.x[i] = fmaf(a.x[i], b.x[i], c.x[i]); return c; }
INLINE f32x16 vselect_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
    FOR_LANES no.x[i] = a.x[i] < b.x[i] ? yes.x[i] : no.x[i];
    return no;
}
INLINE f32x16 vldexp(f32x16 a, f32x16 n) {
    FOR_LANES { uint32_t x, k; memcpy(&x, &a.x[i], 4); memcpy(&k, &n.x[i], 4); x += k << 23; memcpy(&a.x[i], &x, 4); }
    return a;
}
#endif

/* One a b + c, rounded once. */
INLINE float fma_scalar(float a, float b, float c) {
#ifdef __wasm_simd128__ /* whose libc has an fmaf that rounds twice below 2^-126 */
    return wasm_f32x4_extract_lane(fma4(wasm_f32x4_splat(a), wasm_f32x4_splat(b), wasm_f32x4_splat(c)), 0);
#else
    return fmaf(a, b, c);
#endif
}

/* Sum of the lanes: the upper half is added to the lower one until one lane is left. */
INLINE float vsum(f32x16 a) {
    float x[16];
    vstore(x, a);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* e^x, relative error about 10^-7: x = k ln 2 + r, Taylor series of e^r up to r^7, then times 2^k. Below -87 the result is
 * zero; above 88 it is e^88. NaN stays NaN. */
INLINE f32x16 vexp(f32x16 x) {
    const f32x16 least = vset(-87.0f), most = vset(88.0f), magic = vset(12582912.0f); /* 1.5 * 2^23: adding it rounds */
    f32x16 y = vselect_less(x, least, least, x);
    y = vselect_less(most, y, most, y);
    f32x16 n = vfma(y, vset(1.44269504f), magic);
    f32x16 k = vsub(n, magic);
    f32x16 r = vfma(k, vset(-0.693145752f), y); /* ln 2 as a sum of two; the first has few bits, so this product is exact */
    r = vfma(k, vset(-1.42860677e-6f), r);
    f32x16 p = vset(1.0f / 5040);
    p = vfma(p, r, vset(1.0f / 720));
    p = vfma(p, r, vset(1.0f / 120));
    p = vfma(p, r, vset(1.0f / 24));
    p = vfma(p, r, vset(1.0f / 6));
    p = vfma(p, r, vset(0.5f));
    p = vfma(p, r, vset(1.0f));
    p = vfma(p, r, vset(1.0f));
    return vselect_less(x, least, vset(0.0f), vldexp(p, n));
}

#endif
