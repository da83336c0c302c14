"""Hessian and Gauss-Newton matrices of Keras models as SciPy operators."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..._utils.validation import check_factor, check_integer, check_option
from ...linalg._stochastic.trace import estimate_diagonal
from .._keras import check_model, keras, tf
from .batch_objective import BatchObjective, check_loss

#: Columns of the identity that `to_dense` multiplies at once, to bound its memory.
_COLUMNS_AT_ONCE = 64


class HessianOperator(LinearOperator):
    """The Hessian or Gauss-Newton matrix of the loss of a Keras model, known by its products.

    The loss is the mean over all samples, with the penalties of the model; the model is as in
    `evaluate` (no dropout, batch normalization with its moving averages). A product is two
    backpropagations over all samples [1]_, with a Gauss-Newton matrix one forward and one backward
    sweep [2]_.

    Parameters
    ----------
    model : keras.Model
        Compiled with a loss, and built.
    X : array-like or nested arrays
        Samples, as for ``model.fit``.
    y : array-like or nested arrays
        Targets.
    sample_weight : array-like of shape (n_samples,), default=None
    curvature : {"hessian", "gauss_newton"}, default="hessian"
    batch_size : int, default=1024
        Samples processed at once; it bounds memory and changes results only by rounding. Losses
        that are not the mean over samples (``reduction="sum"``) need all of them at once.

    Attributes
    ----------
    shape : tuple of (int, int)
        Trainable weights, twice: all variables in the order of ``model.trainable_variables``, each
        row after row.
    dtype : dtype
        That of the weights.

    Notes
    -----
    A product uses the weights of the model at the time of the product. What a layer excludes from
    gradients (``keras.ops.stop_gradient``) counts as constant.

    References
    ----------
    .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6
       (1994).
    .. [2] N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient
       descent", Neural Computation 14 (2002).

    Examples
    --------
    >>> import keras, numpy as np
    >>> from skhmat.linalg import eigsh
    >>> from skhmat.neural_network import HessianOperator
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((100, 5)), rng.standard_normal(100)
    >>> model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> H = HessianOperator(model, X, y)
    >>> H.shape
    (6, 6)
    >>> largest = eigsh(H, k=1, return_eigenvectors=False)
    """

    __module__ = "skhmat.neural_network"

    def __init__(self, model, X, y, sample_weight=None, *, curvature="hessian", batch_size=1024):
        check_option("curvature", curvature, ("hessian", "gauss_newton"))
        check_integer("batch_size", batch_size, 1)
        check_model(model)
        if not model.compiled or model.loss is None:
            raise ValueError("model must be compiled with a loss.")
        check_loss(model)
        if not model.built:
            raise ValueError("model must be built: call it once, or give it an Input.")
        self._model, self.curvature = model, curvature
        self._batches = _batches(model, (X, y, sample_weight), int(batch_size))
        if len(self._batches) > 1:
            _check_mean(model, batch_size)
        variables = model.trainable_variables
        if not variables:
            raise ValueError("model has no trainable weights.")
        n = sum(int(np.prod(variable.shape)) for variable in variables)
        self._sweep = tf.function(self._sweep_batch, autograph=False, reduce_retracing=True)
        # TensorFlow would warn of several operators, since each is traced once.
        self._sweep._omit_frequent_tracing_warning = True
        super().__init__(np.dtype(keras.backend.standardize_dtype(variables[0].dtype)), (n, n))

    def _sweep_batch(self, vectors, share, x, y, sample_weight):
        objective = BatchObjective(
            self._model, x, y, sample_weight, curvature=self.curvature, training=False
        )
        products = tf.map_fn(objective.product, vectors)
        objective.restore_state()
        return share * products

    def _matmat(self, B):
        B = check_factor(B)
        if np.iscomplexobj(B):
            return self._matmat(B.real) + 1j * self._matmat(B.imag)
        vectors = tf.constant(np.ascontiguousarray(B.T), dtype=self.dtype.name)
        total = 0
        for share, batch in self._batches:
            total += self._sweep(vectors, tf.constant(share, vectors.dtype), *batch).numpy()
        return total.T

    def _matvec(self, v):
        return self._matmat(np.reshape(v, (-1, 1)))[:, 0]

    def _adjoint(self):
        return self

    def to_dense(self):
        """Return the matrix itself.

        Returns
        -------
        H : ndarray of shape (n, n)
            Symmetric; n products are taken.
        """
        n = self.shape[0]
        H = np.empty(self.shape, dtype=self.dtype)
        for first in range(0, n, _COLUMNS_AT_ONCE):
            last = min(first + _COLUMNS_AT_ONCE, n)
            H[:, first:last] = self._matmat(np.eye(n, last - first, -first, dtype=self.dtype))
        return (H + H.T) / 2

    def diagonal(self, *, rtol=1e-2, max_products=512, random_state=None):
        """Estimate the diagonal from products.

        Parameters
        ----------
        rtol : float, default=1e-2
            Standard error to reach, relative to the norm of the diagonal.
        max_products : int, default=512
            Maximum number of products. If it is at least n, the diagonal is computed exactly.
        random_state : int, RandomState, Generator or None, default=None

        Returns
        -------
        Estimate
            ``value`` and ``standard_error`` are of shape (n,).
        """
        return estimate_diagonal(
            lambda B: self._matmat(B).astype(np.float64),
            self.shape[0],
            rtol=rtol,
            max_products=max_products,
            random_state=random_state,
        )


def _batches(model, data, batch_size):
    """Return (share of the samples, batch) pairs, batches as tensors."""
    floats = keras.backend.standardize_dtype(model.trainable_variables[0].dtype)

    def tensor(array):
        array = np.asarray(array)
        return tf.constant(array, floats if array.dtype.kind == "f" else None)

    def tensors(given):
        # A list may stand for one array, or for those of several inputs.
        if isinstance(given, list) and not hasattr(given[0] if given else 0.0, "shape"):
            given = np.asarray(given)
        return keras.tree.map_structure(lambda a: None if a is None else tensor(a), given)

    data = tuple(map(tensors, data))
    n = len(next(array for array in keras.tree.flatten(data) if array is not None))
    lengths = {len(array) for array in keras.tree.flatten(data) if array is not None}
    if lengths != {n}:
        raise ValueError(f"X, y and sample_weight have different lengths: {sorted(lengths)}.")
    if n == 0:
        raise ValueError("X is empty; at least one sample is needed.")
    pairs = []
    for first in range(0, n, batch_size):
        rows = slice(first, first + batch_size)
        batch = keras.tree.map_structure(lambda a: None if a is None else a[rows], data)  # noqa: B023
        pairs.append((min(batch_size, n - first) / n, batch))
    return pairs


def _check_mean(model, batch_size):
    """Raise ValueError unless the loss of all samples is the mean of those of the batches."""
    for loss in keras.tree.flatten(model.loss):
        reduction = getattr(loss, "reduction", "sum_over_batch_size")
        if reduction != "sum_over_batch_size":
            raise ValueError(
                f"batch_size={batch_size} splits the samples, and the loss with reduction="
                f"{reduction!r} is not the mean over them; give a batch_size of at least n_samples."
            )
