/* Logarithms of sums of density kernels by a tree of bounding boxes; included by each_type.h, in double.
 *
 * Each point traverses the tree independently, the nearer child first, and does not descend where the bounds
 * of a node are tight enough. So a result does not depend on the other points.
 */

/* A vector that need not be aligned. */
typedef double loose_vector __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(8)));

/* The sum at a point during the traversal, relative to exp(shift). */
struct visit {
    double sum, shift;
    double lower;  /* a lower bound of the true sum */
    double spent;  /* |sum - true sum| at most */
    double weight; /* of the points in `sum` */
    intptr_t n_pairs, n_nodes;
};

/* Squared distances of a point from the points of a node: bounds, and the weighted mean. */
struct squares {
    double least, most, mean;
    double rounding; /* of the mean */
};

static double least_square(const struct skhmat_tree *tree, intptr_t node, const double *q)
{
    const double *low = tree->low + node * tree->d, *high = tree->high + node * tree->d;
    double sum = 0;
    for (intptr_t k = 0; k < tree->d; k++) {
        const double below = low[k] - q[k], above = q[k] - high[k];
        double gap = below > above ? below : above;
        gap = gap > 0 ? gap : 0;
        sum += gap * gap;
    }
    return sum;
}

static struct squares squares_of(const struct skhmat_tree *tree, intptr_t node, const double *q)
{
    const double *low = tree->low + node * tree->d, *high = tree->high + node * tree->d;
    const double *mean = tree->mean + node * tree->d;
    struct squares out = {least_square(tree, node, q), 0, tree->spread[node], 0};
    for (intptr_t k = 0; k < tree->d; k++) {
        const double from_low = q[k] - low[k], from_high = high[k] - q[k];
        const double far = from_low > from_high ? from_low : from_high, off = from_low - mean[k];
        out.most += far * far;
        out.mean += off * off;
    }
    out.rounding = (tree->d + 64) * DBL_EPSILON * out.most;
    return out;
}

/* e^up times the kernel at a squared distance. */
static double kernel_at(const struct skhmat_density *k, double t, double up)
{
    switch (k->kernel) {
    case SKHMAT_DENSITY_gaussian:
        return exp_one_f64(up - k->c * t, 1);
    case SKHMAT_DENSITY_exponential:
        return exp_one_f64(up - k->c * sqrt(t), 1);
    default:
        return exp_one_f64(up, 1) * compact_f64(k->kernel, k->c, k->support, t);
    }
}

/* Change to another `shift`. */
static void shift_visit(struct visit *v, double shift)
{
    const double factor = exp(v->shift - shift);
    v->sum *= factor;
    v->lower *= factor;
    v->spent *= factor;
    v->shift = shift;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* Add the contribution of a node if its bounds are tight enough; returns whether they are.
 *
 * All kernels but tophat are convex functions of the squared distance, also where they become 0. By
 * Jensen's inequality the sum is at least the weight times the value at the mean square, and at most that
 * of the chord at the mean square (Chan, Yiu and U: KARL, ICDE 2019); `rounding` widens both. A node may
 * use a share of the allowed error that is proportional to its weight, measured against a lower bound of
 * the true sum; so all errors together stay within rtol and atol.
 */
static int prune(const struct skhmat_tree *tree, const struct skhmat_density *k, intptr_t node,
                 const double *q, struct visit *v)
{
    const double weight = v->weight + tree->weight[node];
    v->n_nodes++;
    if (tree->weight[node] == 0)
        return 1;
    const struct squares t = squares_of(tree, node, q);
    if (skhmat_is_compact(k->kernel) && t.least > k->support * (1 + 1e-12)) {
        v->weight = weight;
        return 1;
    }
    if (v->shift == -INFINITY)
        return 0;
    const double up = tree->log_weight[node] - v->shift;
    double lower = kernel_at(k, t.most, up), upper = kernel_at(k, t.least, up);
    if (k->kernel != SKHMAT_DENSITY_tophat && t.most > t.least) {
        const double near = clamp(t.mean - t.rounding, t.least, t.most);
        const double position = (near - t.least) / (t.most - t.least);
        upper = (1 - position) * upper + position * lower;
        lower = kernel_at(k, clamp(t.mean + t.rounding, t.least, t.most), up);
    }
    const double error = upper > lower ? (upper - lower) / 2 : 0;
    const double absolute = k->atol > 0 ? k->atol * exp_one_f64(-v->shift, 1) : 0;
    const double allowed = (k->rtol * (v->lower + lower) + absolute) * (weight / tree->weight[0]);
    /* Also false for infinite bounds, of points nearer than those summed up so far. */
    if (!(v->spent + error <= allowed && upper < DBL_MAX))
        return 0;
    v->sum += lower + error;
    v->lower += lower;
    v->spent += error;
    v->weight = weight;
    return 1;
}

/* Squared distances from columns j..j+m-1, of which whole strips are read. */
static void leaf_distances(const struct skhmat_tree *tree, const double *q, intptr_t j, intptr_t m,
                           double *t)
{
    const intptr_t lanes = VECTOR_BYTES / sizeof(double), strip = STRIP_VECTORS * lanes;
    for (intptr_t i = 0; i < m; i += strip) {
        vreal_f64 sum[STRIP_VECTORS] = {{0}};
        const double *y = tree->Y + j + i;
        for (intptr_t k = 0; k < tree->d; k++, y += tree->stride)
            for (int l = 0; l < STRIP_VECTORS; l++) {
                const vreal_f64 diff = *(const loose_vector *)(y + l * lanes) - q[k];
                sum[l] += diff * diff;
            }
        for (int l = 0; l < STRIP_VECTORS; l++)
            *(vreal_f64 *)(t + i + l * lanes) = sum[l];
    }
}

/* Add the points of a leaf directly, except `exclude`. */
static void add_leaf(const struct skhmat_tree *tree, const struct skhmat_density *k, intptr_t node,
                     const double *q, intptr_t exclude, struct visit *v)
{
    double t[CHUNK] __attribute__((aligned(64)));
    for (intptr_t j = tree->first[node]; j < tree->last[node]; j += CHUNK) {
        const intptr_t left = tree->last[node] - j, m = left < CHUNK ? left : CHUNK;
        leaf_distances(tree, q, j, m, t);
        if (exclude >= j && exclude < j + m)
            t[exclude - j] = INFINITY;
        struct log_sum s = {0, -INFINITY};
        add_terms_f64(k, t, tree->weights ? tree->weights + j : NULL, m, &s);
        v->n_pairs += m;
        if (s.shift == -INFINITY)
            continue;
        if (s.shift > v->shift)
            shift_visit(v, s.shift);
        s.sum *= exp(s.shift - v->shift);
        v->sum += s.sum;
        v->lower += s.sum;
    }
    v->weight += tree->weight[node];
}

/* Visit the tree from its root. `exclude` is a point that does not count, or -1. */
static void visit_tree(const struct skhmat_tree *tree, const struct skhmat_density *k,
                       const double *q, intptr_t exclude, struct visit *v)
{
    intptr_t stack[2 * 64], n = 1; /* two nodes of each level at most */
    stack[0] = 0;
    while (n > 0) {
        const intptr_t node = stack[--n];
        const int has_own = exclude >= tree->first[node] && exclude < tree->last[node];
        if (!has_own && prune(tree, k, node, q, v))
            continue;
        if (2 * node + 1 >= tree->n_nodes) {
            add_leaf(tree, k, node, q, exclude, v);
            continue;
        }
        const intptr_t left = 2 * node + 1;
        const int left_first = least_square(tree, left, q) <= least_square(tree, left + 1, q);
        stack[n++] = left + left_first;
        stack[n++] = left + !left_first;
    }
}

static int tree_log_sums_f64(const struct skhmat_tree *tree, const struct skhmat_density *k,
                             const double *X, intptr_t n_rows, const intptr_t *exclude, double *out,
                             double *work, int n_threads)
{
    struct skhmat_watch watch = {0};
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic, 16)
    for (intptr_t i = 0; i < n_rows; i++) {
        if (i % 16 == 0 ? skhmat_stopped(&watch) : skhmat_has_stopped(&watch))
            continue;
        struct visit v = {0, skhmat_is_compact(k->kernel) ? 0 : -INFINITY, 0, 0, 0, 0, 0};
        visit_tree(tree, k, X + i * tree->d, exclude ? exclude[i] : -1, &v);
        out[i] = log(v.sum) + (v.sum > 0 ? v.shift : 0);
        work[2 * i] = (double)v.n_pairs;
        work[2 * i + 1] = (double)v.n_nodes;
    }
    return watch.stopped;
}
