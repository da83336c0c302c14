"""The house: what a person meets before the first line of numerics."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import skhmat

README = Path(__file__).parents[1] / "README.md"
HEAVY = {"tensorflow", "keras", "matplotlib", "datafold", "mpi4py", "pandas"}


def run_python(code, cwd):
    # In an empty directory, so that the installed package is found and never the source tree.
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


def test_version_is_that_of_the_installed_distribution():
    assert skhmat.__version__ == version("skhmat")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", skhmat.__version__)


@pytest.mark.parametrize("module", ["skhmat", "skhmat.linalg", "skhmat.neural_network"])
def test_import_leaves_optional_packages_alone(module, tmp_path):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    assert HEAVY.isdisjoint(run_python(code, tmp_path).split())


def test_readme_example_runs_as_printed(tmp_path):
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example, f"{README} has no python block"
    code = example.group(1)
    assert len(code.strip().splitlines()) <= 12
    run_python(code, tmp_path)
