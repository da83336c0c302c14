"""What the build of the documentation asks of each picture of the gallery."""

import ast
import importlib.util
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

PATH = Path(__file__).parents[1] / "docs" / "gallery_images.py"
EXAMPLES = Path(__file__).parents[1] / "examples"
spec = importlib.util.spec_from_file_location("gallery_images", PATH)
gallery_images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gallery_images)

DRAWN = {
    "line": lambda ax: ax.plot([0, 1]),
    "one point": lambda ax: ax.plot([1], [1], "o"),
    "horizontal line": lambda ax: ax.axhline(0.5),
    "logarithmic": lambda ax: ax.loglog([1e-9, 1], [1e17, 1e18]),
    "scatter": lambda ax: ax.scatter([0, 1], [1, 2]),
    "image": lambda ax: ax.imshow(np.eye(3)),
    "mesh": lambda ax: ax.pcolormesh(np.eye(3)),
    "contour": lambda ax: ax.contour(np.eye(3)),
    "bars": lambda ax: ax.bar([0, 1], [1, 2]),
    "histogram": lambda ax: ax.hist([0, 1, 2]),
    "text": lambda ax: ax.text(0.5, 0.5, "nothing else"),
    "some are NaN": lambda ax: ax.plot([0, 1, np.nan]),
    "legend": lambda ax: ax.legend(handles=[ax.figure.axes[0].plot([0], label="a line")[0]]),
    "colour bar": lambda ax: ax.figure.colorbar(ax.imshow(np.eye(3))),
}
EMPTY = {
    "nothing": lambda ax: None,
    "title": lambda ax: ax.set_title("title"),
    "without frame": lambda ax: ax.set_axis_off(),
    "grid": lambda ax: ax.grid(),
    "no points": lambda ax: ax.plot([], []),
    "all are NaN": lambda ax: ax.plot([np.nan, np.nan]),
    "scatter of nothing": lambda ax: ax.scatter([], []),
    "invisible": lambda ax: ax.plot([0, 1], visible=False),
    "outside": lambda ax: (ax.plot([0, 1]), ax.set_xlim(5, 6)),
}


@pytest.fixture
def axes():
    figure, axes = plt.subplots(1, 2, layout="constrained")
    axes[0].plot([0, 1])
    yield axes
    plt.close(figure)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_axes(name, axes):
    DRAWN[name](axes[1])
    assert gallery_images.empty_axes(axes[1].figure) == []


@pytest.mark.parametrize("name", EMPTY)
def test_empty_axes(name, axes):
    EMPTY[name](axes[1])
    assert gallery_images.empty_axes(axes[1].figure) == [axes[1]]


def figure_of(width):
    """Return a figure with a title, ticks and a legend beside a line."""
    figure, ax = plt.subplots(figsize=(width, 3), layout="constrained")
    ax.plot([0, 1], label="a line")
    ax.set_title("title")
    ax.legend(loc="upper left")
    return figure


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize("dpi", [50, 100, 200])
def test_texts_are_small_in_a_wide_figure(dpi):
    for width, small in (6.4, False), (12, True):
        figure = figure_of(width)
        figure.set_dpi(dpi)
        assert ("a line" in gallery_images.small_texts(figure)) == small
        # The title is larger than the rest.
        assert "title" not in gallery_images.small_texts(figure_of(8.5))


def test_texts_that_nobody_sees_may_be_small():
    figure = figure_of(6.4)
    figure.axes[0].text(0, 0, "hidden", fontsize=1, visible=False)
    assert gallery_images.small_texts(figure) == []
    figure.text(0, 0, "note", fontsize=4)
    assert gallery_images.small_texts(figure) == ["note"]


@pytest.mark.parametrize(
    ("side", "place"), {"left": (-0.1, 0.5), "right": (0.99, 0.5), "top": (0.5, 0.99)}.items()
)
def test_text_cut_off(side, place):
    figure = figure_of(6.4)
    assert gallery_images.cut_off(figure) == []
    figure.text(*place, "a longer text").set_in_layout(True)
    assert gallery_images.cut_off(figure) == [f"the {side} side"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ax.plot([0, 1], [1, 0]),
        lambda ax: ax.scatter([0, 0.01], [1, 0.99]),
        lambda ax: ax.bar([0], [2]),
        lambda ax: ax.imshow(np.eye(3)),
    ],
    ids=["line", "scatter", "bars", "image"],
)
def test_legend_covers(draw):
    figure = figure_of(6.4)
    (ax,) = figure.axes
    assert gallery_images.covered_axes(figure) == []
    draw(ax)
    assert gallery_images.covered_axes(figure) == [ax]
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    assert gallery_images.covered_axes(figure) == []
    assert figure.get_layout_engine() is not None


def test_checks_change_no_figure():
    figure = figure_of(6.4)
    figure.canvas.draw()
    before = np.array(figure.canvas.buffer_rgba())
    assert gallery_images.faults(figure) == []
    figure.canvas.draw()
    np.testing.assert_array_equal(figure.canvas.buffer_rgba(), before)


def test_scraper_refuses_an_empty_axes(axes):
    pytest.importorskip("sphinx_gallery")
    axes[1].set_title("left out")
    with pytest.raises(ValueError, match=r"example.py: in figure .* the axes 'left out'"):
        gallery_images.scrape(None, {"src_file": "example.py"}, {})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_figures_of_examples_are_no_wider_than_a_phone_can_show(path):
    # The build looks at the pictures themselves, but not at those of scripts that it doesn't run.
    widths = [
        ast.literal_eval(keyword.value.elts[0])
        for keyword in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(keyword, ast.keyword) and keyword.arg == "figsize"
    ]
    assert widths
    assert max(widths) <= 6.4
