"""The public names of `skhmat.neural_network`."""

import doctest
import pickle
import subprocess
import sys

import pytest

from skhmat import neural_network


@pytest.mark.parametrize("name", neural_network.__all__)
def test_docstring_examples(name):
    """Doctests of modules miss classes that say their public module, so they are run here."""
    found = doctest.DocTestFinder(recurse=False).find(getattr(neural_network, name), name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", neural_network.__all__)
def test_public_names_say_their_public_module(name):
    """So that pickles survive when a file moves."""
    value = getattr(neural_network, name)
    assert value.__module__ == "skhmat.neural_network"
    assert pickle.loads(pickle.dumps(value)) is value
    assert f"skhmat.neural_network\n{name}".encode() in pickle.dumps(value, protocol=0)


def test_a_pickle_finds_its_class_by_the_public_path(tmp_path):
    model = neural_network.KerasClassifier(epochs=3)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys; model = pickle.load(open('model.pickle', 'rb'));"
        "assert type(model).__name__ == 'KerasClassifier' and model.epochs == 3;"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_unknown_names():
    assert set(neural_network.__all__) <= set(dir(neural_network))
    with pytest.raises(AttributeError, match="no attribute 'foo'"):
        neural_network.foo  # noqa: B018
