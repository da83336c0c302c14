"""
EDMD of a limit cycle, with datafold
====================================

Extended dynamic mode decomposition (EDMD) describes a nonlinear system by a linear one, in
coordinates in which the system is nearly linear. In datafold they are often eigenvectors of
diffusion maps. Here the system is the Hopf normal form: all trajectories spiral towards a circle.
EDMD is fitted twice, once with datafold's own ``DiffusionMaps`` and once with that of
``skhmat.datafold``. Then both predict new trajectories, each from its first point alone.

This example needs datafold, and so older versions of NumPy and scikit-learn than the rest of the
documentation: see :doc:`/datafold`.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from datafold.appfold import EDMD
from datafold.dynfold import DiffusionMaps as DenseDiffusionMaps
from datafold.pcfold import GaussianKernel, TSCDataFrame

from skhmat.datafold import DiffusionMaps

N_TRAINING, N_NEW = 120, 30
TIMES = 0.1 * np.arange(50)
EPSILON, N_EIGENPAIRS = 0.05, 80

# %%
# The data: in polar coordinates the equations r' = r - r^3 and angle' = 3 have this solution.


def trajectories(n, rng):
    """Return time series that begin anywhere in a ring around the circle."""
    frames = []
    for start, angle in rng.uniform([0.3, 0.0], [1.7, 2 * np.pi], size=(n, 2)):
        radius = 1 / np.sqrt(1 + (start**-2 - 1) * np.exp(-2 * TIMES))
        phase = angle + 3 * TIMES
        x = np.column_stack([radius * np.cos(phase), radius * np.sin(phase)])
        frames.append(pd.DataFrame(x, index=TIMES, columns=["x1", "x2"]))
    return TSCDataFrame.from_frame_list(frames)


rng = np.random.default_rng(0)
training, new = trajectories(N_TRAINING, rng), trajectories(N_NEW, rng)

# %%
# The two models.

MAPS = {
    "datafold": DenseDiffusionMaps(GaussianKernel(epsilon=EPSILON), n_eigenpairs=N_EIGENPAIRS),
    "skhmat": DiffusionMaps(epsilon=EPSILON, n_eigenpairs=N_EIGENPAIRS, random_state=0),
}


def by_series(X):
    """Return the values as an array of shape (n_series, n_times, 2)."""
    return X.to_numpy().reshape(-1, len(TIMES), 2)


followed, errors = {}, {}
for name, maps in MAPS.items():
    start = time.perf_counter()
    model = EDMD([("maps", maps)], include_id_state=False).fit(training)
    seconds = time.perf_counter() - start
    followed[name] = by_series(model.reconstruct(new))
    errors[name] = np.linalg.norm(followed[name] - by_series(new), axis=2)
    rms = np.sqrt(np.mean(errors[name] ** 2))
    print(f"{name:9} {len(training):,} samples in {seconds:.1f} s, error {rms:.2e}")
apart = np.linalg.norm(followed["skhmat"] - followed["datafold"], axis=2)
print(f"{'apart':9} {np.sqrt(np.mean(apart**2)):.2e}")

# %%
# The picture: some of the new trajectories, and the error at each time. The models differ from each
# other by less than each of them differs from the truth.
#
# .. image:: /edmd_limit_cycle.png
#    :alt: Trajectories that spiral towards a circle, and the errors of both models over time.

# sphinx_gallery_thumbnail_path = 'edmd_limit_cycle.png'

STYLES = {
    "the system": {"color": "0.8", "linewidth": 5},
    "datafold": {"color": "C0"},
    "skhmat": {"color": "C1", "linestyle": "--"},
}
figure, (plane, ax) = plt.subplots(2, 1, figsize=(6.4, 7.5), layout="constrained")
for name, values in {"the system": by_series(new), **followed}.items():
    for label, series in zip([name, None, None, None], values[:4], strict=True):
        plane.plot(series[:, 0], series[:, 1], label=label, **STYLES[name])
plane.set(aspect="equal", xlabel="x1", ylabel="x2")
plane.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

for name, error in errors.items():
    ax.semilogy(TIMES, np.sqrt(np.mean(error**2, axis=0)), label=name, **STYLES[name])
ax.semilogy(TIMES, np.sqrt(np.mean(apart**2, axis=0)), "k:", label="one from the other")
ax.set(xlabel="time", ylabel="root mean squared distance")
ax.legend(frameon=False)
plt.show()
