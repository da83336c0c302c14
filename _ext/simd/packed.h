/* A tile of a symmetric matrix times many vectors, from both sides; included by each_type.h.
 *
 * BLAS would read the tile twice, and is slow for few columns. Here each entry is read once, and used
 * for both products.
 */

#if defined(__AVX512F__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 4
#endif

typedef REAL NAME(loose) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(REAL))));

/* Rows i to i + TILE_ROWS of the tile a (m, c), and one vector of columns of everything else. */
static inline __attribute__((always_inline)) void
NAME(tile_rows)(const REAL *restrict a, intptr_t c, intptr_t k, const REAL *restrict row_W,
                const REAL *restrict col_W, REAL *restrict row_out, REAL *restrict col_out,
                int is_diagonal)
{
    VREAL sum[TILE_ROWS], x[TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; r++) {
        sum[r] = *(const NAME(loose) *)(row_out + r * k);
        x[r] = *(const NAME(loose) *)(row_W + r * k);
    }
    for (intptr_t j = 0; j < c; j++) {
        const VREAL w = *(const NAME(loose) *)(col_W + j * k);
        VREAL even = {0}, odd = {0};
        for (int r = 0; r < TILE_ROWS; r += 2) {
            const REAL first = a[r * c + j], second = a[(r + 1) * c + j];
            sum[r] += w * first;
            sum[r + 1] += w * second;
            even += x[r] * first;
            odd += x[r + 1] * second;
        }
        if (!is_diagonal)
            *(NAME(loose) *)(col_out + j * k) += even + odd;
    }
    for (int r = 0; r < TILE_ROWS; r++)
        *(NAME(loose) *)(row_out + r * k) = sum[r];
}

/* row_out += a col_W and, but for a diagonal tile, col_out += a^T row_W; k is a multiple of LANES. */
static void NAME(tile_both)(const REAL *a, intptr_t m, intptr_t c, intptr_t k, const REAL *row_W,
                            const REAL *col_W, REAL *row_out, REAL *col_out, int is_diagonal)
{
    const intptr_t whole = m / TILE_ROWS * TILE_ROWS;
    for (intptr_t q = 0; q < k; q += LANES)
        for (intptr_t i = 0; i < whole; i += TILE_ROWS) {
            const REAL *rows = a + i * c, *w = row_W + i * k + q;
            REAL *out = row_out + i * k + q;
            if (is_diagonal)
                NAME(tile_rows)(rows, c, k, w, col_W + q, out, col_out + q, 1);
            else
                NAME(tile_rows)(rows, c, k, w, col_W + q, out, col_out + q, 0);
        }
    for (intptr_t i = whole; i < m; i++)
        for (intptr_t j = 0; j < c; j++) {
            const REAL entry = a[i * c + j];
            EACH(q, k)
                row_out[i * k + q] += entry * col_W[j * k + q];
            if (!is_diagonal)
                EACH(q, k)
                    col_out[j * k + q] += entry * row_W[i * k + q];
        }
}
