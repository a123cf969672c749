/* Matrix products: rows of activations times packed weights, tile by tile (`matmul_tiles.h`).
 *
 * Few rows take tiles of several panels: with few sums, each addition would wait for the one before it. Many rows are computed
 * in blocks of K: the partial sums of a block are stored, and loaded unchanged for the next one, so blocking does not change
 * any bit.
 */
#include <stdlib.h>

#include "kernel.h"
#include "matmul_tiles.h"
#include "vector.h"

/* K_BLOCK numbers of a panel are 16 KB, for the first-level cache; a block of ROW_BLOCK_TILES tiles of rows is for the second.
 * Up to FEW_ROWS rows take longer blocks of K, so that more of a panel is read sequentially. TASK_PANELS: panels of a task of
 * `parallel_for`. MANY_ROWS_PANELS: panels of a tile of many rows; where there are several, each number that is loaded is used
 * often enough for K not to be blocked. */
enum { K_BLOCK = 256, MAX_K_BLOCK = 1024, ROW_BLOCK_TILES = 16, FEW_ROWS = 48 };
#if defined(__AVX512F__) && !defined(PELLUCID_PLAIN)
enum { TASK_PANELS = WIDE_TILE_PANELS, MANY_ROWS_PANELS = WIDE_TILE_PANELS };
#else
enum { TASK_PANELS = 6, MANY_ROWS_PANELS = 1 };
#endif
#ifdef BF16_PAIRS
enum { HAS_BF16_PAIRS = 1 };
#else
enum { HAS_BF16_PAIRS = 0 };
#endif

static f32x16 gelu_tanh(f32x16 x) { /* x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3), equals x (1 + tanh u) / 2 */
    f32x16 cube = vmul(vmul(x, x), x);
    f32x16 u = vmul(vset(-1.59576912f), vfma(vset(0.044715f), cube, x));
    return vdiv(x, vadd(vset(1.0f), vexp(u)));
}

static f32x16 gelu_erf(f32x16 x) { /* x (1 + erf(x / sqrt 2)) / 2; erf by Abramowitz and Stegun 7.1.26, error up to 1.5e-7 */
    const f32x16 one = vset(1.0f), zero = vset(0.0f);
    f32x16 z = vmul(x, vset(0.707106781f)), minus_z = vsub(zero, z);
    f32x16 a = vselect_less(z, zero, minus_z, z);
    f32x16 t = vdiv(one, vfma(vset(0.3275911f), a, one));
    f32x16 p = vset(1.061405429f);
    p = vfma(p, t, vset(-1.453152027f));
    p = vfma(p, t, vset(1.421413741f));
    p = vfma(p, t, vset(-0.284496736f));
    p = vfma(p, t, vset(0.254829592f));
    f32x16 erf = vsub(one, vmul(vmul(p, t), vexp(vsub(zero, vmul(a, a)))));
    erf = vselect_less(z, zero, vsub(zero, erf), erf);
    return vmul(vmul(vset(0.5f), x), vadd(one, erf));
}

static f32x16 activate(f32x16 x, enum activation activation) {
    if (activation == GELU_TANH) return gelu_tanh(x);
    if (activation == GELU_ERF) return gelu_erf(x);
    return vselect_less(x, vset(0.0f), vset(0.0f), x);
}

/* Writes sixteen sums to y as `epilogue` says. */
void apply_epilogue(float *y, const float *sums, enum epilogue epilogue, enum activation activation) {
    f32x16 value = vload(sums);
    if (epilogue == ACTIVATE) value = activate(value, activation);
    if (epilogue == ADD) value = vadd(vload(y), value);
    vstore(y, value);
}

struct matmul_args {
    const struct matrix *w;
    const float *x; /* packed: tiles [K][6], the last one [K][remaining rows]; in bfloat16 pairs [K / 2][6] */
    int64_t rows;
    float *y, *partial; /* partial: sums of a block of K until the next block */
    int64_t stride;
    enum epilogue epilogue;
    enum activation activation;
};

INLINE int64_t padded_k(const struct matrix *w) { return w->dtype == BFLOAT16 ? ROUND_UP_2(w->k) : w->k; }

/* One tile: `rows` rows from `row` on, `panels` panels from `panel` on, `k_count` numbers of K from `k` on. The epilogue
 * follows the last block of K. */
static void compute_tile(const struct matmul_args *args, enum dtype dtype, const void *w, int64_t k, int64_t k_count,
                         int64_t row, int rows, int64_t panel, int panels) {
    float sums[MAX_TILE * PANEL];
    const int64_t all_k = padded_k(args->w), stride = args->stride, offset = row * stride + panel * PANEL;
    UNROLL_24(i, rows * panels) {
        const int r = i / panels, q = i % panels;
        if (k) vstore(sums + PANEL * i, vload(args->partial + offset + r * stride + PANEL * q));
        else vstore(sums + PANEL * i, args->w->bias ? vload(args->w->bias + (panel + q) * PANEL) : vset(0.0f));
    }
    const int numbers_per_float = HAS_BF16_PAIRS && dtype == BFLOAT16 ? 2 : 1;
    const float *x = args->x + (row * all_k + k * rows) / numbers_per_float;
    struct tile_operands in = {x, 1, rows, w, all_k * PANEL, PANEL, k_count};
    const int is_wide = MANY_ROWS_PANELS == WIDE_TILE_PANELS && panels == WIDE_TILE_PANELS;
    (is_wide ? wide_tile_for(dtype, rows) : tile_for(dtype, rows, panels))(in, sums);
    UNROLL_24(i, rows * panels) {
        const int64_t to = offset + i / panels * stride + PANEL * (i % panels);
        if (k + k_count < all_k) vstore(args->partial + to, vload(sums + PANEL * i));
        else apply_epilogue(args->y + to, sums + PANEL * i, args->epilogue, args->activation);
    }
}

static const void *weights_at(const struct matrix *w, int64_t panel, int64_t k) {
    return (const char *)w->data + (panel * padded_k(w) + k) * PANEL * (w->dtype == FLOAT32 ? 4 : 2);
}

/* Up to six rows times some panels, without blocks of K. */
static void few_rows(const struct matmul_args *args, int64_t panel, int64_t last_panel) {
    const int rows = (int)args->rows;
    while (panel < last_panel) {
        const int most = MANY_ROWS_PANELS > 1 ? MANY_ROWS_PANELS : TILE_PANELS[rows];
        const int panels = panel + most <= last_panel ? most : 1;
        compute_tile(args, args->w->dtype, weights_at(args->w, panel, 0), 0, padded_k(args->w), 0, rows, panel, panels);
        panel += panels;
    }
}

/* All tiles of a block of rows times one panel or several, for one block of K; bfloat16 weights of a single panel are
 * converted to float32 once for all rows. Prefetches the next panel's block, a part with each tile. */
static void many_rows(const struct matmul_args *args, int64_t panel, int panels, int64_t row, int64_t last_row, int64_t k,
                      int64_t k_count) {
    enum { CONVERTED = MANY_ROWS_PANELS == 1 };
    float converted[CONVERTED ? MAX_K_BLOCK * PANEL : 1];
    enum dtype dtype = args->w->dtype;
    const void *block = weights_at(args->w, panel, k);
    const char *next = (const char *)weights_at(args->w, panel + 1, k); /* may be past the end: a prefetch is no access */
    const int64_t bytes = (const char *)weights_at(args->w, panel, k + k_count) - (const char *)block;
    const int64_t bytes_per_tile = (bytes * TILE_ROWS / (last_row - row) + 63) / 64 * 64;
    const char *end = next + bytes;
    if (CONVERTED && dtype == BFLOAT16) {
        for (int64_t i = 0; i < k_count; i++) vstore(converted + PANEL * i, vload_bf16((const uint16_t *)block + PANEL * i));
        block = converted, dtype = FLOAT32;
    }
    for (; row < last_row; row += TILE_ROWS) {
        const int rows = args->rows - row < TILE_ROWS ? (int)(args->rows - row) : TILE_ROWS;
        for (const char *stop = next + bytes_per_tile; next < stop && next < end; next += 64) __builtin_prefetch(next, 0, 2);
        compute_tile(args, dtype, block, k, k_count, row, rows, panel, panels);
    }
}

static void matmul_task(void *task_args, int64_t index, int thread) { /* TASK_PANELS panels, all rows */
    (void)thread;
    const struct matmul_args *args = task_args;
    const int64_t first = index * TASK_PANELS, n_panels = ROUND_UP_16(args->w->n) / PANEL;
    const int64_t last = first + TASK_PANELS < n_panels ? first + TASK_PANELS : n_panels;
    if (args->rows <= TILE_ROWS) {
        few_rows(args, first, last);
        return;
    }
    const int64_t all_k = padded_k(args->w);
    const int64_t k_block = MANY_ROWS_PANELS > 1 ? all_k : args->rows <= FEW_ROWS ? MAX_K_BLOCK : K_BLOCK;
    for (int64_t k = 0; k < all_k; k += k_block) {
        const int64_t k_count = all_k - k < k_block ? all_k - k : k_block;
        for (int64_t row = 0; row < args->rows; row += ROW_BLOCK_TILES * TILE_ROWS) {
            int64_t end = row + ROW_BLOCK_TILES * TILE_ROWS < args->rows ? row + ROW_BLOCK_TILES * TILE_ROWS : args->rows;
            for (int64_t panel = first, panels; panel < last; panel += panels) {
                panels = panel + MANY_ROWS_PANELS <= last ? MANY_ROWS_PANELS : 1;
                many_rows(args, panel, (int)panels, row, end, k, k_count);
            }
        }
    }
}

/* y (rows, N), rows `stride` apart, = epilogue(packed x times w + bias). `scratch`: as large as y; used by ADD only. */
void matmul(const struct matrix *w, const float *packed, int64_t rows, float *y, int64_t stride, enum epilogue epilogue,
            enum activation activation, float *scratch, int threads) {
    if (w->dtype >= INT8) {
        matmul_quantized(w, packed, rows, y, stride, epilogue, activation, threads);
        return;
    }
    struct matmul_args args = {w, packed, rows, y, epilogue == ADD ? scratch : y, stride, epilogue, activation};
    parallel_for(threads, (ROUND_UP_16(w->n) / PANEL + TASK_PANELS - 1) / TASK_PANELS, matmul_task, &args);
}

struct packing_args {
    const struct matrix *w;
    const float *x;
    int64_t stride, rows;
    float *packed;
};

static void pack_float32_task(void *task_args, int64_t index, int thread) { /* one tile of rows */
    (void)thread;
    const struct packing_args *args = task_args;
    const int64_t row = index * TILE_ROWS, rows = args->rows - row < TILE_ROWS ? args->rows - row : TILE_ROWS;
    const float *x = args->x + row * args->stride;
    float *packed = args->packed + row * args->w->k;
    for (int64_t k = 0; k < args->w->k; k++)
        for (int64_t r = 0; r < rows; r++) packed[k * rows + r] = x[r * args->stride + k];
}

static void pack_bfloat16_task(void *task_args, int64_t index, int thread) { /* one tile of rows, rounded; K padded to even */
    (void)thread;
    enum { CHUNK = 32 };
    const struct packing_args *args = task_args;
    const int64_t row = index * TILE_ROWS, rows = args->rows - row < TILE_ROWS ? args->rows - row : TILE_ROWS;
    const int64_t all_k = padded_k(args->w);
    float *packed = args->packed + row * all_k / (1 + HAS_BF16_PAIRS);
    for (int64_t k = 0; k < all_k; k += CHUNK) {
        uint16_t rounded[TILE_ROWS][CHUNK];
        const int64_t available = args->w->k - k < CHUNK ? args->w->k - k : CHUNK;
        const int64_t count = all_k - k < CHUNK ? all_k - k : CHUNK;
        for (int64_t r = 0; r < rows; r++) {
            const float *x = args->x + (row + r) * args->stride + k;
            float padded[CHUNK] = {0};
            if (available < CHUNK) x = memcpy(padded, x, sizeof(float) * available);
            for (int i = 0; i < CHUNK; i++) rounded[r][i] = float_to_bf16(x[i]);
        }
        if (HAS_BF16_PAIRS) {
            uint32_t *pairs = (uint32_t *)packed + k / 2 * rows;
            for (int64_t i = 0; i < count; i += 2)
                for (int64_t r = 0; r < rows; r++) *pairs++ = (uint32_t)rounded[r][i] << 16 | rounded[r][i + 1];
        } else {
            float *floats = packed + k * rows;
            for (int64_t i = 0; i < count; i++)
                for (int64_t r = 0; r < rows; r++) *floats++ = bf16_to_float(rounded[r][i]);
        }
    }
}

/* Packs activations, rows of K numbers `stride` apart, into tiles of six rows for a product with w; rounded to bfloat16 if the
 * weights are bfloat16, quantized if they are. */
void pack_activations(const struct matrix *w, const float *x, int64_t stride, int64_t rows, float *packed, int threads) {
    if (w->dtype >= INT8) {
        quantize_activations(w, x, stride, rows, packed, threads);
        return;
    }
    struct packing_args args = {w, x, stride, rows, packed};
    parallel_for(rows > 4 * TILE_ROWS ? threads : 1, (rows + TILE_ROWS - 1) / TILE_ROWS,
                 w->dtype == BFLOAT16 ? pack_bfloat16_task : pack_float32_task, &args);
}

/* One weight: of input k and output n. */
float matrix_element(const struct matrix *w, int64_t n, int64_t k) {
    if (w->dtype >= INT8) return quantized_element(w, n, k);
    const int64_t lane = n % PANEL, panel = n / PANEL * padded_k(w) * PANEL;
    if (w->dtype == FLOAT32) return ((const float *)w->data)[panel + k * PANEL + lane];
    return bf16_to_float(
        ((const uint16_t *)w->data)[panel + (HAS_BF16_PAIRS ? k / 2 * 32 + lane * 2 + 1 - k % 2 : k * PANEL + lane)]);
}

int pellucid_matmul(const struct matrix *w, const float *x, int64_t rows, float *y, int threads) {
    float *packed = malloc(sizeof(float) * rows * ROUND_UP_32(w->k));
    if (!packed) return 1;
    pack_activations(w, x, w->k, rows, packed, threads);
    matmul(w, packed, rows, y, ROUND_UP_16(w->n), STORE, RELU, NULL, threads);
    free(packed);
    return 0;
}
