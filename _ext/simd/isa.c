/* Compiled once per instruction set, with -DSKHMAT_ISA=plain, avx2 or avx512 and its flags. */
#include "interrupt.h"
#include "simd.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#define SKHMAT_THREAD omp_get_thread_num()
#else
#define SKHMAT_THREAD 0
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define STRIP_VECTORS 4 /* 4 x 4 accumulators of the 32 registers */
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define STRIP_VECTORS 2 /* 4 x 2 accumulators of the 16 registers */
#else
#define VECTOR_BYTES 16
#define STRIP_VECTORS 2
#endif

#define ROWS 4         /* rows of a register tile */
#define CHUNK 256      /* columns of a tile in L1, at most; a multiple of every strip */
#define FEW_RHS 6      /* up to here a weighted sum of the tile beats a call of GEMM */
#define GEMM_ROWS 512  /* tile handed to GEMM, at most: stays in L2 ... */
#define GEMM_COLS 256  /* ... with the rows of W that it multiplies */
#define COLLECT 2048   /* terms of a product that are summed in float32 before double takes over */
#define GEMM_RHS 1024  /* right-hand sides taken at once, to bound the buffers */
#define DOT_DIM 32     /* from this dimension, distances from inner products are faster */
#define PACK_BYTES (256 * 1024) /* packed columns of a chunk: stay in L2 */
#define RECOMPUTE 0.0625 /* of |x|^2 + |y|^2: closer pairs are recomputed from differences */

/* The number exp(shift) * sum. */
struct log_sum {
    double sum, shift;
};

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#define REAL float
#define UINT uint32_t
#define TYPE f32
#define REAL_MAX FLT_MAX
#define REAL_EPSILON FLT_EPSILON
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define GEMM skhmat_sgemm
#define SQRT sqrtf
#define ABS fabsf
#include "each_type.h"

#define REAL double
#define UINT uint64_t
#define TYPE f64
#define REAL_MAX DBL_MAX
#define REAL_EPSILON DBL_EPSILON
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define GEMM skhmat_dgemm
#define SQRT sqrt
#define ABS fabs
#define IS_DOUBLE
#include "each_type.h"

#define STRING_(a) #a
#define STRING(a) STRING_(a)

const struct skhmat_simd JOIN(skhmat_simd, SKHMAT_ISA) = {
    STRING(SKHMAT_ISA), block_f32, block_f64, matmat_f32, matmat_f64, values_f64, exp_array_f32, exp_array_f64,
    sparse_f64, log_sums_f32, log_sums_f64, tree_log_sums_f64, VECTOR_BYTES / sizeof(float), tile_both_f32,
    &JOIN(skhmat_nearest, SKHMAT_ISA),
};
