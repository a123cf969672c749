/* Products: rows of activations times a matrix in panels of 16 columns.
 *
 * A tile is R rows by Q panels, R Q <= 6: its sums fill twelve of AVX2's sixteen registers. Few rows take several panels at
 * once, else each sum would wait for the one before. Many rows go through in blocks of K, whose partial sums are stored and
 * taken up again as they were.
 */
#include <stdlib.h>

#include "kernel.h"
#include "vector.h"

enum { DEEP = 256, TALL = 16, WIDE = 6 }; /* K of a block: 16 KB of a panel; tiles of a block; panels of an item */

static v16 gelu_tanh(v16 x) { /* x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): half of 1 + tanh u */
    v16 cube = vmul(vmul(x, x), x);
    v16 u = vmul(vset(-1.59576912f), vfma(vset(0.044715f), cube, x));
    return vdiv(x, vadd(vset(1.0f), vexp(u)));
}

static v16 gelu_erf(v16 x) { /* erf by Abramowitz and Stegun 7.1.26, to 1.5e-7 */
    const v16 one = vset(1.0f), zero = vset(0.0f);
    v16 z = vmul(x, vset(0.707106781f)), minus = vsub(zero, z);
    v16 a = vwhere_less(z, zero, minus, z);
    v16 t = vdiv(one, vfma(vset(0.3275911f), a, one));
    v16 p = vset(1.061405429f);
    p = vfma(p, t, vset(-1.453152027f));
    p = vfma(p, t, vset(1.421413741f));
    p = vfma(p, t, vset(-0.284496736f));
    p = vfma(p, t, vset(0.254829592f));
    v16 erf = vsub(one, vmul(vmul(p, t), vexp(vsub(zero, vmul(a, a)))));
    erf = vwhere_less(z, zero, vsub(zero, erf), erf);
    return vmul(vmul(vset(0.5f), x), vadd(one, erf));
}

static v16 activate(v16 x, enum activation activation) {
    if (activation == GELU_TANH) return gelu_tanh(x);
    if (activation == GELU_ERF) return gelu_erf(x);
    return vwhere_less(x, vset(0.0f), vset(0.0f), x);
}

struct job {
    const struct matrix *w;
    const float *x; /* packed: tiles of 6 rows, [K][6] each, the last [K][rows that are left] */
    int64_t rows;
    float *y, *part; /* part: where sums of a block wait for the next */
    int64_t stride;
    enum then then;
    enum activation activation;
};

/* What a tile does, beside its size. */
struct at {
    const float *x;       /* [k][R] */
    const void *w;        /* panel 0 of the tile, at its first k */
    int64_t panel, k;     /* numbers from panel to panel; how many k */
    int64_t row, column;  /* of y */
    int first, last;      /* of the blocks of K */
};

INLINE v16 weights(enum kind kind, const void *w, int64_t at) {
    return kind == FLOAT32 ? vload((const float *)w + at) : vload_bf16((const uint16_t *)w + at);
}

#define EACH(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < (n); i++)

INLINE void tile(const int R, const int Q, const enum kind kind, const struct job *job, struct at at) {
    v16 sum[ROWS], b[ROWS];
    const int64_t stride = job->stride, y = at.row * stride + at.column;
    EACH(r, R) EACH(q, Q) {
        if (!at.first) sum[r * Q + q] = vload(job->part + y + r * stride + PANEL * q);
        else sum[r * Q + q] = job->w->bias ? vload(job->w->bias + at.column + PANEL * q) : vset(0.0f);
    }
    for (int64_t k = 0; k < at.k; k++) {
        EACH(q, Q) b[q] = weights(kind, at.w, q * at.panel + PANEL * k);
        EACH(r, R) {
            v16 a = vset(at.x[k * R + r]);
            EACH(q, Q) sum[r * Q + q] = vfma(a, b[q], sum[r * Q + q]);
        }
    }
    if (!at.last) {
        EACH(r, R) EACH(q, Q) vstore(job->part + y + r * stride + PANEL * q, sum[r * Q + q]);
        return;
    }
    EACH(r, R) EACH(q, Q) {
        float *to = job->y + y + r * stride + PANEL * q;
        v16 value = sum[r * Q + q];
        if (job->then == ACTIVATE) value = activate(value, job->activation);
        if (job->then == ADD) value = vadd(vload(to), value);
        vstore(to, value);
    }
}

/* Up to six rows over some panels, all of K at once. */
INLINE void few_rows(const enum kind kind, const struct job *job, int64_t panel, int64_t panels) {
    const struct matrix *w = job->w;
    const int64_t size = (int64_t)w->k * PANEL;
    const int at_once[] = {0, 6, 3, 2, 1, 1, 1};
    for (int64_t end = panel + panels; panel < end;) {
        struct at at = {job->x, (const char *)w->data + panel * size * (kind == FLOAT32 ? 4 : 2), size, w->k, 0, panel * PANEL, 1, 1};
        int q = at_once[job->rows];
        if (panel + q > end) q = 1;
        panel += q;
        switch (job->rows * 10 + q) {
        case 16: tile(1, 6, kind, job, at); break;
        case 11: tile(1, 1, kind, job, at); break;
        case 23: tile(2, 3, kind, job, at); break;
        case 21: tile(2, 1, kind, job, at); break;
        case 32: tile(3, 2, kind, job, at); break;
        case 31: tile(3, 1, kind, job, at); break;
        case 41: tile(4, 1, kind, job, at); break;
        case 51: tile(5, 1, kind, job, at); break;
        case 61: tile(6, 1, kind, job, at); break;
        }
    }
}

/* All tiles of rows under one panel, for one block of K, widened to float32 if it is not. */
static void many_rows(const struct job *job, int64_t panel, int64_t first_row, int64_t last_row, int64_t k, int64_t deep) {
    const struct matrix *w = job->w;
    float wide[DEEP * PANEL];
    const float *block = (const float *)w->data + (panel * w->k + k) * PANEL;
    if (w->kind == BFLOAT16) {
        const uint16_t *narrow = (const uint16_t *)w->data + (panel * w->k + k) * PANEL;
        for (int64_t i = 0; i < deep; i++) vstore(wide + PANEL * i, vload_bf16(narrow + PANEL * i));
        block = wide;
    }
    for (int64_t row = first_row; row < last_row; row += ROWS) {
        int64_t high = job->rows - row < ROWS ? job->rows - row : ROWS;
        struct at at = {job->x + row * w->k + k * high, block, 0, deep, row, panel * PANEL, k == 0, k + deep == w->k};
        switch (high) {
        case 1: tile(1, 1, FLOAT32, job, at); break;
        case 2: tile(2, 1, FLOAT32, job, at); break;
        case 3: tile(3, 1, FLOAT32, job, at); break;
        case 4: tile(4, 1, FLOAT32, job, at); break;
        case 5: tile(5, 1, FLOAT32, job, at); break;
        case 6: tile(6, 1, FLOAT32, job, at); break;
        }
    }
}

static void some_panels(void *what, int64_t item, int thread) {
    (void)thread;
    const struct job *job = what;
    const int64_t first = item * WIDE, all = FILLED(job->w->n) / PANEL, last = first + WIDE < all ? first + WIDE : all;
    if (job->rows <= ROWS) {
        if (job->w->kind == FLOAT32) few_rows(FLOAT32, job, first, last - first);
        else few_rows(BFLOAT16, job, first, last - first);
        return;
    }
    for (int64_t k = 0; k < job->w->k; k += DEEP) {
        int64_t deep = job->w->k - k < DEEP ? job->w->k - k : DEEP;
        for (int64_t row = 0; row < job->rows; row += TALL * ROWS) {
            int64_t end = row + TALL * ROWS < job->rows ? row + TALL * ROWS : job->rows;
            for (int64_t panel = first; panel < last; panel++) many_rows(job, panel, row, end, k, deep);
        }
    }
}

/* y (rows, `stride` apart) = packed rows times w, and then: stored, activated, or added to what is there. `scratch`: as y;
 * used by ADD. */
void product(const struct matrix *w, const float *packed, int64_t rows, float *y, int64_t stride, enum then then,
             enum activation activation, float *scratch, int threads) {
    struct job job = {w, packed, rows, y, then == ADD ? scratch : y, stride, then, activation};
    run_parallel(threads, (FILLED(w->n) / PANEL + WIDE - 1) / WIDE, some_panels, &job);
}

struct packing {
    const float *x;
    int64_t stride, rows, k;
    float *to;
};

static void pack_tile(void *what, int64_t item, int thread) {
    (void)thread;
    const struct packing *p = what;
    const int64_t row = item * ROWS, high = p->rows - row < ROWS ? p->rows - row : ROWS;
    const float *x = p->x + row * p->stride;
    float *to = p->to + row * p->k;
    for (int64_t k = 0; k < p->k; k++)
        for (int64_t r = 0; r < high; r++) to[k * high + r] = x[r * p->stride + k];
}

/* Rows of k numbers, `stride` apart, as tiles of six. */
void pack_rows(const float *x, int64_t stride, int64_t rows, int64_t k, float *to, int threads) {
    struct packing packing = {x, stride, rows, k, to};
    run_parallel(rows > 4 * ROWS ? threads : 1, (rows + ROWS - 1) / ROWS, pack_tile, &packing);
}

int pellucid_product(const struct matrix *w, const float *x, int64_t rows, float *y, int threads) {
    float *packed = malloc(sizeof(float) * rows * w->k);
    if (!packed) return 1;
    pack_rows(x, w->k, rows, w->k, packed, threads);
    product(w, packed, rows, y, FILLED(w->n), STORE, RELU, NULL, threads);
    free(packed);
    return 0;
}
