/* Operators of a training step in bfloat16, each one pass over memory where PyTorch's take several.

   Sums are float32; rows are shared out among `threads` threads, and no result depends on how many: what is summed over rows is
   summed in blocks of rows of a fixed size, in their order. Every function's definition in plain PyTorch is in
   tests/test_operators.py. Shapes are C's order; nothing is aligned. */
#include "operators.h"

#include <stdlib.h>

enum { ROWS_A_BLOCK = 64 }; /* rows whose sums are taken together */

/* y = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form of GELU, for tanh u = 2 sigmoid(2 u) - 1;
   slope = dy/dx = s + 2 x s (1 - s) u'. */
void pellucid_gelu(int64_t count, const bfloat16 *restrict x, bfloat16 *restrict y, bfloat16 *restrict slope, int threads)
{
    const float c = 1.5957691216f, cubic = 0.0713548162726f; /* 2 sqrt(2/pi), and that times 0.044715 */
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        float v = wide(x[i]), near = v < -16.0f ? -16.0f : v > 16.0f ? 16.0f : v; /* beyond, s is 0 or 1 */
        float square = near * near, s = 1.0f / (1.0f + exponential(-near * fmaf(cubic, square, c)));
        y[i] = narrow(v * s);
        slope[i] = narrow(fmaf(near * s * (1.0f - s), fmaf(3.0f * cubic, square, c), s));
    }
}

/* LayerNorm of `rows` rows of `width` numbers; mean and 1 / deviation of each are kept. */
void pellucid_layer_norm(int64_t rows, int64_t width, const float *restrict x, const float *restrict gain,
                         const float *restrict bias, float eps, bfloat16 *restrict y, float *restrict mean,
                         float *restrict inverse, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *in = x + row * width;
        bfloat16 *out = y + row * width;
        float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++)
            sum += in[i];
        float middle = sum / (float)width;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares += (in[i] - middle) * (in[i] - middle);
        float over = 1.0f / sqrtf(squares / (float)width + eps);
        mean[row] = middle;
        inverse[row] = over;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            out[i] = narrow(fmaf((in[i] - middle) * over, gain[i], bias[i]));
    }
}

/* And back: dx, and what each block of rows adds to the gain's and the bias's gradients, (blocks, 2, width). */
void pellucid_layer_norm_back(int64_t rows, int64_t width, const float *restrict x, const float *restrict gain,
                              const float *restrict mean, const float *restrict inverse, const bfloat16 *restrict dy,
                              float *restrict dx, float *restrict sums, int threads)
{
    int64_t blocks = (rows + ROWS_A_BLOCK - 1) / ROWS_A_BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float *d_gain = sums + 2 * block * width, *d_bias = d_gain + width;
        memset(d_gain, 0, 2 * (size_t)width * sizeof *d_gain);
        int64_t end = (block + 1) * ROWS_A_BLOCK < rows ? (block + 1) * ROWS_A_BLOCK : rows;
        for (int64_t row = block * ROWS_A_BLOCK; row < end; row++) {
            const float *in = x + row * width;
            const bfloat16 *g = dy + row * width;
            float *out = dx + row * width, middle = mean[row], over = inverse[row], sum = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : sum, along)
            for (int64_t i = 0; i < width; i++) {
                float grad = wide(g[i]), normal = (in[i] - middle) * over, scaled = grad * gain[i];
                sum += scaled;
                along += scaled * normal;
                d_gain[i] += grad * normal;
                d_bias[i] += grad;
            }
            sum /= (float)width;
            along /= (float)width;
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                out[i] = over * (wide(g[i]) * gain[i] - sum - (in[i] - middle) * over * along);
        }
    }
}

/* Softmax in place of `groups` matrices of scores, (T, T): row t sees the first t + 1, which are scaled; the others become 0. */
void pellucid_causal_softmax(int64_t groups, int64_t tracks, float scale, bfloat16 *restrict scores, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        float *held = malloc((size_t)tracks * sizeof *held);
#pragma omp for schedule(static)
        for (int64_t at = 0; at < groups * tracks; at++) {
            bfloat16 *row = scores + at * tracks;
            int64_t seen = at % tracks + 1;
            float most = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : most)
            for (int64_t i = 0; i < seen; i++) {
                held[i] = wide(row[i]) * scale;
                most = held[i] > most ? held[i] : most;
            }
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < seen; i++) {
                held[i] = exponential(held[i] - most);
                sum += held[i];
            }
            float part = 1.0f / sum;
#pragma omp simd
            for (int64_t i = 0; i < seen; i++)
                row[i] = narrow(held[i] * part);
            memset(row + seen, 0, (size_t)(tracks - seen) * sizeof *row);
        }
        free(held);
    }
}

/* And back, in place of the gradient of the weights: scale w (dw - sum w dw), which is 0 where the weight is. */
void pellucid_softmax_back(int64_t groups, int64_t tracks, float scale, const bfloat16 *restrict weights,
                           bfloat16 *restrict grad, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < groups * tracks; at++) {
        const bfloat16 *w = weights + at * tracks;
        bfloat16 *g = grad + at * tracks;
        int64_t seen = at % tracks + 1;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < seen; i++)
            sum += wide(w[i]) * wide(g[i]);
#pragma omp simd
        for (int64_t i = 0; i < seen; i++)
            g[i] = narrow(scale * wide(w[i]) * (wide(g[i]) - sum));
        memset(g + seen, 0, (size_t)(tracks - seen) * sizeof *g);
    }
}

/* -log softmax(logits)[target] of each row of `vocabulary` logits, `stride` numbers from the next, in nats. The row becomes its
   gradient, and what lies behind it 0. A negative target does not count. */
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
        float most = -INFINITY, sum = 0.0f, right = wide(in[targets[row]]);
#pragma omp simd reduction(max : most)
        for (int64_t i = 0; i < vocabulary; i++) {
            float v = wide(in[i]);
            most = v > most ? v : most;
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < vocabulary; i++)
            sum += exponential(wide(in[i]) - most);
        float whole = most + logf(sum);
        losses[row] = whole - right;
#pragma omp simd
        for (int64_t i = 0; i < vocabulary; i++)
            in[i] = narrow(exponential(wide(in[i]) - whole));
        in[targets[row]] = narrow(exponential(right - whole) - 1.0f);
    }
}
