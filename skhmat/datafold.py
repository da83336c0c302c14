"""Diffusion maps and geometric harmonics with the interface of datafold's own classes.

They take and return datafold's ``TSCDataFrame``, and are steps of ``datafold.appfold.EDMD``. All
numerics are those of `skhmat.manifold`.
"""

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import scipy.linalg
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import mean_squared_error
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from . import manifold
from ._base.compression import with_compression_parameters

try:
    from datafold.dynfold.base import TSCTransformerMixin
    from datafold.pcfold import TSCDataFrame
except ImportError as error:
    raise ImportError(
        "skhmat.datafold needs datafold: pip install datafold. datafold 2.0.2 needs numpy < 1.27 "
        "and scikit-learn 1.2, and so Python 3.10 or 3.11. Without it, skhmat.manifold has the "
        "same methods for arrays."
    ) from error


def _values(X):
    return np.asarray(X, dtype=np.float64)


def _fitted(cls, estimator, *data, **parameters):
    """Fit an estimator of `skhmat.manifold` with the parameters that it shares with this one."""
    shared = cls().get_params().keys() & estimator.get_params().keys()
    inner = cls(**{name: getattr(estimator, name) for name in shared}, **parameters)
    return inner.fit(*data)


@with_compression_parameters
class DiffusionMaps(TSCTransformerMixin, BaseEstimator):
    """Diffusion maps for time series, as a step of EDMD.

    In place of `datafold.dynfold.DiffusionMaps`, with :class:`skhmat.manifold.DiffusionMaps`
    inside. The kernel is a parameter, not an object: datafold's ``GaussianKernel(epsilon=e)`` is
    ``epsilon=e``.

    Parameters
    ----------
    epsilon : float or "auto", default="auto"
        Scale of the kernel; the Gaussian is exp(-||x - y||^2 / (2 epsilon)). For this one and all
        others that are not explained here see :class:`skhmat.manifold.DiffusionMaps`.
    n_eigenpairs : int, default=10
        Number of eigenpairs, the trivial one among them.
    time_exponent : float, default=0
        Exponent of the eigenvalues in the embedding, at least 0. It can be changed after `fit`.
    alpha : float, default=1.0
        How far the density of the samples is divided out, from 0 to 1.
    cut_off : "auto", float or None, default="auto"
    knn : int, default=None
    variable_bandwidth : int, default=None
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
    eigen_tol : float or "auto", default="auto"
    {compression}

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_eigenpairs,)
        Descending, the trivial one first.
    eigenvectors_ : TSCDataFrame or ndarray of shape (n_samples, n_eigenpairs)
        Right eigenvectors of the Markov matrix, each of norm 1; time series if X is.
    epsilon_ : float
    estimator_ : skhmat.manifold.DiffusionMaps
        The fitted estimator inside.
    X_fit_ : TSCDataFrame, DataFrame or ndarray of shape (n_samples, n_features)
    target_coords_ : ndarray
        Only after `set_target_coords`.
    inv_coeff_matrix_ : ndarray of shape (n_features_out_, n_features_in_)
        Coefficients of the samples in the eigenvectors; only after `inverse_transform`.
    n_features_in_ : int
    n_features_out_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    skhmat.manifold.DiffusionMaps : For arrays, without datafold.

    Examples
    --------
    >>> import numpy as np
    >>> from datafold.appfold import EDMD
    >>> from datafold.pcfold import TSCDataFrame
    >>> from skhmat.datafold import DiffusionMaps
    >>> phase = 0.1 * np.arange(300)
    >>> X = TSCDataFrame.from_array(
    ...     np.column_stack([np.cos(phase), np.sin(phase)]), feature_names=["x", "y"]
    ... )
    >>> dmap = DiffusionMaps(epsilon=0.1, n_eigenpairs=7)
    >>> edmd = EDMD([("dmap", dmap)], include_id_state=False).fit(X)
    >>> bool(np.abs(edmd.reconstruct(X) - X).to_numpy().max() < 0.01)
    True
    """

    _parameter_constraints: ClassVar = {
        **manifold.DiffusionMaps._parameter_constraints,
        "n_eigenpairs": [Interval(Integral, 1, None, closed="left")],
        "time_exponent": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        epsilon="auto",
        *,
        n_eigenpairs=10,
        time_exponent=0,
        alpha=1.0,
        cut_off="auto",
        knn=None,
        variable_bandwidth=None,
        eigen_solver="auto",
        eigen_tol="auto",
        rtol=1e-4,
        leaf_size=256,
        max_rank=None,
        n_neighbors=32,
        budget="auto",
        distance="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.epsilon = epsilon
        self.n_eigenpairs = n_eigenpairs
        self.time_exponent = time_exponent
        self.alpha = alpha
        self.cut_off = cut_off
        self.knn = knn
        self.variable_bandwidth = variable_bandwidth
        self.eigen_solver = eigen_solver
        self.eigen_tol = eigen_tol
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def laplace_beltrami(cls, epsilon="auto", n_eigenpairs=10, **parameters):
        """Return a model of the Laplace-Beltrami operator, with ``alpha=1``.

        Parameters
        ----------
        epsilon : float or "auto", default="auto"
        n_eigenpairs : int, default=10
        **parameters
            The others, but for alpha.

        Returns
        -------
        DiffusionMaps
        """
        return cls(epsilon, n_eigenpairs=n_eigenpairs, alpha=1.0, **parameters)

    @classmethod
    def fokker_planck(cls, epsilon="auto", n_eigenpairs=10, **parameters):
        """Return a model of the Fokker-Planck operator, with ``alpha=0.5``.

        Parameters
        ----------
        epsilon : float or "auto", default="auto"
        n_eigenpairs : int, default=10
        **parameters
            The others, but for alpha.

        Returns
        -------
        DiffusionMaps
        """
        return cls(epsilon, n_eigenpairs=n_eigenpairs, alpha=0.5, **parameters)

    @classmethod
    def graph_laplacian(cls, epsilon="auto", n_eigenpairs=10, **parameters):
        """Return a model of the graph Laplacian, with ``alpha=0``.

        Parameters
        ----------
        epsilon : float or "auto", default="auto"
        n_eigenpairs : int, default=10
        **parameters
            The others, but for alpha.

        Returns
        -------
        DiffusionMaps
        """
        return cls(epsilon, n_eigenpairs=n_eigenpairs, alpha=0.0, **parameters)

    def set_target_coords(self, indices):
        """Choose the eigenvectors that the embedding consists of, before or after `fit`.

        Parameters
        ----------
        indices : array-like of int
            From 0 to ``n_eigenpairs - 1``; 0 is the trivial one. They are sorted.

        Returns
        -------
        self : DiffusionMaps
        """
        coordinates = np.asarray(indices)
        if coordinates.ndim != 1 or coordinates.dtype.kind not in "iu":
            raise TypeError(f"indices is {indices!r}; allowed is a list of integers.")
        self._check_target_coords(coordinates)
        self.target_coords_ = np.sort(coordinates)
        self.n_features_out_ = len(coordinates)
        vars(self).pop("inv_coeff_matrix_", None)
        return self

    def _check_target_coords(self, coordinates):
        given = coordinates.tolist()
        if not given or len(set(given)) < len(given) or set(given) - set(range(self.n_eigenpairs)):
            raise ValueError(
                f"indices of target coordinates are {given}; allowed are different integers from 0 "
                f"to {self.n_eigenpairs - 1}, at least one."
            )

    def _coordinates(self):
        return getattr(self, "target_coords_", np.arange(self.n_eigenpairs))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the coordinates, ``dmap0``, ``dmap1`` and so on.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str
        """
        return np.array([f"dmap{i}" for i in self._coordinates()], dtype=object)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Compute the eigenpairs.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self : DiffusionMaps
        """
        X = self._validate_datafold_data(X, ensure_min_samples=2)
        if self.n_eigenpairs > len(X):
            raise ValueError(
                f"n_eigenpairs is {self.n_eigenpairs}; allowed are integers up to the number of "
                f"samples, n_samples={len(X)}."
            )
        self._check_target_coords(self._coordinates())
        self._forget()
        self._setup_feature_attrs_fit(X)
        # Beside the trivial eigenpair there is at least one other in the estimator.
        n_components = max(self.n_eigenpairs - 1, 1)
        estimator = _fitted(manifold.DiffusionMaps, self, _values(X), n_components=n_components)
        self.estimator_ = estimator
        self.epsilon_ = estimator.epsilon_
        self.eigenvalues_ = estimator.eigenvalues_[: self.n_eigenpairs]
        self.eigenvectors_ = estimator.eigenvectors_[:, : self.n_eigenpairs]
        if isinstance(X, TSCDataFrame):
            names = [f"ev{i}" for i in range(self.n_eigenpairs)]
            self.eigenvectors_ = self._same_type_X(X, self.eigenvectors_, names)
        self.X_fit_ = X
        return self

    def _forget(self):
        """Make a second `fit` a first one: datafold keeps what is there."""
        for name in ("n_features_in_", "feature_names_in_", "n_features_out_", "inv_coeff_matrix_"):
            vars(self).pop(name, None)

    def fit_transform(self, X, y=None):
        """Compute the eigenpairs and return the embedding of the samples.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        embedding : as X, of shape (n_samples, n_features_out_)
        """
        self.fit(X)
        return self._embedding(X, _values(self.eigenvectors_))

    def transform(self, X):
        """Embed points by the Nyström extension.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_points, n_features)

        Returns
        -------
        embedding : as X, of shape (n_points, n_features_out_)
        """
        check_is_fitted(self, "eigenvalues_")
        X = self._validate_datafold_data(X)
        self._validate_feature_input(X, direction="transform")
        return self._embedding(X, self.estimator_.extend(_values(X)))

    def _embedding(self, X, eigenvectors):
        values = eigenvectors[:, self._coordinates()] * self._powers()
        return self._same_type_X(X, values, self.get_feature_names_out())

    def _powers(self):
        self._validate_params()  # time_exponent may have been changed
        # An eigenvalue that is not positive is one of 0 and an error.
        return np.maximum(self.eigenvalues_[self._coordinates()], 0) ** self.time_exponent

    def inverse_transform(self, X):
        """Map an embedding back, linearly, with the coefficients of least squares on the samples.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_points, n_features_out_)

        Returns
        -------
        points : as X, of shape (n_points, n_features)
        """
        check_is_fitted(self, "eigenvalues_")
        X = self._validate_datafold_data(X)
        self._validate_feature_input(X, direction="inverse_transform")
        if not hasattr(self, "inv_coeff_matrix_"):
            chosen = np.asarray(self.eigenvectors_)[:, self._coordinates()]
            self.inv_coeff_matrix_ = scipy.linalg.lstsq(chosen, _values(self.X_fit_))[0]
        powers = self._powers()
        powers[powers == 0] = np.inf  # these coordinates are 0 and tell nothing
        values = _values(X) / powers @ self.inv_coeff_matrix_
        numbered = [f"x{i}" for i in range(self.n_features_in_)]
        return self._same_type_X(X, values, getattr(self, "feature_names_in_", numbered))


@with_compression_parameters
class GeometricHarmonicsInterpolator(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Geometric harmonics: functions on samples, continued to new points.

    In place of `datafold.dynfold.GeometricHarmonicsInterpolator`, with
    :class:`skhmat.manifold.GeometricHarmonics` inside. The kernel is the Gaussian itself, as
    datafold's is by default, and not made stochastic. There is no ``gradient``.

    Parameters
    ----------
    epsilon : float or "auto", default="auto"
        Scale of the kernel; the Gaussian is exp(-||x - y||^2 / (2 epsilon)). For this one and all
        others that are not explained here see :class:`skhmat.manifold.GeometricHarmonics`.
    n_eigenpairs : int, default=10
        Number of eigenpairs, at most the number of samples.
    cut_off : "auto", float or None, default="auto"
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
    eigen_tol : float or "auto", default="auto"
    {compression}

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_eigenpairs,)
        Descending; fewer than `n_eigenpairs` where rounding leaves nothing of the others.
    eigenvectors_ : ndarray of shape (n_samples, n_eigenpairs)
    epsilon_ : float
    estimator_ : skhmat.manifold.GeometricHarmonics
        The fitted estimator inside.
    X_fit_ : ndarray of shape (n_samples, n_features)
    y_ : ndarray of shape (n_samples, n_targets)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    skhmat.manifold.GeometricHarmonics : Without datafold.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.datafold import GeometricHarmonicsInterpolator
    >>> X = np.random.default_rng(0).uniform(size=(500, 2))
    >>> model = GeometricHarmonicsInterpolator(epsilon=0.1, n_eigenpairs=50)
    >>> bool(model.fit(X, np.sin(X.sum(axis=1))).score(X, np.sin(X.sum(axis=1))) > -1e-3)
    True
    """

    _parameter_constraints: ClassVar = manifold.GeometricHarmonics._parameter_constraints

    def __init__(
        self,
        epsilon="auto",
        *,
        n_eigenpairs=10,
        cut_off="auto",
        eigen_solver="auto",
        eigen_tol="auto",
        rtol=1e-4,
        leaf_size=256,
        max_rank=None,
        n_neighbors=32,
        budget="auto",
        distance="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.epsilon = epsilon
        self.n_eigenpairs = n_eigenpairs
        self.cut_off = cut_off
        self.eigen_solver = eigen_solver
        self.eigen_tol = eigen_tol
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the model.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_samples, n_features)
        y : TSCDataFrame, DataFrame or ndarray of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        self : GeometricHarmonicsInterpolator
        """
        options = {"multi_output": True, "y_numeric": True, "ensure_min_samples": 2}
        X, y = validate_data(self, X, y, **options)
        estimator = _fitted(manifold.GeometricHarmonics, self, X, y)
        self.estimator_ = estimator
        self.epsilon_ = estimator.epsilon_
        self.eigenvalues_ = estimator.eigenvalues_
        self.eigenvectors_ = estimator.eigenvectors_
        self.X_fit_ = X
        self.y_ = y.reshape(len(y), -1)
        return self

    def predict(self, X):
        """Evaluate the functions at new points.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_points, n_features)

        Returns
        -------
        y : ndarray of shape (n_points,) or (n_points, n_targets)
        """
        check_is_fitted(self)
        return self.estimator_.predict(validate_data(self, X, reset=False))

    def score(self, X, y, sample_weight=None, multioutput="raw_values"):
        """Return the negative root mean squared error.

        Parameters
        ----------
        X : TSCDataFrame, DataFrame or ndarray of shape (n_points, n_features)
        y : TSCDataFrame, DataFrame or ndarray of shape (n_points,) or (n_points, n_targets)
        sample_weight : array-like of shape (n_points,), default=None
        multioutput : {"raw_values", "uniform_average"} or array-like, default="raw_values"
            "raw_values" returns one score for each of many targets; a model selection needs
            "uniform_average" then.

        Returns
        -------
        score : float or ndarray of shape (n_targets,)
        """
        options = {"sample_weight": sample_weight, "multioutput": multioutput}
        scores = -np.sqrt(mean_squared_error(np.asarray(y), self.predict(X), **options))
        return scores if np.size(scores) > 1 else float(np.squeeze(scores))

    def _more_tags(self):
        return {"poor_score": True}  # 1 is not the best score
