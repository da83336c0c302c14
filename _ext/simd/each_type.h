/* All loops of isa.c for one floating-point type; included by it once per type. */

#define NAME(stem) JOIN(stem, TYPE)
#define VREAL NAME(vreal)
#define LANES ((intptr_t)(VECTOR_BYTES / sizeof(REAL)))
#define STRIP (STRIP_VECTORS * LANES)
#define EACH(i, n) _Pragma("omp simd") for (intptr_t i = 0; i < (n); i++)

typedef REAL VREAL __attribute__((vector_size(VECTOR_BYTES), may_alias));

#include "vector_math.h"
#include "tile.h"
#include "pairwise.h"
#include "log_sums.h"
#ifdef IS_DOUBLE
#include "log_sums_tree.h"
#include "csr.h"
#else
#include "packed.h"
#endif

#undef NAME
#undef VREAL
#undef LANES
#undef STRIP
#undef EACH
#undef BLOCK_ROWS
#undef REAL
#undef UINT
#undef TYPE
#undef REAL_MAX
#undef REAL_EPSILON
#undef MANTISSA
#undef EXPONENT_BIAS
#undef GEMM
#undef SQRT
#undef ABS
