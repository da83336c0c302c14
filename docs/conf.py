import inspect
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for gallery_images

project = "skhmat"
author = "The skhmat developers"
copyright = "The skhmat developers"
version = release = installed_version("skhmat")

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

autosummary_generate = True
numpydoc_show_class_members = False  # the autosummary template lists them

# Files called plot_*.py are run for the gallery; the others (the demo takes minutes) only shown.
sphinx_gallery_conf = {
    "examples_dirs": [str(Path(__file__).parents[1] / "examples")],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",
    "image_scrapers": ["gallery_images"],
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False}
html_sidebars = {"**": ["sidebar-nav-bs"]}


def show_init_signature(app, what, name, obj, options, signature, return_annotation):
    # SciPy's LinearOperator.__new__(*args, **kwargs) hides the signature of its subclasses.
    if what == "class" and signature == "(*args, **kwargs)":
        parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
        return str(inspect.Signature(parameters)), None
    return None


def setup(app):
    app.connect("autodoc-process-signature", show_init_signature)
