/* Keys and values as they are kept: float32, or float16 for half the bytes. Sums over them are float32, whatever is kept. */
#ifndef PELLUCID_KEPT_H
#define PELLUCID_KEPT_H

#include "integers.h"

/* Sixteen floats as float16, each to the nearest, of two to the even one. */
#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__)
INLINE void vstore_half(uint16_t *p, v16 a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif !defined(PELLUCID_PLAIN) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
INLINE void vstore_half(uint16_t *p, v16 a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
INLINE void vstore_half(uint16_t *p, v16 a) { QUARTERS vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.x[i]))); }
#else
INLINE uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);   /* no number */
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  /* 65520 and more */
    if (size < 0x38800000) {                                   /* below 2^-14: a multiple of 2^-24 */
        float small;
        memcpy(&small, &size, 4);
        return (uint16_t)(sign | (uint32_t)(int32_t)rintf(small * 0x1p24f));
    }
    return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
}
INLINE void vstore_half(uint16_t *p, v16 a) {
    float each[16];
    vstore(each, a);
    for (int i = 0; i < 16; i++) p[i] = to_half(each[i]);
}
#endif

/* 2^e, by which a head's d numbers are divided before they become float16: 1, unless one of them is beyond its range. */
INLINE int shrinking(const float *x, int64_t d) {
    float each[16], largest = 0.0f;
    v16 peak = vset(0.0f);
    for (int64_t j = 0; j + 16 <= d; j += 16) {
        const v16 a = vload(x + j), minus = vsub(vset(0.0f), a);
        peak = vwhere_less(peak, a, a, peak);
        peak = vwhere_less(peak, minus, minus, peak);
    }
    vstore(each, peak);
    for (int i = 0; i < 16; i++) largest = each[i] > largest ? each[i] : largest;
    for (int64_t j = d / 16 * 16; j < d; j++) largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    return largest > 65504.0f && largest < INFINITY ? ilogbf(largest) - 14 : 0;
}

/* d numbers / 2^e as float16, `step` apart, and zeros up to a multiple of 16 if they are neighbours. */
INLINE void keep_halves(const float *x, int64_t d, int e, uint16_t *to, int64_t step) {
    const v16 shrink = vset(e ? ldexpf(1.0f, -e) : 1.0f);
    for (int64_t j = 0; j < d; j += 16) {
        const int some = d - j < 16 ? (int)(d - j) : 16;
        float part[16] = {0};
        uint16_t rounded[16];
        if (some < 16) memcpy(part, x + j, sizeof(float) * some);
        vstore_half(rounded, vmul(vload(some < 16 ? part : x + j), shrink));
        for (int i = 0; i < (step == 1 ? 16 : some); i++) to[(j + i) * step] = rounded[i];
    }
}

INLINE uint16_t power_bf16(int e) { return (uint16_t)((127 + e) << 7); } /* 2^e in bfloat16 */

/* What the innermost loops read: R rows of k floats, `row` apart; Q vectors of sixteen kept numbers, `panel` numbers apart from one
 * to the next and `down` from k to k. */
struct kept_reads {
    const float *x;
    int64_t row;
    const void *w;
    int64_t panel, down, k;
};

INLINE v16 kept_at(const int half, const void *w, int64_t at) {
    return half ? halves((const uint16_t *)w + at) : vload((const float *)w + at);
}

typedef void (*kept_function)(struct kept_reads in, float *sums); /* sums: [R][Q][16], added to */

#define EACH_KEPT(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < (n); i++)
INLINE void add_kept(const int R, const int Q, const int half, const struct kept_reads in, float *sums) {
    v16 sum[ROWS];
    EACH_KEPT(i, R * Q) sum[i] = vload(sums + PANEL * i);
    for (int64_t k = 0; k < in.k; k++) {
        v16 b[ROWS];
        EACH_KEPT(q, Q) b[q] = kept_at(half, in.w, q * in.panel + in.down * k);
        EACH_KEPT(r, R) {
            const v16 a = vset(in.x[r * in.row + k]);
            EACH_KEPT(q, Q) sum[r * Q + q] = vfma(a, b[q], sum[r * Q + q]);
        }
    }
    EACH_KEPT(i, R * Q) vstore(sums + PANEL * i, sum[i]);
}

#define KEPT(R, Q, H) \
    static __attribute__((noinline)) void kept_##R##x##Q##_##H(struct kept_reads in, float *sums) { add_kept(R, Q, H, in, sums); }
#define KEPTS(H) \
    KEPT(1, 1, H) KEPT(1, 2, H) KEPT(1, 3, H) KEPT(1, 4, H) KEPT(1, 5, H) KEPT(1, 6, H) KEPT(2, 1, H) KEPT(2, 2, H) KEPT(2, 3, H) \
    KEPT(3, 1, H) KEPT(3, 2, H) KEPT(4, 1, H) KEPT(5, 1, H) KEPT(6, 1, H)
KEPTS(0)
KEPTS(1)

/* Vectors that a tile of so many rows takes at once, at most. */
static const int KEPT_AT_ONCE[ROWS + 1] = {0, 6, 3, 2, 1, 1, 1};

INLINE kept_function kept_of(int half, int rows, int panels) {
    static const kept_function each[2][ROWS][ROWS] = {
        {{kept_1x1_0, kept_1x2_0, kept_1x3_0, kept_1x4_0, kept_1x5_0, kept_1x6_0}, {kept_2x1_0, kept_2x2_0, kept_2x3_0},
         {kept_3x1_0, kept_3x2_0}, {kept_4x1_0}, {kept_5x1_0}, {kept_6x1_0}},
        {{kept_1x1_1, kept_1x2_1, kept_1x3_1, kept_1x4_1, kept_1x5_1, kept_1x6_1}, {kept_2x1_1, kept_2x2_1, kept_2x3_1},
         {kept_3x1_1, kept_3x2_1}, {kept_4x1_1}, {kept_5x1_1}, {kept_6x1_1}},
    };
    return each[half][rows - 1][panels - 1];
}

#endif
