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

from . import manifold
from ._base.fit_context import fit_context
from ._utils.parallel import budgeted
from ._utils.read_only import ReadOnlyResults, read_only
from ._utils.validation import CheckedParameters, parameter_error, validate_data

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
    """Return the numbers of time series, a data frame or an array in float64."""
    return np.asarray(X, dtype=np.float64)


class _Wrapper(ReadOnlyResults, CheckedParameters, BaseEstimator):
    """An estimator of `skhmat.manifold` behind the interface of datafold.

    Attributes
    ----------
    _inner : type
        The class of the estimator inside.
    """

    _inner: ClassVar[type]

    def _fit_inner(self, *data, **parameters):
        """Fit the estimator inside, with the parameters that both have and with others.

        Returns
        -------
        estimator : skhmat.manifold.DiffusionMaps or skhmat.manifold.GeometricHarmonics
        """
        for name in self._inner().get_params().keys() & self.get_params().keys():
            parameters.setdefault(name, getattr(self, name))
        self.estimator_ = self._inner(**parameters).fit(*data)
        self.epsilon_ = self.estimator_.epsilon_
        return self.estimator_

    def _delete(self, *names):
        """Delete those of the named attributes that exist."""
        for name in names:
            if hasattr(self, name):
                delattr(self, name)


class DiffusionMaps(TSCTransformerMixin, _Wrapper):
    """Diffusion maps for time series, as a step of EDMD.

    Replaces `datafold.dynfold.DiffusionMaps`, with :class:`skhmat.manifold.DiffusionMaps`
    inside. The kernel is a parameter and not an object: datafold's ``GaussianKernel(epsilon=e)`` is
    ``epsilon=e``.

    Parameters
    ----------
    epsilon : float or {"auto", "sum"}, default="auto"
        Scale of the kernel; the Gaussian is exp(-||x - y||^2 / (2 epsilon)). This and the
        parameters without a description are explained in :class:`skhmat.manifold.DiffusionMaps`.
    n_eigenpairs : int, default=10
        Number of eigenpairs, the trivial one included.
    time_exponent : float, default=0
        Exponent of the eigenvalues in the embedding, at least 0. It can be changed after `fit`.
    alpha : float, default=1.0
        How much of the density of the samples is divided out, from 0 to 1.
    cut_off : "auto", float or None, default="auto"
    knn : int, default=None
    variable_bandwidth : int, default=None
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
    eigen_tol : float or "auto", default="auto"
    rtol : float, default=1e-4
        Relative error that the compressed matrix promises, in (0, 1); see
        :func:`skhmat.linalg.compress`.
    leaf_size : int or "auto", default="auto"
        Largest number of points in a leaf of the tree, at least 2; "auto" takes what costs least.
    max_rank : int, default=None
        Largest rank; None lets ranks grow until a dense matrix would be cheaper.
    n_neighbors : int, default=32
        Neighbours of each point that guide the sampling of rows.
    budget : float or "auto", default="auto"
        Largest fraction of all pairs of leaves that are held exactly, in [0, 1].
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        Distance that decides which points are near each other.
    n_jobs : int, default=None
        Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
        `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
        joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

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

    _inner = manifold.DiffusionMaps
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
        leaf_size="auto",
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
        """Return a model of the Laplace-Beltrami operator: alpha is 1."""
        return cls(epsilon, n_eigenpairs=n_eigenpairs, alpha=1.0, **parameters)

    @classmethod
    def fokker_planck(cls, epsilon="auto", n_eigenpairs=10, **parameters):
        """Return a model of the Fokker-Planck operator: alpha is 1/2."""
        return cls(epsilon, n_eigenpairs=n_eigenpairs, alpha=0.5, **parameters)

    @classmethod
    def graph_laplacian(cls, epsilon="auto", n_eigenpairs=10, **parameters):
        """Return a model of the graph Laplacian: alpha is 0."""
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
            raise parameter_error("indices", "a list of integers", indices, kind=TypeError)
        self._check_target_coords(coordinates)
        self.target_coords_ = np.sort(coordinates)
        self.n_features_out_ = len(coordinates)
        self._delete("inv_coeff_matrix_")
        return self

    def _check_target_coords(self, coordinates):
        given = coordinates.tolist()
        if not given or len(set(given)) < len(given) or set(given) - set(range(self.n_eigenpairs)):
            allowed = f"different integers from 0 to {self.n_eigenpairs - 1}, at least one"
            raise parameter_error("indices of target coordinates", allowed, given)

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

    @fit_context
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
            allowed = f"at most {len(X)} for {len(X)} samples"
            raise parameter_error("n_eigenpairs", allowed, self.n_eigenpairs)
        self._check_target_coords(self._coordinates())
        # datafold keeps existing attributes, and would use those of an earlier fit.
        self._delete("n_features_in_", "feature_names_in_", "n_features_out_", "inv_coeff_matrix_")
        self._setup_feature_attrs_fit(X)
        # The estimator inside has at least one eigenpair besides the trivial one.
        estimator = self._fit_inner(_values(X), n_components=max(self.n_eigenpairs - 1, 1))
        self.eigenvalues_ = estimator.eigenvalues_[: self.n_eigenpairs]
        self.eigenvectors_ = estimator.eigenvectors_[:, : self.n_eigenpairs]
        if isinstance(X, TSCDataFrame):
            names = [f"ev{i}" for i in range(self.n_eigenpairs)]
            self.eigenvectors_ = self._same_type_X(X, self.eigenvectors_, names)
        self.X_fit_ = X
        return self

    @fit_context
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

    @budgeted
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
        # The exponent may have been changed after the fit.
        self._validate_params()
        # Eigenvalues are negative only by error.
        return np.maximum(self.eigenvalues_[self._coordinates()], 0) ** self.time_exponent

    @budgeted
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
            coefficients = scipy.linalg.lstsq(chosen, _values(self.X_fit_))[0]
            self.inv_coeff_matrix_ = read_only(coefficients)
        powers = self._powers()
        # Coordinates that are 0 for all points carry no information.
        powers[powers == 0] = np.inf
        values = _values(X) / powers @ self.inv_coeff_matrix_
        numbered = [f"x{i}" for i in range(self.n_features_in_)]
        return self._same_type_X(X, values, getattr(self, "feature_names_in_", numbered))


class GeometricHarmonicsInterpolator(MultiOutputMixin, RegressorMixin, _Wrapper):
    """Geometric harmonics: functions known at samples, extended to new points.

    Replaces `datafold.dynfold.GeometricHarmonicsInterpolator`, with
    :class:`skhmat.manifold.GeometricHarmonics` inside. The kernel is the plain Gaussian, as in
    datafold by default; it is not made stochastic. There is no ``gradient``.

    Parameters
    ----------
    epsilon : float or {"auto", "sum"}, default="auto"
        Scale of the kernel; the Gaussian is exp(-||x - y||^2 / (2 epsilon)). This and the
        parameters without a description are those of :class:`skhmat.manifold.GeometricHarmonics`.
    n_eigenpairs : int or "auto", default="auto"
        Number of eigenpairs, at most the number of samples. "auto" chooses it, and `epsilon` where
        that is "auto", too, for the function at hand.
    cut_off : "auto", float or None, default="auto"
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
    eigen_tol : float or "auto", default="auto"
    rtol : float, default=1e-4
        Relative error that the compressed matrix promises, in (0, 1); see
        :func:`skhmat.linalg.compress`.
    leaf_size : int or "auto", default="auto"
        Largest number of points in a leaf of the tree, at least 2; "auto" takes what costs least.
    max_rank : int, default=None
        Largest rank; None lets ranks grow until a dense matrix would be cheaper.
    n_neighbors : int, default=32
        Neighbours of each point that guide the sampling of rows.
    budget : float or "auto", default="auto"
        Largest fraction of all pairs of leaves that are held exactly, in [0, 1].
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        Distance that decides which points are near each other.
    n_jobs : int, default=None
        Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
        `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
        joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_eigenpairs,)
        Descending; fewer than `n_eigenpairs` if the others are rounding errors.
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

    _inner = manifold.GeometricHarmonics
    _parameter_constraints: ClassVar = manifold.GeometricHarmonics._parameter_constraints

    def __init__(
        self,
        epsilon="auto",
        *,
        n_eigenpairs="auto",
        cut_off="auto",
        eigen_solver="auto",
        eigen_tol="auto",
        rtol=1e-4,
        leaf_size="auto",
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

    @fit_context
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
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        estimator = self._fit_inner(X, y)
        self.eigenvalues_ = estimator.eigenvalues_
        self.eigenvectors_ = estimator.eigenvectors_
        self.X_fit_ = X
        self.y_ = y.reshape(len(y), -1)
        return self

    @budgeted
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
        errors = mean_squared_error(
            np.asarray(y), self.predict(X), sample_weight=sample_weight, multioutput=multioutput
        )
        scores = -np.sqrt(errors)
        return scores if np.size(scores) > 1 else float(np.squeeze(scores))

    def _more_tags(self):
        return {"poor_score": True}  # 1 is not the best score
