"""What forms of a matrix cost: seconds of set-up and of products, and bytes, on one core.

The rates are constants, not measured at run time: the same seed then leads to the same form on any
machine. Only their ratios matter. `benchmarks/fit_rates.py` fits them to measured times. Estimators
that choose between forms and algorithms of their own take the same rates.
"""

import math
from dataclasses import dataclass

import numpy as np

from .row_sample import SAMPLING, SamplingPolicy

# More products than anybody makes: integers may be too large for a float.
_MANY = 10**15
_FLOAT32_BYTES = 4
# Of an entry of a sparse matrix in float64, its column included.
_CSR_BYTES = 12
# The least tolerance of nonuniform transforms, that with the narrower grid, and the points of that
# grid to which each point is spread, per digit.
_LEAST_TOLERANCE, _LEAST_TOLERANCE_NARROW, _NARROW_DIGIT = 1e-14, 1e-9, 1.64


@dataclass(frozen=True)
class Rates:
    """Nanoseconds of one core, for float64 unless stated otherwise.

    Attributes
    ----------
    multiply : float
        One multiply-add of a matrix product.
    stream : float
        Reading one byte of blocks that do not fit into the cache.
    touch : float
        Allocating and writing a byte for the first time.
    block : float
        Starting the product with one block.
    row : float
        Moving an element of the vectors into tree order and back.
    exponential, algebraic, polynomial : float
        Evaluating a kernel of that kind once.
    dimension : float
        Each dimension of the points adds this to an evaluation.
    gather : float
        Reading an entry of an array.
    call : float
        Computing an entry by a callable in Python.
    point : float
        Ordering a row, finding its neighbours and counting their votes.
    node : float
        Finding a basis, besides what grows with its size.
    skeleton : float
        One multiply-add of the factorization that finds a basis.
    pair : float
        Assembling one block of a pair, besides its entries.
    spread_point, spread : tuple of 3 floats
        Nonuniform transforms of a complex vector in 1, 2 and 3 dimensions, from points to modes and
        back: for each point, and for each point of the grid that it is spread to.
    fft : float
        The FFTs of these, for each point of the grid and power of two of their number.
    csr : float
        One multiply-add with an entry of a sparse matrix.
    cholesky : float
        One multiply-add of a Cholesky factorization.
    log_term : float
        Adding a term to the logarithm of a sum, besides evaluating the kernel.
    tree_pair, tree_pair_per_feature : float
        A term of a sum in a leaf of a tree of boxes, and the part of it for each feature.
    box, box_per_feature : float
        The same for a box that is visited.
    build, build_per_feature : float
        The same for a point when that tree is built.
    """

    multiply: float = 0.06
    stream: float = 0.06
    touch: float = 1.5
    block: float = 500.0
    row: float = 1.5
    exponential: float = 1.05
    algebraic: float = 0.7
    polynomial: float = 0.4
    dimension: float = 0.045
    gather: float = 2.0
    call: float = 10.0
    point: float = 7_500.0
    node: float = 600_000.0
    skeleton: float = 0.22
    pair: float = 10_000.0
    spread_point: tuple = (32.0, 140.0, 340.0)
    spread: tuple = (6.8, 2.1, 1.4)
    fft: float = 1.5
    csr: float = 0.2
    cholesky: float = 0.085
    log_term: float = 0.15
    tree_pair: float = 1.3
    tree_pair_per_feature: float = 0.08
    box: float = 50.0
    box_per_feature: float = 8.0
    build: float = 60.0
    build_per_feature: float = 70.0


RATES = Rates()


@dataclass(frozen=True)
class CostPolicy:
    """What the costs are weighed with.

    Attributes
    ----------
    n_products : int
        Vectors that are multiplied where the caller does not say: iterations take some thousands,
    usual_width : int
        and multiply so many of them at once.
    width : int
        Vectors that are multiplied at once where the caller says how many there are.
    n_error_rows, n_error_vectors : int
        Rows that are read to measure the error, and vectors of the product that it is measured on.
    validation_rows : int
        Rows that validate a basis.
    pilot_nodes, pilot_columns : int
        Nodes of each level whose ranks are measured by a pilot, and the columns it takes of each.
    sampling : SamplingPolicy
        From how many rows a basis is found, at first.
    sample_growth : float
        Rows that it is found from in the end, relative to those: 1.2 to 2.3 on 13 matrices, and
        more where points are far from evenly spread.
    """

    n_products: int = 4096
    usual_width: int = 8
    width: int = 64
    n_error_rows: int = 1536
    n_error_vectors: int = 32
    validation_rows: int = 500
    pilot_nodes: int = 2
    pilot_columns: int = 256
    sampling: SamplingPolicy = SAMPLING
    sample_growth: float = 1.75


POLICY = CostPolicy()


@dataclass(frozen=True)
class Cost:
    """What a form costs.

    Attributes
    ----------
    setup : float
        Seconds.
    product : float
        Seconds of all products that are expected.
    nbytes : float
    """

    setup: float
    product: float
    nbytes: float

    @property
    def total(self):
        """Seconds of the set-up and of all products."""
        return self.setup + self.product


class CostModel:
    """The costs of all forms of one matrix.

    Parameters
    ----------
    source : ArraySource, CallableSource or KernelMatrix
    n_products : int or None
        Vectors that will be multiplied.
    rates : Rates
    policy : CostPolicy
    """

    def __init__(self, source, n_products=None, *, rates=RATES, policy=POLICY):
        self.n, self.itemsize = source.shape[0], np.dtype(source.dtype).itemsize
        self.rates, self.policy = rates, policy
        self.entry = entry_time(source, rates)
        self.is_array = getattr(source, "array", None) is not None
        self.width = policy.usual_width if n_products is None else min(n_products, policy.width)
        n_products = policy.n_products if n_products is None else min(n_products, _MANY)
        self.n_chunks = n_products / self.width

    def on_the_fly(self):
        """Return the cost of entries that are evaluated anew for each product."""
        chunk = self.n**2 * (self.entry + self._multiply(self.width))
        return Cost(0.0, 1e-9 * self.n_chunks * chunk, 0.0)

    def in_memory(self):
        """Return the cost of the dense matrix, held in memory."""
        nbytes = float(self.n) ** 2 * self.itemsize
        fill = 0.0 if self.is_array else self.n**2 * self.entry + nbytes * self.rates.touch
        return Cost(1e-9 * fill, self._products(nbytes, self.n**2, 1), nbytes)

    def packed(self):
        """Return the cost of one triangle of the matrix, held in float32."""
        n_multiplied = self.n**2 * _FLOAT32_BYTES / self.itemsize
        nbytes = self.n**2 / 2 * _FLOAT32_BYTES
        fill = self.n**2 / 2 * self.entry + nbytes * self.rates.touch
        return Cost(1e-9 * fill, self._products(nbytes, n_multiplied, 1), nbytes)

    def sparse(self, n_entries):
        """Return the cost of a sparse matrix that has so many of the entries, in float64."""
        nbytes = float(_CSR_BYTES) * n_entries
        # Parts are found first, and joined when their sizes are known: all is written twice.
        fill = n_entries * self.entry + 2 * nbytes * self.rates.touch
        product = self.n_chunks * self.width * n_entries * self.rates.csr
        return Cost(1e-9 * fill, 1e-9 * product, nbytes)

    def low_rank(self, rank):
        """Return the cost of columns of a pivoted Cholesky factorization."""
        nbytes = float(self.n) * rank * self.itemsize
        fill = self.n * rank * self.entry + nbytes * self.rates.touch
        factor = self.n * rank**2 / 2 * self.rates.multiply * self.itemsize / 8
        products = self._products(2 * nbytes, 2 * self.n * rank, 1)
        return Cost(1e-9 * (fill + factor), products, nbytes)

    def least(self, leaf_size, n_near=1.0):
        """Return what a hierarchical matrix would cost if nothing were far.

        Parameters
        ----------
        leaf_size : float
        n_near : float
            Mean number of near leaves of a leaf, itself included.
        """
        near = self.n * leaf_size * n_near
        stored = (near + self.n * leaf_size) / 2
        nbytes = stored * self.itemsize
        n_pairs = self.n / leaf_size * n_near
        assembly = stored * self.entry + n_pairs / 2 * self.rates.pair + nbytes * self.rates.touch
        setup = self._preparation() + 1e-9 * assembly
        return Cost(setup, self._products(nbytes, near, n_pairs), nbytes)

    def pilot(self, depth):
        """Return the seconds of finding out which hierarchical matrix costs least."""
        columns = self.policy.pilot_columns
        n_rows = self._first_rows(columns)
        return 1e-9 * self.policy.pilot_nodes * depth * self._basis(columns, columns / 2, n_rows)

    def hierarchical(self, tree, interactions, ranks, known_from=None, read_all=False):
        """Return the cost of a hierarchical matrix.

        Parameters
        ----------
        tree : Tree
        interactions : Interactions
        ranks : ndarray of shape (depth + 1,)
            Mean rank of the nodes of each level that have a basis, root first.
        known_from : int or None
            Level from which on down all bases are known, and cost no more.
        read_all : bool, default=False
            Whether bases are found from all rows.
        """
        n_active = [int(active.sum()) for active in interactions.active_nodes]
        near, n_near_pairs = near_entries(tree, interactions), len(interactions.near[-1][1])
        far = sum(len(pairs[1]) * r**2 for pairs, r in zip(interactions.far, ranks, strict=True))
        n_far_pairs = sum(len(pairs[1]) for pairs in interactions.far)
        interpolation = bases = 0.0
        for level in range(1, tree.depth + 1):
            columns = columns_of_level(tree, ranks, level)
            rank = min(ranks[level], columns)
            interpolation += n_active[level] * (columns - rank) * rank
            if known_from is None or level < known_from:
                n_rows = self.policy.sample_growth * self._first_rows(columns)
                bases += n_active[level] * self._basis(
                    columns, rank, self.n if read_all else n_rows
                )
        # Blocks are stored once for a pair and its mirror.
        stored = (near + tree.leaf_bounds[-1] * tree.leaf_bounds[-1] / tree.n_leaves + far) / 2
        nbytes = (stored + interpolation) * self.itemsize
        n_blocks = n_near_pairs + n_far_pairs
        assembly = stored * self.entry + n_blocks / 2 * self.rates.pair + nbytes * self.rates.touch
        n_multiplied = near + far + 2 * interpolation
        n_parts = n_blocks + 2 * sum(n_active)
        products = self._products(nbytes, n_multiplied, n_parts)
        error = self.n * self.policy.n_error_rows * self._multiply(self.policy.n_error_vectors)
        setup = self._preparation() + 1e-9 * (bases + assembly + error)
        return Cost(setup, products, nbytes)

    def fourier(self, shape, tolerance, n_rows, n_vectors):
        """Return the cost of the Fourier form.

        Parameters
        ----------
        shape : tuple of ints
            Number of modes in each dimension.
        tolerance : float
            Of the transforms.
        n_rows, n_vectors : int
            Rows that are read, and vectors that are multiplied, to measure the error.
        """
        transforms = transform_time(shape, tolerance, self.n, rates=self.rates)
        # Two real vectors make a complex one; the points are sorted once, which takes as long.
        pairs = math.ceil(self.width / 2)
        setup = self.n * n_rows * self.entry + (math.ceil(n_vectors / 2) + 1) * transforms
        nbytes = self.n * len(shape) * 2 * self.itemsize + math.prod(shape) * 8
        return Cost(1e-9 * setup, 1e-9 * self.n_chunks * pairs * transforms, nbytes)

    def _preparation(self):
        """Return the seconds that all hierarchical matrices take, whatever their blocks are."""
        error = self.policy.n_error_rows * self.entry
        return 1e-9 * self.n * (self.rates.point + min(error, self.n * self.entry))

    def _first_rows(self, columns):
        """Return the number of rows that a basis is found from at first."""
        sampling = self.policy.sampling
        per_column = sampling.near_per_column + sampling.uniform_per_column
        return per_column * columns + sampling.min_rows

    def _basis(self, columns, rank, n_rows):
        """Return the nanoseconds of finding one basis from some rows."""
        n_rows = min(n_rows, self.n)
        n_validated = min(self.policy.validation_rows, self.n)
        rest = columns - rank
        gram = n_rows * columns**2 / 2
        factor = columns**2 * rank / 2 + rank**2 * rest / 2 + n_validated * rest * rank
        entries = (n_rows + n_validated) * columns * self.entry
        return self.rates.node + entries + gram * self.rates.multiply + factor * self.rates.skeleton

    def _multiply(self, width):
        """Return the nanoseconds of one multiply-add for each of some vectors."""
        return width * self.rates.multiply * self.itemsize / 8

    def _products(self, nbytes, n_multiplied, n_blocks):
        """Return the seconds of all products; reading and multiplying go on at the same time."""
        rates = self.rates
        chunk = max(nbytes * rates.stream, n_multiplied * self._multiply(self.width))
        chunk += n_blocks * rates.block + self.n * self.width * rates.row
        return 1e-9 * self.n_chunks * chunk


def entry_time(source, rates=RATES):
    """Return the nanoseconds that one entry of a source takes."""
    if getattr(source, "array", None) is not None:
        return rates.gather
    kernel = getattr(source, "kernel", None)
    if not isinstance(kernel, str):
        return rates.call
    base = {
        "inverse_multiquadric": rates.algebraic,
        "rational_quadratic": rates.algebraic,
        "laplace_green": rates.algebraic,
        "polynomial": rates.polynomial,
        "linear": rates.polynomial,
        "cosine": rates.polynomial,
    }.get(kernel, rates.exponential)
    # Points in sparse rows: what counts is how many of their features are not zero.
    matrix = getattr(source.X, "matrix", None)
    dimension = source.X.shape[1] if matrix is None else matrix.nnz / max(matrix.shape[0], 1)
    return (base + rates.dimension * dimension) * np.dtype(source.dtype).itemsize / 8


def transform_time(shape, tolerance, n_points, n_grids=2, *, rates=RATES):
    """Return the nanoseconds of a nonuniform transform of a complex vector to modes and back.

    FINUFFT spreads each point to a grid of 2 or, where that is accurate enough, 1.25 points per
    mode in each dimension, whichever takes less; the narrower spreads to more of its points.

    Parameters
    ----------
    shape : tuple of 1 to 3 ints
        Number of modes in each dimension.
    tolerance : float
    n_points : int
    n_grids : int
        FFTs in all, those of the way back included: each part of the points that is transformed by
        itself takes one.
    rates : Rates
    """
    d, n_modes = len(shape), math.prod(shape)
    digits = -math.log10(max(tolerance, _LEAST_TOLERANCE))
    widths = {2.0: max(math.ceil(digits) + 1, 2)}
    if tolerance >= _LEAST_TOLERANCE_NARROW:
        widths[1.25] = max(math.ceil(digits * _NARROW_DIGIT), 2)
    return min(
        n_points * (rates.spread_point[d - 1] + rates.spread[d - 1] * width**d)
        + n_grids / 2 * oversampling**d * n_modes * math.log2(n_modes + 1) * rates.fft
        for oversampling, width in widths.items()
    )


def near_entries(tree, interactions):
    """Return the number of entries of all near blocks, those below the diagonal included."""
    sizes = np.diff(tree.leaf_bounds).astype(float)
    ptr, partner = interactions.near[-1]
    return float((np.repeat(sizes, np.diff(ptr)) * sizes[partner]).sum())


def columns_of_level(tree, ranks, level):
    """Return the mean number of columns of a node: points of a leaf, else its children's ranks."""
    if level == tree.depth:
        return tree.leaf_bounds[-1] / (1 << tree.depth)
    return 2 * ranks[level + 1]
