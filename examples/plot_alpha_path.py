"""
The penalty that leave-one-out errors choose
============================================

Of a photograph with 273,280 pixels only 4,000 are known, drawn at random. Kernel ridge regression
from the place of a pixel to its colour fills in the others. How smooth the result is depends on the
penalty ``alpha``: with one that is too small it follows every grain of the known pixels, with one
that is too large it is a dark blur.

``KernelRidgeCV`` scores each alpha by the errors of 4,000 models, each fitted without one of the
pixels (*leave-one-out*). They all come from one solution and the diagonal of the inverse matrix, so
that scoring eleven alphas takes little more than a few fits. Here the whole photograph is known, so
they can be compared with what they estimate: the error at pixels that no model has seen
(*held-out*).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from skhmat.kernel_ridge import KernelRidge, KernelRidgeCV

N_KNOWN, N_HELD_OUT = 4000, 20_000
ALPHAS = np.logspace(-4, 1, 11)
# The kernel falls to 0.6 at 3 per cent of the photograph's height.
KERNEL = {"kernel": "rbf", "gamma": 0.5 / 0.03**2, "rtol": 1e-5, "random_state": 0}

# %%
# The data: places in units of the height, colours from 0 to 1.

photograph = load_sample_image("flower.jpg") / 255
height, width = photograph.shape[:2]
places = np.stack(np.unravel_index(np.arange(height * width), (height, width)), axis=1) / height
colours = photograph.reshape(-1, 3)
drawn = np.random.default_rng(0).choice(len(places), N_KNOWN + N_HELD_OUT, replace=False)
known, held_out = drawn[:N_KNOWN], drawn[N_KNOWN:]
mean = colours[known].mean(axis=0)

# %%
# One fit scores all alphas. The other curve takes a model for each of them.

chosen = KernelRidgeCV(ALPHAS, **KERNEL).fit(places[known], colours[known] - mean)
held_out_mse = []
for alpha in ALPHAS:
    model = KernelRidge(alpha, **KERNEL).fit(places[known], colours[known] - mean)
    missed = model.predict(places[held_out]) + mean - colours[held_out]
    held_out_mse.append(np.mean(missed**2))
for alpha, *errors in zip(ALPHAS, chosen.loo_mse_, held_out_mse, strict=True):
    print("alpha {:7.1e}: leave-one-out {:.4f}, held-out {:.4f}".format(alpha, *np.sqrt(errors)))

# %%
# The picture: both errors; below them the known pixels, the image that the chosen model makes of
# them, and the photograph.

figure, axes = plt.subplot_mosaic(
    [["errors"] * 3, ["known", "filled", "photograph"]],
    figsize=(6.4, 5),
    height_ratios=[3, 2],
    layout="constrained",
)
ax = axes["errors"]
ax.semilogx(ALPHAS, np.sqrt(chosen.loo_mse_), "o-", label="leave-one-out")
ax.semilogx(ALPHAS, np.sqrt(held_out_mse), "s--", label="held-out")
ax.axvline(chosen.alpha_, color="grey", linewidth=0.8, linestyle=":", label="chosen")
ax.set_xlabel("alpha")
ax.set_ylabel("root mean squared error")
ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, 1))

filled = np.clip(chosen.predict(places) + mean, 0, 1).reshape(photograph.shape)
axes["known"].scatter(places[known, 1], places[known, 0], c=colours[known], s=0.8)
axes["known"].set(aspect="equal", xlim=(0, width / height), ylim=(1, 0))
axes["known"].set_title(f"{N_KNOWN:,} known pixels", fontsize="medium")
axes["filled"].imshow(filled)
axes["filled"].set_title(f"filled in, alpha = {chosen.alpha_:.2g}", fontsize="medium")
axes["photograph"].imshow(photograph)
axes["photograph"].set_title("the photograph", fontsize="medium")
for name in ("known", "filled", "photograph"):
    axes[name].set(xticks=[], yticks=[])
plt.show()
