"""scikit-learn's own tests of KernelDensity, pointed at ours."""

import inspect
import re
import subprocess
import sys

import pytest


def test_scikit_learn_suite(tmp_path):
    theirs = pytest.importorskip("sklearn.neighbors.tests.test_kde")
    source = inspect.getsource(theirs)
    # Ours samples from all kernels; theirs must refuse four of them.
    source, n_refusals = re.subn(
        r"    # check unsupported kernels\n.*?\n\n", "", source, flags=re.DOTALL
    )
    source, n_imports = re.subn(
        r"(from sklearn\.neighbors import .*)KernelDensity, ", r"\1", source
    )
    assert (n_refusals, n_imports) == (1, 1)
    copy = tmp_path / "test_kde.py"
    copy.write_text("from skhmat.neighbors import KernelDensity\n" + source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 40
