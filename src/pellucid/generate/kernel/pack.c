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
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* a NaN stays one */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE void pack(const void *from, const int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                 void *to, int to_kind) {
    for (int64_t panel = 0; panel < FILLED(n) / PANEL; panel++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t lane = 0; lane < PANEL; lane++) {
                const int64_t out = panel * PANEL + lane, at = (panel * k + i) * PANEL + lane;
                float value = out < n ? widen(from, from_kind, out * row + i * column) : 0.0f;
                if (scale && out < n) value *= scale[out];
                if (to_kind == FLOAT32) ((float *)to)[at] = value;
                else ((uint16_t *)to)[at] = to_bf16(value);
            }
}

void pellucid_pack(const void *from, int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                   void *to, int to_kind) {
    switch (from_kind) {
    case 'f': pack(from, 'f', n, k, row, column, scale, to, to_kind); break;
    case 'b': pack(from, 'b', n, k, row, column, scale, to, to_kind); break;
    case 'i': pack(from, 'i', n, k, row, column, scale, to, to_kind); break;
    default: pack(from, 'h', n, k, row, column, scale, to, to_kind);
    }
}
