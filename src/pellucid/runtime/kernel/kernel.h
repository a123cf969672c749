/* The decoder of GPT-2 and GPT-3 for tokens of many sequences at once. What crosses the border to Python (`library.py`).
 *
 * M tokens of a pass, C width, F feed-forward width, H heads, D head width, L blocks, V vocabulary; K and N are the columns in and
 * the columns out of a matrix. Widths that end on no multiple of 16 are filled up with zeros.
 *
 * Every number is summed in an order that depends on nothing but its own inputs: not on the other tokens of a pass, nor on the
 * threads, nor on the instruction set. A product's outputs lie in lanes, and each lane adds over K one by one. So the bits of
 * a token's vectors are a function of its text, and reading a text whole, in pieces, alone or among others is all the same. (One
 * exception between processors: a sum of bfloat16 products below 2^-126 is zero where they are multiplied by twos.)
 */
#ifndef PELLUCID_KERNEL_H
#define PELLUCID_KERNEL_H

#include <stdint.h>
#include <string.h>

enum kind { FLOAT32, BFLOAT16, INT8, INT4 };      /* of a matrix's numbers; the last two in groups (`groups.c`) */
enum activation { GELU_TANH, GELU_ERF, RELU };
enum { PANEL = 16, ROWS = 6 };                    /* columns of a panel; rows of a tile */

/* (K, N), in panels: [N / 16][K][16]. bfloat16: K filled up to an even number; where the processor multiplies them by twos
 * (PAIRS in `vector.h`), [N / 16][K / 2][16][2], the second of two first. Groups: as `groups.c` says. */
struct matrix {
    int32_t kind, k, n;
    const void *data;
    const float *bias;                            /* (N filled up to 16s), or none */
};
struct norm { const float *gain, *bias; };
struct block {
    struct norm ln_1, ln_2;
    struct matrix qkv, out, up, down;
    int64_t band;                                 /* keys a query sees; 0: all */
};
struct model {
    int32_t width, heads, blocks, vocab, activation, threads;
    float eps, scale;                             /* of LayerNorm; of scores */
    struct matrix tokens;                         /* (C, V): its columns are the embeddings */
    const float *positions;                       /* (n_ctx, C) */
    struct norm ln_f;                             /* no gain: there is none */
    const struct block *h;
};
struct sequence {                                 /* what is kept of a text, filled up to 16 tracks */
    void *keys;                                   /* [L][H][tracks / 16][D][16]; half: [D + 2], two rows more (`attention.c`) */
    void *values;                                 /* [L][H][tracks][D filled up to 16s] */
    int64_t tracks;
    int64_t half;                                 /* 1: of float16; 0: of float32 */
};
struct segment {                                  /* neighbouring tokens of one sequence */
    const struct sequence *sequence;
    int64_t first, count;                         /* the first one's track; how many */
};

/* Reads all tokens, segment by segment, and writes the logits of `wanted` tokens (numbers 0 .. M - 1): (count, V) float32.
 * Returns 0; 1 if memory ran out. */
int pellucid_pass(const struct model *model, const struct segment *segments, int64_t n_segments, const int32_t *ids,
                  const int64_t *wanted, int64_t n_wanted, float *logits);

/* y = x w + bias, rows of K and N numbers; for tests. */
int pellucid_product(const struct matrix *w, const float *x, int64_t rows, float *y, int threads);

/* n numbers, a multiple of 16, as float16; for tests. */
void pellucid_halves(const float *x, int64_t n, uint16_t *y);

/* Lays a (N, K) matrix, rows `row` and columns `column` numbers apart, into panels; with `scale`, multiplied by row. From
 * float32, bfloat16, float16 or int8 numbers ("f", "b", "h", "i"). */
void pellucid_pack(const void *from, int from_kind, int64_t n, int64_t k, int64_t row, int64_t column, const float *scale,
                   void *to, int to_kind);

/* Lays groups into panels: (N, G * 32) codes, those of int4 from -8 to 7, and (N, G) float16 scales. `kind`: INT8 or INT4. */
void pellucid_pack_groups(const int8_t *codes, const uint16_t *scale, int64_t n, int64_t groups, void *to, int kind);

const char *pellucid_variant(void);

/* Within the kernel. */
static inline uint16_t to_bf16(float value) { /* to the nearest, of two to the even one; a NaN stays one; below 2^-126: zero */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t near = bits + 0x7fff + (bits >> 16 & 1), size = bits & 0x7fffffff;
    return (uint16_t)((size > 0x7f800000 ? bits | 64 << 16 : size < 0x800000 ? bits & 0x80000000 : near) >> 16);
}
static inline float from_bf16(uint16_t number) {
    const uint32_t bits = (uint32_t)number << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

enum { MOST_THREADS = 64 };
void run_parallel(int threads, int64_t items, void (*work)(void *, int64_t, int), void *what);
void forget_threads(void);

enum then { STORE, ACTIVATE, ADD };
void pack_rows(const struct matrix *w, const float *x, int64_t stride, int64_t rows, float *to, int threads);
void round_rows(const struct matrix *w, const float *x, int64_t stride, int64_t rows, void *to, int threads);
void groups_product(const struct matrix *w, const void *rounded, int64_t rows, float *y, int64_t stride, enum then then,
                    enum activation activation, int threads);
float group_number(const struct matrix *w, int64_t n, int64_t k);
float matrix_number(const struct matrix *w, int64_t n, int64_t k);
void finish(float *y, const float *sums, enum then then, enum activation activation);
void product(const struct matrix *w, const float *packed, int64_t rows, float *y, int64_t stride, enum then then,
             enum activation activation, float *scratch, int threads);
void attend(const struct model *model, int64_t block, const struct segment *segments, int64_t n_segments, const float *qkv,
            int64_t stride, float *out, int64_t out_stride, float *scratch, int64_t longest);

#define EVEN(n) (((n) + 1) / 2 * 2)
#define FILLED(n) (((n) + 15) / 16 * 16)
#define FILLED_32(n) (((n) + 31) / 32 * 32)

#endif
