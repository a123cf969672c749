/* Weights as products read them. */
#include <string.h>

#include "kernel.h"
#include "integers.h"

INLINE float widen(const void *from, int kind, int64_t at) {
    uint32_t bits;
    float value;
    switch (kind) {
    case 'f': return ((const float *)from)[at];
    case 'i': return ((const int8_t *)from)[at];
    case 'b':
        bits = (uint32_t)((const uint16_t *)from)[at] << 16;
        memcpy(&value, &bits, 4);
        return value;
    default: return half_value(((const uint16_t *)from)[at]); /* 'h' */
    }
}

static uint16_t to_bf16(float value) { /* to the nearest, of two to the even one */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t near = bits + 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(((bits & 0x7fffffff) > 0x7f800000 ? bits | 64 << 16 : near) >> 16); /* a NaN stays one */
}

/* Some lanes of one row of a panel; how many is a constant where the panel is full. */
INLINE void pack_lanes(const void *from, const int from_kind, int64_t first, int64_t row, const float *scale, void *to,
                       const int to_kind, int64_t at, const int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; lane++) {
        float value = widen(from, from_kind, first + lane * row);
        if (scale) value *= scale[lane];
        if (to_kind == FLOAT32) ((float *)to)[at + lane] = value;
        else ((uint16_t *)to)[at + lane] = to_bf16(value);
    }
    for (int64_t lane = lanes; lane < PANEL; lane++) {
        if (to_kind == FLOAT32) ((float *)to)[at + lane] = 0.0f;
        else ((uint16_t *)to)[at + lane] = 0;
    }
}

/* Where the columns of a panel lie side by side (GPT-2's files keep matrices so), a panel alone would be read 64 bytes at a time
 * from everywhere: neighbours are packed together. */
enum { TOGETHER = 16 };

INLINE void pack(const void *from, const int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                 void *to, const int to_kind) {
    const int64_t panels = FILLED(n) / PANEL, together = row == 1 ? TOGETHER : 1;
    for (int64_t begin = 0; begin < panels; begin += together)
        for (int64_t i = 0; i < k; i++)
            for (int64_t panel = begin; panel < begin + together && panel < panels; panel++) {
                const int64_t out = panel * PANEL, at = (panel * k + i) * PANEL, first = out * row + i * column;
                const float *scales = scale ? scale + out : 0;
                if (out + PANEL <= n && row == 1) pack_lanes(from, from_kind, first, 1, scales, to, to_kind, at, PANEL);
                else if (out + PANEL <= n) pack_lanes(from, from_kind, first, row, scales, to, to_kind, at, PANEL);
                else pack_lanes(from, from_kind, first, row, scales, to, to_kind, at, n - out);
            }
}

INLINE void pack_to(const void *from, const int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                    void *to, int to_kind) {
    if (to_kind == FLOAT32) pack(from, from_kind, n, k, row, column, scale, to, FLOAT32);
    else pack(from, from_kind, n, k, row, column, scale, to, BFLOAT16);
}

void pellucid_pack(const void *from, int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                   void *to, int to_kind) {
    switch (from_kind) {
    case 'f': pack_to(from, 'f', n, k, row, column, scale, to, to_kind); break;
    case 'b': pack_to(from, 'b', n, k, row, column, scale, to, to_kind); break;
    case 'i': pack_to(from, 'i', n, k, row, column, scale, to, to_kind); break;
    default: pack_to(from, 'h', n, k, row, column, scale, to, to_kind);
    }
}
