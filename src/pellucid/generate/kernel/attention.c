/* Attention over what is kept of each sequence.
 *
 * An item is a tile of up to six neighbouring queries of one sequence, in one head. Scores come sixteen tracks at a time, each
 * lane adding over D; answers come sixteen numbers of D at a time, each lane adding over tracks. A track that a query does not
 * see has weight zero, and adding zero times a finite number changes no bit: so a tile may go over all tracks that one of its
 * queries sees.
 */
#include <math.h>

#include "kernel.h"
#include "vector.h"

struct job {
    const struct model *model;
    int64_t block;
    const struct segment *segments;
    int64_t n_segments;
    const float *qkv;
    int64_t stride;
    float *out;
    int64_t out_stride;
    float *scratch; /* for each thread ROWS rows of the longest text */
    int64_t longest;
};

/* Which tile of which segment: its first token within the segment, and the segment's first token within the pass. */
struct place { const struct segment *segment; int64_t token, base; };

static struct place find(const struct job *job, int64_t tile) {
    struct place at = {job->segments, 0, 0};
    for (;; at.segment++) {
        int64_t tiles = (at.segment->count + ROWS - 1) / ROWS;
        if (tile < tiles) break;
        tile -= tiles;
        at.base += at.segment->count;
    }
    at.token = tile * ROWS;
    return at;
}

static int64_t count_tiles(const struct job *job) {
    int64_t tiles = 0;
    for (int64_t i = 0; i < job->n_segments; i++) tiles += (job->segments[i].count + ROWS - 1) / ROWS;
    return tiles;
}

static float *keys_of(const struct model *m, const struct sequence *s, int64_t block, int64_t head) {
    return s->keys + (block * m->heads + head) * s->tracks * (m->width / m->heads);
}

static float *values_of(const struct model *m, const struct sequence *s, int64_t block, int64_t head) {
    return s->values + (block * m->heads + head) * s->tracks * FILLED(m->width / m->heads);
}

static void keep(void *what, int64_t item, int thread) { /* keys and values of a tile's tokens, all heads */
    (void)thread;
    const struct job *job = what;
    const struct model *m = job->model;
    const int64_t d = m->width / m->heads, wide = FILLED(d);
    struct place at = find(job, item);
    for (int64_t i = at.token; i < at.token + ROWS && i < at.segment->count; i++) {
        const int64_t track = at.segment->first + i;
        const float *row = job->qkv + (at.base + i) * job->stride;
        for (int64_t head = 0; head < m->heads; head++) {
            const float *k = row + m->width + head * d, *v = k + m->width;
            float *key = keys_of(m, at.segment->sequence, job->block, head) + track / PANEL * PANEL * d + track % PANEL;
            float *value = values_of(m, at.segment->sequence, job->block, head) + track * wide;
            for (int64_t j = 0; j < d; j++) key[j * PANEL] = k[j];
            for (int64_t j = 0; j < d; j++) value[j] = v[j];
            for (int64_t j = d; j < wide; j++) value[j] = 0.0f;
        }
    }
}

#define EACH(i, n) _Pragma("GCC unroll 6") for (int i = 0; i < (n); i++)

/* Scores of R queries, `stride` apart, with a panel of keys, or with two: to `to`, rows `row` apart. */
INLINE void score(const int R, const int Q, const float *q, int64_t stride, const float *keys, int64_t d, float scale,
                  float *to, int64_t row) {
    v16 sum[2 * ROWS];
    EACH(r, R) EACH(p, Q) sum[r * Q + p] = vset(0.0f);
    for (int64_t j = 0; j < d; j++) {
        v16 b[ROWS];
        EACH(p, Q) b[p] = vload(keys + (p * d + j) * PANEL);
        EACH(r, R) {
            v16 a = vset(q[r * stride + j]);
            EACH(p, Q) sum[r * Q + p] = vfma(a, b[p], sum[r * Q + p]);
        }
    }
    EACH(r, R) EACH(p, Q) vstore(to + r * row + PANEL * p, vmul(sum[r * Q + p], vset(scale)));
}

/* Weights of one query: e^(score - largest) for tracks from `first` to `last`, zero for the rest of [from, to); 1 / their sum. */
static float weigh(float *scores, int64_t from, int64_t to, int64_t first, int64_t last) {
    float largest = -INFINITY;
    for (int64_t t = first; t <= last; t++) largest = scores[t - from] > largest ? scores[t - from] : largest;
    v16 sum = vset(0.0f);
    for (int64_t t = from; t < first; t++) scores[t - from] = -INFINITY;
    for (int64_t t = last + 1; t < to; t++) scores[t - from] = -INFINITY;
    for (int64_t t = from; t < to; t += PANEL) {
        v16 e = vexp(vsub(vload(scores + t - from), vset(largest)));
        vstore(scores + t - from, e);
        sum = vadd(sum, e);
    }
    return 1.0f / vsum(sum);
}

/* Answers of R queries: weights times values, sixteen numbers of D at a time, or sixteen times Q. */
INLINE void answer(const int R, const int Q, const float *weights, int64_t row, const float *values, int64_t wide,
                   int64_t tracks, const float *shares, float *out, int64_t stride, int64_t d) {
    v16 sum[2 * ROWS];
    EACH(r, R) EACH(p, Q) sum[r * Q + p] = vset(0.0f);
    for (int64_t t = 0; t < tracks; t++) {
        v16 b[ROWS];
        EACH(p, Q) b[p] = vload(values + t * wide + PANEL * p);
        EACH(r, R) {
            v16 a = vset(weights[r * row + t]);
            EACH(p, Q) sum[r * Q + p] = vfma(a, b[p], sum[r * Q + p]);
        }
    }
    EACH(r, R) EACH(p, Q) {
        float whole[PANEL];
        vstore(whole, vmul(sum[r * Q + p], vset(shares[r])));
        for (int64_t j = PANEL * p; j < PANEL * (p + 1) && j < d; j++) out[r * stride + j] = whole[j - PANEL * p];
    }
}

INLINE void tile(const int R, const int Q, const struct job *job, struct place at, int64_t head, float *scores) {
    const struct model *m = job->model;
    const int64_t d = m->width / m->heads, wide = FILLED(d), row = job->longest, band = m->h[job->block].band;
    const int64_t first = at.segment->first + at.token, last = first + R - 1;  /* tracks of the queries */
    const int64_t oldest = band && first + 1 > band ? first + 1 - band : 0, from = oldest / PANEL * PANEL, to = FILLED(last + 1);
    const float *q = job->qkv + (at.base + at.token) * job->stride + head * d;
    const float *keys = keys_of(m, at.segment->sequence, job->block, head);
    int64_t t = from;
    for (; t + PANEL * Q <= to; t += PANEL * Q) score(R, Q, q, job->stride, keys + t * d, d, m->scale, scores + t - from, row);
    for (; t < to; t += PANEL) score(R, 1, q, job->stride, keys + t * d, d, m->scale, scores + t - from, row);
    float shares[ROWS];
    for (int r = 0; r < R; r++) {
        int64_t track = first + r, seen = band && track + 1 > band ? track + 1 - band : 0;
        shares[r] = weigh(scores + r * row, from, to, seen, track);
    }
    const float *values = values_of(m, at.segment->sequence, job->block, head) + from * wide;
    float *out = job->out + (at.base + at.token) * job->out_stride + head * d;
    int64_t j = 0;
    for (; j + PANEL * Q <= wide; j += PANEL * Q)
        answer(R, Q, scores, row, values + j, wide, last + 1 - from, shares, out + j, job->out_stride, d - j);
    for (; j < wide; j += PANEL)
        answer(R, 1, scores, row, values + j, wide, last + 1 - from, shares, out + j, job->out_stride, d - j);
}

static void look(void *what, int64_t item, int thread) {
    const struct job *job = what;
    struct place at = find(job, item / job->model->heads);
    const int64_t head = item % job->model->heads;
    float *scores = job->scratch + thread * ROWS * job->longest;
    switch (at.segment->count - at.token < ROWS ? at.segment->count - at.token : ROWS) {
    case 1: tile(1, 4, job, at, head, scores); break;
    case 2: tile(2, 3, job, at, head, scores); break;
    case 3: tile(3, 2, job, at, head, scores); break;
    case 4: tile(4, 1, job, at, head, scores); break;
    case 5: tile(5, 1, job, at, head, scores); break;
    case 6: tile(6, 1, job, at, head, scores); break;
    }
}

void attend(const struct model *model, int64_t block, const struct segment *segments, int64_t n_segments, const float *qkv,
            int64_t stride, float *out, int64_t out_stride, float *scratch, int64_t longest) {
    struct job job = {model, block, segments, n_segments, qkv, stride, out, out_stride, scratch, longest};
    const int64_t tiles = count_tiles(&job);
    run_parallel(tiles > 8 ? model->threads : 1, tiles, keep, &job);
    run_parallel(model->threads, tiles * model->heads, look, &job);
}
