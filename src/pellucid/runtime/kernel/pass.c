/* One pass: embeddings, blocks, logits. Read `pellucid_pass` from its top down. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "vector.h"

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static float *arena;
static size_t arena_floats;

/* A forked process has one thread, the one that forked. If another was in a pass, it is not here to give the lock back, and may
 * have been about to replace the arena. */
static void in_the_child(void) {
    if (pthread_mutex_trylock(&one_at_a_time)) arena = NULL, arena_floats = 0;
    one_at_a_time = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    forget_threads();
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, in_the_child); }

static float *take(float **free_floats, int64_t count) {
    float *taken = *free_floats;
    *free_floats += FILLED(count);
    return taken;
}

struct norming {
    const struct model *model;
    const struct norm *norm;
    const float *x;
    const int64_t *rows; /* which rows of x; none: all */
    float *to;
    int64_t stride, count;
};

/* (x - mean) / sqrt(variance + eps) * gain + bias; sums in sixteen lanes, then over the lanes. */
static void norm_row(const struct norming *n, const float *x, float *to) {
    const int64_t c = n->model->width, even = c / PANEL * PANEL;
    if (!n->norm->gain) {
        memcpy(to, x, sizeof(float) * c);
        return;
    }
    float rest[PANEL] = {0}, on[PANEL] = {0};
    for (int64_t i = even; i < c; i++) rest[i - even] = x[i], on[i - even] = 1.0f;
    v16 sum = vload(rest);
    for (int64_t i = 0; i < even; i += PANEL) sum = vadd(sum, vload(x + i));
    const v16 mean = vset(vsum(sum) / (float)c);
    v16 left = vmul(vsub(vload(rest), mean), vload(on));
    v16 square = vmul(left, left);
    for (int64_t i = 0; i < even; i += PANEL) {
        v16 centred = vsub(vload(x + i), mean);
        square = vfma(centred, centred, square);
    }
    const v16 scale = vset(1.0f / sqrtf(vsum(square) / (float)c + n->model->eps));
    for (int64_t i = 0; i < even; i += PANEL)
        vstore(to + i, vfma(vmul(vsub(vload(x + i), mean), scale), vload(n->norm->gain + i), vload(n->norm->bias + i)));
    vstore(rest, vmul(left, scale));
    for (int64_t i = even; i < c; i++) to[i] = fmaf(rest[i - even], n->norm->gain[i], n->norm->bias[i]);
}

static void norm_some(void *what, int64_t item, int thread) {
    (void)thread;
    const struct norming *n = what;
    for (int64_t row = item * ROWS; row < item * ROWS + ROWS && row < n->count; row++)
        norm_row(n, n->x + (n->rows ? n->rows[row] : row) * n->stride, n->to + row * n->stride);
}

static void normalise(const struct model *m, const struct norm *norm, const float *x, const int64_t *rows, int64_t count,
                      float *to) {
    struct norming n = {m, norm, x, rows, to, FILLED(m->width), count};
    run_parallel(count > 4 * ROWS ? m->threads : 1, (count + ROWS - 1) / ROWS, norm_some, &n);
}

/* What a token's column of the (C, V) matrix and its track's position add up to. */
static void embed(const struct model *m, int32_t id, int64_t track, float *x) {
    const int64_t c = m->width;
    for (int64_t i = 0; i < c; i++) x[i] = matrix_number(&m->tokens, id, i) + m->positions[track * c + i];
    for (int64_t i = c; i < FILLED(c); i++) x[i] = 0.0f;
}

int pellucid_pass(const struct model *m, const struct segment *segments, int64_t n_segments, const int32_t *ids,
                  const int64_t *wanted, int64_t n_wanted, float *logits) {
    const int64_t c = m->width, wide = FILLED(c), all = FILLED(3 * c), up = m->blocks ? m->h[0].up.n : 0, vocab = FILLED(m->vocab);
    int64_t tokens = 0, longest = 0;
    for (int64_t i = 0; i < n_segments; i++) {
        const int64_t end = FILLED(segments[i].first + segments[i].count);
        tokens += segments[i].count;
        longest = end > longest ? end : longest;
    }
    const int64_t high = tokens > n_wanted ? tokens : n_wanted, broad = up > c ? up : c;
    const int64_t scores = (int64_t)m->threads * ROWS * longest, out = n_wanted * vocab;
    pthread_mutex_lock(&one_at_a_time);
    const size_t need = (size_t)(high * (3 * wide + all + FILLED(up) + FILLED_32(broad)) + scores + out + 16 * 8);
    if (need > arena_floats) {
        free(arena);
        arena = NULL, arena_floats = 0;
        if (posix_memalign((void **)&arena, 64, sizeof(float) * need)) {
            pthread_mutex_unlock(&one_at_a_time);
            return 1;
        }
        arena_floats = need;
    }
    float *left = arena;
    float *x = take(&left, high * wide), *h = take(&left, high * wide), *part = take(&left, high * wide);
    float *qkv = take(&left, high * all), *u = take(&left, high * FILLED(up)), *packed = take(&left, high * FILLED_32(broad));
    float *scratch = take(&left, scores), *whole = take(&left, out);

    for (int64_t i = 0, token = 0; i < n_segments; i++)
        for (int64_t j = 0; j < segments[i].count; j++, token++) embed(m, ids[token], segments[i].first + j, x + token * wide);

    const enum activation bend = (enum activation)m->activation;
    for (int64_t l = 0; l < m->blocks; l++) {
        const struct block *b = &m->h[l];
        normalise(m, &b->ln_1, x, NULL, tokens, h);
        pack_rows(&b->qkv, h, wide, tokens, packed, m->threads);
        product(&b->qkv, packed, tokens, qkv, all, STORE, bend, NULL, m->threads);
        attend(m, l, segments, n_segments, qkv, all, h, wide, scratch, longest);
        pack_rows(&b->out, h, wide, tokens, packed, m->threads);
        product(&b->out, packed, tokens, x, wide, ADD, bend, part, m->threads);
        normalise(m, &b->ln_2, x, NULL, tokens, h);
        pack_rows(&b->up, h, wide, tokens, packed, m->threads);
        product(&b->up, packed, tokens, u, FILLED(up), ACTIVATE, bend, NULL, m->threads);
        pack_rows(&b->down, u, FILLED(up), tokens, packed, m->threads);
        product(&b->down, packed, tokens, x, wide, ADD, bend, part, m->threads);
    }
    if (n_wanted) {
        normalise(m, &m->ln_f, x, wanted, n_wanted, h);
        pack_rows(&m->tokens, h, wide, n_wanted, packed, m->threads);
        product(&m->tokens, packed, n_wanted, whole, vocab, STORE, bend, NULL, m->threads);
        for (int64_t i = 0; i < n_wanted; i++) memcpy(logits + i * m->vocab, whole + i * vocab, sizeof(float) * m->vocab);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return 0;
}

const char *pellucid_variant(void) { return VARIANT; }
