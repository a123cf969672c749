/* The KV cache's numbers: float32, or float16 for half the memory. Sums over them are float32 in both cases. */
#ifndef PELLUCID_KV_CACHE_H
#define PELLUCID_KV_CACHE_H

#include "vector_int.h"

/* Stores sixteen floats as float16, rounded to nearest even. */
#if !defined(PELLUCID_PLAIN) && defined(__AVX512F__)
INLINE void vstore_f16(uint16_t *p, f32x16 a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif !defined(PELLUCID_PLAIN) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
INLINE void vstore_f16(uint16_t *p, f32x16 a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
#elif !defined(PELLUCID_PLAIN) && defined(__ARM_NEON) && defined(__aarch64__)
INLINE void vstore_f16(uint16_t *p, f32x16 a) { FOR_QUARTERS vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.x[i]))); }
#else
INLINE uint16_t float_to_f16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);   /* NaN */
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  /* 65520 and more: infinity */
    if (magnitude < 0x38800000) {                                   /* below 2^-14: subnormal, a multiple of 2^-24 */
        float small;
        memcpy(&small, &magnitude, 4);
        return (uint16_t)(sign | (uint32_t)(int32_t)rintf(small * 0x1p24f));
    }
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}
INLINE void vstore_f16(uint16_t *p, f32x16 a) {
    float lanes[16];
    vstore(lanes, a);
    for (int i = 0; i < 16; i++) p[i] = float_to_f16(lanes[i]);
}
#endif

/* The exponent e of the scale 2^e by which a head's d numbers are divided before they are stored as float16: 0, unless one of
 * them is beyond float16's range. */
INLINE int scale_exponent(const float *x, int64_t d) {
    float lanes[16], largest = 0.0f;
    f32x16 peak = vset(0.0f);
    for (int64_t j = 0; j + 16 <= d; j += 16) {
        const f32x16 a = vload(x + j), minus = vsub(vset(0.0f), a);
        peak = vselect_less(peak, a, a, peak);
        peak = vselect_less(peak, minus, minus, peak);
    }
    vstore(lanes, peak);
    for (int i = 0; i < 16; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    for (int64_t j = d / 16 * 16; j < d; j++) largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    return largest > 65504.0f && largest < INFINITY ? ilogbf(largest) - 14 : 0;
}

/* Stores d numbers / 2^e as float16, `stride` numbers apart; with stride 1, padded with zeros to a multiple of 16. */
INLINE void store_scaled_f16(const float *x, int64_t d, int e, uint16_t *y, int64_t stride) {
    const f32x16 inverse = vset(e ? ldexpf(1.0f, -e) : 1.0f);
    for (int64_t j = 0; j < d; j += 16) {
        const int count = d - j < 16 ? (int)(d - j) : 16;
        float padded[16] = {0};
        uint16_t rounded[16];
        if (count < 16) memcpy(padded, x + j, sizeof(float) * count);
        vstore_f16(rounded, vmul(vload(count < 16 ? padded : x + j), inverse));
        for (int i = 0; i < (stride == 1 ? 16 : count); i++) y[(j + i) * stride] = rounded[i];
    }
}

INLINE uint16_t pow2_bf16(int e) { return (uint16_t)((127 + e) << 7); } /* 2^e as bfloat16 */

/* Operands of a tile: R rows of k floats, `x_stride` apart; Q panels of the cache, each k vectors of sixteen numbers. Strides
 * are in numbers: from panel to panel and from vector to vector. */
struct kv_tile_operands {
    const float *x;
    int64_t x_stride;
    const void *cache;
    int64_t panel_stride, k_stride, k;
};

INLINE f32x16 load_cached(const int is_float16, const void *cache, int64_t offset) {
    return is_float16 ? vload_f16((const uint16_t *)cache + offset) : vload((const float *)cache + offset);
}

typedef void (*kv_tile_function)(struct kv_tile_operands in, float *sums); /* sums [R][Q][16] += x times the panels */

#define UNROLL_6(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < (n); i++)
INLINE void kv_tile(const int R, const int Q, const int is_float16, const struct kv_tile_operands in, float *sums) {
    f32x16 sum[TILE_ROWS];
    UNROLL_6(i, R * Q) sum[i] = vload(sums + PANEL * i);
    for (int64_t k = 0; k < in.k; k++) {
        f32x16 b[TILE_ROWS];
        UNROLL_6(q, Q) b[q] = load_cached(is_float16, in.cache, q * in.panel_stride + in.k_stride * k);
        UNROLL_6(r, R) {
            const f32x16 a = vset(in.x[r * in.x_stride + k]);
            UNROLL_6(q, Q) sum[r * Q + q] = vfma(a, b[q], sum[r * Q + q]);
        }
    }
    UNROLL_6(i, R * Q) vstore(sums + PANEL * i, sum[i]);
}

/* kv_tile_RxQ_H for R Q <= 6; H: 1 for float16. Not inlined, for the reason in `matmul_tiles.h`. */
#define KV_TILE(R, Q, H) \
    static __attribute__((noinline)) void kv_tile_##R##x##Q##_##H(struct kv_tile_operands in, float *sums) { \
        kv_tile(R, Q, H, in, sums); \
    }
#define KV_TILES(H) \
    KV_TILE(1, 1, H) KV_TILE(1, 2, H) KV_TILE(1, 3, H) KV_TILE(1, 4, H) KV_TILE(1, 5, H) KV_TILE(1, 6, H) \
    KV_TILE(2, 1, H) KV_TILE(2, 2, H) KV_TILE(2, 3, H) \
    KV_TILE(3, 1, H) KV_TILE(3, 2, H) KV_TILE(4, 1, H) KV_TILE(5, 1, H) KV_TILE(6, 1, H)
KV_TILES(0)
KV_TILES(1)

/* Most panels of a tile, by its number of rows. */
static const int KV_TILE_PANELS[TILE_ROWS + 1] = {0, 6, 3, 2, 1, 1, 1};

INLINE kv_tile_function kv_tile_for(int is_float16, int rows, int panels) {
#define BY_ROWS_AND_PANELS(H) \
    {{kv_tile_1x1_##H, kv_tile_1x2_##H, kv_tile_1x3_##H, kv_tile_1x4_##H, kv_tile_1x5_##H, kv_tile_1x6_##H}, \
     {kv_tile_2x1_##H, kv_tile_2x2_##H, kv_tile_2x3_##H}, {kv_tile_3x1_##H, kv_tile_3x2_##H}, \
     {kv_tile_4x1_##H}, {kv_tile_5x1_##H}, {kv_tile_6x1_##H}}
    static const kv_tile_function tiles[2][TILE_ROWS][TILE_ROWS] = {BY_ROWS_AND_PANELS(0), BY_ROWS_AND_PANELS(1)};
    return tiles[is_float16][rows - 1][panels - 1];
}

#endif
