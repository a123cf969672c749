/* The innermost loops: sums of a tile of R rows and Q panels. R Q <= 6, so that twelve of AVX2's sixteen registers hold them;
 * where registers are thirty-two of sixteen floats, products take tiles of up to 6 x 4.
 *
 * Each is a function that is not inlined: within a larger one, compilers run out of registers and keep the sums in memory.
 */
#ifndef PELLUCID_TILES_H
#define PELLUCID_TILES_H

#include "kernel.h"
#include "vector.h"

#define EACH(i, n) _Pragma("GCC unroll 24") for (int i = 0; i < (n); i++)

enum { LARGEST = 24 }; /* R Q */

/* What a tile reads: numbers of the rows, `row` apart from row to row and `step` from k to k; vectors of sixteen, `panel` numbers
 * apart from panel to panel and `down` from k to k. Where bfloat16 is multiplied by twos, x points to twos of them: of a row's numbers
 * k and k + 1, the first in the upper half. */
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
    v16 sum[LARGEST];
    EACH(i, R * Q) sum[i] = vload(sums + PANEL * i);
#ifdef PAIRS
    if (kind == BFLOAT16) {
        const uint32_t *x = (const uint32_t *)in.x;
        for (int64_t k = 0; k < in.k; k += 2, x += in.step) {
            pairs b[ROWS];
            EACH(q, Q) b[q] = vload_pairs((const uint16_t *)in.w + q * in.panel + in.down * k);
            EACH(r, R) EACH(q, Q) sum[r * Q + q] = vfma_pair(x[r * in.row], b[q], sum[r * Q + q]);
        }
        EACH(i, R * Q) vstore(sums + PANEL * i, sum[i]);
        return;
    }
#endif
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
    TILE(1, 6, KIND) TILE(1, 4, KIND) TILE(2, 3, KIND) TILE(3, 2, KIND) \
    TILE(2, 4, KIND) TILE(3, 4, KIND) TILE(4, 4, KIND) TILE(5, 4, KIND) TILE(6, 4, KIND)
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

/* Four panels at once, of 1 to 6 rows. */
enum { FOUR = 4 };
#define BY_ROWS(KIND) \
    {tile_1x4_##KIND, tile_2x4_##KIND, tile_3x4_##KIND, tile_4x4_##KIND, tile_5x4_##KIND, tile_6x4_##KIND}
INLINE tile_function tile_of_four(enum kind kind, int rows) {
    static const tile_function found[2][ROWS] = {BY_ROWS(FLOAT32), BY_ROWS(BFLOAT16)};
    return found[kind][rows - 1];
}

#endif
