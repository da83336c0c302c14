"""The compressed matrix as users see it: a SciPy linear operator."""

import copy

import numpy as np

from .._utils.parallel import effective_n_threads
from .._utils.read_only import read_only
from .._utils.validation import check_option, check_path
from ._hierarchical.file import read_form, write_form
from ._hierarchical.plot import plot
from ._hierarchical.product import HierarchicalOperator
from ._hierarchical.summary import summary
from ._hierarchical.treecode import evaluate
from ._hierarchical.ulv import factorize
from ._solvers.solve import solve


class HierarchicalMatrix(HierarchicalOperator):
    """A compressed symmetric positive definite matrix, made by `compress`.

    If the only near pairs are those on the diagonal, the format is HSS, otherwise that of the fast
    multipole method: exact near blocks, and nested interpolative bases with skeleton blocks for all
    far pairs. A smooth kernel on points in one to three dimensions may be held as a sum over
    Fourier modes, see `is_fourier`. If compression would not pay, the exact matrix is held instead;
    see `is_dense`.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype, float32 or float64
    form : HierarchicalForm
        The data of the matrix; private, and subject to change.
    error_estimate_ : float
        Relative error ||K~W - KW||_F / ||KW||_F measured with standard normal W: on all rows of a
        small matrix, otherwise on rows that compression never read and on rows sampled from the
        rest. A sample may miss an error that is confined to very few rows. 0.0 for the exact form.
    ranks_ : ndarray of shape (n_nodes,)
        Rank of each node in heap order (root first, children of i at 2 i + 1 and 2 i + 2); 0 if a
        node needs no basis. Read-only.
    nbytes : int
        Bytes held.
    compression_ratio_ : float
        Bytes of the dense matrix in this dtype divided by `nbytes`.
    is_dense : bool
        Whether the exact matrix is held.
    is_fourier : bool
        Whether it is held as a sum over Fourier modes.

    See Also
    --------
    compress : Compress a matrix.
    KernelMatrix : The exact, uncompressed matrix of a kernel on points.
    """

    __module__ = "skhmat.linalg"

    @property
    def report_(self):
        """What compression did."""
        return self.form.report

    @property
    def error_estimate_(self):
        """Measured relative error of the product."""
        return self.form.report.error

    @property
    def ranks_(self):
        """Rank of each node in heap order."""
        structure = self.form.structure
        return read_only(np.zeros(1, np.intp) if structure is None else structure.rank)

    @property
    def is_fourier(self):
        """Whether the matrix is held as a sum over Fourier modes."""
        return self.form.is_fourier

    @property
    def nbytes(self):
        """Bytes held."""
        return self.form.nbytes

    @property
    def compression_ratio_(self):
        """Bytes of the dense matrix divided by `nbytes`."""
        return self.shape[0] ** 2 * self.dtype.itemsize / self.nbytes

    def diagonal(self):
        """Return the diagonal, which compression leaves exact.

        Returns
        -------
        diagonal : ndarray of shape (n,)
        """
        return self.form.diagonal()

    def factorize(self, shift=0.0):
        """Factorize K + shift I, for solves and for the determinant.

        This takes a fraction of the time of compression, so another shift is simply another call.

        Parameters
        ----------
        shift : float or ndarray of shape (n,), default=0.0
            Added to the diagonal.

        Returns
        -------
        F : Factorization
            The inverse as a linear operator, with `solve`, `logdet` and `condition_estimate`.

        Raises
        ------
        ValueError
            The matrix has near pairs off the diagonal; compress it with ``budget=0``.
        numpy.linalg.LinAlgError
            K + shift I is not positive definite; the message estimates the smallest eigenvalue.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> X = np.random.default_rng(0).standard_normal((2000, 2))
        >>> H = compress(KernelMatrix(X), rtol=1e-5, budget=0, random_state=0)
        >>> b = np.ones(2000)
        >>> x = H.factorize(shift=0.1).solve(b)
        >>> bool(np.linalg.norm(H @ x + 0.1 * x - b) < 1e-9 * np.linalg.norm(b))
        True
        """
        return factorize(self, shift)

    def solve(
        self,
        b,
        shift=0.0,
        rtol=None,
        maxiter=None,
        *,
        solver="auto",
        preconditioner="auto",
        operator=None,
        random_state=None,
        return_info=False,
    ):
        """Solve (K + shift I) x = b.

        A matrix in the HSS format (``compress(..., budget=0)``) is factorized and solved with
        directly. In other formats, or if `operator` is given, such a factorization preconditions
        conjugate gradients. Each right-hand side has its own Krylov space; they share the products.

        Parameters
        ----------
        b : array-like of shape (n,) or (n, k)
        shift : float or ndarray of shape (n,), default=0.0
            Added to the diagonal.
        rtol : float, default=None
            Relative residual ||b - (K + shift I) x|| / ||b|| at which the iteration stops, for each
            right-hand side. None means 1e-8, or 1e-5 in float32, whose rounding allows no less.
        maxiter : int, default=None
            Maximum number of iterations; None means 1000.
        solver : {"auto", "direct", "cg", "minres"}, default="auto"
            "minres" also handles indefinite matrices.
        preconditioner : {"auto", "hierarchical", "cholesky", None} or operator, default="auto"
            "hierarchical" is the factorization of this matrix, or, if it is not in the HSS format,
            of a rough compression that is; the shift is raised until the factorization is positive
            definite. "cholesky" is a randomly pivoted Cholesky factor of low rank, for smooth
            kernels. "auto" is "hierarchical" if possible, otherwise "cholesky" if there is a shift.
            A LinearOperator must be an approximate inverse, symmetric and positive definite.
        operator : LinearOperator, array or sparse matrix of shape (n, n), default=None
            Matrix to solve with in place of the compressed one: with the exact `KernelMatrix`, x
            solves the exact system.
        random_state : int, RandomState, Generator or None, default=None
            Draws the pivots of "cholesky".
        return_info : bool, default=False
            Whether to return a `SolveInfo` as well.

        Returns
        -------
        x : ndarray of the shape of b
            Of the common dtype of b and the matrix, computed in float64.
        info : SolveInfo
            Residuals, iterations and the method used; only with `return_info`.

        Raises
        ------
        ValueError
            A parameter is out of its range, or `b` has the wrong length or is not finite.
        numpy.linalg.LinAlgError
            The matrix is not positive definite and solver is not "minres".

        Warns
        -----
        ConvergenceWarning
            The iteration missed `rtol`; the message states the residual reached.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((3000, 3)))
        >>> H = compress(K, rtol=1e-3, budget=0, random_state=0)
        >>> b = np.ones(3000)
        >>> x, info = H.solve(b, shift=0.1, operator=K, return_info=True)
        >>> bool(np.linalg.norm(K @ x + 0.1 * x - b) < 1e-8 * np.linalg.norm(b))
        True
        """
        return solve(
            self,
            b,
            shift,
            rtol,
            maxiter,
            solver=solver,
            preconditioner=preconditioner,
            operator=operator,
            random_state=random_state,
            return_info=return_info,
        )

    def evaluate(self, X_new, weights, return_error=False):
        """Evaluate sums of the kernel at new points: K(X_new, X) @ weights.

        Only for a compressed `KernelMatrix`. Near points are summed directly, far ones through
        their skeletons; if the exact matrix is held, all are summed directly. The result for a
        point does not depend on the other points of the call.

        Parameters
        ----------
        X_new : array-like of shape (n_new, n_features)
        weights : array-like of shape (n,) or (n, k)
        return_error : bool, default=False
            Whether to return the measured error as well.

        Returns
        -------
        sums : ndarray of shape (n_new,) or (n_new, k)
            Of the matrix' dtype.
        error : float
            Relative error of `sums` in the Frobenius norm, measured on up to 256 of them;
            only with `return_error`.

        Raises
        ------
        TypeError
            The matrix was not compressed from a KernelMatrix, or was loaded from a file.
        ValueError
            `X_new` has the wrong number of features or is not finite, or `weights` has the wrong
            length.

        Warns
        -----
        ConvergenceWarning
            The error exceeds the `rtol` promised by `compress`, because the new points are unlike
            those of the matrix, or because the terms of the sums cancel.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> rng = np.random.default_rng(0)
        >>> K = KernelMatrix(rng.standard_normal((5000, 3)), bandwidth=2.0)
        >>> H = compress(K, rtol=1e-3, random_state=0)
        >>> X_new = rng.standard_normal((100, 3))
        >>> sums, error = H.evaluate(X_new, np.ones(5000), return_error=True)
        >>> error <= 1e-3
        True
        """
        return evaluate(self.form, X_new, weights, return_error)

    def save(self, path):
        """Save as one uncompressed .npz file; see `skhmat.linalg.load`.

        Parameters
        ----------
        path : str or path-like
            Used unchanged; no suffix is added.
        """
        write_form(self.form, path)

    @staticmethod
    def load(path, mmap_mode=None):
        """Load what `save` wrote.

        Parameters
        ----------
        path : str or path-like
        mmap_mode : {None, "r"}, default=None
            With "r" the large arrays are mapped; see `skhmat.linalg.load`.

        Returns
        -------
        H : HierarchicalMatrix
        """
        return load(path, mmap_mode)

    def plot(self, ax=None):
        """Draw the blocks with their ranks; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            None makes a new figure.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        return plot(self.form, ax)

    def summary(self):
        """Return a description in several lines: form, error, memory, seconds and ranks."""
        return summary(self.form)

    def copy(self):
        """Return an independent copy."""
        return copy.deepcopy(self)

    def __repr__(self):
        size = f"{self.shape[0]}x{self.shape[1]} HierarchicalMatrix of {self.dtype}"
        if self.is_dense:
            return f"<{size}: exact, {self.report_.reason_dense}>"
        return (
            f"<{size}: error {self.error_estimate_:.1e}, {self.nbytes / 1e6:.3g} MB, "
            f"{self.compression_ratio_:.1f}x smaller than dense>"
        )


def load(path, mmap_mode=None, *, n_jobs=None):
    """Load a saved hierarchical matrix.

    Parameters
    ----------
    path : str or path-like
    mmap_mode : {None, "r"}, default=None
        With "r" the large arrays are mapped: the numbers in them are read from the file when a
        product needs them, and not compared with their checksums. The file must stay as it is: if
        another program writes into it products are wrong, and if it becomes shorter the system ends
        the process (SIGBUS) where a product reads behind its end. `save`, which puts a new file in
        the place of the old one, and removing the file are harmless.
    n_jobs : int, default=None
        Threads of the products, as in `compress`.

    Returns
    -------
    H : HierarchicalMatrix

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file was not written by `save`, was written by a newer version, or is damaged.

    See Also
    --------
    HierarchicalMatrix.save : Write the file.
    """
    path = check_path(path)
    check_option("mmap_mode", mmap_mode, (None, "r"))
    effective_n_threads(n_jobs)  # raises if it is not allowed
    return HierarchicalMatrix(read_form(path, mapped=mmap_mode == "r", n_jobs=n_jobs))


load.__module__ = "skhmat.linalg"
