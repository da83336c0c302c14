"""Formulas drawn when the pages are built: no script, no network, no font a reader may lack."""

import re
from html import escape
from itertools import pairwise
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from ziamath.tex import tex2mml

SIZE = 100  # units to the em, so that a formula has the size of the text around it
MARGIN = 2
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def as_latex(mathml):
    """Return MathML that is drawn as LaTeX would."""
    # Bars grow with what they enclose only where "left" and "right" say so.
    mathml = re.sub("<mo>(&#x02016;|‖)</mo>", r'<mo stretchy="false">\1</mo>', mathml)
    # Points are those of a font of 10 points, and not of one with SIZE units to the em.
    mathml = mathml.replace('rowspacing="3pt"', 'rowspacing="0.3em"')
    root = ElementTree.fromstring(mathml)
    for row in root.iter(MATHML + "mrow"):
        for left, right in reversed([*pairwise(row)]):
            # A thin space between log and x or 2 and log, none between log and (.
            if (is_function(left) and is_operand(right)) or (
                is_function(right) and is_operand(left)
            ):
                space = ElementTree.Element(MATHML + "mspace", width="0.167em")
                row.insert([*row].index(right), space)
    return ElementTree.tostring(root, encoding="unicode")


def is_function(element):
    """Return whether an element is a name like log."""
    return element.tag in (MATHML + "mi", MATHML + "mo") and len(element.text or "") > 1


def is_operand(element):
    """Return whether an element is neither a sign nor in brackets."""
    return is_function(element) or element.tag not in (MATHML + "mo", MATHML + "mrow")


def draw(latex, block=False):
    """Return a formula as HTML, and the glyphs it uses by their names."""
    if r"\\" in latex and r"\begin{" not in latex.split(r"\\")[0]:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    mathml = tex2mml(latex, inline=not block)
    if "\\" in mathml:
        raise ValueError(f"no way to draw {latex!r}: {mathml}")
    picture = ziamath.Math(as_latex(mathml), size=SIZE, margin=MARGIN)
    svg = picture.svgxml()
    width, height = (float(svg.attrib.pop(name)) / SIZE for name in ("width", "height"))
    below = (picture.getyofst() - MARGIN) / SIZE
    svg.set("class", "formula")
    svg.set("role", "img")
    svg.set("aria-label", latex)
    svg.set("style", f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{below:.3f}em")
    glyphs = {}
    for symbol in svg.findall("symbol"):
        glyphs[symbol.get("id")] = ElementTree.tostring(symbol, encoding="unicode")
        svg.remove(symbol)
    html = ElementTree.tostring(svg, encoding="unicode")
    return html.replace('fill="black"', 'fill="currentColor"'), glyphs


def visit(translator, node, block):
    try:
        html, glyphs = draw(node.astext(), block)
    except Exception as error:
        raise ValueError(f"the formula {node.astext()!r} of {node.source}:{node.line}") from error
    # Each page holds a glyph once.
    known = translator.__dict__.setdefault("formula_glyphs", set())
    new = "".join(glyphs[name] for name in glyphs if name not in known)
    known.update(glyphs)
    if new:
        html = f'<svg class="glyphs" aria-hidden="true">{new}</svg>{html}'
    if block:
        number = f'<span class="eqno">({escape(node["number"])})</span>' if node["number"] else ""
        html = f'<div class="math">{number}{html}</div>'
    translator.body.append(html)
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx."""
    app.add_html_math_renderer(
        "svg",
        (lambda translator, node: visit(translator, node, block=False), None),
        (lambda translator, node: visit(translator, node, block=True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
