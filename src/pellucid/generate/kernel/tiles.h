/* The innermost loops: sums of a tile of R rows and Q panels, R Q <= 6, so that twelve of AVX2's sixteen registers hold them.
 *
 * Each is a function that is not inlined: within a larger one, compilers run out of registers and keep the sums in memory.
 */
#ifndef PELLUCID_TILES_H
#define PELLUCID_TILES_H

#include "kernel.h"
#include "vector.h"

#define EACH(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < (n); i++)

/* What a tile reads: numbers of the rows, `row` apart from row to row and `step` from k to k; vectors of sixteen, `panel` numbers
 * apart from panel to panel and `down` from k to k. */
struct reads {
    const float *x;
    int64_t row, step;
    const void *w;
    int64_t panel, down;
    int64_t k;
};

typedef void (*tile_function)(struct reads, float *sums); /* sums: [R][Q][16], added to */

INLINE v16 numbers(enum kind kind, const void *w, int64_t at) {
    return kind == FLOAT32 ? vload((const float *)w + at) : vload_bf16((const uint16_t *)w + at);
}

INLINE void add_up(const int R, const int Q, const enum kind kind, const struct reads in, float *sums) {
    v16 sum[ROWS];
    EACH(i, R * Q) sum[i] = vload(sums + PANEL * i);
    const float *x = in.x;
    for (int64_t k = 0; k < in.k; k++, x += in.step) {
        v16 b[ROWS];
        EACH(q, Q) b[q] = numbers(kind, in.w, q * in.panel + in.down * k);
        EACH(r, R) {
            const v16 a = vset(x[r * in.row]);
            EACH(q, Q) sum[r * Q + q] = vfma(a, b[q], sum[r * Q + q]);
        }
    }
    EACH(i, R * Q) vstore(sums + PANEL * i, sum[i]);
}

#define TILE(R, Q, KIND) \
    static __attribute__((noinline, unused)) void tile_##R##x##Q##_##KIND(struct reads in, float *sums) { \
        add_up(R, Q, KIND, in, sums); \
    }
#define TILES(KIND) \
    TILE(1, 1, KIND) TILE(2, 1, KIND) TILE(3, 1, KIND) TILE(4, 1, KIND) TILE(5, 1, KIND) TILE(6, 1, KIND) \
    TILE(1, 6, KIND) TILE(1, 4, KIND) TILE(2, 3, KIND) TILE(3, 2, KIND)
TILES(FLOAT32)
TILES(BFLOAT16)

/* Panels that a tile of so many rows takes at once. */
static const int AT_ONCE[ROWS + 1] = {0, 6, 3, 2, 1, 1, 1};

INLINE tile_function tile_of(enum kind kind, int rows, int panels) {
    static const tile_function one[2][ROWS] = {
        {tile_1x1_FLOAT32, tile_2x1_FLOAT32, tile_3x1_FLOAT32, tile_4x1_FLOAT32, tile_5x1_FLOAT32, tile_6x1_FLOAT32},
        {tile_1x1_BFLOAT16, tile_2x1_BFLOAT16, tile_3x1_BFLOAT16, tile_4x1_BFLOAT16, tile_5x1_BFLOAT16, tile_6x1_BFLOAT16},
    };
    static const tile_function several[2][3] = {
        {tile_1x6_FLOAT32, tile_2x3_FLOAT32, tile_3x2_FLOAT32}, {tile_1x6_BFLOAT16, tile_2x3_BFLOAT16, tile_3x2_BFLOAT16},
    };
    if (panels == 1) return one[kind][rows - 1];
    if (rows == 1 && panels == 4) return kind == FLOAT32 ? tile_1x4_FLOAT32 : tile_1x4_BFLOAT16;
    return several[kind][rows - 1];
}

#endif
