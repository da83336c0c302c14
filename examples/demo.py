"""
Compress, multiply, find eigenvectors: two real matrices
========================================================

Two kernel matrices, compressed and compared with the exact ones: 20,000 patches of two photographs
in 147 dimensions, and diffusion maps of the S-curve. A table and the figure ``demo.png`` show what
was promised, what was measured, and the cost relative to the dense matrix.
"""

import time
from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.linalg import LinearOperator
from scipy.spatial.distance import pdist
from sklearn.datasets import load_sample_images, make_s_curve
from sklearn.feature_extraction.image import extract_patches_2d

from skhmat.linalg import KernelMatrix, compress, eigsh

N_EIGENPAIRS = 6
N_VECTORS = 512


# %%
# The data. Patches lie near a curved surface of low but unknown dimension, the S-curve has two.


def image_patches(n, random_state=0):
    """Return n patches of 7 x 7 pixels in three colours as points with 147 coordinates."""
    images = load_sample_images().images
    patches = [
        extract_patches_2d(image, (7, 7), max_patches=n // len(images), random_state=random_state)
        for image in images
    ]
    return np.concatenate(patches).reshape(-1, 147).astype(np.float32) / 255


def median_distance(X, n_sample=1000):
    """Return the median distance of points, from a sample of them."""
    sample = np.random.default_rng(0).choice(len(X), n_sample, replace=False)
    return float(np.median(pdist(X[sample])))


# %%
# The measurements: every step once with the compressed and once with the dense matrix.


@dataclass
class Result:
    """The results for one matrix."""

    name: str
    H: object
    error: float
    seconds: dict
    values: tuple
    vectors: tuple


def timed(function, *args, **kwargs):
    """Return the result of a call and its seconds."""
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - start


def study(name, K, rtol, operator):
    """Compress K and compare it with the dense matrix; also the eigenpairs of ``operator(K)``."""
    H, setup = timed(compress, K, rtol=rtol, random_state=0)
    dense, forming = timed(K.toarray)
    W = np.random.default_rng(1).standard_normal((len(dense), N_VECTORS)).astype(K.dtype)
    error, products = compare_products(H, dense, W)
    seconds = {"set-up": (setup, forming), **products}
    values, vectors = [], []
    eigen_seconds = []
    for matrix in (H, dense):
        pairs, duration = timed(eigsh, operator(matrix), k=N_EIGENPAIRS, tol=1e-9, random_state=0)
        # Largest first, as diffusion maps are read.
        values.append(pairs[0][::-1])
        vectors.append(pairs[1][:, ::-1])
        eigen_seconds.append(duration)
    seconds[f"{N_EIGENPAIRS} eigenpairs"] = tuple(eigen_seconds)
    return Result(name, H, error, seconds, tuple(values), tuple(vectors))


def compare_products(H, dense, W):
    """Return the error over all rows, and the seconds of products."""
    H @ W[:, 0]  # a first call: its set-up is not timed
    ours, ours_512 = timed(H.matmat, W)
    exact, exact_512 = timed(np.matmul, dense, W)
    ours_1 = min(timed(H.matvec, W[:, 0])[1] for _ in range(5))
    exact_1 = min(timed(np.matmul, dense, W[:, 0])[1] for _ in range(3))
    error = float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
    return error, {
        f"product with {N_VECTORS}": (ours_512, exact_512),
        "product with 1": (ours_1, exact_1),
    }


def mean_operator(K):
    """Return K / n, of which the eigenvalues do not grow with the number of points."""
    return LinearOperator(K.shape, matvec=lambda x: (K @ x.ravel()) / K.shape[0], dtype=K.dtype)


def diffusion_operator(K):
    """Return the symmetric conjugate of the diffusion maps transition matrix (alpha = 1) around K.

    K is normalised by its row sums q on both sides, which divides out the density of the points,
    then by the new row sums d to a Markov matrix, conjugate to D^-1/2 Q^-1 K Q^-1 D^-1/2. Its
    leading eigenvalue is 1.
    """
    q = K @ np.ones(K.shape[0])
    d = (K @ (1 / q)) / q
    scale = 1 / (q * np.sqrt(d))
    return LinearOperator(
        K.shape, matvec=lambda x: scale * (K @ (scale * x.ravel())), dtype=K.dtype
    )


def angles(exact, ours):
    """Return the angles in degrees between eigenvectors, whose sign is arbitrary."""
    # By the sine, because the cosine of a small angle has lost its digits.
    cosines = np.sum(exact * ours, axis=0, dtype=np.float64)
    sines = np.linalg.norm(ours - exact * cosines, axis=0)
    return np.degrees(np.arctan2(sines, np.abs(cosines)))


# %%
# The table.


def table(results):
    """Return the figures of all results as lines of text."""
    rows = [("", *(f"{r.name}" for r in results))]
    rows += [(label, *(f(r) for r in results)) for label, f in _lines(results[0])]
    width = [max(len(row[i]) for row in rows) + 3 for i in range(len(rows[0]))]
    lines = [
        "".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(width) - 3), *lines[1:]])


def _lines(first):
    """Return label and function for each line of the table."""
    lines = [
        ("matrix", lambda r: f"{r.H.shape[0]:,} x {r.H.shape[0]:,}, {r.H.dtype}"),
        ("error promised", lambda r: f"{r.H.report_.rtol:.1e}"),
        ("error estimated by compress", lambda r: f"{r.H.error_estimate_:.1e}"),
        ("error measured on all rows", lambda r: f"{r.error:.1e}"),
        ("memory, dense", lambda r: f"{r.H.nbytes / 1e6:,.0f} MB, {dense_megabytes(r.H):,.0f} MB"),
    ]
    lines += [(f"{key}, dense", partial(_seconds, key)) for key in first.seconds]
    return [
        *lines,
        ("leading eigenvalues", lambda r: " ".join(f"{v:.5g}" for v in r.values[1])),
        ("Frobenius norm of differences", lambda r: f"{frobenius_difference(r):.1e}"),
        (
            "largest angle of eigenvectors",
            lambda r: f"{angles(*r.vectors[::-1]).max():.1e} degrees",
        ),
    ]


def _seconds(key, result):
    return "{:.3g} s, {:.3g} s".format(*result.seconds[key])


def dense_megabytes(H):
    return H.shape[0] ** 2 * H.dtype.itemsize / 1e6


def frobenius_difference(result):
    return np.linalg.norm(result.values[0] - result.values[1])


# sphinx_gallery_thumbnail_path = 'demo.png'

# %%
# The figure: where the blocks are and their ranks, and the eigenvectors of diffusion maps one
# against the other, from the exact and from the compressed matrix. They unroll the curve.
#
# .. image:: /demo.png
#    :alt: The blocks of both matrices with their ranks, and eigenvectors one against the other.


def figure(results, color):
    """Draw rank maps of all results, and the eigenvectors of the last one."""
    # One below the other and no wider than this, so that ranks can be read on a phone.
    fig = plt.figure(figsize=(6.4, 5 * len(results) + 4), layout="constrained")
    maps, vectors = fig.subfigures(2, 1, height_ratios=[5 * len(results), 4])
    for ax, result in zip(maps.subplots(len(results), 1), results, strict=True):
        result.H.plot(ax)
        ax.set_title(f"{result.name}\n{ax.get_title()}", fontsize="medium")
    draw_eigenvectors(vectors, results[-1], color)
    return fig


def draw_eigenvectors(fig, result, color):
    """Draw the first eigenvector that is not constant against those that follow."""
    axes = fig.subplots(2, N_EIGENPAIRS - 2, sharex=True, sharey="col")
    # Divided by the leading one, they become eigenvectors of the transition matrix itself.
    ours, exact = (vectors / vectors[:, :1] for vectors in result.vectors)
    signs = np.where(np.sum(ours * exact, axis=0) < 0, -1, 1)
    for row, label, psi in ((0, "exact", exact), (1, "compressed", ours * signs)):
        for column, ax in enumerate(axes[row]):
            ax.scatter(psi[:, 1], psi[:, column + 2], c=color, s=1, cmap="Spectral")
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(rf"$\psi_1$ against $\psi_{column + 2}$", fontsize="medium")
        axes[row, 0].set_ylabel(label)
    fig.suptitle(
        f"{result.name}: eigenvectors of diffusion maps\n"
        "coloured by the position along the curve\n"
        f"Frobenius norm of the differences of the eigenvalues: {frobenius_difference(result):.1e}",
        fontsize="medium",
    )


# %%
# All of it. Patches in single precision, the S-curve in double precision since small differences of
# eigenvalues are asked for.


def main():
    patches = image_patches(20_000)
    K = KernelMatrix(patches, bandwidth=median_distance(patches))
    results = [study("image patches", K, 1e-3, mean_operator)]
    curve, position = make_s_curve(16_384, random_state=0)
    K = KernelMatrix(curve, bandwidth=0.3)
    results.append(study("S-curve", K, 1e-5, diffusion_operator))
    print(table(results))
    for result in results:
        print(f"\n{result.name}: {result.H.summary()}")
    figure(results, position).savefig("demo.png", dpi=160)
    print("\nThe figure is in demo.png.")


if __name__ == "__main__":
    main()
