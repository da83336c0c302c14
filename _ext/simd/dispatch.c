/* Which compiled copy of the kernels runs on this CPU. */
#include "simd.h"

#include <stddef.h>
#include <string.h>

const struct skhmat_kernels *skhmat_kernels_named(const char *isa)
{
#ifdef SKHMAT_HAVE_AVX512
    if (!strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma"))
        return &skhmat_kernels_avx512;
#endif
#ifdef SKHMAT_HAVE_AVX2
    if (!strcmp(isa, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &skhmat_kernels_avx2;
#endif
    return strcmp(isa, "plain") ? NULL : &skhmat_kernels_plain;
}

const struct skhmat_kernels *skhmat_kernels_best(void)
{
    const struct skhmat_kernels *found = skhmat_kernels_named("avx512");
    if (!found)
        found = skhmat_kernels_named("avx2");
    return found ? found : &skhmat_kernels_plain;
}
