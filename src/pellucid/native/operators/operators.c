/* Operators of a training step in bfloat16, each fused into one pass over memory where PyTorch takes several.

   Sums are float32. Rows are distributed over `threads` threads, and no result depends on how many: sums over rows are taken in
   blocks of rows of a fixed size, in their order. tests/test_operators.py defines each function in plain PyTorch. Arrays are
   contiguous, in C order; nothing needs alignment. */
#include "operators.h"

#include <stdlib.h>

enum { ROWS_PER_BLOCK = 64 }; /* rows that are summed together */

/* GELU, tanh form: y = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3), because tanh u = 2 sigmoid(2 u) - 1. Also its
   derivative for the backward pass: slope = dy/dx = s + 2 x s (1 - s) u', s = sigmoid(2 u). */
void pellucid_gelu(int64_t count, const bfloat16 *restrict x, bfloat16 *restrict y, bfloat16 *restrict slope, int threads)
{
    const float c = 1.5957691216f, cubic = 0.0713548162726f; /* 2 sqrt(2/pi), and that times 0.044715 */
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        float v = to_float(x[i]), clamped = v < -16.0f ? -16.0f : v > 16.0f ? 16.0f : v; /* beyond, s is 0 or 1 */
        float square = clamped * clamped, s = 1.0f / (1.0f + fast_exp(-clamped * fmaf(cubic, square, c)));
        y[i] = to_bfloat16(v * s);
        slope[i] = to_bfloat16(fmaf(clamped * s * (1.0f - s), fmaf(3.0f * cubic, square, c), s));
    }
}

/* LayerNorm of (rows, width); the mean and rstd = 1 / standard deviation of each row are for the backward pass. */
void pellucid_layer_norm(int64_t rows, int64_t width, const float *restrict x, const float *restrict gain,
                         const float *restrict bias, float eps, bfloat16 *restrict y, float *restrict mean,
                         float *restrict rstd, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *in = x + row * width;
        bfloat16 *out = y + row * width;
        float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++)
            sum += in[i];
        float row_mean = sum / (float)width;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares += (in[i] - row_mean) * (in[i] - row_mean);
        float row_rstd = 1.0f / sqrtf(squares / (float)width + eps);
        mean[row] = row_mean;
        rstd[row] = row_rstd;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            out[i] = to_bfloat16(fmaf((in[i] - row_mean) * row_rstd, gain[i], bias[i]));
    }
}

/* Backward of LayerNorm: dx, and each block's part of the gradients of gain and bias, (blocks, 2, width). */
void pellucid_layer_norm_backward(int64_t rows, int64_t width, const float *restrict x, const float *restrict gain,
                                  const float *restrict mean, const float *restrict rstd, const bfloat16 *restrict dy,
                                  float *restrict dx, float *restrict sums, int threads)
{
    int64_t blocks = (rows + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float *d_gain = sums + 2 * block * width, *d_bias = d_gain + width;
        memset(d_gain, 0, 2 * (size_t)width * sizeof *d_gain);
        int64_t end = (block + 1) * ROWS_PER_BLOCK < rows ? (block + 1) * ROWS_PER_BLOCK : rows;
        for (int64_t row = block * ROWS_PER_BLOCK; row < end; row++) {
            const float *in = x + row * width;
            const bfloat16 *g = dy + row * width;
            float *out = dx + row * width, row_mean = mean[row], row_rstd = rstd[row], sum = 0.0f, dot = 0.0f;
#pragma omp simd reduction(+ : sum, dot)
            for (int64_t i = 0; i < width; i++) {
                float grad = to_float(g[i]), normalized = (in[i] - row_mean) * row_rstd, d_normalized = grad * gain[i];
                sum += d_normalized;
                dot += d_normalized * normalized;
                d_gain[i] += grad * normalized;
                d_bias[i] += grad;
            }
            sum /= (float)width;
            dot /= (float)width;
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                out[i] = row_rstd * (to_float(g[i]) * gain[i] - sum - (in[i] - row_mean) * row_rstd * dot);
        }
    }
}

/* Causal softmax, in place, of `batch` matrices of attention scores (T, T), T `positions`: query t attends to the first t + 1
   keys, whose scores are multiplied by `scale`; the others' weights become 0. */
void pellucid_causal_softmax(int64_t batch, int64_t positions, float scale, bfloat16 *restrict scores, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        float *row_scores = malloc((size_t)positions * sizeof *row_scores);
#pragma omp for schedule(static)
        for (int64_t index = 0; index < batch * positions; index++) {
            bfloat16 *row = scores + index * positions;
            int64_t keys = index % positions + 1;
            float largest = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : largest)
            for (int64_t i = 0; i < keys; i++) {
                row_scores[i] = to_float(row[i]) * scale;
                largest = row_scores[i] > largest ? row_scores[i] : largest;
            }
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < keys; i++) {
                row_scores[i] = fast_exp(row_scores[i] - largest);
                sum += row_scores[i];
            }
            float inverse_sum = 1.0f / sum;
#pragma omp simd
            for (int64_t i = 0; i < keys; i++)
                row[i] = to_bfloat16(row_scores[i] * inverse_sum);
            memset(row + keys, 0, (size_t)(positions - keys) * sizeof *row);
        }
        free(row_scores);
    }
}

/* Backward of the causal softmax: replaces the gradient of the weights, dw, by that of the scores, scale w (dw - sum w dw). */
void pellucid_causal_softmax_backward(int64_t batch, int64_t positions, float scale, const bfloat16 *restrict weights,
                                      bfloat16 *restrict grad, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < batch * positions; index++) {
        const bfloat16 *w = weights + index * positions;
        bfloat16 *g = grad + index * positions;
        int64_t keys = index % positions + 1;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < keys; i++)
            sum += to_float(w[i]) * to_float(g[i]);
#pragma omp simd
        for (int64_t i = 0; i < keys; i++)
            g[i] = to_bfloat16(scale * to_float(w[i]) * (to_float(g[i]) - sum));
        memset(g + keys, 0, (size_t)(positions - keys) * sizeof *g);
    }
}

/* Cross-entropy of each row, forward and backward: losses = -log softmax(logits)[target] in nats, and the row of logits is
   replaced by its gradient. Rows of `vocabulary` logits are `stride` numbers apart; the padding between them becomes 0. A row
   with a negative target is ignored: its loss and gradient are 0. */
void pellucid_cross_entropy(int64_t rows, int64_t vocabulary, int64_t stride, bfloat16 *restrict logits,
                            const int64_t *restrict targets, float *restrict losses, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        bfloat16 *in = logits + row * stride;
        memset(in + vocabulary, 0, (size_t)(stride - vocabulary) * sizeof *in);
        if (targets[row] < 0) {
            losses[row] = 0.0f;
            memset(in, 0, (size_t)vocabulary * sizeof *in);
            continue;
        }
        float largest = -INFINITY, sum = 0.0f, target_logit = to_float(in[targets[row]]);
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < vocabulary; i++) {
            float v = to_float(in[i]);
            largest = v > largest ? v : largest;
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < vocabulary; i++)
            sum += fast_exp(to_float(in[i]) - largest);
        float log_sum_exp = largest + logf(sum);
        losses[row] = log_sum_exp - target_logit;
#pragma omp simd
        for (int64_t i = 0; i < vocabulary; i++)
            in[i] = to_bfloat16(fast_exp(to_float(in[i]) - log_sum_exp));
        in[targets[row]] = to_bfloat16(fast_exp(target_logit - log_sum_exp) - 1.0f);
    }
}
