/* Vectors of integers for the quantized products, one implementation per instruction set, beside the floats of `vector.h`.
 * Integer sums are exact, so all implementations give the same bits. Plain C, AVX2, AVX512 with and without VNNI, and
 * WebAssembly were run; NEON was compiled, but never run.
 *
 * f32x16, i32x16: a lane for each of sixteen columns. i16x32: two int16 weights in each lane, for `dot2_add`. i8x64: four
 * 8-bit weights in each lane, for `dot4_add`; dot4_acc: what it adds to, over one group of 32. The other operand, x, is two
 * int16 or four int8 activations in 32 bits, the same for all lanes.
 */
#ifndef PELLUCID_VECTOR_INT_H
#define PELLUCID_VECTOR_INT_H

#include "vector.h"

INLINE float f16_to_float(uint16_t half) { /* IEEE float16, with subnormals, infinities and NaN */
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

INLINE int32_t load_i32(const void *p) { int32_t x; memcpy(&x, p, 4); return x; }

#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__) && defined(__AVX512BW__)
typedef __m512i i32x16;
typedef __m512i i16x32;
typedef __m512i i8x64;    /* values 0 .. 15; 0 .. 255 with DOT4_UINT8 */
typedef __m512i dot4_acc; /* int32 with VNNI, else two int16 in each lane */
INLINE i32x16 i32_zero(void) { return _mm512_setzero_si512(); }
INLINE i16x32 load_i16x32(const void *p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256(p)); }
INLINE f32x16 i32_to_f32(i32x16 a) { return _mm512_cvtepi32_ps(a); }
INLINE i32x16 i32_sub(i32x16 a, int32_t b) { return _mm512_sub_epi32(a, _mm512_set1_epi32(b)); }
INLINE f32x16 vload_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE i8x64 load_low_nibbles(const void *p) { return _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(15)); }
INLINE i8x64 load_high_nibbles(const void *p) {
    return _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p), 4), _mm512_set1_epi8(15));
}
INLINE dot4_acc dot4_zero(void) { return _mm512_setzero_si512(); }
#ifdef __AVX512VNNI__
#define DOT4_UINT8 /* weights may be 0 .. 255; without VNNI the int16 sum of two products could overflow */
INLINE i8x64 load_i8x64(const void *p) { return _mm512_loadu_si512(p); }
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) { return _mm512_dpwssd_epi32(sum, _mm512_set1_epi32(x), w); }
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) { return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x)); }
INLINE i32x16 dot4_sum(dot4_acc a) { return a; }
#else
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_set1_epi32(x), w));
}
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, _mm512_set1_epi32(x)));
}
INLINE i32x16 dot4_sum(dot4_acc a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#endif

#elif !defined(PELLUCID_PLAIN) && !defined(__AVX512F__) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
typedef struct { __m256i lo, hi; } i32x16, i16x32, i8x64, dot4_acc;
/* GCC 12 would otherwise multiply for all rows first, run out of registers, and spill the sums to memory. */
#define KEEP_IN_REGISTERS(a) __asm__ volatile("" : "+x"((a).lo), "+x"((a).hi))
INLINE i32x16 i32_zero(void) { return (i32x16){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE i16x32 load_i16x32(const void *p) {
    return (i16x32){_mm256_cvtepi8_epi16(_mm_loadu_si128(p)), _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) {
    const __m256i both = _mm256_set1_epi32(x);
    sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(both, w.lo));
    sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(both, w.hi));
    KEEP_IN_REGISTERS(sum);
    return sum;
}
INLINE f32x16 i32_to_f32(i32x16 a) { return (f32x16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
INLINE i32x16 i32_sub(i32x16 a, int32_t b) {
    return (i32x16){_mm256_sub_epi32(a.lo, _mm256_set1_epi32(b)), _mm256_sub_epi32(a.hi, _mm256_set1_epi32(b))};
}
INLINE f32x16 vload_f16(const void *p) {
    return (f32x16){_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE i8x64 load_low_nibbles(const void *p) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (i8x64){_mm256_and_si256(_mm256_loadu_si256(p), mask),
                   _mm256_and_si256(_mm256_loadu_si256((const __m256i *)p + 1), mask)};
}
INLINE i8x64 load_high_nibbles(const void *p) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (i8x64){_mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256(p), 4), mask),
                     _mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256((const __m256i *)p + 1), 4), mask)};
}
INLINE dot4_acc dot4_zero(void) { return (dot4_acc){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
/* An int16 sums two products of at most 15 * 127 for each of the eight dot products of a group: 30,480, no overflow. */
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) {
    const __m256i all = _mm256_set1_epi32(x);
    sum.lo = _mm256_add_epi16(sum.lo, _mm256_maddubs_epi16(w.lo, all));
    sum.hi = _mm256_add_epi16(sum.hi, _mm256_maddubs_epi16(w.hi, all));
    KEEP_IN_REGISTERS(sum);
    return sum;
}
INLINE i32x16 dot4_sum(dot4_acc a) {
    const __m256i one = _mm256_set1_epi16(1);
    return (i32x16){_mm256_madd_epi16(a.lo, one), _mm256_madd_epi16(a.hi, one)};
}

#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
typedef struct { int32x4_t x[4]; } i32x16;
typedef struct { int16x8_t x[4]; } i16x32;
typedef struct { int8x16_t x[4]; } i8x64;
typedef struct { int16x8_t x[8]; } dot4_acc;
INLINE i32x16 i32_zero(void) { i32x16 r; FOR_QUARTERS r.x[i] = vdupq_n_s32(0); return r; }
INLINE i16x32 load_i16x32(const void *p) {
    i16x32 r;
    FOR_QUARTERS r.x[i] = vmovl_s8(vld1_s8((const int8_t *)p + 8 * i));
    return r;
}
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) {
    const int16x8_t both = vreinterpretq_s16_s32(vdupq_n_s32(x));
    FOR_QUARTERS sum.x[i] = vaddq_s32(
        sum.x[i], vpaddq_s32(vmull_s16(vget_low_s16(both), vget_low_s16(w.x[i])), vmull_high_s16(both, w.x[i])));
    return sum;
}
INLINE f32x16 i32_to_f32(i32x16 a) { f32x16 r; FOR_QUARTERS r.x[i] = vcvtq_f32_s32(a.x[i]); return r; }
INLINE i32x16 i32_sub(i32x16 a, int32_t b) { FOR_QUARTERS a.x[i] = vsubq_s32(a.x[i], vdupq_n_s32(b)); return a; }
INLINE f32x16 vload_f16(const void *p) {
    f32x16 r;
    FOR_QUARTERS r.x[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * i)));
    return r;
}
INLINE i8x64 load_low_nibbles(const void *p) {
    i8x64 r;
    FOR_QUARTERS r.x[i] = vreinterpretq_s8_u8(vandq_u8(vld1q_u8((const uint8_t *)p + 16 * i), vdupq_n_u8(15)));
    return r;
}
INLINE i8x64 load_high_nibbles(const void *p) {
    i8x64 r;
    FOR_QUARTERS r.x[i] = vreinterpretq_s8_u8(vshrq_n_u8(vld1q_u8((const uint8_t *)p + 16 * i), 4));
    return r;
}
INLINE dot4_acc dot4_zero(void) { dot4_acc r; for (int i = 0; i < 8; i++) r.x[i] = vdupq_n_s16(0); return r; }
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) {
    const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(x));
    FOR_QUARTERS {
        sum.x[2 * i] = vmlal_s8(sum.x[2 * i], vget_low_s8(all), vget_low_s8(w.x[i]));
        sum.x[2 * i + 1] = vmlal_high_s8(sum.x[2 * i + 1], all, w.x[i]);
    }
    return sum;
}
INLINE i32x16 dot4_sum(dot4_acc a) {
    i32x16 r;
    FOR_QUARTERS r.x[i] = vpaddq_s32(vpaddlq_s16(a.x[2 * i]), vpaddlq_s16(a.x[2 * i + 1]));
    return r;
}

#elif !defined(PELLUCID_PLAIN) && defined(__wasm_simd128__)
typedef struct { v128_t x[4]; } i32x16, i16x32, i8x64;
typedef struct { v128_t x[8]; } dot4_acc; /* eight int16 each: sums of products of at most 15 * 127, no overflow */
INLINE i32x16 i32_zero(void) { i32x16 r; FOR_QUARTERS r.x[i] = wasm_i32x4_splat(0); return r; }
INLINE i16x32 load_i16x32(const void *p) {
    i16x32 r;
    FOR_QUARTERS r.x[i] = wasm_i16x8_load8x8((const int8_t *)p + 8 * i);
    return r;
}
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) {
    const v128_t both = wasm_i32x4_splat(x);
    FOR_QUARTERS sum.x[i] = wasm_i32x4_add(sum.x[i], wasm_i32x4_dot_i16x8(both, w.x[i]));
    return sum;
}
INLINE f32x16 i32_to_f32(i32x16 a) { f32x16 r; FOR_QUARTERS r.x[i] = wasm_f32x4_convert_i32x4(a.x[i]); return r; }
INLINE i32x16 i32_sub(i32x16 a, int32_t b) {
    FOR_QUARTERS a.x[i] = wasm_i32x4_sub(a.x[i], wasm_i32x4_splat(b));
    return a;
}
INLINE f32x16 vload_f16(const void *p) { /* exponent and fraction moved to float32's places, the exponent corrected by 2^112 */
    f32x16 r;
    FOR_QUARTERS {
        const v128_t half = wasm_u32x4_load16x4((const uint16_t *)p + 4 * i);
        const v128_t magnitude = wasm_i32x4_shl(wasm_v128_and(half, wasm_i32x4_splat(0x7fff)), 13);
        const v128_t is_special = wasm_i32x4_ge(magnitude, wasm_i32x4_splat(0x0f800000)); /* infinity or NaN */
        const v128_t special = wasm_v128_and(is_special, wasm_i32x4_splat(0x7f800000));
        const v128_t sign = wasm_i32x4_shl(wasm_v128_and(half, wasm_i32x4_splat(0x8000)), 16);
        const v128_t value = wasm_f32x4_mul(magnitude, wasm_f32x4_splat(0x1p112f));
        r.x[i] = wasm_v128_or(wasm_v128_or(value, special), sign);
    }
    return r;
}
INLINE i8x64 load_low_nibbles(const void *p) {
    i8x64 r;
    FOR_QUARTERS r.x[i] = wasm_v128_and(wasm_v128_load((const uint8_t *)p + 16 * i), wasm_i8x16_splat(15));
    return r;
}
INLINE i8x64 load_high_nibbles(const void *p) {
    i8x64 r;
    FOR_QUARTERS r.x[i] = wasm_u8x16_shr(wasm_v128_load((const uint8_t *)p + 16 * i), 4);
    return r;
}
INLINE dot4_acc dot4_zero(void) { dot4_acc r; for (int i = 0; i < 8; i++) r.x[i] = wasm_i16x8_splat(0); return r; }
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) {
    const v128_t all = wasm_i32x4_splat(x);
    FOR_QUARTERS {
        sum.x[2 * i] = wasm_i16x8_add(sum.x[2 * i], wasm_i16x8_extmul_low_i8x16(all, w.x[i]));
        sum.x[2 * i + 1] = wasm_i16x8_add(sum.x[2 * i + 1], wasm_i16x8_extmul_high_i8x16(all, w.x[i]));
    }
    return sum;
}
INLINE i32x16 dot4_sum(dot4_acc a) {
    i32x16 r;
    FOR_QUARTERS {
        const v128_t low = wasm_i32x4_extadd_pairwise_i16x8(a.x[2 * i]);
        const v128_t high = wasm_i32x4_extadd_pairwise_i16x8(a.x[2 * i + 1]);
        r.x[i] = wasm_i32x4_add(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), wasm_i32x4_shuffle(low, high, 1, 3, 5, 7));
    }
    return r;
}

#else
#define NO_SIMD
typedef struct { int32_t x[16]; } i32x16, dot4_acc;
typedef struct { int8_t x[32]; } i16x32;
typedef struct { int8_t x[64]; } i8x64;
INLINE i32x16 i32_zero(void) { i32x16 r; FOR_LANES r.x[i] = 0; return r; }
INLINE i16x32 load_i16x32(const void *p) { i16x32 r; memcpy(r.x, p, sizeof r.x); return r; }
INLINE i32x16 dot2_add(i32x16 sum, int32_t x, i16x32 w) {
    int16_t both[2];
    memcpy(both, &x, 4);
    FOR_LANES sum.x[i] += both[0] * w.x[2 * i] + both[1] * w.x[2 * i + 1];
    return sum;
}
INLINE f32x16 i32_to_f32(i32x16 a) { float r[16]; FOR_LANES r[i] = (float)a.x[i]; return vload(r); }
INLINE i32x16 i32_sub(i32x16 a, int32_t b) { FOR_LANES a.x[i] -= b; return a; }
INLINE f32x16 vload_f16(const void *p) {
    uint16_t each[16];
    float r[16];
    memcpy(each, p, sizeof each);
    FOR_LANES r[i] = f16_to_float(each[i]);
    return vload(r);
}
INLINE i8x64 load_low_nibbles(const void *p) {
    i8x64 r;
    for (int i = 0; i < 64; i++) r.x[i] = ((const uint8_t *)p)[i] & 15;
    return r;
}
INLINE i8x64 load_high_nibbles(const void *p) {
    i8x64 r;
    for (int i = 0; i < 64; i++) r.x[i] = ((const uint8_t *)p)[i] >> 4;
    return r;
}
INLINE dot4_acc dot4_zero(void) { return i32_zero(); }
INLINE dot4_acc dot4_add(dot4_acc sum, int32_t x, i8x64 w) {
    int8_t all[4];
    memcpy(all, &x, 4);
    FOR_LANES for (int j = 0; j < 4; j++) sum.x[i] += all[j] * w.x[4 * i + j];
    return sum;
}
INLINE i32x16 dot4_sum(dot4_acc a) { return a; }
#endif

#endif
