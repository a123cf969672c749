/* Attention over what is kept of each sequence.
 *
 * An item is a tile of up to six neighbouring queries of one sequence, in one head. Scores come sixteen tracks at a time, each
 * lane adding over D; answers come sixteen numbers of D at a time, each lane adding over tracks. The tracks that all queries of
 * a tile see are added for all together; those before and after them, row by row, for the queries that see them: what a query
 * does not see is not even added with weight zero, which would bring in what is no number.
 *
 * Where float16 is kept, a track's keys in a head are divided by a power of two, and so are its values: by 1, unless they hold a
 * number beyond float16's range. These powers, in bfloat16, are two more rows of sixteen in the panel of keys: with the first a
 * track's score is multiplied, with the second its weight.
 */
#include <math.h>
#include <string.h>

#include "kernel.h"
#include "kept.h"
#include "vector.h"

enum { TOGETHER = 12 }; /* items at most that a thread takes at once */

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
    int64_t longest, items, together;
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

/* What is kept of one head. */
struct head {
    char *keys, *values;
    int64_t d, wide, rows, size; /* D; filled up; rows of a panel of keys; bytes of a number */
    int half;
};

static struct head head_of(const struct model *m, const struct sequence *s, int64_t block, int64_t head) {
    const int half = s->half != 0;
    const int64_t d = m->width / m->heads, wide = FILLED(d), rows = half ? d + 2 : d, size = half ? 2 : 4;
    const int64_t before = (block * m->heads + head) * s->tracks * size;
    return (struct head){(char *)s->keys + before * rows, (char *)s->values + before * wide, d, wide, rows, size, half};
}

static void *panel_of(const struct head *h, int64_t track) { return h->keys + track / PANEL * PANEL * h->rows * h->size; }

static const uint16_t *powers_of(const struct head *h, int64_t track, int of_values) {
    return (const uint16_t *)panel_of(h, track) + (h->d + of_values) * PANEL;
}

static void keep_one(const struct head *h, int64_t track, const float *k, const float *v) {
    if (h->half) {
        const int of_keys = shrinking(k, h->d), of_values = shrinking(v, h->d);
        uint16_t *key = (uint16_t *)panel_of(h, track) + track % PANEL;
        keep_halves(k, h->d, of_keys, key, PANEL);
        keep_halves(v, h->d, of_values, (uint16_t *)h->values + track * h->wide, 1);
        key[h->d * PANEL] = power_bf16(of_keys);
        key[(h->d + 1) * PANEL] = power_bf16(of_values);
        return;
    }
    float *key = (float *)panel_of(h, track) + track % PANEL, *value = (float *)h->values + track * h->wide;
    for (int64_t j = 0; j < h->d; j++) key[j * PANEL] = k[j];
    memcpy(value, v, sizeof(float) * h->d);
    memset(value + h->d, 0, sizeof(float) * (h->wide - h->d));
}

static void keep(void *what, int64_t item, int thread) { /* keys and values of a tile's tokens, all heads */
    (void)thread;
    const struct job *job = what;
    const struct model *m = job->model;
    const int64_t d = m->width / m->heads;
    struct place at = find(job, item);
    for (int64_t head = 0; head < m->heads; head++) {
        const struct head h = head_of(m, at.segment->sequence, job->block, head);
        for (int64_t i = at.token; i < at.token + ROWS && i < at.segment->count; i++) {
            const float *k = job->qkv + (at.base + i) * job->stride + m->width + head * d;
            keep_one(&h, at.segment->first + i, k, k + m->width);
        }
    }
}

/* Weights of one query: e^(score - largest) for tracks from `first` to `last`, zero for the rest of [from, to); 1 / their sum. */
static float weigh(float *scores, int64_t from, int64_t to, int64_t first, int64_t last) {
    for (int64_t t = from; t < first; t++) scores[t - from] = -INFINITY;
    for (int64_t t = last + 1; t < to; t++) scores[t - from] = -INFINITY;
    float each[PANEL], largest = -INFINITY;
    v16 most = vset(-INFINITY), sum = vset(0.0f);
    for (int64_t t = from; t < to; t += PANEL) {
        const v16 some = vload(scores + t - from);
        most = vwhere_less(most, some, some, most);
    }
    vstore(each, most);
    for (int i = 0; i < PANEL; i++) largest = each[i] > largest ? each[i] : largest;
    for (int64_t t = from; t < to; t += PANEL) {
        v16 e = vexp(vsub(vload(scores + t - from), vset(largest)));
        vstore(scores + t - from, e);
        sum = vadd(sum, e);
    }
    return 1.0f / vsum(sum);
}

/* Scores of `high` queries for tracks from `from` up to `to`, rows of `scores` `row` apart. */
static void score(const struct job *job, const struct head *h, const float *q, int high, int64_t from, int64_t to, float *scores,
                  int64_t row) {
    const int64_t most = KEPT_AT_ONCE[high];
    for (int64_t t = from, panels; t < to; t += PANEL * panels) {
        panels = t + PANEL * most <= to ? most : (to - t) / PANEL;
        float sums[ROWS * PANEL] = {0};
        struct kept_reads in = {q, job->stride, panel_of(h, t), h->rows * PANEL, PANEL, h->d};
        kept_of(h->half, high, (int)panels)(in, sums);
        for (int64_t i = 0; i < high * panels; i++) {
            const int64_t track = t + PANEL * (i % panels);
            v16 found = vmul(vload(sums + PANEL * i), vset(job->model->scale));
            if (h->half) found = vmul(found, vload_bf16(powers_of(h, track, 0)));
            vstore(scores + i / panels * row + track - from, found);
        }
    }
}

/* Adds tracks from `first` up to `end` for one query, panel by panel; `weights` and `values` begin at track 0. */
static void add_tracks(const struct head *h, const float *weights, const char *values, int64_t first, int64_t end, int64_t panels,
                       float *sums) {
    for (int64_t q = 0; q < panels && first < end; q++) {
        struct kept_reads in = {weights + first, 0, values + (first * h->wide + q * PANEL) * h->size, 0, h->wide, end - first};
        kept_of(h->half, 1, 1)(in, sums + q * PANEL);
    }
}

static void tile(const struct job *job, struct place at, int high, int64_t head, float *scores) {
    const struct model *m = job->model;
    const struct head h = head_of(m, at.segment->sequence, job->block, head);
    const int64_t row = job->longest, band = m->h[job->block].band;
    const int64_t first = at.segment->first + at.token, last = first + high - 1;  /* tracks of the queries */
    const int64_t oldest = band && first + 1 > band ? first + 1 - band : 0, from = oldest / PANEL * PANEL, to = FILLED(last + 1);
    score(job, &h, job->qkv + (at.base + at.token) * job->stride + head * h.d, high, from, to, scores, row);
    float shares[ROWS];
    int64_t seen[ROWS]; /* each query's oldest track; from here on tracks are counted from `from` */
    for (int r = 0; r < high; r++) {
        const int64_t track = first + r, oldest_seen = band && track + 1 > band ? track + 1 - band : 0;
        float *weights = scores + r * row;
        shares[r] = weigh(weights, from, to, oldest_seen, track);
        for (int64_t t = from; h.half && t < to; t += PANEL)
            vstore(weights + t - from, vmul(vload(weights + t - from), vload_bf16(powers_of(&h, t, 1))));
        seen[r] = oldest_seen - from;
    }
    const int64_t end = first + 1 - from, begin = seen[high - 1] < end ? seen[high - 1] : end; /* what all of them see */
    float *out = job->out + (at.base + at.token) * job->out_stride + head * h.d;
    for (int64_t j = 0, panels; j < h.wide; j += PANEL * panels) {
        const int64_t most = KEPT_AT_ONCE[high];
        const char *values = h.values + (from * h.wide + j) * h.size;
        panels = j + PANEL * most <= h.wide ? most : (h.wide - j) / PANEL;
        float sums[ROWS * PANEL] = {0};
        for (int r = 0; r < high; r++) add_tracks(&h, scores + r * row, values, seen[r], begin, panels, sums + r * panels * PANEL);
        struct kept_reads in = {scores + begin, row, values + begin * h.wide * h.size, PANEL, h.wide, end - begin};
        kept_of(h.half, high, (int)panels)(in, sums);
        for (int r = 1; r < high; r++)
            add_tracks(&h, scores + r * row, values, seen[r] > end ? seen[r] : end, end + r, panels, sums + r * panels * PANEL);
        for (int64_t i = 0; i < high * panels; i++) {
            const int64_t r = i / panels, column = j + PANEL * (i % panels);
            vstore(sums + PANEL * i, vmul(vload(sums + PANEL * i), vset(shares[r])));
            for (int64_t k = 0; k < PANEL && column + k < h.d; k++) out[r * job->out_stride + column + k] = sums[PANEL * i + k];
        }
    }
}

/* Items are a segment's heads, and of each its tiles, so that a thread reads what lies together. */
static void look(void *what, int64_t unit, int thread) {
    const struct job *job = what;
    const int64_t heads = job->model->heads, end = (unit + 1) * job->together;
    int64_t before = 0, base = 0; /* items and tokens of the segments before */
    const struct segment *segment = job->segments;
    for (int64_t item = unit * job->together; item < end && item < job->items; item++) {
        int64_t tiles = (segment->count + ROWS - 1) / ROWS;
        while (item - before >= tiles * heads) {
            before += tiles * heads, base += segment->count;
            segment++, tiles = (segment->count + ROWS - 1) / ROWS;
        }
        const int64_t token = (item - before) % tiles * ROWS, left = segment->count - token;
        tile(job, (struct place){segment, token, base}, left < ROWS ? (int)left : ROWS, (item - before) / tiles,
             job->scratch + thread * ROWS * job->longest);
    }
}

void attend(const struct model *model, int64_t block, const struct segment *segments, int64_t n_segments, const float *qkv,
            int64_t stride, float *out, int64_t out_stride, float *scratch, int64_t longest) {
    struct job job = {model, block, segments, n_segments, qkv, stride, out, out_stride, scratch, longest, 0, 0};
    const int64_t tiles = count_tiles(&job);
    run_parallel(tiles > 8 ? model->threads : 1, tiles, keep, &job);
    job.items = tiles * model->heads;
    job.together = job.items / (8 * model->threads) + 1;
    if (job.together > TOGETHER) job.together = TOGETHER;
    run_parallel(model->threads, (job.items + job.together - 1) / job.together, look, &job);
}

void pellucid_halves(const float *x, int64_t n, uint16_t *y) {
    for (int64_t i = 0; i < n; i += PANEL) vstore_half(y + i, vload(x + i));
}
