/* Functions of numbers in REAL: exponential, logarithm, powers. Included by each_type.h. */

static inline REAL NAME(from_bits)(UINT bits)
{
    REAL x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static inline UINT NAME(to_bits)(REAL x)
{
    UINT bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* e^x for x <= 0: x = n ln 2 + f, e^x = 2^n p(f), |f| <= ln 2 / 2. Results that would be subnormal are
 * 0: they slow down whatever reads them by two orders of magnitude. With `any_sign`, for all x. */
static inline REAL NAME(exp_one)(REAL x, int any_sign)
{
#ifdef IS_DOUBLE
    /* Minimax relative error 3.7e-18 with the first two coefficients held at 1. */
    const REAL c[] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.555555555087cp-5,
                      0x1.1111111127be5p-7,  0x1.6c16c1842a11dp-10, 0x1.a01a012a57b51p-13,
                      0x1.a0199a0c677acp-16, 0x1.71df2552390c2p-19, 0x1.28ad72cc30daap-22,
                      0x1.ad7f6f0799ee2p-26};
    const REAL ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33;
    const REAL log2e = 0x1.71547652b82fep+0, lowest = -0x1.6232bdd7abcd2p+9;
    const REAL highest = 0x1.62e42fefa39efp+9;
#else
    /* Minimax relative error 3.1e-9, likewise. */
    const REAL c[] = {4.99999934477964869e-01f, 1.66665206317094972e-01f, 4.16683880453139963e-02f,
                      8.36871687972813830e-03f, 1.38145986466640339e-03f};
    const REAL ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f; /* n ln2_hi is exact */
    const REAL log2e = 1.44269504f, lowest = -87.3365402f, highest = 88.7228394f;
#endif
    const int degree = (int)(sizeof(c) / sizeof(c[0])) - 1;
    /* Adding 1.5 * 2^MANTISSA rounds to an integer and leaves it in the lowest bits; the bias of the
     * exponent on top makes these bits, shifted, the number 2^n. */
    const REAL magic = (REAL)(3ULL << (MANTISSA - 1)) + EXPONENT_BIAS;
    const REAL shifted = x * log2e + magic;
    const REAL n = shifted - magic;
    const REAL f = (x - n * ln2_hi) - n * ln2_lo;
    REAL p = c[degree];
    for (int i = degree - 1; i >= 0; i--)
        p = p * f + c[i];
    p = p * f + 1;
    p = p * f + 1;
    const UINT up = any_sign && x > 0; /* 2^n may overflow where e^x does not: 2^(n - 1) twice */
    REAL y = p * NAME(from_bits)((NAME(to_bits)(shifted) - up) << MANTISSA);
    y = x < lowest ? 0 : y;
    if (any_sign)
        y = x > highest ? (REAL)INFINITY : y * (REAL)(1 + up);
    return y;
}

static void NAME(exp_array)(const REAL *x, REAL *out, intptr_t n)
{
    EACH(i, n)
        out[i] = NAME(exp_one)(x[i], 1);
}

/* log(1 + t) for finite t >= 0: 1 + t = 2^e m, log m = 2 atanh((m - 1) / (m + 1)). */
static inline REAL NAME(log1p_one)(REAL t)
{
#ifdef IS_DOUBLE
    const UINT sqrt_half = 0x3fe6a09e667f3bcdULL;
    const REAL ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33;
    const int terms = 10;
#else
    const UINT sqrt_half = 0x3f3504f3U;
    const REAL ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    const int terms = 4;
#endif
    const REAL u = 1 + t;
    const UINT e = (NAME(to_bits)(u) - sqrt_half) >> MANTISSA;
    const REAL m = NAME(from_bits)(NAME(to_bits)(u) - (e << MANTISSA));
    const REAL shift = (REAL)(1ULL << MANTISSA); /* integer to REAL without a conversion instruction */
    const REAL exponent = NAME(from_bits)(e + NAME(to_bits)(shift)) - shift;
    const REAL s = (m - 1) / (m + 1), s2 = s * s;
    REAL p = (REAL)1 / (2 * terms + 1);
    for (int i = terms - 1; i >= 1; i--)
        p = p * s2 + (REAL)1 / (2 * i + 1);
    const REAL lost = (t - (u - 1)) / u; /* what 1 + t rounded away */
    return exponent * ln2_hi + (2 * s + (2 * s * s2 * p + (exponent * ln2_lo + lost)));
}

/* Raise n numbers to a power of at least 1; n is that of a tile at most. */
static void NAME(raise)(REAL *restrict t, intptr_t n, int power)
{
    REAL base[ROWS * CHUNK];
    memcpy(base, t, n * sizeof(REAL));
    int bit = 1;
    while (bit <= power / 2)
        bit *= 2;
    for (bit /= 2; bit; bit /= 2) {
        if (power & bit) {
            EACH(i, n)
                t[i] = t[i] * t[i] * base[i];
        } else {
            EACH(i, n)
                t[i] = t[i] * t[i];
        }
    }
}

/* A number within the range of REAL, and not 0. */
static REAL NAME(bounded)(double x)
{
    return (REAL)fmin(fmax(x, (double)(1 / REAL_MAX)), (double)REAL_MAX);
}
