/* What the operators share: bfloat16 conversion, and e^x in a form that compilers vectorize. */
#ifndef PELLUCID_OPERATORS_H
#define PELLUCID_OPERATORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16; /* the upper half of a float32 */

static inline float to_float(bfloat16 value)
{
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* To bfloat16, rounded to nearest even as in PyTorch; NaN stays NaN. */
static inline bfloat16 to_bfloat16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bfloat16)(value != value ? 0x7fc0u : rounded);
}

/* e^x within 2 units in the last place: x = n log 2 + r, a polynomial in r (the coefficients of Cephes' expf), then times 2^n.
   Below -87 it is 0, above 88 infinity; NaN stays NaN. */
static inline float fast_exp(float x)
{
    float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = rintf(clamped * 1.44269504f);
    float r = fmaf(n, -0.693359375f, clamped);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p * r, r, r + 1.0f);
    int32_t exponent = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &exponent, sizeof scale);
    float out = p * scale;
    out = x < -87.0f ? 0.0f : out;
    out = x > 88.0f ? INFINITY : out;
    return x != x ? x : out;
}

#endif
