/* Matrix products with quantized weights: groups of 32 numbers of a column (along K) share a float16 scale, as in GGUF's Q8_0
 * and Q4_0. Activations are quantized the same way: 32 numbers of a row are int8 codes with one float32 scale.
 *
 * The 32 products of a group are summed exactly, in integers; that sum times both scales is added to the float32 sum, group by
 * group in their order. So the result depends, bit for bit, on a row and the weights alone, as everywhere in this kernel.
 *
 * Packed weights: [N / 16][G] blocks. A block is one group of a panel, 16 columns by 32 of K, followed by its 16 float16
 * scales:
 *
 *     INT8    [16][16 columns][2]: 512 bytes, pairs of int8; or, where the processor has a dot product of four uint8
 *             (DOT4_UINT8), [8][16 columns][4], 128 added to each number
 *     INT4    [4][16 columns][4]: 256 bytes; byte j of row s holds number 8 s + j in its low four bits and number
 *             8 s + 4 + j in its high ones, 8 added to each
 *
 * Packed activations: tiles of R rows, six or what remains. For each group
 *
 *     pairs   [16][R][2] int16, then R scales
 *     fours   [8][R][4] int8, then R scales and R int32 corrections: the sum of the codes times what was added to the weights
 */
#include <math.h>

#include "kernel.h"
#include "vector_int.h"

/* TASK_PANELS: panels of a task of `parallel_for`. L2_BYTES: activations that stay in the second-level cache. MAX_TILE:
 * largest R Q. */
enum { GROUP = 32, TASK_PANELS = 6, L2_BYTES = 200 << 10, PREFETCH_BYTES_AHEAD = 1024, MAX_TILE = 12 };

/* Without vector instructions, a specialized function for each number of rows would only take long to compile. */
#ifdef NO_SIMD
#define UNROLL_12(i, n) for (int i = 0; i < (n); i++)
#define INLINE_IF_SIMD static __attribute__((noinline))
#else
#define UNROLL_12(i, n) _Pragma("GCC unroll 12") for (int i = 0; i < (n); i++)
#define INLINE_IF_SIMD INLINE
#endif

/* TILE_PANELS: panels of a tile. SUMS_IN_REGISTERS: whether the float sums fit into registers beside the integer ones.
 * PREFETCH: whether tiles of one or two rows prefetch the weights. */
#ifdef DOT4_UINT8
enum { TILE_PANELS = 2, SUMS_IN_REGISTERS = 1, PREFETCH = 0 };
#else
enum { TILE_PANELS = 1, SUMS_IN_REGISTERS = 0, PREFETCH = 1 };
#endif

INLINE int64_t groups_of(int64_t k) { return (k + GROUP - 1) / GROUP; }
INLINE int64_t block_bytes(int dtype) { return dtype == INT8 ? 544 : 288; }
#ifdef DOT4_UINT8
INLINE int uses_dot4(int dtype) { (void)dtype; return 1; }
#else
INLINE int uses_dot4(int dtype) { return dtype == INT4; }
INLINE i8x64 load_i8x64(const void *p) { return load_low_nibbles(p); } /* never called */
#endif
INLINE int zero_point(int dtype) { return dtype == INT4 ? 8 : 128; } /* added to weights for dot4, whose weights are unsigned */
INLINE int64_t activation_bytes(int dtype) { return uses_dot4(dtype) ? 40 : 68; } /* of a row's group */

/* Packs one block: `columns` (up to 16) rows of 32 codes, `row_stride` apart, and their scales. */
static void pack_block(const int8_t *codes, int64_t row_stride, const uint16_t *scale, int64_t scale_stride, int64_t columns,
                       char *block, int dtype) {
    int8_t group[PANEL][GROUP] = {{0}};
    uint16_t scales[PANEL] = {0};
    for (int64_t n = 0; n < columns; n++) {
        memcpy(group[n], codes + n * row_stride, GROUP);
        scales[n] = scale[n * scale_stride];
    }
    uint8_t *bytes = (uint8_t *)block;
    for (int n = 0; n < PANEL; n++)
        for (int k = 0; k < GROUP; k++) {
            if (!uses_dot4(dtype)) bytes[k / 2 * 32 + n * 2 + k % 2] = (uint8_t)group[n][k];
            else if (dtype == INT8) bytes[k / 4 * 64 + n * 4 + k % 4] = (uint8_t)(group[n][k] + zero_point(dtype));
            else {
                uint8_t *byte = bytes + k / 8 * 64 + n * 4 + k % 4;
                const uint8_t value = (uint8_t)(group[n][k] + zero_point(dtype));
                *byte = k % 8 < 4 ? value : (uint8_t)(*byte | value << 4);
            }
        }
    memcpy(block + block_bytes(dtype) - 32, scales, 32);
}

void pellucid_pack_groups(const int8_t *codes, const uint16_t *scale, int64_t n, int64_t groups, void *packed, int dtype) {
    for (int64_t panel = 0; panel < ROUND_UP_16(n) / PANEL; panel++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t first = panel * PANEL, columns = n - first < PANEL ? n - first : PANEL;
            pack_block(codes + (first * groups + g) * GROUP, groups * GROUP, scale + first * groups + g, groups, columns,
                       (char *)packed + (panel * groups + g) * block_bytes(dtype), dtype);
        }
}

/* One weight, dequantized: of input k and output n. */
float quantized_element(const struct matrix *w, int64_t n, int64_t k) {
    const char *block = (const char *)w->data + (n / PANEL * groups_of(w->k) + k / GROUP) * block_bytes(w->dtype);
    const int64_t lane = n % PANEL, i = k % GROUP;
    uint16_t scale;
    memcpy(&scale, block + block_bytes(w->dtype) - 32 + 2 * lane, 2);
    int code;
    if (!uses_dot4(w->dtype)) code = ((const int8_t *)block)[i / 2 * 32 + lane * 2 + i % 2];
    else if (w->dtype == INT8) code = ((const uint8_t *)block)[i / 4 * 64 + lane * 4 + i % 4] - zero_point(INT8);
    else code = (((const uint8_t *)block)[i / 8 * 64 + lane * 4 + i % 4] >> (i % 8 < 4 ? 0 : 4) & 15) - zero_point(INT4);
    return (float)code * f16_to_float(scale);
}

/* Quantizes 32 numbers to codes from -127 to 127, rounded to nearest even; returns their scale. A group whose numbers are all
 * below 2^-120 becomes zero. If a number is not finite the scale is NaN, and so is every sum that it is added to. */
INLINE float quantize_group(const float *x, int8_t *codes) {
    uint32_t largest = 0; /* magnitude, as bits: ordered like the numbers, NaN above infinity */
    for (int i = 0; i < GROUP; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float peak;
    memcpy(&peak, &largest, 4);
    const int zero = largest >= 0x7f800000 || peak < 0x1p-120f;
    const float inverse = zero ? 0.0f : 127.0f / peak;
    for (int i = 0; i < GROUP; i++) codes[i] = zero ? 0 : (int8_t)(int32_t)rintf(x[i] * inverse);
    return largest >= 0x7f800000 ? NAN : zero ? 0.0f : peak / 127.0f;
}

struct quantization_args {
    const struct matrix *w;
    const float *x;
    int64_t stride, rows;
    char *packed;
};

static void quantize_task(void *task_args, int64_t index, int thread) { /* one tile of rows */
    (void)thread;
    const struct quantization_args *args = task_args;
    const int dtype = args->w->dtype;
    const int64_t k = args->w->k, groups = groups_of(k), first = index * TILE_ROWS;
    const int64_t rows = args->rows - first < TILE_ROWS ? args->rows - first : TILE_ROWS;
    char *packed = args->packed + first * groups * activation_bytes(dtype);
    for (int64_t g = 0; g < groups; g++, packed += rows * activation_bytes(dtype))
        for (int64_t r = 0; r < rows; r++) {
            const float *x = args->x + (first + r) * args->stride + g * GROUP;
            float padded[GROUP] = {0};
            if (k - g * GROUP < GROUP) x = memcpy(padded, x, sizeof(float) * (k - g * GROUP));
            int8_t codes[GROUP];
            const float scale = quantize_group(x, codes);
            if (!uses_dot4(dtype)) {
                int16_t *pairs = (int16_t *)packed;
                for (int i = 0; i < GROUP / 2; i++) {
                    pairs[(i * rows + r) * 2] = codes[2 * i];
                    pairs[(i * rows + r) * 2 + 1] = codes[2 * i + 1];
                }
                memcpy(packed + 64 * rows + 4 * r, &scale, 4);
            } else {
                int32_t correction = 0;
                for (int i = 0; i < GROUP; i++) correction += codes[i];
                correction *= zero_point(dtype);
                for (int i = 0; i < GROUP / 4; i++) memcpy(packed + (i * rows + r) * 4, codes + 4 * i, 4);
                memcpy(packed + 32 * rows + 4 * r, &scale, 4);
                memcpy(packed + 36 * rows + 4 * r, &correction, 4);
            }
        }
}

/* Quantizes activations, rows of K numbers `stride` apart, and packs them into tiles. Takes at most as many bytes as the rows
 * have as float32 with K padded to 32. */
void quantize_activations(const struct matrix *w, const float *x, int64_t stride, int64_t rows, void *packed, int threads) {
    struct quantization_args args = {w, x, stride, rows, packed};
    parallel_for(rows > 4 * TILE_ROWS ? threads : 1, (rows + TILE_ROWS - 1) / TILE_ROWS, quantize_task, &args);
}

/* sums [R][Q][16] += R rows times Q panels, `panel_bytes` apart, over all of K. */
INLINE_IF_SIMD void quantized_tile(const int R, const int Q, const int dtype, const char *x, const char *w, int64_t panel_bytes,
                                   int64_t groups, float *sums) {
    f32x16 sum[MAX_TILE];
    if (SUMS_IN_REGISTERS) UNROLL_12(i, R * Q) sum[i] = vload(sums + PANEL * i);
    for (int64_t g = 0; g < groups; g++, w += block_bytes(dtype), x += R * activation_bytes(dtype)) {
        i32x16 group_sum[MAX_TILE];
        if (PREFETCH && R < 3)
            UNROLL_12(q, Q) for (int64_t line = 0; line < block_bytes(dtype); line += 64)
                __builtin_prefetch(w + q * panel_bytes + PREFETCH_BYTES_AHEAD + line);
        if (!uses_dot4(dtype)) {
            UNROLL_12(i, R * Q) group_sum[i] = i32_zero();
            for (int i = 0; i < GROUP / 2; i++) UNROLL_12(q, Q) {
                const i16x32 b = load_i16x32(w + q * panel_bytes + 32 * i);
                UNROLL_12(r, R) group_sum[r * Q + q] = dot2_add(group_sum[r * Q + q], load_i32(x + 4 * (i * R + r)), b);
            }
        } else {
            dot4_acc acc[MAX_TILE];
            UNROLL_12(r, R) UNROLL_12(q, Q) acc[r * Q + q] = dot4_zero();
            for (int i = 0; i < GROUP / 4; i += 2) {
                i8x64 first[TILE_PANELS], second[TILE_PANELS];
                UNROLL_12(q, Q) {
                    const char *p = w + q * panel_bytes + (dtype == INT8 ? 64 * i : 32 * i);
                    first[q] = dtype == INT8 ? load_i8x64(p) : load_low_nibbles(p);
                    second[q] = dtype == INT8 ? load_i8x64(p + 64) : load_high_nibbles(p);
                }
                UNROLL_12(r, R) UNROLL_12(q, Q)
                    acc[r * Q + q] = dot4_add(acc[r * Q + q], load_i32(x + 4 * (i * R + r)), first[q]);
                UNROLL_12(r, R) UNROLL_12(q, Q)
                    acc[r * Q + q] = dot4_add(acc[r * Q + q], load_i32(x + 4 * ((i + 1) * R + r)), second[q]);
            }
            UNROLL_12(r, R) UNROLL_12(q, Q)
                group_sum[r * Q + q] = i32_sub(dot4_sum(acc[r * Q + q]), load_i32(x + 36 * R + 4 * r)); /* minus correction */
        }
        UNROLL_12(q, Q) {
            const f32x16 scale = vload_f16(w + q * panel_bytes + block_bytes(dtype) - 32);
            UNROLL_12(r, R) {
                float row_scale;
                memcpy(&row_scale, x + (uses_dot4(dtype) ? 32 : 64) * R + 4 * r, 4);
                const int i = r * Q + q;
                const f32x16 scaled = vmul(i32_to_f32(group_sum[i]), vmul(vset(row_scale), scale));
                if (SUMS_IN_REGISTERS) sum[i] = vadd(sum[i], scaled);
                else vstore(sums + PANEL * i, vadd(vload(sums + PANEL * i), scaled));
            }
        }
    }
    if (SUMS_IN_REGISTERS) UNROLL_12(i, R * Q) vstore(sums + PANEL * i, sum[i]);
}

typedef void (*tile_function)(const char *x, const char *w, int64_t panel_bytes, int64_t groups, float *sums);

#define TILE(R, Q, DTYPE) \
    static __attribute__((noinline)) void tile_##R##x##Q##_##DTYPE(const char *x, const char *w, int64_t panel_bytes, \
                                                                   int64_t groups, float *sums) { \
        quantized_tile(R, Q, DTYPE, x, w, panel_bytes, groups, sums); \
    }
#define TILES(Q, DTYPE) \
    TILE(1, Q, DTYPE) TILE(2, Q, DTYPE) TILE(3, Q, DTYPE) TILE(4, Q, DTYPE) TILE(5, Q, DTYPE) TILE(6, Q, DTYPE) \
    static const tile_function TILES_##Q##_##DTYPE[TILE_ROWS] = {tile_1x##Q##_##DTYPE, tile_2x##Q##_##DTYPE, \
                                                                 tile_3x##Q##_##DTYPE, tile_4x##Q##_##DTYPE, \
                                                                 tile_5x##Q##_##DTYPE, tile_6x##Q##_##DTYPE};
TILES(1, INT8)
TILES(1, INT4)
#ifdef DOT4_UINT8
TILES(2, INT8)
TILES(2, INT4)
#else
#define TILES_2_INT8 TILES_1_INT8
#define TILES_2_INT4 TILES_1_INT4
#endif

struct matmul_quantized_args {
    const struct matrix *w;
    const char *x;
    int64_t rows;
    float *y;
    int64_t stride;
    enum epilogue epilogue;
    enum activation activation;
};

static void matmul_quantized_task(void *task_args, int64_t index, int thread) { /* TASK_PANELS panels, all rows */
    (void)thread;
    const struct matmul_quantized_args *args = task_args;
    const int dtype = args->w->dtype;
    const int64_t groups = groups_of(args->w->k), n_panels = ROUND_UP_16(args->w->n) / PANEL;
    const int64_t row_bytes = groups * activation_bytes(dtype);
    const int64_t first = index * TASK_PANELS, last = first + TASK_PANELS < n_panels ? first + TASK_PANELS : n_panels;
    const int64_t row_block =
        L2_BYTES / (row_bytes * TILE_ROWS) > 0 ? L2_BYTES / (row_bytes * TILE_ROWS) * TILE_ROWS : TILE_ROWS;
    for (int64_t from = 0; from < args->rows; from += row_block) {
        const int64_t to = from + row_block < args->rows ? from + row_block : args->rows;
        for (int64_t panel = first, panels; panel < last; panel += panels) {
            panels = args->rows > 2 && panel + TILE_PANELS <= last ? TILE_PANELS : 1;
            const int64_t panel_bytes = groups * block_bytes(dtype);
            const char *w = (const char *)args->w->data + panel * panel_bytes;
            for (int64_t row = from; row < to; row += TILE_ROWS) {
                const int rows = args->rows - row < TILE_ROWS ? (int)(args->rows - row) : TILE_ROWS;
                float sums[MAX_TILE * PANEL];
                for (int64_t i = 0; i < rows * panels; i++)
                    vstore(sums + PANEL * i, args->w->bias ? vload(args->w->bias + (panel + i % panels) * PANEL) : vset(0.0f));
                const tile_function *tiles = panels == 1 ? dtype == INT8 ? TILES_1_INT8 : TILES_1_INT4
                                                         : dtype == INT8 ? TILES_2_INT8 : TILES_2_INT4;
                tiles[rows - 1](args->x + row * row_bytes, w, panel_bytes, groups, sums);
                for (int64_t i = 0; i < rows * panels; i++)
                    apply_epilogue(args->y + (row + i / panels) * args->stride + (panel + i % panels) * PANEL, sums + PANEL * i,
                                   args->epilogue, args->activation);
            }
        }
    }
}

/* As `matmul`, of activations packed by `quantize_activations`. */
void matmul_quantized(const struct matrix *w, const void *packed, int64_t rows, float *y, int64_t stride,
                      enum epilogue epilogue, enum activation activation, int threads) {
    struct matmul_quantized_args args = {w, packed, rows, y, stride, epilogue, activation};
    parallel_for(threads, (ROUND_UP_16(w->n) / PANEL + TASK_PANELS - 1) / TASK_PANELS, matmul_quantized_task, &args);
}
