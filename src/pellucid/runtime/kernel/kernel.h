/* The forward pass of GPT-2 and GPT-3 on a CPU, batched over tokens of many sequences: the interface to Python (`library.py`).
 *
 * M tokens of a batch, C width of the residual stream, F width of the feed-forward layer, H heads, D head width, L blocks, V
 * vocabulary; a weight matrix has K inputs and N outputs. Widths are padded with zeros to a multiple of 16.
 *
 * Results are batch-invariant: every sum is taken in an order that depends on its own inputs alone, not on the other tokens of
 * the batch, the number of threads or the instruction set. The outputs of a matrix product lie in SIMD lanes, and each lane
 * sums over K one by one. So a token's vectors depend, bit for bit, on its sequence alone, whether that is read at once, in
 * chunks, or in a batch with others. (One exception between processors: where hardware multiplies bfloat16 numbers in pairs, a
 * partial sum below 2^-126 is flushed to zero.)
 */
#ifndef PELLUCID_KERNEL_H
#define PELLUCID_KERNEL_H

#include <stdint.h>
#include <string.h>

enum dtype { FLOAT32, BFLOAT16, INT8, INT4 };     /* of weights; the last two are quantized in groups (`matmul_quantized.c`) */
enum activation { GELU_TANH, GELU_ERF, RELU };
enum { PANEL = 16, TILE_ROWS = 6 };               /* columns of a panel of weights; most rows of activations in a tile */

/* Weights (K, N) packed into panels of 16 columns: [N / 16][K][16]. bfloat16: K padded to an even number; where the processor
 * multiplies bfloat16 numbers in pairs (BF16_PAIRS in `vector.h`), [N / 16][K / 2][16][2], the second number of a pair first.
 * Quantized: see `matmul_quantized.c`. */
struct matrix {
    int32_t dtype, k, n;
    const void *data;
    const float *bias;                            /* (N padded to 16), or NULL */
};
struct layer_norm { const float *gain, *bias; };  /* (C,) each */
struct block {
    struct layer_norm ln_1, ln_2;
    struct matrix qkv, out, up, down;             /* GPT-2's attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj */
    int64_t band;                                 /* keys that a query attends to, itself included; 0: all */
};
struct model {
    int32_t d_model, n_heads, n_layers, vocab_size, activation, n_threads;
    float norm_eps, attention_scale;
    struct matrix wte;                            /* (C, V): token embeddings as columns, and the output layer */
    const float *wpe;                             /* (n_ctx, C) position embeddings */
    struct layer_norm ln_f;                       /* gain NULL: no final LayerNorm */
    const struct block *blocks;
};
struct sequence_buffers {                         /* the KV cache of one sequence */
    void *keys;                                   /* [L][H][capacity / 16][D][16]; float16: [D + 2] (`attention.c`) */
    void *values;                                 /* [L][H][capacity][D padded to 16] */
    int64_t capacity;                             /* positions, a multiple of 16 */
    int64_t is_float16;                           /* 1: float16; 0: float32 */
};
/* Parts of the model whose outputs are replaced for all tokens of a sequence: where a byte is 1, by `values`, or zeros if that
 * is NULL. A head's output is replaced before attn.c_proj, that of a block's attention or MLP after its bias is added. */
struct ablation {
    const uint8_t *heads, *attention, *mlp;       /* (L, H), (L,), (L,) */
    const float *head_values, *attention_values, *mlp_values; /* (L, C) each */
};
struct token_span {                               /* consecutive tokens of one sequence */
    const struct sequence_buffers *sequence;
    const struct ablation *ablation;              /* NULL: none */
    int64_t start, count;                         /* position of the first token; number of tokens */
};
/* Where a pass writes what it computes for its M tokens; each may be NULL. No result depends on it. */
struct taps {
    float *stream;                                /* (L + 1, M, C): the input of each block, and the output of the last */
    float *qkv;                                   /* (L, M, 3 C): queries, keys, values, heads side by side */
    float *attended;                              /* (L, M, C): the heads' outputs side by side, before attn.c_proj */
    float *writes;                                /* (L, 2, M, C): what attention, then MLP, add to the stream */
};

/* Runs the decoder over the tokens of all spans, in their order: `ids` (M,). Appends their keys and values to the sequences'
 * caches and writes the logits (n_wanted, V) of the tokens whose indices in the batch (0 .. M - 1) are in `wanted`.
 * `taps`: NULL for none. Returns 0, or 1 if memory ran out. */
int pellucid_forward(const struct model *model, const struct token_span *spans, int64_t n_spans, const int32_t *ids,
                     const int64_t *wanted, int64_t n_wanted, float *logits, const struct taps *taps);

/* Logits (rows, V) of vectors of the stream (rows, C) at any level: the final LayerNorm, if there is one, and the product with
 * the token embeddings, as at the end of a pass. Returns 0, or 1 if memory ran out. */
int pellucid_lens(const struct model *model, const float *stream, int64_t rows, float *logits);

/* y (rows, N padded to 16) = x (rows, K) w + bias. Returns 0, or 1 if memory ran out. For tests. */
int pellucid_matmul(const struct matrix *w, const float *x, int64_t rows, float *y, int threads);

/* Converts n numbers, a multiple of 16, to float16. For tests. */
void pellucid_to_float16(const float *x, int64_t n, uint16_t *y);

/* Reduces the bytes of tensors to 64 numbers for each half megabyte of each (`fingerprint.c`): lanes (chunks, 64). Equal numbers
 * mean equal bytes. Returns 0, or 1 if memory ran out. */
int pellucid_fingerprint(const void *const *data, const int64_t *bytes, int64_t n_tensors, uint32_t *lanes, int threads);

/* Packs an (N, K) matrix into panels of FLOAT32 or BFLOAT16. Source: float32, bfloat16, float16 or int8 numbers ('f', 'b',
 * 'h', 'i'), rows and columns `row_stride` and `column_stride` numbers apart, each row multiplied by its `scale` unless that
 * is NULL. */
void pellucid_pack(const void *source, int source_type, int64_t n, int64_t k, int64_t row_stride, int64_t column_stride,
                   const float *scale, void *packed, int dtype);

/* Packs quantized weights into panels: codes (N, G * 32), INT4's from -8 to 7, and float16 scales (N, G); G groups of 32 a
 * row. */
void pellucid_pack_groups(const int8_t *codes, const uint16_t *scale, int64_t n, int64_t groups, void *packed, int dtype);

/* The arithmetic of a draw (`draw.c`). In place: e^x of n numbers <= 0. Then ln x of x >= 1; and the sum of n numbers. */
void pellucid_exp(double *x, int64_t n);
double pellucid_log(double x);
double pellucid_sum(const double *x, int64_t n);

/* Probabilities of n logits as multiples of the largest; returns their sum, NaN if the logits are not finite (all but -infinity
 * are refused). */
double pellucid_weights(const float *logits, int64_t n, double *weights);

/* The index of the weight that u in [0, 1) points at, where all n lie side by side. */
int64_t pellucid_inverse_cdf(const double *weights, int64_t n, double u);

/* The instruction set that this build uses, by name. */
const char *pellucid_variant(void);

/* Everything below is internal to the kernel. */

/* To bfloat16, rounded to nearest even. NaN stays NaN; below 2^-126 the result is zero. */
static inline uint16_t float_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1), magnitude = bits & 0x7fffffff;
    return (uint16_t)((magnitude > 0x7f800000 ? bits | 64 << 16 : magnitude < 0x800000 ? bits & 0x80000000 : rounded) >> 16);
}
static inline float bf16_to_float(uint16_t bf16) {
    const uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

enum { MAX_THREADS = 64 };
void parallel_for(int threads, int64_t n_tasks, void (*task)(void *args, int64_t index, int thread), void *args);
void lock_threads(void); /* the caller of `parallel_for` holds this lock: one job at a time */
void unlock_threads(void);
void forget_arena(void); /* the scratch memory of forward passes, which another thread may have been about to replace */

/* What is done with the sums of a matrix product: y = sums, y = activation(sums), y += sums. */
enum epilogue { STORE, ACTIVATE, ADD };
void pack_activations(const struct matrix *w, const float *x, int64_t stride, int64_t rows, float *packed, int threads);
void quantize_activations(const struct matrix *w, const float *x, int64_t stride, int64_t rows, void *packed, int threads);
void matmul(const struct matrix *w, const float *packed, int64_t rows, float *y, int64_t stride, enum epilogue epilogue,
            enum activation activation, float *scratch, int threads);
void matmul_quantized(const struct matrix *w, const void *packed, int64_t rows, float *y, int64_t stride,
                      enum epilogue epilogue, enum activation activation, int threads);
void apply_epilogue(float *y, const float *sums, enum epilogue epilogue, enum activation activation);
float matrix_element(const struct matrix *w, int64_t n, int64_t k);
float quantized_element(const struct matrix *w, int64_t n, int64_t k);
void attention(const struct model *model, int64_t block, const struct token_span *spans, int64_t n_spans, const float *qkv,
               int64_t qkv_stride, float *out, int64_t out_stride, float *scratch, int64_t longest);

#define ROUND_UP_2(n) (((n) + 1) / 2 * 2)
#define ROUND_UP_16(n) (((n) + 15) / 16 * 16)
#define ROUND_UP_32(n) (((n) + 31) / 32 * 32)

#endif
