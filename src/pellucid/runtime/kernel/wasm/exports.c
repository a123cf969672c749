/* What a WebAssembly module offers to a page: the kernel behind functions of 32-bit numbers and pointers, so that a caller
 * knows no struct but `taps` and `ablation`. The module imports nothing; its memory is all it has.
 *
 * A model is made empty, then filled tensor by tensor, each once, from the bytes of a safetensors file, which are packed and may
 * be freed. Functions that can fail return an `error`.
 */
#include <stdlib.h>

#include "../kernel.h"
#include "../vector_int.h"

#define EXPORT(name) __attribute__((export_name("pellucid_" #name)))

enum error { DONE, NO_MEMORY, BAD_ARGUMENT };
enum { GROUP = 32, MAX_BLOCKS = 1024, MAX_SIZE = 1 << 22, ALIGNMENT = 64, PAGE_BYTES = 65536, MAX_PAGES = 65536 };

struct wasm_model {
    struct model model;
    int32_t weights, n_ctx, d_ff, final_norm;
    char *next; /* where the next tensor's place is, behind the blocks */
    struct block blocks[];
};
struct wasm_sequence {
    struct sequence_buffers buffers;
    const struct ablation *ablation;
    int64_t key_bytes, value_bytes; /* of one head */
};

EXPORT(alloc) void *pellucid_alloc(uint32_t bytes) { return malloc(bytes ? bytes : 1); }
EXPORT(free) void pellucid_free(void *pointer) { free(pointer); }
EXPORT(variant) const char *variant(void) { return pellucid_variant(); }

/* 1 if a multiply-add rounds once. In relaxed SIMD the browser chooses; only the fused one gives the bits of the other
 * variants. (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24, whose last term a rounded product loses. */
EXPORT(fma_is_fused) int32_t pellucid_fma_is_fused(void) {
    volatile float a = 1.0f + 0x1p-12f, c = -(1.0f + 0x1p-11f);
    return fma_scalar(a, a, c) == 0x1p-24f;
}

EXPORT(exp) void draw_exp(double *x, int32_t n) { pellucid_exp(x, n); }
EXPORT(log) double draw_log(double x) { return pellucid_log(x); }
EXPORT(sum) double draw_sum(const double *x, int32_t n) { return pellucid_sum(x, n); }
EXPORT(weights) double draw_weights(const float *logits, int32_t n, double *weights) {
    return pellucid_weights(logits, n, weights);
}
EXPORT(inverse_cdf) int32_t draw_inverse_cdf(const double *weights, int32_t n, double u) {
    return (int32_t)pellucid_inverse_cdf(weights, n, u);
}

/* z = x y + z, n numbers, a multiple of 16. For tests. */
EXPORT(multiply_add) void pellucid_multiply_add(const float *x, const float *y, float *z, int32_t n) {
    for (int32_t i = 0; i < n; i += PANEL) vstore(z + i, vfma(vload(x + i), vload(y + i), vload(z + i)));
}

/* Whole pages of memory for one model and its tensors. malloc takes powers of two, which is twice a matrix of a megabyte. */
struct pages {
    struct pages *next; /* of the free ones */
    int64_t bytes;
};
static struct pages *free_pages;

/* A place for so many bytes, aligned to 64. NULL: no memory. */
static void *take_pages(int64_t bytes) {
    bytes += ALIGNMENT; /* before them stands what they are */
    for (struct pages **at = &free_pages; *at; at = &(*at)->next) {
        struct pages *found = *at;
        if (found->bytes < bytes) continue;
        *at = found->next;
        return (char *)found + ALIGNMENT;
    }
    const int64_t count = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    const size_t first = count < MAX_PAGES ? __builtin_wasm_memory_grow(0, count) : SIZE_MAX;
    if (first == SIZE_MAX) return NULL;
    struct pages *made = (struct pages *)(first * PAGE_BYTES);
    made->bytes = count * PAGE_BYTES;
    return (char *)made + ALIGNMENT;
}

static void give_back_pages(void *place) {
    struct pages *given = (struct pages *)((char *)place - ALIGNMENT);
    given->next = free_pages, free_pages = given;
}

static int64_t aligned(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Bytes of a panel of a packed matrix of k inputs; of the matrix, with n outputs; and of so many float32 numbers. */
static int64_t panel_bytes(int32_t weights, int64_t k) {
    const int64_t groups = (k + GROUP - 1) / GROUP;
    return weights == FLOAT32 ? k * PANEL * 4 : weights == BFLOAT16 ? ROUND_UP_2(k) * PANEL * 2
                                                                    : groups * (weights == INT8 ? 544 : 288);
}
static int64_t matrix_bytes(int32_t weights, int64_t n, int64_t k) {
    return aligned(ROUND_UP_16(n) / PANEL * panel_bytes(weights, k));
}
static int64_t vector_bytes(int64_t count) { return aligned(ROUND_UP_16(count) * sizeof(float)); }

/* The next so many of a model's bytes. */
static void *take(struct wasm_model *m, int64_t bytes) {
    char *place = m->next;
    m->next += bytes;
    return place;
}

/* An empty model; NULL: no memory, or not a shape that the kernel has. */
EXPORT(model_new)
struct wasm_model *pellucid_model_new(int32_t d_model, int32_t n_heads, int32_t n_layers, int32_t vocab_size, int32_t n_ctx,
                                      int32_t d_ff, int32_t activation, int32_t weights, int32_t final_norm, float norm_eps,
                                      float attention_scale) {
    const int32_t sizes[] = {d_model, n_heads, n_layers, vocab_size, n_ctx, d_ff};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > MAX_SIZE) return NULL;
    if (n_layers > MAX_BLOCKS || d_model % n_heads || activation < GELU_TANH || activation > RELU || weights < FLOAT32 ||
        weights > INT4)
        return NULL;
    const int64_t c = d_model, f = d_ff, head = aligned(sizeof(struct wasm_model) + sizeof(struct block) * n_layers);
    const int64_t block = matrix_bytes(weights, 3 * c, c) + matrix_bytes(weights, c, c) + matrix_bytes(weights, f, c) +
                          matrix_bytes(weights, c, f) + vector_bytes(3 * c) + vector_bytes(f) + 6 * vector_bytes(c);
    const int64_t outside = matrix_bytes(weights, vocab_size, c) + vector_bytes(n_ctx * c) + 2 * vector_bytes(c);
    struct wasm_model *m = take_pages(head + n_layers * block + outside);
    if (!m) return NULL;
    memset(m, 0, head);
    m->model = (struct model){d_model, n_heads, n_layers, vocab_size, activation, 1, norm_eps, attention_scale,
                              {0, 0, 0, NULL, NULL}, NULL, {NULL, NULL}, m->blocks};
    m->weights = weights, m->n_ctx = n_ctx, m->d_ff = d_ff, m->final_norm = final_norm, m->next = (char *)m + head;
    return m;
}

EXPORT(model_free) void pellucid_model_free(struct wasm_model *m) {
    if (m) give_back_pages(m);
}

EXPORT(set_band) int32_t pellucid_set_band(struct wasm_model *m, int32_t block, int32_t width) {
    if (block < 0 || block >= m->model.n_layers || width < 0) return BAD_ARGUMENT;
    m->blocks[block].band = width;
    return DONE;
}

/* One number of a tensor of type 'f', 'h', 'b' or 'i' (`pellucid_pack`). */
static float number_at(const void *source, int32_t type, int64_t i) {
    switch (type) {
    case 'f': return ((const float *)source)[i];
    case 'h': return f16_to_float(((const uint16_t *)source)[i]);
    case 'b': return bf16_to_float(((const uint16_t *)source)[i]);
    default: return ((const int8_t *)source)[i];
    }
}

/* The codes of one row in groups, of type 'q' (int8) or 'n' (two int4 in a byte: number j of a group and number j + 16). */
static void unpack_row(const void *source, int32_t type, int64_t row, int64_t groups, int8_t *codes) {
    if (type == 'q') {
        memcpy(codes, (const int8_t *)source + row * groups * GROUP, groups * GROUP);
        return;
    }
    const uint8_t *bytes = (const uint8_t *)source + row * groups * GROUP / 2;
    for (int64_t i = 0; i < groups * GROUP; i++) {
        const uint8_t byte = bytes[i / GROUP * (GROUP / 2) + i % (GROUP / 2)];
        codes[i] = (int8_t)((i % GROUP < GROUP / 2 ? byte & 15 : byte >> 4) - 8);
    }
}

/* Packs quantized weights panel by panel: as they are, or dequantized, which is exact. */
static int32_t pack_quantized(const struct matrix *w, const void *source, int32_t type, const uint16_t *scale, char *packed) {
    const int64_t groups = (w->k + GROUP - 1) / GROUP;
    int8_t *codes = malloc(PANEL * groups * GROUP);
    float *numbers = malloc(sizeof(float) * PANEL * groups * GROUP);
    for (int64_t row = 0; codes && numbers && row < w->n; row += PANEL) {
        const int64_t rows = w->n - row < PANEL ? w->n - row : PANEL;
        for (int64_t r = 0; r < rows; r++) unpack_row(source, type, row + r, groups, codes + r * groups * GROUP);
        char *panel = packed + row / PANEL * panel_bytes(w->dtype, w->k);
        if (w->dtype >= INT8) {
            pellucid_pack_groups(codes, scale + row * groups, rows, groups, panel, w->dtype);
            continue;
        }
        for (int64_t i = 0; i < rows * groups * GROUP; i++)
            numbers[i] = (float)codes[i] * f16_to_float(scale[row * groups + i / GROUP]);
        pellucid_pack(numbers, 'f', rows, w->k, groups * GROUP, 1, NULL, panel, w->dtype);
    }
    const int32_t error = codes && numbers ? DONE : NO_MEMORY;
    free(codes), free(numbers);
    return error;
}

static void copy_vector(float *copy, const void *source, int32_t type, const float *scale, int64_t rows, int64_t columns) {
    const int64_t count = rows * columns;
    for (int64_t i = 0; i < count; i++)
        copy[i] = scale ? number_at(source, type, i) * scale[i / columns] : number_at(source, type, i);
    for (int64_t i = count; i < ROUND_UP_16(count); i++) copy[i] = 0.0f;
}

enum matrix_part { WTE, QKV, OUT, UP, DOWN };

/* Packs a matrix from a file's tensor. Strides in numbers, of (out, in); `scale`: one float32 a row for 'i', float16 (out,
 * groups) for 'q' and 'n'; `bias`: float32 or NULL, which it is of WTE. */
EXPORT(set_matrix)
int32_t pellucid_set_matrix(struct wasm_model *m, int32_t block, int32_t part, const void *source, int32_t type,
                            int32_t row_stride, int32_t column_stride, const void *scale, const float *bias) {
    if (part < WTE || part > DOWN || (part != WTE && (block < 0 || block >= m->model.n_layers))) return BAD_ARGUMENT;
    const int grouped = type == 'q' || type == 'n';
    if (!grouped && type != 'f' && type != 'h' && type != 'b' && type != 'i') return BAD_ARGUMENT;
    if ((grouped || type == 'i') != (scale != NULL) || (part == WTE && bias)) return BAD_ARGUMENT;
    if (m->weights >= INT8 && type != (m->weights == INT8 ? 'q' : 'n')) return BAD_ARGUMENT; /* Python quantizes, not a page */
    const int32_t c = m->model.d_model, f = m->d_ff;
    const int32_t n = (const int32_t[]){m->model.vocab_size, 3 * c, c, f, c}[part], k = part == DOWN ? f : c;
    struct block *b = part == WTE ? NULL : &m->blocks[block];
    struct matrix *w = part == WTE ? &m->model.wte : part == QKV ? &b->qkv : part == OUT ? &b->out
                       : part == UP ? &b->up : &b->down;
    if (w->data) return BAD_ARGUMENT;
    char *packed = take(m, matrix_bytes(m->weights, n, k));
    float *copy = bias ? take(m, vector_bytes(n)) : NULL;
    *w = (struct matrix){m->weights, k, n, packed, copy};
    if (bias) copy_vector(copy, bias, 'f', NULL, 1, n);
    if (grouped) return pack_quantized(w, source, type, scale, packed);
    pellucid_pack(source, type, n, k, row_stride, column_stride, scale, packed, m->weights);
    return DONE;
}

enum vector_part { WPE, LN_F_GAIN, LN_F_BIAS, LN_1_GAIN, LN_1_BIAS, LN_2_GAIN, LN_2_BIAS };

/* Copies a vector, or the position embeddings, from a file's tensor. `scale`: one float32 a row of 'i', else NULL. */
EXPORT(set_vector)
int32_t pellucid_set_vector(struct wasm_model *m, int32_t block, int32_t part, const void *source, int32_t type,
                            const float *scale) {
    if (part < WPE || part > LN_2_BIAS || (part >= LN_1_GAIN && (block < 0 || block >= m->model.n_layers))) return BAD_ARGUMENT;
    if ((type != 'f' && type != 'h' && type != 'b' && type != 'i') || (type == 'i') != (scale != NULL)) return BAD_ARGUMENT;
    struct block *b = part >= LN_1_GAIN ? &m->blocks[block] : NULL;
    struct layer_norm *norm = part < LN_1_GAIN ? &m->model.ln_f : part < LN_2_GAIN ? &b->ln_1 : &b->ln_2;
    const float **target = part == WPE ? &m->model.wpe : part % 2 ? &norm->gain : &norm->bias;
    if (*target) return BAD_ARGUMENT;
    const int64_t rows = part == WPE ? m->n_ctx : 1;
    float *copy = take(m, vector_bytes(rows * m->model.d_model));
    copy_vector(copy, source, type, scale, rows, m->model.d_model);
    *target = copy;
    return DONE;
}

/* How many tensors are missing. */
EXPORT(model_incomplete) int32_t pellucid_model_incomplete(const struct wasm_model *m) {
    int32_t missing = !m->model.wte.data + !m->model.wpe;
    if (m->final_norm) missing += !m->model.ln_f.gain + !m->model.ln_f.bias;
    for (int32_t i = 0; i < m->model.n_layers; i++) {
        const struct block *b = &m->blocks[i];
        missing += !b->ln_1.gain + !b->ln_1.bias + !b->ln_2.gain + !b->ln_2.bias;
        missing += !b->qkv.data + !b->out.data + !b->up.data + !b->down.data;
    }
    return missing;
}

/* A KV cache of up to `capacity` positions: float32 for float32 weights, else float16. NULL: no memory. */
EXPORT(sequence_new) struct wasm_sequence *pellucid_sequence_new(const struct wasm_model *m, int32_t capacity) {
    if (capacity < 1 || capacity > m->n_ctx) return NULL;
    struct wasm_sequence *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    const int64_t d = m->model.d_model / m->model.n_heads, positions = ROUND_UP_16(capacity);
    const int64_t heads = (int64_t)m->model.n_layers * m->model.n_heads;
    const int is_float16 = m->weights != FLOAT32, itemsize = is_float16 ? 2 : 4;
    s->key_bytes = positions * (is_float16 ? d + 2 : d) * itemsize;
    s->value_bytes = positions * ROUND_UP_16(d) * itemsize;
    s->buffers = (struct sequence_buffers){malloc(heads * s->key_bytes), malloc(heads * s->value_bytes), positions, is_float16};
    if (s->buffers.keys && s->buffers.values) return s;
    free(s->buffers.keys), free(s->buffers.values), free(s);
    return NULL;
}

EXPORT(sequence_free) void pellucid_sequence_free(struct wasm_sequence *s) {
    if (s) free(s->buffers.keys), free(s->buffers.values);
    free(s);
}

/* Makes the first `positions` positions of `target` those of `source`; keys are copied in whole panels. */
EXPORT(sequence_copy)
int32_t pellucid_sequence_copy(const struct wasm_model *m, const struct wasm_sequence *source, struct wasm_sequence *target,
                               int32_t positions) {
    if (positions < 0 || positions > source->buffers.capacity || positions > target->buffers.capacity) return BAD_ARGUMENT;
    const int64_t heads = (int64_t)m->model.n_layers * m->model.n_heads, panels = ROUND_UP_16((int64_t)positions);
    for (int64_t i = 0; i < heads; i++) {
        memcpy((char *)target->buffers.keys + i * target->key_bytes, (char *)source->buffers.keys + i * source->key_bytes,
               source->key_bytes / source->buffers.capacity * panels);
        memcpy((char *)target->buffers.values + i * target->value_bytes,
               (char *)source->buffers.values + i * source->value_bytes,
               source->value_bytes / source->buffers.capacity * positions);
    }
    return DONE;
}

/* Replaces outputs of the model for all tokens that this sequence will read; `ablation` stays the caller's. */
EXPORT(sequence_ablate) void pellucid_sequence_ablate(struct wasm_sequence *s, const struct ablation *ablation) {
    s->ablation = ablation;
}

/* Reads tokens at positions first .. first + count - 1; writes the logits (n_wanted, V) of the last n_wanted. */
EXPORT(read)
int32_t pellucid_read(const struct wasm_model *m, const struct wasm_sequence *s, int32_t first, const int32_t *ids,
                      int32_t count, int32_t n_wanted, float *logits, const struct taps *taps) {
    if (first < 0 || count < 1 || n_wanted < 0 || n_wanted > count || first > m->n_ctx - count ||
        first + count > s->buffers.capacity || pellucid_model_incomplete(m))
        return BAD_ARGUMENT;
    for (int32_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= m->model.vocab_size) return BAD_ARGUMENT;
    int64_t *wanted = malloc(sizeof(int64_t) * (n_wanted + 1));
    if (!wanted) return NO_MEMORY;
    for (int32_t i = 0; i < n_wanted; i++) wanted[i] = count - n_wanted + i;
    const struct token_span span = {&s->buffers, s->ablation, first, count};
    const int failed = pellucid_forward(&m->model, &span, 1, ids, wanted, n_wanted, logits, taps);
    free(wanted);
    return failed ? NO_MEMORY : DONE;
}

/* The logits (rows, V) of vectors of the stream (rows, C) at any level. */
EXPORT(lens) int32_t lens(const struct wasm_model *m, const float *stream, int32_t rows, float *logits) {
    if (rows < 1 || pellucid_model_incomplete(m)) return BAD_ARGUMENT;
    return pellucid_lens(&m->model, stream, rows, logits) ? NO_MEMORY : DONE;
}
