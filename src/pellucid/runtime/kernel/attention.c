/* Causal attention over the KV caches of the sequences.
 *
 * An item of work is a tile of up to six consecutive queries of one sequence, in one head. Scores are computed sixteen keys at
 * a time, each lane summing over D; outputs sixteen numbers of D at a time, each lane summing over keys. The keys that all
 * queries of a tile attend to are summed for all queries together; those before and after them, query by query. A key that a
 * query does not attend to is left out rather than added with weight zero, because zero times NaN or infinity is NaN.
 *
 * In a float16 cache the key of a position in a head is divided by a power of two, and so is its value: by 1, unless they hold
 * a number beyond float16's range. These scales are stored as bfloat16 in two more rows of sixteen of the panel of keys: the
 * score is multiplied by the key's, the attention weight by the value's.
 */
#include <math.h>
#include <string.h>

#include "kernel.h"
#include "kv_cache.h"
#include "vector.h"

enum { MAX_ITEMS_PER_TASK = 12 };

struct attention_args {
    const struct model *model;
    int64_t block; /* index of the decoder block */
    const struct token_span *spans;
    int64_t n_spans;
    const float *qkv;
    int64_t qkv_stride;
    float *out;
    int64_t out_stride;
    float *scratch; /* scores: for each thread TILE_ROWS rows of `longest` */
    int64_t longest, n_items, items_per_task;
};

/* A tile of queries: its span, its first token's index in the span, and the index in the batch of the span's first token. */
struct query_tile { const struct token_span *span; int64_t token, base; };

static struct query_tile query_tile_at(const struct attention_args *args, int64_t index) {
    struct query_tile tile = {args->spans, 0, 0};
    for (;; tile.span++) {
        int64_t n_tiles = (tile.span->count + TILE_ROWS - 1) / TILE_ROWS;
        if (index < n_tiles) break;
        index -= n_tiles;
        tile.base += tile.span->count;
    }
    tile.token = index * TILE_ROWS;
    return tile;
}

static int64_t count_tiles(const struct attention_args *args) {
    int64_t n_tiles = 0;
    for (int64_t i = 0; i < args->n_spans; i++) n_tiles += (args->spans[i].count + TILE_ROWS - 1) / TILE_ROWS;
    return n_tiles;
}

/* The KV cache of one head of one sequence. */
struct head_cache {
    char *keys, *values;
    int64_t d, padded_d, panel_rows, itemsize; /* D; padded to 16; rows of a panel of keys; bytes of a number */
    int is_float16;
};

static struct head_cache head_cache_of(const struct model *m, const struct sequence_buffers *s, int64_t block, int64_t head) {
    const int is_float16 = s->is_float16 != 0;
    const int64_t d = m->d_model / m->n_heads, padded_d = ROUND_UP_16(d), panel_rows = is_float16 ? d + 2 : d;
    const int64_t itemsize = is_float16 ? 2 : 4, offset = (block * m->n_heads + head) * s->capacity * itemsize;
    return (struct head_cache){(char *)s->keys + offset * panel_rows, (char *)s->values + offset * padded_d,
                               d, padded_d, panel_rows, itemsize, is_float16};
}

static void *key_panel(const struct head_cache *h, int64_t position) {
    return h->keys + position / PANEL * PANEL * h->panel_rows * h->itemsize;
}

/* The scales of sixteen positions' keys or values. */
static const uint16_t *scales_of(const struct head_cache *h, int64_t position, int of_values) {
    return (const uint16_t *)key_panel(h, position) + (h->d + of_values) * PANEL;
}

static void store_position(const struct head_cache *h, int64_t position, const float *k, const float *v) {
    if (h->is_float16) {
        const int key_exponent = scale_exponent(k, h->d), value_exponent = scale_exponent(v, h->d);
        uint16_t *key = (uint16_t *)key_panel(h, position) + position % PANEL;
        store_scaled_f16(k, h->d, key_exponent, key, PANEL);
        store_scaled_f16(v, h->d, value_exponent, (uint16_t *)h->values + position * h->padded_d, 1);
        key[h->d * PANEL] = pow2_bf16(key_exponent);
        key[(h->d + 1) * PANEL] = pow2_bf16(value_exponent);
        return;
    }
    float *key = (float *)key_panel(h, position) + position % PANEL, *value = (float *)h->values + position * h->padded_d;
    for (int64_t j = 0; j < h->d; j++) key[j * PANEL] = k[j];
    memcpy(value, v, sizeof(float) * h->d);
    memset(value + h->d, 0, sizeof(float) * (h->padded_d - h->d));
}

/* Task: stores the keys and values of a tile's tokens, all heads. */
static void store_kv(void *task_args, int64_t index, int thread) {
    (void)thread;
    const struct attention_args *args = task_args;
    const struct model *m = args->model;
    const int64_t d = m->d_model / m->n_heads;
    struct query_tile tile = query_tile_at(args, index);
    for (int64_t head = 0; head < m->n_heads; head++) {
        const struct head_cache h = head_cache_of(m, tile.span->sequence, args->block, head);
        for (int64_t i = tile.token; i < tile.token + TILE_ROWS && i < tile.span->count; i++) {
            const float *k = args->qkv + (tile.base + i) * args->qkv_stride + m->d_model + head * d;
            store_position(&h, tile.span->start + i, k, k + m->d_model);
        }
    }
}

/* Softmax of one query, not normalized: `scores` are those of keys from `from` to `to`. Becomes e^(score - largest) for keys
 * from `first` to `last`, and 0 for the others. Returns 1 / their sum. */
static float softmax(float *scores, int64_t from, int64_t to, int64_t first, int64_t last) {
    for (int64_t t = from; t < first; t++) scores[t - from] = -INFINITY;
    for (int64_t t = last + 1; t < to; t++) scores[t - from] = -INFINITY;
    float lanes[PANEL], largest = -INFINITY;
    f32x16 peak = vset(-INFINITY), sum = vset(0.0f);
    for (int64_t t = from; t < to; t += PANEL) {
        const f32x16 s = vload(scores + t - from);
        peak = vselect_less(peak, s, s, peak);
    }
    vstore(lanes, peak);
    for (int i = 0; i < PANEL; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    for (int64_t t = from; t < to; t += PANEL) {
        f32x16 e = vexp(vsub(vload(scores + t - from), vset(largest)));
        vstore(scores + t - from, e);
        sum = vadd(sum, e);
    }
    return 1.0f / vsum(sum);
}

/* Scores of `rows` queries with the keys from `from` to `to`; rows of `scores` are `row_stride` apart. */
static void compute_scores(const struct attention_args *args, const struct head_cache *h, const float *q, int rows,
                           int64_t from, int64_t to, float *scores, int64_t row_stride) {
    const int64_t max_panels = KV_TILE_PANELS[rows];
    for (int64_t t = from, panels; t < to; t += PANEL * panels) {
        panels = t + PANEL * max_panels <= to ? max_panels : (to - t) / PANEL;
        float sums[TILE_ROWS * PANEL] = {0};
        struct kv_tile_operands in = {q, args->qkv_stride, key_panel(h, t), h->panel_rows * PANEL, PANEL, h->d};
        kv_tile_for(h->is_float16, rows, (int)panels)(in, sums);
        for (int64_t i = 0; i < rows * panels; i++) {
            const int64_t position = t + PANEL * (i % panels);
            f32x16 score = vmul(vload(sums + PANEL * i), vset(args->model->attention_scale));
            if (h->is_float16) score = vmul(score, vload_bf16(scales_of(h, position, 0)));
            vstore(scores + i / panels * row_stride + position - from, score);
        }
    }
}

/* Adds the values of keys from `first` to `end` for one query, panel by panel; `weights` and `values` begin at key 0. */
static void add_values(const struct head_cache *h, const float *weights, const char *values, int64_t first, int64_t end,
                       int64_t panels, float *sums) {
    for (int64_t q = 0; q < panels && first < end; q++) {
        const char *panel = values + (first * h->padded_d + q * PANEL) * h->itemsize;
        struct kv_tile_operands in = {weights + first, 0, panel, 0, h->padded_d, end - first};
        kv_tile_for(h->is_float16, 1, 1)(in, sums + q * PANEL);
    }
}

/* The outputs of a tile of `rows` queries in one head. */
static void attend_tile(const struct attention_args *args, struct query_tile tile, int rows, int64_t head, float *scores) {
    const struct model *m = args->model;
    const struct head_cache h = head_cache_of(m, tile.span->sequence, args->block, head);
    const int64_t row_stride = args->longest, band = m->blocks[args->block].band;
    const int64_t first = tile.span->start + tile.token, last = first + rows - 1; /* positions of the queries */
    const int64_t oldest = band && first + 1 > band ? first + 1 - band : 0; /* key that the first query attends to */
    const int64_t from = oldest / PANEL * PANEL, to = ROUND_UP_16(last + 1);
    const float *queries = args->qkv + (tile.base + tile.token) * args->qkv_stride + head * h.d;
    compute_scores(args, &h, queries, rows, from, to, scores, row_stride);
    float inverse_sum[TILE_ROWS];
    int64_t first_key[TILE_ROWS]; /* of each query; from here on keys are counted from `from` */
    for (int r = 0; r < rows; r++) {
        const int64_t position = first + r, oldest_key = band && position + 1 > band ? position + 1 - band : 0;
        float *weights = scores + r * row_stride;
        inverse_sum[r] = softmax(weights, from, to, oldest_key, position);
        for (int64_t t = from; h.is_float16 && t < to; t += PANEL)
            vstore(weights + t - from, vmul(vload(weights + t - from), vload_bf16(scales_of(&h, t, 1))));
        first_key[r] = oldest_key - from;
    }
    /* Keys from `begin` to `end` are those that all queries of the tile attend to. */
    const int64_t end = first + 1 - from, begin = first_key[rows - 1] < end ? first_key[rows - 1] : end;
    float *out = args->out + (tile.base + tile.token) * args->out_stride + head * h.d;
    for (int64_t j = 0, panels; j < h.padded_d; j += PANEL * panels) {
        const int64_t max_panels = KV_TILE_PANELS[rows];
        const char *values = h.values + (from * h.padded_d + j) * h.itemsize;
        panels = j + PANEL * max_panels <= h.padded_d ? max_panels : (h.padded_d - j) / PANEL;
        float sums[TILE_ROWS * PANEL] = {0};
        for (int r = 0; r < rows; r++)
            add_values(&h, scores + r * row_stride, values, first_key[r], begin, panels, sums + r * panels * PANEL);
        struct kv_tile_operands in = {scores + begin, row_stride, values + begin * h.padded_d * h.itemsize, PANEL, h.padded_d,
                                      end - begin};
        kv_tile_for(h.is_float16, rows, (int)panels)(in, sums);
        for (int r = 1; r < rows; r++)
            add_values(&h, scores + r * row_stride, values, first_key[r] > end ? first_key[r] : end, end + r, panels,
                       sums + r * panels * PANEL);
        for (int64_t i = 0; i < rows * panels; i++) {
            const int64_t r = i / panels, column = j + PANEL * (i % panels);
            vstore(sums + PANEL * i, vmul(vload(sums + PANEL * i), vset(inverse_sum[r])));
            for (int64_t k = 0; k < PANEL && column + k < h.d; k++)
                out[r * args->out_stride + column + k] = sums[PANEL * i + k];
        }
    }
}

/* Task: `items_per_task` consecutive items. Items are ordered by span, head and tile, so that a thread reads neighbouring
 * memory. */
static void attend(void *task_args, int64_t index, int thread) {
    const struct attention_args *args = task_args;
    const int64_t heads = args->model->n_heads, end = (index + 1) * args->items_per_task;
    int64_t before = 0, base = 0; /* items and tokens of the spans before this one */
    const struct token_span *span = args->spans;
    for (int64_t item = index * args->items_per_task; item < end && item < args->n_items; item++) {
        int64_t n_tiles = (span->count + TILE_ROWS - 1) / TILE_ROWS;
        while (item - before >= n_tiles * heads) {
            before += n_tiles * heads, base += span->count;
            span++, n_tiles = (span->count + TILE_ROWS - 1) / TILE_ROWS;
        }
        const int64_t token = (item - before) % n_tiles * TILE_ROWS, left = span->count - token;
        attend_tile(args, (struct query_tile){span, token, base}, left < TILE_ROWS ? (int)left : TILE_ROWS,
                    (item - before) / n_tiles, args->scratch + thread * TILE_ROWS * args->longest);
    }
}

/* Appends the keys and values of the batch, `qkv` (M, 3 C), to the caches, then writes the outputs of attention (M, C) to
 * `out`. */
void attention(const struct model *model, int64_t block, const struct token_span *spans, int64_t n_spans, const float *qkv,
               int64_t qkv_stride, float *out, int64_t out_stride, float *scratch, int64_t longest) {
    struct attention_args args = {model, block, spans, n_spans, qkv, qkv_stride, out, out_stride, scratch, longest, 0, 0};
    const int64_t n_tiles = count_tiles(&args);
    parallel_for(n_tiles > 8 ? model->n_threads : 1, n_tiles, store_kv, &args);
    args.n_items = n_tiles * model->n_heads;
    args.items_per_task = args.n_items / (8 * model->n_threads) + 1;
    if (args.items_per_task > MAX_ITEMS_PER_TASK) args.items_per_task = MAX_ITEMS_PER_TASK;
    parallel_for(model->n_threads, (args.n_items + args.items_per_task - 1) / args.items_per_task, attend, &args);
}

void pellucid_to_float16(const float *x, int64_t n, uint16_t *y) {
    for (int64_t i = 0; i < n; i += PANEL) vstore_f16(y + i, vload(x + i));
}
