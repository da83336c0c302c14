"""Where a line must not end: inside of numbers such as 1e-05, and in short cells of tables."""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

EXPONENT = re.compile(r"(\d[\d.]*e[-−]\d+)")
SHORT = 24  # characters


class LineBreaks(SphinxPostTransform):
    """Give those numbers the class "number", and those cells the class "short"."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs):
        for cell in self.document.findall(nodes.entry):
            if len(cell.astext()) <= SHORT:
                cell["classes"].append("short")
        for text in list(self.document.findall(nodes.Text)):
            parts = EXPONENT.split(text)
            if len(parts) > 1 and not isinstance(text.parent, nodes.FixedTextElement):
                text.parent.replace(text, [*map(_with_class, parts)])


def _with_class(part):
    if EXPONENT.fullmatch(part):
        return nodes.inline("", part, classes=["number"])
    return nodes.Text(part)


def setup(app):
    """Register with Sphinx."""
    app.add_post_transform(LineBreaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
