/* Products: rows of activations times a matrix in panels of 16 columns, tile by tile (`tiles.h`).
 *
 * Few rows take several panels at once, else each sum would wait for the one before. Many rows go through in blocks of K,
 * whose partial sums are stored and taken up again as they were.
 */
#include <stdlib.h>

#include "kernel.h"
#include "tiles.h"
#include "vector.h"

/* Many rows: K of a block is 16 KB of a panel, for the first cache; rows of a block are for the second. Up to LOW rows, the whole
 * panel is read as it lies. WIDE: panels of an item. AT_MOST: panels of a tile of many rows; where it is several, each number that is
 * read serves so often that K is best left whole. */
enum { DEEP = 256, DEEPEST = 1024, TALL = 16, LOW = 48 };
#if defined(__AVX512F__) && !defined(PELLUCID_PLAIN)
enum { WIDE = FOUR, AT_MOST = FOUR };
#else
enum { WIDE = 6, AT_MOST = 1 };
#endif
#ifdef PAIRS
enum { BY_TWOS = 1 };
#else
enum { BY_TWOS = 0 };
#endif

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

/* What becomes of sixteen sums: stored, activated, or added to what is there. */
void finish(float *y, const float *sums, enum then then, enum activation activation) {
    v16 value = vload(sums);
    if (then == ACTIVATE) value = activate(value, activation);
    if (then == ADD) value = vadd(vload(y), value);
    vstore(y, value);
}

struct job {
    const struct matrix *w;
    const float *x; /* packed: tiles of 6 rows, [K][6] each, the last [K][rows that are left]; by twos: [K / 2][6] */
    int64_t rows;
    float *y, *part; /* part: where sums of a block wait for the next */
    int64_t stride;
    enum then then;
    enum activation activation;
};

INLINE int64_t deep_of(const struct matrix *w) { return w->kind == BFLOAT16 ? EVEN(w->k) : w->k; }

/* The sums of a tile: `high` rows from `row` on, `panels` from `panel` on, `deep` of K from `k` on; then what is to be done. */
static void tile(const struct job *job, enum kind kind, const void *w, int64_t k, int64_t deep, int64_t row, int high,
                 int64_t panel, int panels) {
    float sums[LARGEST * PANEL];
    const int64_t all = deep_of(job->w), stride = job->stride, at = row * stride + panel * PANEL;
    EACH(i, high * panels) {
        const int r = i / panels, q = i % panels;
        if (k) vstore(sums + PANEL * i, vload(job->part + at + r * stride + PANEL * q));
        else vstore(sums + PANEL * i, job->w->bias ? vload(job->w->bias + (panel + q) * PANEL) : vset(0.0f));
    }
    const int together = BY_TWOS && kind == BFLOAT16 ? 2 : 1;
    struct reads in = {job->x + (row * all + k * high) / together, 1, high, w, all * PANEL, PANEL, deep};
    (panels == FOUR ? tile_of_four(kind, high) : tile_of(kind, high, panels))(in, sums);
    EACH(i, high * panels) {
        const int64_t to = at + i / panels * stride + PANEL * (i % panels);
        if (k + deep < all) vstore(job->part + to, vload(sums + PANEL * i));
        else finish(job->y + to, sums + PANEL * i, job->then, job->activation);
    }
}

static const void *weights_at(const struct matrix *w, int64_t panel, int64_t k) {
    return (const char *)w->data + (panel * deep_of(w) + k) * PANEL * (w->kind == FLOAT32 ? 4 : 2);
}

/* Up to six rows over some panels, all of K at once. */
static void few_rows(const struct job *job, int64_t panel, int64_t last) {
    const int high = (int)job->rows;
    while (panel < last) {
        const int most = AT_MOST > 1 ? AT_MOST : AT_ONCE[high], panels = panel + most <= last ? most : 1;
        tile(job, job->w->kind, weights_at(job->w, panel, 0), 0, deep_of(job->w), 0, high, panel, panels);
        panel += panels;
    }
}

/* All tiles of some rows under one panel or several, for one block of K, widened to float32 first if it must be. Meanwhile the block
 * that comes next is fetched, a part with each tile. */
static void many_rows(const struct job *job, int64_t panel, int panels, int64_t row, int64_t last_row, int64_t k, int64_t deep) {
    enum { WIDENED = AT_MOST == 1 };
    float wide[WIDENED ? DEEPEST * PANEL : 1];
    enum kind kind = job->w->kind;
    const void *block = weights_at(job->w, panel, k);
    const char *next = (const char *)weights_at(job->w, panel + 1, k); /* beyond the last panel: fetching is no access */
    const int64_t bytes = (const char *)weights_at(job->w, panel, k + deep) - (const char *)block;
    const int64_t part = (bytes * ROWS / (last_row - row) + 63) / 64 * 64;
    const char *end = next + bytes;
    if (WIDENED && kind == BFLOAT16) {
        for (int64_t i = 0; i < deep; i++) vstore(wide + PANEL * i, vload_bf16((const uint16_t *)block + PANEL * i));
        block = wide, kind = FLOAT32;
    }
    for (; row < last_row; row += ROWS) {
        const int high = job->rows - row < ROWS ? (int)(job->rows - row) : ROWS;
        for (const char *stop = next + part; next < stop && next < end; next += 64) __builtin_prefetch(next, 0, 2);
        tile(job, kind, block, k, deep, row, high, panel, panels);
    }
}

static void some_panels(void *what, int64_t item, int thread) {
    (void)thread;
    const struct job *job = what;
    const int64_t first = item * WIDE, all = FILLED(job->w->n) / PANEL, last = first + WIDE < all ? first + WIDE : all;
    if (job->rows <= ROWS) {
        few_rows(job, first, last);
        return;
    }
    const int64_t whole = deep_of(job->w), most = AT_MOST > 1 ? whole : job->rows <= LOW ? DEEPEST : DEEP;
    for (int64_t k = 0; k < whole; k += most) {
        const int64_t deep = whole - k < most ? whole - k : most;
        for (int64_t row = 0; row < job->rows; row += TALL * ROWS) {
            int64_t end = row + TALL * ROWS < job->rows ? row + TALL * ROWS : job->rows;
            for (int64_t panel = first, panels; panel < last; panel += panels) {
                panels = panel + AT_MOST <= last ? AT_MOST : 1;
                many_rows(job, panel, (int)panels, row, end, k, deep);
            }
        }
    }
}

/* y (rows, `stride` apart) = packed rows times w, and then: stored, activated, or added to what is there. `scratch`: as y;
 * used by ADD. */
void product(const struct matrix *w, const float *packed, int64_t rows, float *y, int64_t stride, enum then then,
             enum activation activation, float *scratch, int threads) {
    if (w->kind >= INT8) {
        groups_product(w, packed, rows, y, stride, then, activation, threads);
        return;
    }
    struct job job = {w, packed, rows, y, then == ADD ? scratch : y, stride, then, activation};
    run_parallel(threads, (FILLED(w->n) / PANEL + WIDE - 1) / WIDE, some_panels, &job);
}

struct packing {
    const struct matrix *w;
    const float *x;
    int64_t stride, rows;
    float *to;
};

static void pack_tile(void *what, int64_t item, int thread) {
    (void)thread;
    const struct packing *p = what;
    const int64_t row = item * ROWS, high = p->rows - row < ROWS ? p->rows - row : ROWS;
    const float *x = p->x + row * p->stride;
    float *to = p->to + row * p->w->k;
    for (int64_t k = 0; k < p->w->k; k++)
        for (int64_t r = 0; r < high; r++) to[k * high + r] = x[r * p->stride + k];
}

/* The same, rounded to bfloat16, K filled up to an even number. */
static void round_tile(void *what, int64_t item, int thread) {
    (void)thread;
    enum { SOME = 32 };
    const struct packing *p = what;
    const int64_t row = item * ROWS, high = p->rows - row < ROWS ? p->rows - row : ROWS, deep = deep_of(p->w);
    float *to = p->to + row * deep / (1 + BY_TWOS);
    for (int64_t k = 0; k < deep; k += SOME) {
        uint16_t near[ROWS][SOME];
        const int64_t there = p->w->k - k < SOME ? p->w->k - k : SOME, some = deep - k < SOME ? deep - k : SOME;
        for (int64_t r = 0; r < high; r++) {
            const float *x = p->x + (row + r) * p->stride + k;
            float last[SOME] = {0};
            if (there < SOME) x = memcpy(last, x, sizeof(float) * there);
            for (int i = 0; i < SOME; i++) near[r][i] = to_bf16(x[i]);
        }
        if (BY_TWOS) {
            uint32_t *twos = (uint32_t *)to + k / 2 * high;
            for (int64_t i = 0; i < some; i += 2)
                for (int64_t r = 0; r < high; r++) *twos++ = (uint32_t)near[r][i] << 16 | near[r][i + 1];
        } else {
            float *numbers = to + k * high;
            for (int64_t i = 0; i < some; i++)
                for (int64_t r = 0; r < high; r++) *numbers++ = from_bf16(near[r][i]);
        }
    }
}

/* Rows of K numbers, `stride` apart, as tiles of six for a product with w; rounded to bfloat16 if its numbers are, else not. */
void pack_rows(const struct matrix *w, const float *x, int64_t stride, int64_t rows, float *to, int threads) {
    if (w->kind >= INT8) {
        round_rows(w, x, stride, rows, to, threads);
        return;
    }
    struct packing packing = {w, x, stride, rows, to};
    run_parallel(rows > 4 * ROWS ? threads : 1, (rows + ROWS - 1) / ROWS, w->kind == BFLOAT16 ? round_tile : pack_tile, &packing);
}

/* One weight: what column n has for the K'th number. */
float matrix_number(const struct matrix *w, int64_t n, int64_t k) {
    if (w->kind >= INT8) return group_number(w, n, k);
    const int64_t lane = n % PANEL, panel = n / PANEL * deep_of(w) * PANEL;
    if (w->kind == FLOAT32) return ((const float *)w->data)[panel + k * PANEL + lane];
    return from_bf16(((const uint16_t *)w->data)[panel + (BY_TWOS ? k / 2 * 32 + lane * 2 + 1 - k % 2 : k * PANEL + lane)]);
}

int pellucid_product(const struct matrix *w, const float *x, int64_t rows, float *y, int threads) {
    float *packed = malloc(sizeof(float) * rows * FILLED_32(w->k));
    if (!packed) return 1;
    pack_rows(w, x, w->k, rows, packed, threads);
    product(w, packed, rows, y, FILLED(w->n), STORE, RELU, NULL, threads);
    free(packed);
    return 0;
}
