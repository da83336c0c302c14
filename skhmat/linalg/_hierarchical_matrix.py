"""The compressed matrix as users see it: a SciPy linear operator."""

import copy

import numpy as np

from .._utils.validation import check_option
from ._hierarchical.file import read_form, write_form
from ._hierarchical.plot import plot
from ._hierarchical.product import HierarchicalOperator
from ._hierarchical.summary import summary
from ._hierarchical.treecode import evaluate
from ._hierarchical.ulv import factorize
from ._solvers.solve import solve


class HierarchicalMatrix(HierarchicalOperator):
    """A symmetric positive definite matrix, compressed; made by `compress`.

    With near pairs only on the diagonal the format is HSS, otherwise that of the fast multipole
    method: exact near blocks, and nested interpolative bases with skeleton blocks for all far
    pairs. Where compression would not pay, the exact matrix is held instead, see `is_dense`.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype, float32 or float64
    form : HierarchicalForm
        What the matrix consists of; not for users, and it may change.
    error_estimate_ : float
        Relative error ||K~W - KW||_F / ||KW||_F measured with standard normal W: on all rows of a
        small matrix, else on rows that compression never read and on rows drawn from the others,
        which may overlook an error that is in very few rows; 0.0 for the exact form.
    ranks_ : ndarray of shape (n_nodes,)
        Rank of each node in heap order (root first, children of i at 2 i + 1 and 2 i + 2); 0 where
        a node needs no basis.
    nbytes : int
        Bytes held.
    compression_ratio_ : float
        Bytes of the dense matrix in this dtype divided by `nbytes`.
    is_dense : bool
        Whether the exact matrix is held.

    See Also
    --------
    compress : Makes it.
    KernelMatrix : The exact operator of points and a kernel.
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
        return np.zeros(1, dtype=np.intp) if self.is_dense else self.form.structure.rank.copy()

    @property
    def nbytes(self):
        """Bytes held."""
        return self.form.nbytes

    @property
    def compression_ratio_(self):
        """Bytes of the dense matrix divided by `nbytes`."""
        return self.shape[0] ** 2 * self.dtype.itemsize / self.nbytes

    def diagonal(self):
        """Return the diagonal of the matrix, which is exact.

        Returns
        -------
        diagonal : ndarray of shape (n,)
        """
        return self.form.diagonal()

    def factorize(self, shift=0.0):
        """Factorize K + shift I, to solve with it and for its determinant.

        The cost is a fraction of that of compression, so that another shift is another call.

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
            K + shift I is not positive definite; the message says by how much.

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

        In the HSS format (``compress(..., budget=0)``) directly, by a factorization. Otherwise, or
        where `operator` is given, by conjugate gradients that are preconditioned by one: right-hand
        sides have Krylov spaces of their own and share the products.

        Parameters
        ----------
        b : array-like of shape (n,) or (n, k)
        shift : float or ndarray of shape (n,), default=0.0
            Added to the diagonal.
        rtol : float, default=None
            Largest relative residual ||b - (K + shift I) x|| / ||b|| of each right-hand side after
            an iteration. None means 1e-8, in float32, whose rounding allows no more, 1e-5.
        maxiter : int, default=None
            Most iterations; None means 1000.
        solver : {"auto", "direct", "cg", "minres"}, default="auto"
            "minres" is for matrices that are not definite.
        preconditioner : {"auto", "hierarchical", "cholesky", None} or operator, default="auto"
            "hierarchical" is the factorization of this matrix, or, where it is held in another
            format, of a rough compression to the HSS format; its shift is raised until it is
            definite. "cholesky" is a randomly pivoted Cholesky factor of low rank, for smooth
            kernels. "auto" is "hierarchical" where that can be had, else "cholesky" if there is a
            shift. A LinearOperator is an approximate inverse, symmetric and positive definite.
        operator : LinearOperator, array or sparse matrix of shape (n, n), default=None
            Iterate on this matrix in the place of the compressed one: with the exact
            `KernelMatrix`, x solves the exact system.
        random_state : int, RandomState or None, default=None
            Draws the pivots of "cholesky".
        return_info : bool, default=False
            Whether to return a `SolveInfo`, too.

        Returns
        -------
        x : ndarray of the shape of b
            Of the common dtype of b and the matrix, computed in float64.
        info : SolveInfo
            Residuals, iterations and the way taken; only with `return_info`.

        Raises
        ------
        ValueError
            A parameter is out of its range, or `b` has another length or is not finite.
        numpy.linalg.LinAlgError
            The matrix is not positive definite and solver is not "minres".

        Warns
        -----
        ConvergenceWarning
            An iteration missed `rtol`; the message has the residual that was reached.

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
        """Sum the kernel over the points at new points: K(X_new, X) @ weights.

        Only for a compressed `KernelMatrix`. Near points are summed up one by one, far ones through
        their skeletons; where the matrix is held as it is, all one by one. The result for a point
        does not depend on which others it comes with.

        Parameters
        ----------
        X_new : array-like of shape (n_new, n_features)
        weights : array-like of shape (n,) or (n, k)
        return_error : bool, default=False
            Whether to return the measured error, too.

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
            `X_new` has another number of features or is not finite, or `weights` another length.

        Warns
        -----
        ConvergenceWarning
            The error is larger than the promise `rtol` of `compress`, because the new points are
            unlike those of the matrix, or because the terms of the sums cancel.

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
            Used as it is, no suffix is added.
        """
        write_form(self.form, path)

    @staticmethod
    def load(path, mmap_mode=None):
        """Load what `save` wrote.

        Parameters
        ----------
        path : str or path-like
        mmap_mode : {None, "r"}, default=None
            With "r" the arrays stay in the file and are read when a product needs them.

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
        """Return several lines of text: form, error, memory, seconds and ranks."""
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
    """Load a hierarchical matrix that was saved.

    Parameters
    ----------
    path : str or path-like
    mmap_mode : {None, "r"}, default=None
        With "r" the arrays stay in the file and are read when a product needs them; what is in them
        is then not compared with the checksums.
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
        The file was not written by `save`, or by a newer version of it, or it is damaged.

    See Also
    --------
    save : Writes the file.
    """
    check_option("mmap_mode", mmap_mode, (None, "r"))
    return HierarchicalMatrix(read_form(path, mapped=mmap_mode == "r", n_jobs=n_jobs))


load.__module__ = "skhmat.linalg"
