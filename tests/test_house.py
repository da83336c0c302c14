"""What a newcomer meets first: the README, the imports and the layers of the package."""

import ast
import importlib
import pickle
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

import skhmat

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
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


SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "skhmat").rglob("*.py"))
}
# From below to above; an import goes to a lower layer or stays in its own.
LAYERS = [
    {"_ext"},
    {"_utils"},
    {"linalg"},
    {"_base"},
    {
        "datasets",
        "gaussian_process",
        "kernel_approximation",
        "kernel_ridge",
        "manifold",
        "neighbors",
        "neural_network",
    },
    {"datafold"},
]
LINALG_LAYERS = [
    {"_operators"},
    {"_kernels"},
    {"_entries"},
    {"_krylov", "_gofmm"},
    {"_stochastic", "_cholesky", "_fourier", "_parameters"},
    {"_hierarchical"},
    {"_solvers"},
    {"_spectral", "_inverse", "_hierarchical_matrix"},
    {"_compress", "_eigsh"},
    {""},  # the package itself
]


def imports(module):
    """Return the names of what a module imports from skhmat, also inside functions."""
    path = SOURCES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                found.add(name if name in SOURCES else origin)
    return {name for name in found if name.partition(".")[0] == "skhmat"}


def layer_of(module, layers, depth):
    room = [*module.split("."), *[""] * depth][depth]
    found = [i for i, rooms in enumerate(layers) if room in rooms]
    assert found, f"{module}: no layer has {room!r}; it joins one in tests/test_house.py"
    return found[0], room


def test_imports_have_no_circle():
    graph = {module: imports(module) & set(SOURCES) for module in SOURCES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("module", [name for name in SOURCES if name.count(".") > 0])
def test_imports_point_down(module):
    layer, room = layer_of(module, LAYERS, 1)
    for name in imports(module):
        other_layer, other_room = layer_of(name, LAYERS, 1)
        assert other_layer < layer or other_room == room, f"{module} imports {name}"
        if room == other_room == "linalg":
            layer_in, room_in = layer_of(module, LINALG_LAYERS, 2)
            other_in, other_room_in = layer_of(name, LINALG_LAYERS, 2)
            assert other_in < layer_in or other_room_in == room_in, f"{module} imports {name}"


def test_linalg_takes_little_of_scikit_learn():
    for module, path in SOURCES.items():
        if module.startswith("skhmat.linalg"):
            for line in path.read_text(encoding="utf-8").splitlines():
                if re.match(r"\s*(from|import) sklearn", line):
                    assert line.strip().startswith("from sklearn.exceptions"), f"{module}: {line}"


def test_generators_are_taken_wherever_seeds_are():
    """scikit-learn's function and constraint know no `numpy.random.Generator`."""
    for module, path in SOURCES.items():
        text = path.read_text(encoding="utf-8")
        imported = re.search(r"from sklearn[\w.]* import .*\bcheck_random_state\b", text)
        assert (module == "skhmat._utils.validation") == bool(imported), module
        assert '["random_state"' not in text.replace('["random_state", np.random.Generator]', "")
        for described in re.findall(r"^ *random_state : (.*)", text, re.MULTILINE):
            assert "Generator" in described or described == "numpy.random.RandomState", module


def test_folders_have_at_most_fifteen_rooms():
    folders = {path.parent for path in SOURCES.values()}
    for folder in {*folders, ROOT / "_ext", *(ROOT / "_ext").iterdir()}:
        if folder.is_dir():
            rooms = [path for suffix in ("py", "pyx") for path in folder.glob(f"*.{suffix}")]
            assert len([path for path in rooms if path.stem != "__init__"]) <= 15, folder


@pytest.mark.parametrize("module", [m for m, path in SOURCES.items() if path.stem != "__init__"])
def test_every_module_has_a_test_file_of_its_name(module):
    path = SOURCES[module].relative_to(ROOT / "skhmat")
    tests = ROOT / "tests" / path.with_name(f"test_{path.name.removeprefix('_')}")
    assert tests.is_file(), f"{module} has no {tests.relative_to(ROOT)}"
    assert "def test_" in tests.read_text(encoding="utf-8")


def test_meson_build_names_every_folder():
    """Or the caches of Python in it would be installed."""
    text = (ROOT / "meson.build").read_text(encoding="utf-8")
    named = re.findall(r"'([\w/]+)'", re.search(r"foreach folder : \[(.*?)\]", text, re.DOTALL)[1])
    package = ROOT / "skhmat"
    folders = {path.parent.relative_to(package).as_posix() for path in SOURCES.values()}
    assert sorted(named) == sorted(folders - {"."})


def test_the_package_installed_is_the_tree():
    installed = Path(skhmat.__file__).parent
    if installed == ROOT / "skhmat":
        pytest.skip("an editable install is the tree itself")
    modules = {path.relative_to(installed) for path in installed.rglob("*.py")}
    modules = {path for path in modules if path.parts[0] != "_ext"}
    assert modules == {path.relative_to(ROOT / "skhmat") for path in SOURCES.values()}
    cores = {
        path.relative_to(installed / "_ext").parent for path in installed.rglob("_ext/**/*.so")
    }
    sources = (ROOT / "_ext").rglob("*.pyx")
    assert cores == {path.relative_to(ROOT / "_ext").parent for path in sources}


PUBLIC = [
    (module, name)
    for module, path in SOURCES.items()
    if path.name == "__init__.py" and "._" not in module and module != "skhmat"
    for name in importlib.import_module(module).__all__
]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_names_say_their_public_module(module, name):
    thing = getattr(importlib.import_module(module), name)
    assert thing.__module__ == module
    assert pickle.loads(pickle.dumps(thing)) is thing


def test_docs_list_every_public_name():
    listed, module = set(), None
    for line in (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            listed.add((module, line.strip()))
    assert listed == set(PUBLIC)


def test_paths_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = "_ext|benchmarks|docs|examples|skhmat|tests|tools"
    paths = set(re.findall(rf"(?:(?<=`)|(?<= ))(?:{folders})/[\w./-]*\w", text))
    assert "tests/test_house.py" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
