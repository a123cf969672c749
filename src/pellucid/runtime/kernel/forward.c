/* The forward pass: embeddings, blocks, logits. Start at `pellucid_forward`. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "vector.h"

/* The scratch memory of forward passes. The lock guards it and the thread pool: one forward pass at a time. */
static pthread_mutex_t forward_lock = PTHREAD_MUTEX_INITIALIZER;
static float *arena;
static size_t arena_floats;

/* A forked process has only the thread that forked. If another one was in a forward pass, it will never release the lock, and
 * it may have been about to replace the arena. */
static void after_fork_in_child(void) {
    if (pthread_mutex_trylock(&forward_lock)) arena = NULL, arena_floats = 0;
    forward_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    reset_threads_after_fork();
}

__attribute__((constructor)) static void register_fork_handler(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

void lock_threads(void) { pthread_mutex_lock(&forward_lock); }
void unlock_threads(void) { pthread_mutex_unlock(&forward_lock); }

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
    for (int64_t i = whole; i < c; i++) y[i] = fmaf(rest[i - whole], args->norm->gain[i], args->norm->bias[i]);
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

int pellucid_forward(const struct model *m, const struct token_span *spans, int64_t n_spans, const int32_t *ids,
                     const int64_t *wanted, int64_t n_wanted, float *logits) {
    /* Rows of the buffers: C, 3 C, F and V, padded. */
    const int64_t c = m->d_model, stride = ROUND_UP_16(c), qkv_stride = ROUND_UP_16(3 * c);
    const int64_t f = m->n_layers ? m->blocks[0].up.n : 0, vocab_stride = ROUND_UP_16(m->vocab_size);
    int64_t tokens = 0, longest = 0; /* longest: positions of the longest sequence, padded */
    for (int64_t i = 0; i < n_spans; i++) {
        const int64_t end = ROUND_UP_16(spans[i].start + spans[i].count);
        tokens += spans[i].count;
        longest = end > longest ? end : longest;
    }
    const int64_t rows = tokens > n_wanted ? tokens : n_wanted, widest = f > c ? f : c;
    const int64_t n_scores = (int64_t)m->n_threads * TILE_ROWS * longest, n_logits = n_wanted * vocab_stride;
    pthread_mutex_lock(&forward_lock);
    const size_t need =
        (size_t)(rows * (3 * stride + qkv_stride + ROUND_UP_16(f) + ROUND_UP_32(widest)) + n_scores + n_logits + 16 * 8);
    if (need > arena_floats) {
        free(arena);
        arena = NULL, arena_floats = 0;
        if (posix_memalign((void **)&arena, 64, sizeof(float) * need)) {
            pthread_mutex_unlock(&forward_lock);
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
        layer_norm(m, &b->ln_1, x, NULL, tokens, h);
        pack_activations(&b->qkv, h, stride, tokens, packed, m->n_threads);
        matmul(&b->qkv, packed, tokens, qkv, qkv_stride, STORE, activation, NULL, m->n_threads);
        attention(m, l, spans, n_spans, qkv, qkv_stride, h, stride, scores, longest);
        pack_activations(&b->out, h, stride, tokens, packed, m->n_threads);
        matmul(&b->out, packed, tokens, x, stride, ADD, activation, partial, m->n_threads);
        layer_norm(m, &b->ln_2, x, NULL, tokens, h);
        pack_activations(&b->up, h, stride, tokens, packed, m->n_threads);
        matmul(&b->up, packed, tokens, u, ROUND_UP_16(f), ACTIVATE, activation, NULL, m->n_threads);
        pack_activations(&b->down, u, ROUND_UP_16(f), tokens, packed, m->n_threads);
        matmul(&b->down, packed, tokens, x, stride, ADD, activation, partial, m->n_threads);
    }
    if (n_wanted) {
        layer_norm(m, &m->ln_f, x, wanted, n_wanted, h);
        pack_activations(&m->wte, h, stride, n_wanted, packed, m->n_threads);
        matmul(&m->wte, packed, n_wanted, padded_logits, vocab_stride, STORE, activation, NULL, m->n_threads);
        for (int64_t i = 0; i < n_wanted; i++)
            memcpy(logits + i * m->vocab_size, padded_logits + i * vocab_stride, sizeof(float) * m->vocab_size);
    }
    pthread_mutex_unlock(&forward_lock);
    return 0;
}

const char *pellucid_variant(void) { return VARIANT; }
