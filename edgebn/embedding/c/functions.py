"""The functions of one number that the generated code calls instead of libm's, as C, and which they call themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

EXPONENTIAL = """\
/* exp(x) within 2 ulp: with x = n log 2 + r, |r| <= log 2 / 2, it is 2^n (1 + r + r^2 q(r)), q fitted to that range.
   0 below -87; above 88, as at 88. */
static inline float exponential(float x)
{
    union { int32_t integer; float real; } power;
    const float clipped = x > -87.0f ? x < 88.0f ? x : 88.0f : -87.0f;
    const float scaled = clipped * 1.44269504f;
    const int n = (int)(scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f);
    const float r = clipped - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    const float q = 0.49999982f
        + r * (0.1666647f + r * (0.041670218f + r * (0.008373504f + r * 0.0013742801f)));
    power.integer = (n + 127) * (1 << 23);
    return x < -87.0f ? 0.0f : x == x ? (1.0f + (r + r * r * q)) * power.real : x;
}"""

LESS_ONE = """\
/* exp(x) - 1 within 4 ulp, also near 0: there it is x + x^2 q(x), with the q of exponential. */
static inline float exponential_less_one(float x)
{
    const float q = 0.49999982f
        + x * (0.1666647f + x * (0.041670218f + x * (0.008373504f + x * 0.0013742801f)));
    return x > -0.34f && x < 0.34f ? x + x * x * q : exponential(x) - 1.0f;
}"""

TANGENT = """\
/* tanh(x) within 4 ulp, also near 0: there it is x + x^3 p(x^2), p fitted to |x| <= 0.55. */
static inline float hyperbolic_tangent(float x)
{
    const float z = x * x;
    const float p = -0.33333316f
        + z * (0.13332565f + z * (-0.053850297f + z * (0.021064136f + z * -0.006264368f)));
    return x > -0.55f && x < 0.55f ? x + x * z * p : 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}"""

LOGARITHM = """\
/* log(x) within 3 ulp: with x = 2^n (1 + f), 1/sqrt(2) <= 1 + f < sqrt(2), it is n log 2 + f - f^2/2 + f^3 p(f). */
static inline float logarithm(float x)
{
    union { int32_t integer; float real; } bits;
    const int small = x < 1.2e-38f;
    bits.real = small ? x * 8388608.0f : x;
    const int32_t n = ((bits.integer + 4913933) >> 23) - 127;
    bits.integer -= n * (1 << 23);
    const float f = bits.real - 1.0f, power = (float)(small ? n - 23 : n);
    const float p = 0.33333331f + f * (-0.25000823f + f * (0.20001227f + f * (-0.16623357f
        + f * (0.14201762f + f * (-0.13160194f + f * (0.1276155f + f * -0.0763443f))))));
    const float result = f - 0.5f * f * f + f * f * f * p - power * 2.12194440e-4f + power * 0.693359375f;
    return x > 0.0f ? x < INFINITE ? result : x : x == 0.0f ? -INFINITE : NOT_A_NUMBER;
}"""

SOFTPLUS = """\
/* log(1 + exp(x)) within 4 ulp: max(x, 0) + log(1 + t), t = exp(-|x|); what 1 + t loses of t is given back. */
static inline float softplus(float x)
{
    const float t = exponential(x < 0.0f ? x : -x), sum = 1.0f + t;
    const float rest = sum == 1.0f ? t : logarithm(sum) * t / (sum - 1.0f);
    return x > 0.0f ? x + rest : rest;
}"""

ROOT = """\
/* The square root of x within 1 ulp: half the exponent, then three steps of Newton's. */
static inline float square_root(float x)
{
    union { int32_t integer; float real; } bits;
    const float scaled = x < 1e-30f ? x * 1.6777216e7f : x;
    bits.real = scaled;
    bits.integer = (bits.integer >> 1) + 0x1fbd1df5;
    float y = bits.real;
    y = 0.5f * (y + scaled / y);
    y = 0.5f * (y + scaled / y);
    y = 0.5f * (y + scaled / y);
    return x > 0.0f ? x < INFINITE ? x < 1e-30f ? y * 2.44140625e-4f : y : x : x == 0.0f ? x : NOT_A_NUMBER;
}"""

ERROR_FUNCTION = """\
/* erf(x) within 4 ulp: x p(x^2) for |x| < 1, else 1 - exp(-q(|x|)), p and q fitted. */
static inline float error_function(float x)
{
    const float size = x < 0.0f ? -x : x, a = size < 4.0f ? size : 4.0f, z = a * a;
    const float p = 1.1283791f + z * (-0.37612626f + z * (0.112836f + z * (-0.026854444f
        + z * (0.0051895352f + z * (-0.00080208411f + z * 0.000078891193f)))));
    const float q = -0.00018846779f + a * (1.1295803f + a * (0.63321638f + a * (0.10842210f
        + a * (-0.025210341f + a * (0.0042052860f + a * (-0.00044147292f + a * 0.000021697639f))))));
    const float large = 1.0f - exponential(-q);
    return size < 1.0f ? x * p : x > 0.0f ? large : x < 0.0f ? -large : x;
}"""

FUNCTIONS = {
    "exponential": EXPONENTIAL,
    "exponential_less_one": LESS_ONE,
    "hyperbolic_tangent": TANGENT,
    "logarithm": LOGARITHM,
    "softplus": SOFTPLUS,
    "square_root": ROOT,
    "error_function": ERROR_FUNCTION,
}
"""By their names, each after those that it calls."""


def called(text: str) -> Iterator[str]:
    """The functions that an expression in C calls, and those that they call."""
    words = set(re.findall(r"\w+", text))
    for name in reversed(FUNCTIONS):
        if name in words:
            words |= set(re.findall(r"\w+(?=\()", FUNCTIONS[name]))
            yield name
