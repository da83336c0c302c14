/* Which instruction sets are compiled in and run on this CPU. */
#include "simd.h"

#include <stddef.h>
#include <string.h>

const struct skhmat_simd *skhmat_simd_named(const char *isa)
{
#ifdef SKHMAT_HAVE_AVX512
    if (!strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma"))
        return &skhmat_simd_avx512;
#endif
#ifdef SKHMAT_HAVE_AVX2
    if (!strcmp(isa, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &skhmat_simd_avx2;
#endif
    return strcmp(isa, "plain") ? NULL : &skhmat_simd_plain;
}

const struct skhmat_simd *skhmat_simd_best(void)
{
    const struct skhmat_simd *found = skhmat_simd_named("avx512");
    if (!found)
        found = skhmat_simd_named("avx2");
    return found ? found : &skhmat_simd_plain;
}
