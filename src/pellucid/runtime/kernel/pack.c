/* Weights as products read them. */
#include <string.h>

#include "kernel.h"
#include "integers.h"

INLINE float widen(const void *from, int kind, int64_t at) {
    switch (kind) {
    case 'f': return ((const float *)from)[at];
    case 'i': return ((const int8_t *)from)[at];
    case 'b': return from_bf16(((const uint16_t *)from)[at]);
    default: return half_value(((const uint16_t *)from)[at]); /* 'h' */
    }
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

/* Fills a panel's rows up to an even number, and lays two and two together where they are multiplied so. */
static void pair_up(uint16_t *panel, int64_t k) {
    if (k % 2) memset(panel + k * PANEL, 0, sizeof(uint16_t) * PANEL);
#ifdef PAIRS
    for (int64_t i = 0; i < k; i += 2) {
        uint16_t both[2][PANEL], *to = panel + i * PANEL;
        memcpy(both, to, sizeof both);
        for (int lane = 0; lane < PANEL; lane++) to[2 * lane] = both[1][lane], to[2 * lane + 1] = both[0][lane];
    }
#endif
}

/* Where the columns of a panel lie side by side (GPT-2's files keep matrices so), a panel alone would be read 64 bytes at a time
 * from everywhere: neighbours are packed together. */
enum { TOGETHER = 16 };

INLINE void pack(const void *from, const int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                 void *to, const int to_kind) {
    const int64_t deep = to_kind == BFLOAT16 ? EVEN(k) : k, panels = FILLED(n) / PANEL, together = row == 1 ? TOGETHER : 1;
    for (int64_t begin = 0; begin < panels; begin += together) {
        for (int64_t i = 0; i < k; i++)
            for (int64_t panel = begin; panel < begin + together && panel < panels; panel++) {
                const int64_t out = panel * PANEL, at = (panel * deep + i) * PANEL, first = out * row + i * column;
                const float *scales = scale ? scale + out : 0;
                if (out + PANEL <= n && row == 1) pack_lanes(from, from_kind, first, 1, scales, to, to_kind, at, PANEL);
                else if (out + PANEL <= n) pack_lanes(from, from_kind, first, row, scales, to, to_kind, at, PANEL);
                else pack_lanes(from, from_kind, first, row, scales, to, to_kind, at, n - out);
            }
        if (to_kind == BFLOAT16)
            for (int64_t panel = begin; panel < begin + together && panel < panels; panel++)
                pair_up((uint16_t *)to + panel * deep * PANEL, k);
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
