"""One choice of instruction set for all vectorised loops."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skhmat._ext.simd import dispatch

from .vectorised_loops import results

RESULTS = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pickle, "
    "vectorised_loops as loops; sys.stdout.buffer.write(pickle.dumps(loops.results()))"
)


def run_python(code, cwd, isa):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"SKHMAT_ISA": isa},
        cwd=cwd,
        capture_output=True,
        check=True,
        timeout=300,
    )


def test_every_loop_agrees_with_plain_c(isa):
    got = results()
    assert dispatch.select_isa("plain")
    for name, expected in results().items():
        eps = np.finfo(np.float32 if "32" in name or name == "packed" else np.float64).eps
        if name.startswith("projection"):
            eps = np.finfo(np.float32).eps
        if name == "tree":  # where it stops depends on roundings, within its tolerance
            eps = 1e-5
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            got[name], expected, rtol=0, atol=200 * eps * scale, err_msg=name
        )


@pytest.mark.parametrize("chosen", dispatch.available())
def test_the_environment_reaches_every_loop(chosen, tmp_path):
    found = pickle.loads(run_python(RESULTS, tmp_path, chosen).stdout)
    before = dispatch.isa()
    try:
        assert dispatch.select_isa(chosen)
        expected = results()
    finally:
        dispatch.select_isa(before)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_results_tell_the_instruction_sets_apart():
    """Otherwise the test above would be vacuous."""
    before, found = dispatch.isa(), {}
    try:
        for name in dispatch.available():
            assert dispatch.select_isa(name)
            found[name] = results()
    finally:
        dispatch.select_isa(before)
    for other in found.keys() - {"plain"}:
        for loop, array in found["plain"].items():
            if loop == "projection float64":  # rounded to float32 at the end
                continue
            assert not np.array_equal(found[other][loop], array), (other, loop)


@pytest.mark.parametrize("name", ["unheard-of", "AVX2", "sse2"])
def test_the_environment_is_not_ignored_silently(name, tmp_path):
    code = "from skhmat._ext.simd import dispatch; print(dispatch.isa())"
    result = run_python(code, tmp_path, name)
    best = run_python(code, tmp_path, "")
    assert result.stdout == best.stdout
    assert b"RuntimeWarning" not in best.stderr
    message = result.stderr.decode()
    assert f"RuntimeWarning: SKHMAT_ISA={name!r}" in message
    assert ", ".join(dispatch.available()) in message


def test_available_instruction_sets():
    names = dispatch.available()
    assert names[0] == "plain"
    assert dispatch.isa() in names
    before = dispatch.isa()
    for name in names:
        assert dispatch.select_isa(name)
        assert dispatch.isa() == name
    assert dispatch.select_isa(before)
