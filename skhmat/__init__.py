"""skhmat: hierarchical matrices and second-order training behind the scikit-learn API."""

from importlib.metadata import version as _version

__version__ = _version("skhmat")

__all__ = ["__version__"]
