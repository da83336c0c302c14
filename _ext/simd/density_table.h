/* The density kernels, functions of u = (r / bandwidth)^2 for a distance r.
 *
 * The first two vanish nowhere and are summed as exponentials; the others are 0 for u >= 1. To add one
 * of these, add a row to its table and a function below; Python also needs its integral (`log_integral`).
 */
#ifndef SKHMAT_DENSITY_TABLE_H
#define SKHMAT_DENSITY_TABLE_H

/* By name, with a = r / bandwidth. */
#define SKHMAT_COMPACT_DENSITIES(DENSITY)                                                                  \
    DENSITY(tophat)       /* 1 */                                                                          \
    DENSITY(epanechnikov) /* 1 - a^2 */                                                                    \
    DENSITY(linear)       /* 1 - a */                                                                      \
    DENSITY(cosine)       /* cos(pi a / 2) */
#define SKHMAT_DENSITY_TABLE(DENSITY)                                                                      \
    DENSITY(gaussian)    /* exp(-a^2 / 2) */                                                               \
    DENSITY(exponential) /* exp(-a) */                                                                     \
    SKHMAT_COMPACT_DENSITIES(DENSITY)

#define DENSITY(name) SKHMAT_DENSITY_##name,
enum skhmat_density_kernel { SKHMAT_DENSITY_TABLE(DENSITY) SKHMAT_N_DENSITIES };
#undef DENSITY

#define DENSITY(name) #name,
static const char *const skhmat_density_names[] = {SKHMAT_DENSITY_TABLE(DENSITY)};
#undef DENSITY

/* Whether it is 0 for u >= 1. */
static inline int skhmat_is_compact(int kernel)
{
    return kernel > SKHMAT_DENSITY_exponential;
}

#endif

/* ---- functions for u < 1; log_sums.h includes them once per floating-point type ------------------- */

#ifdef REAL

static inline __attribute__((always_inline)) REAL NAME(tophat_density)(REAL u)
{
    return 1;
}

static inline __attribute__((always_inline)) REAL NAME(epanechnikov_density)(REAL u)
{
    return 1 - u;
}

static inline __attribute__((always_inline)) REAL NAME(linear_density)(REAL u)
{
    return (1 - u) / (1 + SQRT(u)); /* 1 - sqrt(u) would cancel */
}

static inline __attribute__((always_inline)) REAL NAME(cosine_density)(REAL u)
{
    /* The power series of cos(pi/2 sqrt(u)) / (1 - u), which has no zero near [0, 1]. */
    const double q[] = {1.0,
                        -0.23370055013616982735,
                        0.019968957764878186282,
                        -0.0008945229984747745908,
                        2.4737276364651989442e-05,
                        -4.6476600840861603898e-07,
                        6.3214694732011113844e-09,
                        -6.5133610590740856702e-11,
                        5.2602055905386692026e-13,
                        -3.4194610195954559326e-15};
    REAL value = (REAL)q[9];
    for (int i = 8; i >= 0; i--)
        value = value * u + (REAL)q[i];
    return value * (1 - u);
}

#endif
