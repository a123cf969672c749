/* The innermost loops of a matrix product: sums of a tile of R rows and Q panels. R Q <= 6, so that the sums take twelve of
 * AVX2's sixteen registers; with AVX512's thirty-two registers of sixteen floats, tiles are up to 6 x 4.
 *
 * Each tile size is a function that is not inlined: in a larger function compilers run out of registers and spill the sums to
 * memory.
 */
#ifndef PELLUCID_MATMUL_TILES_H
#define PELLUCID_MATMUL_TILES_H

#include "kernel.h"
#include "vector.h"

#define UNROLL_24(i, n) _Pragma("GCC unroll 24") for (int i = 0; i < (n); i++)

enum { MAX_TILE = 24 }; /* largest R Q */

/* Operands of a tile: R rows of activations and Q panels of weights, k numbers deep. Strides are in numbers. With BF16_PAIRS
 * and BFLOAT16, x points to 32-bit pairs of bfloat16: numbers k and k + 1 of a row, the first in the upper half. */
struct tile_operands {
    const float *x;
    int64_t row_stride, x_k_stride;
    const void *w;
    int64_t panel_stride, w_k_stride;
    int64_t k;
};

typedef void (*tile_function)(struct tile_operands, float *sums); /* sums [R][Q][16] += x w */

INLINE f32x16 load_weights(enum dtype dtype, const void *w, int64_t offset) {
    return dtype == FLOAT32 ? vload((const float *)w + offset) : vload_bf16((const uint16_t *)w + offset);
}

INLINE void matmul_tile(const int R, const int Q, const enum dtype dtype, const struct tile_operands in, float *sums) {
    f32x16 sum[MAX_TILE];
    UNROLL_24(i, R * Q) sum[i] = vload(sums + PANEL * i);
#ifdef BF16_PAIRS
    if (dtype == BFLOAT16) {
        const uint32_t *x = (const uint32_t *)in.x;
        for (int64_t k = 0; k < in.k; k += 2, x += in.x_k_stride) {
            bf16x32 b[TILE_ROWS];
            UNROLL_24(q, Q) b[q] = vload_bf16x32((const uint16_t *)in.w + q * in.panel_stride + in.w_k_stride * k);
            UNROLL_24(r, R) UNROLL_24(q, Q) sum[r * Q + q] = vdot_bf16(x[r * in.row_stride], b[q], sum[r * Q + q]);
        }
        UNROLL_24(i, R * Q) vstore(sums + PANEL * i, sum[i]);
        return;
    }
#endif
    const float *x = in.x;
    for (int64_t k = 0; k < in.k; k++, x += in.x_k_stride) {
        f32x16 b[TILE_ROWS];
        UNROLL_24(q, Q) b[q] = load_weights(dtype, in.w, q * in.panel_stride + in.w_k_stride * k);
        UNROLL_24(r, R) {
            const f32x16 a = vset(x[r * in.row_stride]);
            UNROLL_24(q, Q) sum[r * Q + q] = vfma(a, b[q], sum[r * Q + q]);
        }
    }
    UNROLL_24(i, R * Q) vstore(sums + PANEL * i, sum[i]);
}

#define TILE(R, Q, DTYPE) \
    static __attribute__((noinline, unused)) void tile_##R##x##Q##_##DTYPE(struct tile_operands in, float *sums) { \
        matmul_tile(R, Q, DTYPE, in, sums); \
    }
#define TILES(DTYPE) \
    TILE(1, 1, DTYPE) TILE(2, 1, DTYPE) TILE(3, 1, DTYPE) TILE(4, 1, DTYPE) TILE(5, 1, DTYPE) TILE(6, 1, DTYPE) \
    TILE(1, 6, DTYPE) TILE(1, 4, DTYPE) TILE(2, 3, DTYPE) TILE(3, 2, DTYPE) \
    TILE(2, 4, DTYPE) TILE(3, 4, DTYPE) TILE(4, 4, DTYPE) TILE(5, 4, DTYPE) TILE(6, 4, DTYPE)
TILES(FLOAT32)
TILES(BFLOAT16)

/* Panels of a tile with R Q <= 6, by its number of rows. */
static const int TILE_PANELS[TILE_ROWS + 1] = {0, 6, 3, 2, 1, 1, 1};

/* The function of a tile with R Q <= 6, of one panel or as many as TILE_PANELS says. */
INLINE tile_function tile_for(enum dtype dtype, int rows, int panels) {
    static const tile_function one_panel[2][TILE_ROWS] = {
        {tile_1x1_FLOAT32, tile_2x1_FLOAT32, tile_3x1_FLOAT32, tile_4x1_FLOAT32, tile_5x1_FLOAT32, tile_6x1_FLOAT32},
        {tile_1x1_BFLOAT16, tile_2x1_BFLOAT16, tile_3x1_BFLOAT16, tile_4x1_BFLOAT16, tile_5x1_BFLOAT16, tile_6x1_BFLOAT16},
    };
    static const tile_function several_panels[2][3] = {
        {tile_1x6_FLOAT32, tile_2x3_FLOAT32, tile_3x2_FLOAT32}, {tile_1x6_BFLOAT16, tile_2x3_BFLOAT16, tile_3x2_BFLOAT16},
    };
    if (panels == 1) return one_panel[dtype][rows - 1];
    return several_panels[dtype][rows - 1];
}

/* The function of a tile of four panels and 1 to 6 rows. */
enum { WIDE_TILE_PANELS = 4 };
#define BY_ROWS(DTYPE) \
    {tile_1x4_##DTYPE, tile_2x4_##DTYPE, tile_3x4_##DTYPE, tile_4x4_##DTYPE, tile_5x4_##DTYPE, tile_6x4_##DTYPE}
INLINE tile_function wide_tile_for(enum dtype dtype, int rows) {
    static const tile_function tiles[2][TILE_ROWS] = {BY_ROWS(FLOAT32), BY_ROWS(BFLOAT16)};
    return tiles[dtype][rows - 1];
}

#endif
