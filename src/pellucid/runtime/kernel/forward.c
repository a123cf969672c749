/* The forward pass: embeddings, blocks, logits. Start at `pellucid_forward`. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "vector.h"

/* The scratch memory of forward passes, guarded by `lock_threads`: one forward pass at a time. */
static float *arena;
static size_t arena_floats;

void forget_arena(void) { arena = NULL, arena_floats = 0; }

/* Allocates from the arena; what comes next stays aligned to 64 bytes. */
static float *allocate(float **arena_end, int64_t count) {
    float *allocated = *arena_end;
    *arena_end += ROUND_UP_16(count);
    return allocated;
}

struct layer_norm_args {
    const struct model *model;
    const struct layer_norm *norm;
    const float *x;
    const int64_t *rows; /* indices of the rows of x; NULL: all */
    float *y;
    int64_t stride, count;
};

/* y = (x - mean) / sqrt(variance + eps) * gain + bias. Sums are taken in sixteen lanes, then over the lanes. */
static void layer_norm_row(const struct layer_norm_args *args, const float *x, float *y) {
    const int64_t c = args->model->d_model, whole = c / PANEL * PANEL; /* covered by whole vectors; the rest is zero-padded */
    if (!args->norm->gain) {
        memcpy(y, x, sizeof(float) * c);
        return;
    }
    float rest[PANEL] = {0}, mask[PANEL] = {0};
    for (int64_t i = whole; i < c; i++) rest[i - whole] = x[i], mask[i - whole] = 1.0f;
    f32x16 sum = vload(rest);
    for (int64_t i = 0; i < whole; i += PANEL) sum = vadd(sum, vload(x + i));
    const f32x16 mean = vset(vsum(sum) / (float)c);
    f32x16 centred_rest = vmul(vsub(vload(rest), mean), vload(mask));
    f32x16 squares = vmul(centred_rest, centred_rest);
    for (int64_t i = 0; i < whole; i += PANEL) {
        f32x16 centred = vsub(vload(x + i), mean);
        squares = vfma(centred, centred, squares);
    }
    const f32x16 scale = vset(1.0f / sqrtf(vsum(squares) / (float)c + args->model->norm_eps));
    for (int64_t i = 0; i < whole; i += PANEL)
        vstore(y + i, vfma(vmul(vsub(vload(x + i), mean), scale), vload(args->norm->gain + i), vload(args->norm->bias + i)));
    vstore(rest, vmul(centred_rest, scale));
    for (int64_t i = whole; i < c; i++) y[i] = fma_scalar(rest[i - whole], args->norm->gain[i], args->norm->bias[i]);
}

static void layer_norm_task(void *task_args, int64_t index, int thread) { /* TILE_ROWS rows */
    (void)thread;
    const struct layer_norm_args *args = task_args;
    for (int64_t row = index * TILE_ROWS; row < index * TILE_ROWS + TILE_ROWS && row < args->count; row++)
        layer_norm_row(args, args->x + (args->rows ? args->rows[row] : row) * args->stride, args->y + row * args->stride);
}

static void layer_norm(const struct model *m, const struct layer_norm *norm, const float *x, const int64_t *rows, int64_t count,
                       float *y) {
    struct layer_norm_args args = {m, norm, x, rows, y, ROUND_UP_16(m->d_model), count};
    parallel_for(count > 4 * TILE_ROWS ? m->n_threads : 1, (count + TILE_ROWS - 1) / TILE_ROWS, layer_norm_task, &args);
}

/* x (C,) = the token's embedding + the position's. */
static void embed(const struct model *m, int32_t id, int64_t position, float *x) {
    const int64_t c = m->d_model;
    for (int64_t i = 0; i < c; i++) x[i] = matrix_element(&m->wte, id, i) + m->wpe[position * c + i];
    for (int64_t i = c; i < ROUND_UP_16(c); i++) x[i] = 0.0f;
}

/* Copies (rows, columns) out of a buffer, to `tap` if that is not NULL. */
static void copy_rows(float *tap, const float *from, int64_t rows, int64_t columns, int64_t stride) {
    for (int64_t i = 0; tap && i < rows; i++) memcpy(tap + i * columns, from + i * stride, sizeof(float) * columns);
}

static float *tap_at(float *tap, int64_t offset) { return tap ? tap + offset : NULL; }

static void replace(float *row, const float *values, int64_t count) {
    if (values) memcpy(row, values, sizeof(float) * count);
    else memset(row, 0, sizeof(float) * count);
}

enum part { HEADS, ATTENTION, MLP };

/* Replaces the outputs of a block's part where the spans' ablations say so. */
static void ablate(const struct model *m, int64_t block, enum part part, const struct token_span *spans, int64_t n_spans,
                   float *outputs, int64_t stride) {
    const int64_t c = m->d_model, heads = part == HEADS ? m->n_heads : 1, width = c / heads;
    for (int64_t i = 0; i < n_spans; outputs += spans[i++].count * stride) {
        const struct ablation *a = spans[i].ablation;
        if (!a) continue;
        const uint8_t *replaced = part == HEADS ? a->heads : part == ATTENTION ? a->attention : a->mlp;
        const float *values = part == HEADS ? a->head_values : part == ATTENTION ? a->attention_values : a->mlp_values;
        for (int64_t head = 0; head < heads; head++)
            for (int64_t token = 0; replaced[block * heads + head] && token < spans[i].count; token++)
                replace(outputs + token * stride + head * width, values ? values + block * c + head * width : NULL, width);
    }
}

/* The tokens of a pass, and what is changed or kept of their activations. */
struct pass {
    const struct model *model;
    const struct token_span *spans;
    int64_t n_spans, tokens;
    struct taps taps;
    int ablated;
};

/* Adds the output of a block's attention or MLP, packed activations times w, to the stream. `scratch`: as large as x. */
static void add_branch(const struct pass *pass, const struct matrix *w, int64_t block, enum part part, const float *packed,
                       float *x, float *scratch) {
    const struct model *m = pass->model;
    const int64_t c = m->d_model, stride = ROUND_UP_16(c);
    if (!pass->ablated && !pass->taps.writes) {
        matmul(w, packed, pass->tokens, x, stride, ADD, RELU, scratch, m->n_threads);
        return;
    }
    matmul(w, packed, pass->tokens, scratch, stride, STORE, RELU, NULL, m->n_threads);
    ablate(m, block, part, pass->spans, pass->n_spans, scratch, stride);
    copy_rows(tap_at(pass->taps.writes, (2 * block + (part == MLP)) * pass->tokens * c), scratch, pass->tokens, c, stride);
    for (int64_t i = 0; i < pass->tokens * stride; i += PANEL) vstore(x + i, vadd(vload(x + i), vload(scratch + i)));
}

/* Writes the logits (n, V) of rows of the stream: all n of them, or those that `rows` names. h, packed, padded: scratch. */
static void read_out(const struct model *m, const float *x, const int64_t *rows, int64_t n, float *h, float *packed,
                     float *padded, float *logits) {
    const int64_t stride = ROUND_UP_16(m->d_model), vocab_stride = ROUND_UP_16(m->vocab_size);
    layer_norm(m, &m->ln_f, x, rows, n, h);
    pack_activations(&m->wte, h, stride, n, packed, m->n_threads);
    matmul(&m->wte, packed, n, padded, vocab_stride, STORE, RELU, NULL, m->n_threads);
    copy_rows(logits, padded, n, m->vocab_size, vocab_stride);
}

int pellucid_forward(const struct model *m, const struct token_span *spans, int64_t n_spans, const int32_t *ids,
                     const int64_t *wanted, int64_t n_wanted, float *logits, const struct taps *taps) {
    /* Rows of the buffers: C, 3 C, F and V, padded. */
    const int64_t c = m->d_model, stride = ROUND_UP_16(c), qkv_stride = ROUND_UP_16(3 * c);
    const int64_t f = m->n_layers ? m->blocks[0].up.n : 0, vocab_stride = ROUND_UP_16(m->vocab_size);
    struct pass pass = {m, spans, n_spans, 0, {NULL, NULL, NULL, NULL}, 0};
    if (taps) pass.taps = *taps;
    int64_t longest = 0; /* positions of the longest sequence, padded */
    for (int64_t i = 0; i < n_spans; i++) {
        const int64_t end = ROUND_UP_16(spans[i].start + spans[i].count);
        pass.tokens += spans[i].count;
        pass.ablated |= spans[i].ablation != NULL;
        longest = end > longest ? end : longest;
    }
    const int64_t tokens = pass.tokens, rows = tokens > n_wanted ? tokens : n_wanted, widest = f > c ? f : c;
    const int64_t n_scores = (int64_t)m->n_threads * TILE_ROWS * longest, n_logits = n_wanted * vocab_stride;
    lock_threads();
    const size_t need =
        (size_t)(rows * (3 * stride + qkv_stride + ROUND_UP_16(f) + ROUND_UP_32(widest)) + n_scores + n_logits + 16 * 8);
    if (need > arena_floats) {
        free(arena);
        forget_arena();
        if (posix_memalign((void **)&arena, 64, sizeof(float) * need)) {
            unlock_threads();
            return 1;
        }
        arena_floats = need;
    }
    float *end = arena;
    float *x = allocate(&end, rows * stride), *h = allocate(&end, rows * stride), *partial = allocate(&end, rows * stride);
    float *qkv = allocate(&end, rows * qkv_stride), *u = allocate(&end, rows * ROUND_UP_16(f));
    float *packed = allocate(&end, rows * ROUND_UP_32(widest));
    float *scores = allocate(&end, n_scores), *padded_logits = allocate(&end, n_logits);

    for (int64_t i = 0, token = 0; i < n_spans; i++)
        for (int64_t j = 0; j < spans[i].count; j++, token++) embed(m, ids[token], spans[i].start + j, x + token * stride);

    const enum activation activation = (enum activation)m->activation;
    for (int64_t l = 0; l < m->n_layers; l++) {
        const struct block *b = &m->blocks[l];
        copy_rows(tap_at(pass.taps.stream, l * tokens * c), x, tokens, c, stride);
        layer_norm(m, &b->ln_1, x, NULL, tokens, h);
        pack_activations(&b->qkv, h, stride, tokens, packed, m->n_threads);
        matmul(&b->qkv, packed, tokens, qkv, qkv_stride, STORE, activation, NULL, m->n_threads);
        copy_rows(tap_at(pass.taps.qkv, l * tokens * 3 * c), qkv, tokens, 3 * c, qkv_stride);
        attention(m, l, spans, n_spans, qkv, qkv_stride, h, stride, scores, longest);
        if (pass.ablated) ablate(m, l, HEADS, spans, n_spans, h, stride);
        copy_rows(tap_at(pass.taps.attended, l * tokens * c), h, tokens, c, stride);
        pack_activations(&b->out, h, stride, tokens, packed, m->n_threads);
        add_branch(&pass, &b->out, l, ATTENTION, packed, x, partial);
        layer_norm(m, &b->ln_2, x, NULL, tokens, h);
        pack_activations(&b->up, h, stride, tokens, packed, m->n_threads);
        matmul(&b->up, packed, tokens, u, ROUND_UP_16(f), ACTIVATE, activation, NULL, m->n_threads);
        pack_activations(&b->down, u, ROUND_UP_16(f), tokens, packed, m->n_threads);
        add_branch(&pass, &b->down, l, MLP, packed, x, partial);
    }
    copy_rows(tap_at(pass.taps.stream, m->n_layers * tokens * c), x, tokens, c, stride);
    if (n_wanted) read_out(m, x, wanted, n_wanted, h, packed, padded_logits, logits);
    unlock_threads();
    return 0;
}

int pellucid_lens(const struct model *m, const float *stream, int64_t rows, float *logits) {
    const int64_t c = m->d_model, stride = ROUND_UP_16(c);
    const size_t need = (size_t)(rows * (2 * stride + ROUND_UP_32(c) + ROUND_UP_16(m->vocab_size)) + 4 * 16);
    float *scratch;
    if (posix_memalign((void **)&scratch, 64, sizeof(float) * need)) return 1;
    float *end = scratch;
    float *x = allocate(&end, rows * stride), *h = allocate(&end, rows * stride);
    float *packed = allocate(&end, rows * ROUND_UP_32(c)), *padded = allocate(&end, rows * ROUND_UP_16(m->vocab_size));
    memset(x, 0, sizeof(float) * rows * stride);
    for (int64_t i = 0; i < rows; i++) memcpy(x + i * stride, stream + i * c, sizeof(float) * c);
    lock_threads();
    read_out(m, x, NULL, rows, h, packed, padded, logits);
    unlock_threads();
    free(scratch);
    return 0;
}

const char *pellucid_variant(void) { return VARIANT; }
