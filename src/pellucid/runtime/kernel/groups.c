/* Products with weights in groups: 32 numbers of a column share a float16 scale; so do, on the way in, 32 activations of a row,
 * rounded to int8 for one float32 scale.
 *
 * The 32 products of a group are summed as whole numbers, exactly; that sum times both scales is added to the float sum, group
 * by group in their order. So the bits depend on a row and the weights alone, as everywhere in this kernel.
 *
 * A panel's group is a piece of 16 columns by 32 of K, and its 16 scales behind it:
 *
 *     INT8    [16 pairs][16 columns][2]: 512 bytes; or, where the processor multiplies them by fours (ALL_QUADS), [8 quads][16][4],
 *             128 added to each
 *     INT4    [4][16 columns][4]: 256 bytes; the low four bits of byte j of row s are number 8 s + j, the high ones 8 s + 4 + j,
 *             8 added to each
 *
 * Rows, in tiles of six or what is left, R: for each group
 *
 *     pairs   [16 pairs][R][2] int16, then R scales
 *     quads   [8 quads][R][4] int8, then R scales and R sums of the numbers times what was added, which is too much
 */
#include <math.h>

#include "integers.h"
#include "kernel.h"

enum { GROUP = 32, PANELS = 6, NEAR = 200 << 10, AHEAD = 1024, MOST = 12 };

/* Where there are no vectors, a function for each number of rows would only take long to compile. */
#ifdef ONE_BY_ONE
#define EACH(i, n) for (int i = 0; i < (n); i++)
#define FOR_EACH_R static __attribute__((noinline))
#else
#define EACH(i, n) _Pragma("GCC unroll 12") for (int i = 0; i < (n); i++)
#define FOR_EACH_R INLINE
#endif

/* Panels of a tile; whether float sums fit into registers beside the whole ones; FETCHING: whether few rows ask for what comes AHEAD. */
#ifdef ALL_QUADS
enum { AT_ONCE = 2, IN_REGISTERS = 1, FETCHING = 0 };
#else
enum { AT_ONCE = 1, IN_REGISTERS = 0, FETCHING = 1 };
#endif

INLINE int64_t groups_of(int64_t k) { return (k + GROUP - 1) / GROUP; }
INLINE int64_t piece_bytes(int kind) { return kind == INT8 ? 544 : 288; }
#ifdef ALL_QUADS
INLINE int in_quads(int kind) { (void)kind; return 1; }
#else
INLINE int in_quads(int kind) { return kind == INT4; }
INLINE quads16 load_quads(const void *p) { return low_quads(p); } /* never called */
#endif
INLINE int added(int kind) { return kind == INT4 ? 8 : 128; } /* to weights in quads */
INLINE int64_t row_bytes(int kind) { return in_quads(kind) ? 40 : 68; } /* of a group */

/* The weights of a panel and group: 16 columns of 32 codes each, as bytes. */
static void pack_piece(const int8_t *codes, int64_t row, const uint16_t *scale, int64_t scale_row, int64_t columns, char *to, int kind) {
    int8_t piece[PANEL][GROUP] = {{0}};
    uint16_t scales[PANEL] = {0};
    for (int64_t n = 0; n < columns; n++) {
        memcpy(piece[n], codes + n * row, GROUP);
        scales[n] = scale[n * scale_row];
    }
    uint8_t *bytes = (uint8_t *)to;
    for (int n = 0; n < PANEL; n++)
        for (int k = 0; k < GROUP; k++) {
            if (!in_quads(kind)) bytes[k / 2 * 32 + n * 2 + k % 2] = (uint8_t)piece[n][k];
            else if (kind == INT8) bytes[k / 4 * 64 + n * 4 + k % 4] = (uint8_t)(piece[n][k] + added(kind));
            else {
                uint8_t *byte = bytes + k / 8 * 64 + n * 4 + k % 4;
                const uint8_t value = (uint8_t)(piece[n][k] + added(kind));
                *byte = k % 8 < 4 ? value : (uint8_t)(*byte | value << 4);
            }
        }
    memcpy(to + piece_bytes(kind) - 32, scales, 32);
}

void pellucid_pack_groups(const int8_t *codes, const uint16_t *scale, int64_t n, int64_t groups, void *to, int kind) {
    for (int64_t panel = 0; panel < FILLED(n) / PANEL; panel++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t first = panel * PANEL, columns = n - first < PANEL ? n - first : PANEL;
            pack_piece(codes + (first * groups + g) * GROUP, groups * GROUP, scale + first * groups + g, groups, columns,
                       (char *)to + (panel * groups + g) * piece_bytes(kind), kind);
        }
}

float group_number(const struct matrix *w, int64_t n, int64_t k) {
    const char *piece = (const char *)w->data + (n / PANEL * groups_of(w->k) + k / GROUP) * piece_bytes(w->kind);
    const int64_t lane = n % PANEL, at = k % GROUP;
    uint16_t scale;
    memcpy(&scale, piece + piece_bytes(w->kind) - 32 + 2 * lane, 2);
    int code;
    if (!in_quads(w->kind)) code = ((const int8_t *)piece)[at / 2 * 32 + lane * 2 + at % 2];
    else if (w->kind == INT8) code = ((const uint8_t *)piece)[at / 4 * 64 + lane * 4 + at % 4] - added(INT8);
    else code = (((const uint8_t *)piece)[at / 8 * 64 + lane * 4 + at % 4] >> (at % 8 < 4 ? 0 : 4) & 15) - added(INT4);
    return (float)code * half_value(scale);
}

/* 32 numbers to the nearest of 127 steps either way, of two to the even one; their scale. Below 2^-120 they are zero; where one is
 * not finite the scale is NaN, and so is all that it is summed into. */
INLINE float round_group(const float *x, int8_t *codes) {
    uint32_t most = 0;
    for (int i = 0; i < GROUP; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float peak;
    memcpy(&peak, &most, 4);
    const int none = most >= 0x7f800000 || peak < 0x1p-120f;
    const float inverse = none ? 0.0f : 127.0f / peak;
    for (int i = 0; i < GROUP; i++) codes[i] = none ? 0 : (int8_t)(int32_t)rintf(x[i] * inverse);
    return most >= 0x7f800000 ? NAN : none ? 0.0f : peak / 127.0f;
}

struct rounding {
    const struct matrix *w;
    const float *x;
    int64_t stride, rows;
    char *to;
};

static void round_tile(void *what, int64_t item, int thread) {
    (void)thread;
    const struct rounding *p = what;
    const int kind = p->w->kind;
    const int64_t k = p->w->k, groups = groups_of(k), first = item * ROWS;
    const int64_t high = p->rows - first < ROWS ? p->rows - first : ROWS;
    char *to = p->to + first * groups * row_bytes(kind);
    for (int64_t g = 0; g < groups; g++, to += high * row_bytes(kind))
        for (int64_t r = 0; r < high; r++) {
            const float *x = p->x + (first + r) * p->stride + g * GROUP;
            float last[GROUP] = {0};
            if (k - g * GROUP < GROUP) x = memcpy(last, x, sizeof(float) * (k - g * GROUP));
            int8_t codes[GROUP];
            const float scale = round_group(x, codes);
            if (!in_quads(kind)) {
                int16_t *wide = (int16_t *)to;
                for (int i = 0; i < GROUP / 2; i++) {
                    wide[(i * high + r) * 2] = codes[2 * i];
                    wide[(i * high + r) * 2 + 1] = codes[2 * i + 1];
                }
                memcpy(to + 64 * high + 4 * r, &scale, 4);
            } else {
                int32_t sum = 0;
                for (int i = 0; i < GROUP; i++) sum += codes[i];
                sum *= added(kind);
                for (int i = 0; i < GROUP / 4; i++) memcpy(to + (i * high + r) * 4, codes + 4 * i, 4);
                memcpy(to + 32 * high + 4 * r, &scale, 4);
                memcpy(to + 36 * high + 4 * r, &sum, 4);
            }
        }
}

/* Rows of K numbers, `stride` apart, rounded and in tiles; at most as many bytes as K filled up to 32s has as floats. */
void round_rows(const struct matrix *w, const float *x, int64_t stride, int64_t rows, void *to, int threads) {
    struct rounding rounding = {w, x, stride, rows, to};
    run_parallel(rows > 4 * ROWS ? threads : 1, (rows + ROWS - 1) / ROWS, round_tile, &rounding);
}

/* The sums of R rows under Q panels, `panel` bytes apart, over all of K, added to `sums`: [R][Q][16]. */
FOR_EACH_R void add_groups(const int R, const int Q, const int kind, const char *x, const char *w, int64_t panel, int64_t groups,
                           float *sums) {
    v16 total[MOST];
    if (IN_REGISTERS) EACH(i, R * Q) total[i] = vload(sums + PANEL * i);
    for (int64_t g = 0; g < groups; g++, w += piece_bytes(kind), x += R * row_bytes(kind)) {
        i16 whole[MOST];
        if (FETCHING && R < 3)
            EACH(q, Q) for (int64_t line = 0; line < piece_bytes(kind); line += 64) __builtin_prefetch(w + q * panel + AHEAD + line);
        if (!in_quads(kind)) {
            EACH(i, R * Q) whole[i] = izero();
            for (int i = 0; i < GROUP / 2; i++) EACH(q, Q) {
                const pairs16 b = load_pairs(w + q * panel + 32 * i);
                EACH(r, R) whole[r * Q + q] = add_pairs(whole[r * Q + q], four_bytes(x + 4 * (i * R + r)), b);
            }
        } else {
            q16 sum[MOST];
            EACH(r, R) EACH(q, Q) sum[r * Q + q] = qzero();
            for (int i = 0; i < GROUP / 4; i += 2) {
                quads16 low[AT_ONCE], high[AT_ONCE];
                EACH(q, Q) {
                    const char *at = w + q * panel + (kind == INT8 ? 64 * i : 32 * i);
                    low[q] = kind == INT8 ? load_quads(at) : low_quads(at);
                    high[q] = kind == INT8 ? load_quads(at + 64) : high_quads(at);
                }
                EACH(r, R) EACH(q, Q) sum[r * Q + q] = add_quads(sum[r * Q + q], four_bytes(x + 4 * (i * R + r)), low[q]);
                EACH(r, R) EACH(q, Q) sum[r * Q + q] = add_quads(sum[r * Q + q], four_bytes(x + 4 * ((i + 1) * R + r)), high[q]);
            }
            EACH(r, R) EACH(q, Q) whole[r * Q + q] = isub(qsum(sum[r * Q + q]), four_bytes(x + 36 * R + 4 * r));
        }
        EACH(q, Q) {
            const v16 scale = halves(w + q * panel + piece_bytes(kind) - 32);
            EACH(r, R) {
                float of_row;
                memcpy(&of_row, x + (in_quads(kind) ? 32 : 64) * R + 4 * r, 4);
                const int i = r * Q + q;
                const v16 more = vmul(ifloat(whole[i]), vmul(vset(of_row), scale));
                if (IN_REGISTERS) total[i] = vadd(total[i], more);
                else vstore(sums + PANEL * i, vadd(vload(sums + PANEL * i), more));
            }
        }
    }
    if (IN_REGISTERS) EACH(i, R * Q) vstore(sums + PANEL * i, total[i]);
}

typedef void (*tile_function)(const char *x, const char *w, int64_t panel, int64_t groups, float *sums);

#define TILE(R, Q, KIND) \
    static __attribute__((noinline)) void tile_##R##x##Q##_##KIND(const char *x, const char *w, int64_t panel, int64_t groups, \
                                                                  float *sums) { \
        add_groups(R, Q, KIND, x, w, panel, groups, sums); \
    }
#define TILES(Q, KIND) \
    TILE(1, Q, KIND) TILE(2, Q, KIND) TILE(3, Q, KIND) TILE(4, Q, KIND) TILE(5, Q, KIND) TILE(6, Q, KIND) \
    static const tile_function OF_##Q##_##KIND[ROWS] = {tile_1x##Q##_##KIND, tile_2x##Q##_##KIND, tile_3x##Q##_##KIND, \
                                                        tile_4x##Q##_##KIND, tile_5x##Q##_##KIND, tile_6x##Q##_##KIND};
TILES(1, INT8)
TILES(1, INT4)
#ifdef ALL_QUADS
TILES(2, INT8)
TILES(2, INT4)
#else
#define OF_2_INT8 OF_1_INT8
#define OF_2_INT4 OF_1_INT4
#endif

struct job {
    const struct matrix *w;
    const char *x;
    int64_t rows;
    float *y;
    int64_t stride;
    enum then then;
    enum activation activation;
};

static void some_panels(void *what, int64_t item, int thread) {
    (void)thread;
    const struct job *job = what;
    const int kind = job->w->kind;
    const int64_t groups = groups_of(job->w->k), all = FILLED(job->w->n) / PANEL, one = groups * row_bytes(kind);
    const int64_t first = item * PANELS, last = first + PANELS < all ? first + PANELS : all;
    const int64_t tall = NEAR / (one * ROWS) > 0 ? NEAR / (one * ROWS) * ROWS : ROWS; /* rows that stay in the second cache */
    for (int64_t from = 0; from < job->rows; from += tall) {
        const int64_t to = from + tall < job->rows ? from + tall : job->rows;
        for (int64_t panel = first, panels; panel < last; panel += panels) {
            panels = job->rows > 2 && panel + AT_ONCE <= last ? AT_ONCE : 1;
            const int64_t bytes = groups * piece_bytes(kind);
            const char *w = (const char *)job->w->data + panel * bytes;
            for (int64_t row = from; row < to; row += ROWS) {
                const int high = job->rows - row < ROWS ? (int)(job->rows - row) : ROWS;
                float sums[MOST * PANEL];
                for (int64_t i = 0; i < high * panels; i++)
                    vstore(sums + PANEL * i, job->w->bias ? vload(job->w->bias + (panel + i % panels) * PANEL) : vset(0.0f));
                const tile_function *tiles = panels == 1 ? kind == INT8 ? OF_1_INT8 : OF_1_INT4 : kind == INT8 ? OF_2_INT8 : OF_2_INT4;
                tiles[high - 1](job->x + row * one, w, bytes, groups, sums);
                for (int64_t i = 0; i < high * panels; i++)
                    finish(job->y + (row + i / panels) * job->stride + (panel + i % panels) * PANEL, sums + PANEL * i, job->then,
                           job->activation);
            }
        }
    }
}

/* As `product`, of rows that `round_rows` rounded. */
void groups_product(const struct matrix *w, const void *rounded, int64_t rows, float *y, int64_t stride, enum then then,
                    enum activation activation, int threads) {
    struct job job = {w, rounded, rows, y, stride, then, activation};
    run_parallel(threads, (FILLED(w->n) / PANEL + PANELS - 1) / PANELS, some_panels, &job);
}
