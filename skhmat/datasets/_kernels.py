"""K04 to K10, and kernel matrices of data: points and a kernel."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.datasets import (
    fetch_covtype,
    fetch_openml,
    load_digits,
    load_sample_images,
    make_s_curve,
)
from sklearn.feature_extraction.image import extract_patches_2d

from ..linalg import KernelMatrix

_DIM = 6
# Points whose distances give the median.
_N_MEDIAN = 1000
N_DIGITS = 1797


class Download(NamedTuple):
    """A dataset that scikit-learn downloads: its size, and how `fetch_openml` finds it."""

    n_points: int
    openml: dict | None  # None: scikit-learn has a function of its own


DOWNLOADS = {
    "K-MNIST": Download(70_000, {"data_id": 554}),
    "K-COVTYPE": Download(581_012, None),
    "K-HIGGS": Download(98_050, {"data_id": 23512}),
    "K-SUSY": Download(5_000_000, {"name": "SUSY"}),
}


def _normal(n, rng, dtype, dim=_DIM):
    return rng.standard_normal((n, dim)).astype(dtype)


def gaussian_narrow(n, rng, dtype):
    """Gaussian kernel of bandwidth 1 on standard normal points in six dimensions.

    Narrow: most pairs of points are several bandwidths apart, and ranks are high.
    """
    return KernelMatrix(_normal(n, rng, dtype), bandwidth=1.0)


def gaussian_middle(n, rng, dtype):
    """Gaussian kernel of bandwidth 2 on standard normal points in six dimensions."""
    return KernelMatrix(_normal(n, rng, dtype), bandwidth=2.0)


def gaussian_wide(n, rng, dtype):
    """Gaussian kernel of bandwidth 4 on standard normal points in six dimensions.

    Wide: the kernel is smooth on the whole set of points.
    """
    return KernelMatrix(_normal(n, rng, dtype), bandwidth=4.0)


def laplace_green(n, rng, dtype):
    """Green's function of the Laplace operator on standard normal points in six dimensions.

    1 / (r^2 + 0.25)^2: the length 0.5 removes the singularity at r = 0.
    """
    return KernelMatrix(_normal(n, rng, dtype), kernel="laplace_green", bandwidth=0.5)


def quadratic(n, rng, dtype):
    """Quadratic kernel (x.y / 6 + 1)^2 on standard normal points in six dimensions.

    Of rank 28, the number of monomials up to degree 2: positive semi-definite.
    """
    return KernelMatrix(_normal(n, rng, dtype), kernel="polynomial", degree=2)


def inverse_quadratic(n, rng, dtype):
    """Inverse quadratic kernel 1 / (1 + r^2) on standard normal points in six dimensions."""
    X = _normal(n, rng, dtype)
    return KernelMatrix(X, kernel="rational_quadratic", alpha=1.0, bandwidth=0.5**0.5)


def polynomial(n, rng, dtype):
    """Polynomial kernel (x.y / 6 + 1)^4 on standard normal points in six dimensions.

    Of rank 210, the number of monomials up to degree 4: positive semi-definite.
    """
    return KernelMatrix(_normal(n, rng, dtype), kernel="polynomial", degree=4)


def kde(n, rng, dtype):
    """Gaussian kernel of bandwidth 3 on standard normal points in ten dimensions."""
    return KernelMatrix(_normal(n, rng, dtype, dim=10), bandwidth=3.0)


def s_curve(n, rng, dtype):
    """Gaussian kernel of bandwidth 0.2 on scikit-learn's S-curve in three dimensions."""
    X, _ = make_s_curve(n, random_state=_seed(rng))
    return KernelMatrix(X.astype(dtype), bandwidth=0.2)


def digits(n, rng, dtype):
    """Gaussian kernel on handwritten digits, 8 x 8 pixels, bandwidth the median distance.

    The test set of the UCI dataset "Optical recognition of handwritten digits" (CC BY 4.0), which
    comes with scikit-learn.
    """
    return _at_median_distance(load_digits().data, n, rng, dtype)


def patches(n, rng, dtype):
    """Gaussian kernel on patches of 7 x 7 pixels of two photographs, bandwidth the median distance.

    The photographs "China" (R. Hasegawa) and "Flower" (V. Nikonov), CC BY, come with scikit-learn;
    to read them needs Pillow. 147 features in [0, 1].
    """
    images = load_sample_images().images
    counts = [(n + 1) // 2, n // 2]
    X = [
        extract_patches_2d(image, (7, 7), max_patches=count, random_state=_seed(rng))
        for image, count in zip(images, counts, strict=True)
    ]
    X = np.concatenate(X).reshape(n, -1) / 255
    return _at_median_distance(X, n, rng, dtype)


def downloaded(name, n, rng, dtype, folder, download):
    """Gaussian kernel on random points of a dataset that scikit-learn downloads.

    Features are standardised, those with missing values are left out; the bandwidth is the median
    distance.
    """
    path = Path(folder) / f"{name}.npy"
    if not path.exists():
        _fetch(name, path, download)
    return _at_median_distance(np.load(path, mmap_mode="r"), n, rng, dtype)


def _seed(rng):
    return int(rng.integers(2**31))


def _at_median_distance(X, n, rng, dtype):
    """Return the Gaussian kernel matrix of n random rows of X, bandwidth the median distance."""
    rows = np.sort(rng.choice(len(X), size=n, replace=False))
    X = np.asarray(X[rows], dtype=dtype)
    sample = X[rng.choice(n, size=min(n, _N_MEDIAN), replace=False)]
    return KernelMatrix(X, bandwidth=float(np.median(pdist(sample))))


def _fetch(name, path, download):
    """Download a dataset, and write it standardised to `path`."""
    if not download:
        reason = f"there is no {path}, and download_if_missing is False"
        raise OSError(_absent(name, reason))
    openml = DOWNLOADS[name].openml
    if openml is None:
        fetch = partial(fetch_covtype, data_home=path.parent.parent)
    else:
        fetch = partial(fetch_openml, data_home=path.parent.parent, as_frame=False, **openml)
    try:
        X = fetch().data
    except (OSError, ValueError) as error:  # ValueError: OpenML no longer knows it
        raise OSError(_absent(name, f"its download failed: {error}")) from error
    X = standardised(X)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_suffix(".part.npy")
    np.save(partial_file, X)
    partial_file.replace(path)


def standardised(X):
    """Return X in float32 with zero mean and unit variance, without constant or missing columns."""
    X = np.asarray(X, dtype=np.float32)
    X = X[:, np.isfinite(X).all(axis=0)]
    deviation = X.std(axis=0, dtype=np.float64)
    X = X[:, deviation > 0]
    return ((X - X.mean(axis=0, dtype=np.float64)) / deviation[deviation > 0]).astype(np.float32)


def _absent(name, reason):
    return (
        f"The data of {name!r} are not here: {reason}. 'K-DIGITS' and 'K-PATCHES' are kernel "
        "matrices of real data that need no network."
    )
