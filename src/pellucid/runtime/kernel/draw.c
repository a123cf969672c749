/* The arithmetic of a draw (`engine/sampling.py`): probabilities as multiples of the largest, their sum, its logarithm, and the
 * inverse distribution function. `runtime/draw_arithmetic.py` has the same definitions in NumPy.
 *
 * Sums, products and quotients of float64 numbers alone, each rounded once, and none of them fused: so any language that has
 * IEEE 754 repeats the bits, which no library's exp and log promise. */
#include <math.h>
#include <stdlib.h>

#include "kernel.h"
#include "vector.h"

enum { LANES = 16, WIDTH = 4 };
typedef double doubles __attribute__((vector_size(8 * WIDTH))); /* of any processor: the compiler divides them */
typedef int64_t words __attribute__((vector_size(8 * WIDTH)));

/* ln 2 is their sum; the first has 41 bits. */
static const double LN2_HIGH = 0x1.62e42fefa3800p-1, LN2_LOW = 0x1.ef35793c76730p-45;

/* e^x of numbers <= 0, none NaN: x = k ln 2 + r, Taylor series of e^r up to r^13, then times 2^k. Off by at most 1.1 units in
 * the last place; zero below -708, above which it is not subnormal. */
static inline __attribute__((always_inline)) doubles exp_of(doubles x) {
    const doubles least = {-708.0, -708.0, -708.0, -708.0};
    const words is_below = x < least;
    const doubles y = (doubles)((is_below & (words)least) | (~is_below & (words)x));
    const doubles shifted = y * 0x1.71547652b82fep+0 + 0x1.8p+52; /* log2 e; the sum is rounded to a whole number, k */
    const doubles k = shifted - 0x1.8p+52;
    const doubles r = (y - k * LN2_HIGH) - k * LN2_LOW; /* the first product and difference are exact */
    doubles p = r * (1.0 / 6227020800) + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return (doubles)(~is_below & ((words)p + ((words)shifted << 52))); /* k is in the lowest bits of `shifted` */
}

void pellucid_exp(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t count = n - i < WIDTH ? n - i : WIDTH;
        doubles some = {0};
        if (count == WIDTH) memcpy(&some, x + i, sizeof some);
        else memcpy(&some, x + i, sizeof(double) * count);
        some = exp_of(some);
        if (count == WIDTH) memcpy(x + i, &some, sizeof some);
        else memcpy(x + i, &some, sizeof(double) * count);
    }
}

/* ln x for a finite x >= 1: x = m 2^e with m from sqrt 1/2 to sqrt 2, and ln m = 2 artanh s, s = (m - 1) / (m + 1), by its
 * series up to s^23. */
double pellucid_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    double e = (double)((int64_t)(bits >> 52) - 1023), m;
    bits = (bits & 0xfffffffffffff) | 0x3ff0000000000000;
    memcpy(&m, &bits, 8);
    if (m > 0x1.6a09e667f3bcdp+0) m *= 0.5, e += 1.0;
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 23;
    for (int i = 21; i >= 3; i -= 2) p = p * z + 1.0 / i;
    return e * LN2_HIGH + (2.0 * s + (2.0 * s * z * p + e * LN2_LOW));
}

/* Sum in sixteen lanes, lane j of numbers j, j + 16 and so on; then the upper half of the lanes is added to the lower one until
 * one is left. */
double pellucid_sum(const double *x, int64_t n) {
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lanes[j] += x[i + j];
    for (int j = 0; i + j < n; j++) lanes[j] += x[i + j];
    for (int half = LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return lanes[0];
}

double pellucid_weights(const float *logits, int64_t n, double *weights) {
    float lanes[LANES], largest = -INFINITY;
    uint32_t is_nan = 0;
    f32x16 peak = vset(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) peak = vselect_less(peak, vload(logits + i), vload(logits + i), peak);
    vstore(lanes, peak);
    for (int j = 0; j < LANES; j++) largest = lanes[j] > largest ? lanes[j] : largest;
    for (; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
    for (i = 0; i < n; i++) is_nan |= logits[i] != logits[i];
    if (is_nan || fabsf(largest) == INFINITY) return NAN;
    for (i = 0; i < n; i++) weights[i] = (double)logits[i] - (double)largest;
    pellucid_exp(weights, n);
    return pellucid_sum(weights, n);
}

int64_t pellucid_inverse_cdf(const double *weights, int64_t n, double u) {
    double total = 0.0, end = 0.0;
    for (int64_t i = 0; i < n; i++) total += weights[i];
    const double target = u * total; /* u < 1, so it is less than the total after rounding, too */
    int64_t index = 0;
    while (index < n - 1 && (end += weights[index]) <= target) index++;
    return index;
}
