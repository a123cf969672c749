/* Packs weight matrices into panels, as the matrix products read them. */
#include <string.h>

#include "kernel.h"
#include "vector_int.h"

INLINE float load_element(const void *source, int source_type, int64_t index) {
    switch (source_type) {
    case 'f': return ((const float *)source)[index];
    case 'i': return ((const int8_t *)source)[index];
    case 'b': return bf16_to_float(((const uint16_t *)source)[index]);
    default: return f16_to_float(((const uint16_t *)source)[index]); /* 'h' */
    }
}

/* Packs one number of K for the first `lanes` columns of a panel, and zeros for the others. `lanes` is a constant where the
 * panel is full, so that the loop is unrolled. */
INLINE void pack_lanes(const void *source, const int source_type, int64_t first, int64_t row_stride, const float *scale,
                       void *packed, const int dtype, int64_t offset, const int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; lane++) {
        float value = load_element(source, source_type, first + lane * row_stride);
        if (scale) value *= scale[lane];
        if (dtype == FLOAT32) ((float *)packed)[offset + lane] = value;
        else ((uint16_t *)packed)[offset + lane] = float_to_bf16(value);
    }
    for (int64_t lane = lanes; lane < PANEL; lane++) {
        if (dtype == FLOAT32) ((float *)packed)[offset + lane] = 0.0f;
        else ((uint16_t *)packed)[offset + lane] = 0;
    }
}

/* Pads a bfloat16 panel to an even K, and interleaves neighbouring numbers of K where the processor multiplies pairs. */
static void interleave_pairs(uint16_t *panel, int64_t k) {
    if (k % 2) memset(panel + k * PANEL, 0, sizeof(uint16_t) * PANEL);
#ifdef BF16_PAIRS
    for (int64_t i = 0; i < k; i += 2) {
        uint16_t both[2][PANEL], *pairs = panel + i * PANEL;
        memcpy(both, pairs, sizeof both);
        for (int lane = 0; lane < PANEL; lane++) pairs[2 * lane] = both[1][lane], pairs[2 * lane + 1] = both[0][lane];
    }
#endif
}

/* Where the outputs of an input lie side by side (row_stride 1: GPT-2's files store matrices so), packing one panel alone
 * would read 64 bytes here and there: neighbouring panels are packed together. */
enum { PANELS_AT_ONCE = 16 };

INLINE void pack(const void *source, const int source_type, int64_t n, int64_t k, int64_t row_stride, int64_t column_stride,
                 const float *scale, void *packed, const int dtype) {
    const int64_t padded_k = dtype == BFLOAT16 ? ROUND_UP_2(k) : k, panels = ROUND_UP_16(n) / PANEL;
    const int64_t at_once = row_stride == 1 ? PANELS_AT_ONCE : 1;
    for (int64_t begin = 0; begin < panels; begin += at_once) {
        for (int64_t i = 0; i < k; i++)
            for (int64_t panel = begin; panel < begin + at_once && panel < panels; panel++) {
                const int64_t row = panel * PANEL, offset = (panel * padded_k + i) * PANEL;
                const int64_t first = row * row_stride + i * column_stride;
                const float *scales = scale ? scale + row : 0;
                if (row + PANEL <= n && row_stride == 1)
                    pack_lanes(source, source_type, first, 1, scales, packed, dtype, offset, PANEL);
                else if (row + PANEL <= n)
                    pack_lanes(source, source_type, first, row_stride, scales, packed, dtype, offset, PANEL);
                else
                    pack_lanes(source, source_type, first, row_stride, scales, packed, dtype, offset, n - row);
            }
        if (dtype == BFLOAT16)
            for (int64_t panel = begin; panel < begin + at_once && panel < panels; panel++)
                interleave_pairs((uint16_t *)packed + panel * padded_k * PANEL, k);
    }
}

INLINE void pack_as(const void *source, const int source_type, int64_t n, int64_t k, int64_t row_stride, int64_t column_stride,
                    const float *scale, void *packed, int dtype) {
    if (dtype == FLOAT32) pack(source, source_type, n, k, row_stride, column_stride, scale, packed, FLOAT32);
    else pack(source, source_type, n, k, row_stride, column_stride, scale, packed, BFLOAT16);
}

/* Types are constants in each call below, so that the compiler specializes the inner loops. */
void pellucid_pack(const void *source, int source_type, int64_t n, int64_t k, int64_t row_stride, int64_t column_stride,
                   const float *scale, void *packed, int dtype) {
    switch (source_type) {
    case 'f': pack_as(source, 'f', n, k, row_stride, column_stride, scale, packed, dtype); break;
    case 'b': pack_as(source, 'b', n, k, row_stride, column_stride, scale, packed, dtype); break;
    case 'i': pack_as(source, 'i', n, k, row_stride, column_stride, scale, packed, dtype); break;
    default: pack_as(source, 'h', n, k, row_stride, column_stride, scale, packed, dtype);
    }
}
