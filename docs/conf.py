import inspect
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for the modules beside this file

project = "skhmat"
author = "The skhmat developers"
copyright = "The skhmat developers"
version = release = installed_version("skhmat")

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "formulas",
    "line_breaks",
]
html_math_renderer = "svg"
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
    "image_srcset": ["2x"],  # sharp on phones
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skhmat"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = html_copy_source = False
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 4,
    "secondary_sidebar_items": ["page-toc"],
}
# A list of pages beside those that have siblings; elsewhere it would be empty.
html_sidebars = {
    "*": [],
    "api/generated/*": ["sidebar-nav-bs"],
    "auto_examples/*": ["sidebar-nav-bs"],
}


def show_init_signature(app, what, name, obj, options, signature, return_annotation):
    # SciPy's LinearOperator.__new__(*args, **kwargs) hides the signature of its subclasses.
    if what == "class" and signature == "(*args, **kwargs)":
        parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
        return str(inspect.Signature(parameters)), None
    return None


# What a page loads when it is opened; links are followed later, and only by who wants to.
LOADED = re.compile(
    r'<(?:script|img|iframe|link rel="stylesheet")[^>]*?(?:src|href)="https?://[^"]*'
)


def check_offline(app, exception):
    """Pages that are read without a network look the same."""
    if exception is None and app.builder.name == "html":
        for page in Path(app.outdir).rglob("*.html"):
            loaded = LOADED.search(page.read_text(encoding="utf-8"))
            if loaded:
                raise ValueError(f"{page} needs the network: {loaded[0]}")


def setup(app):
    app.connect("autodoc-process-signature", show_init_signature)
    app.connect("build-finished", check_offline)
