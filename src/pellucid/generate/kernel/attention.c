/* Attention over what is kept of each sequence.
 *
 * An item is a tile of up to six neighbouring queries of one sequence, in one head. Scores come sixteen tracks at a time, each
 * lane adding over D; answers come sixteen numbers of D at a time, each lane adding over tracks. The tracks that all queries of
 * a tile see are added for all together; those before and after them, row by row, for the queries that see them: what a query
 * does not see is not even added with weight zero, which would bring in what is no number.
 */
#include <math.h>

#include "kernel.h"
#include "tiles.h"
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

/* Adds tracks from `first` up to `end` for one query, panel by panel; `weights` and `values` begin at track 0. */
static void add_tracks(const float *weights, const float *values, int64_t wide, int64_t first, int64_t end, int64_t panels,
                       float *sums) {
    for (int64_t q = 0; q < panels && first < end; q++) {
        struct reads in = {weights + first, 0, 1, values + first * wide + q * PANEL, 0, wide, end - first};
        tile_of(FLOAT32, 1, 1)(in, sums + q * PANEL);
    }
}

static void tile(const struct job *job, struct place at, int high, int64_t head, float *scores) {
    const struct model *m = job->model;
    const int64_t d = m->width / m->heads, wide = FILLED(d), row = job->longest, band = m->h[job->block].band;
    const int64_t first = at.segment->first + at.token, last = first + high - 1;  /* tracks of the queries */
    const int64_t oldest = band && first + 1 > band ? first + 1 - band : 0, from = oldest / PANEL * PANEL, to = FILLED(last + 1);
    const float *q = job->qkv + (at.base + at.token) * job->stride + head * d;
    const float *keys = keys_of(m, at.segment->sequence, job->block, head);
    for (int64_t t = from, panels; t < to; t += PANEL * panels) {
        panels = t + PANEL * AT_ONCE[high] <= to ? AT_ONCE[high] : 1;
        float sums[ROWS * PANEL] = {0};
        struct reads in = {q, job->stride, 1, keys + t * d, d * PANEL, PANEL, d};
        tile_of(FLOAT32, high, (int)panels)(in, sums);
        for (int64_t i = 0; i < high * panels; i++)
            vstore(scores + i / panels * row + t - from + PANEL * (i % panels), vmul(vload(sums + PANEL * i), vset(m->scale)));
    }
    float shares[ROWS];
    int64_t seen[ROWS]; /* each query's oldest track; from here on tracks are counted from `from` */
    for (int r = 0; r < high; r++) {
        const int64_t track = first + r, oldest_seen = band && track + 1 > band ? track + 1 - band : 0;
        shares[r] = weigh(scores + r * row, from, to, oldest_seen, track);
        seen[r] = oldest_seen - from;
    }
    const int64_t end = first + 1 - from, begin = seen[high - 1] < end ? seen[high - 1] : end; /* what all of them see */
    const float *values = values_of(m, at.segment->sequence, job->block, head) + from * wide;
    float *out = job->out + (at.base + at.token) * job->out_stride + head * d;
    for (int64_t j = 0, panels; j < wide; j += PANEL * panels) {
        const int64_t most = high == 1 ? 4 : AT_ONCE[high]; /* four panels are a head of 64 */
        panels = j + PANEL * most <= wide ? most : 1;
        float sums[ROWS * PANEL] = {0};
        for (int r = 0; r < high; r++)
            add_tracks(scores + r * row, values + j, wide, seen[r], begin, panels, sums + r * panels * PANEL);
        struct reads in = {scores + begin, row, 1, values + begin * wide + j, PANEL, wide, end - begin};
        tile_of(FLOAT32, high, (int)panels)(in, sums);
        for (int r = 1; r < high; r++)
            add_tracks(scores + r * row, values + j, wide, seen[r] > end ? seen[r] : end, end + r, panels,
                       sums + r * panels * PANEL);
        for (int64_t i = 0; i < high * panels; i++) {
            const int64_t r = i / panels, column = j + PANEL * (i % panels);
            vstore(sums + PANEL * i, vmul(vload(sums + PANEL * i), vset(shares[r])));
            for (int64_t k = 0; k < PANEL && column + k < d; k++) out[r * job->out_stride + column + k] = sums[PANEL * i + k];
        }
    }
}

static void look(void *what, int64_t item, int thread) {
    const struct job *job = what;
    struct place at = find(job, item / job->model->heads);
    const int64_t head = item % job->model->heads;
    float *scores = job->scratch + thread * ROWS * job->longest;
    const int64_t left = at.segment->count - at.token;
    tile(job, at, left < ROWS ? (int)left : ROWS, head, scores);
}

void attend(const struct model *model, int64_t block, const struct segment *segments, int64_t n_segments, const float *qkv,
            int64_t stride, float *out, int64_t out_stride, float *scratch, int64_t longest) {
    struct job job = {model, block, segments, n_segments, qkv, stride, out, out_stride, scratch, longest};
    const int64_t tiles = count_tiles(&job);
    run_parallel(tiles > 8 ? model->threads : 1, tiles, keep, &job);
    run_parallel(model->threads, tiles * model->heads, look, &job);
}
