"""Which way is taken."""

from dataclasses import replace

import pytest
from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel

from skhmat.gaussian_process._inference.choice import POLICY, Inference
from skhmat.gaussian_process._inference.fourier import TooManyModesError

from .problems import draw_sample

KERNEL = RBF(2.0) + WhiteKernel(0.1)


def test_few_samples_are_factorized(rng):
    sample, _ = draw_sample(rng, 100, 1)
    assert Inference(sample)(KERNEL).method == "cholesky"


def test_modes_are_taken_where_they_are_few(rng):
    pytest.importorskip("finufft")
    sample, _ = draw_sample(rng, 1500, 1)
    assert Inference(sample)(KERNEL).method == "fourier"
    assert Inference(sample)(RBF(1e-4) + WhiteKernel(0.1)).method == "cholesky"


def test_kernels_without_a_way(rng):
    pytest.importorskip("finufft")
    sample, _ = draw_sample(rng, 60, 1)
    with pytest.raises(ValueError, match="method must be 'auto' or 'cholesky' here, got 'fourier'"):
        Inference(sample, "fourier").check(DotProduct())
    policy = replace(POLICY, max_cholesky=50, max_direct=50)
    with pytest.raises(ValueError, match="X must be at most 50 samples"):
        Inference(sample, policy=policy).check(DotProduct())
    inference = Inference(sample, policy=policy)
    inference.check(KERNEL)
    with pytest.raises(TooManyModesError):
        inference(RBF(1e-5) + WhiteKernel(0.1))
    assert inference.n_impossible == 1
