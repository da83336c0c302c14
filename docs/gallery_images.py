"""Pictures of the gallery: saved by sphinx-gallery, once nothing in them is lost or hidden."""

import numpy as np
from matplotlib.text import Text

PHONE = 356  # CSS pixels: the width of a picture on a phone
SMALLEST_TEXT = 6  # CSS pixels; at 10 points a figure may be 8 inches wide


def faults(figure):
    """Return what is wrong with a figure, as a list of sentences."""
    return [
        *(f"nothing is drawn in the axes {ax.get_title()!r}" for ax in empty_axes(figure)),
        *(f"the text {text!r} is too small on a phone" for text in small_texts(figure)),
        *(f"{side} is cut off at the edge" for side in cut_off(figure)),
        *(f"a legend covers what is drawn in {ax.get_title()!r}" for ax in covered_axes(figure)),
    ]


def empty_axes(figure):
    """Return the axes of a figure that look the same without what is drawn in them."""
    return [ax for ax in figure.axes if not _is_seen(figure, ax)]


def small_texts(figure):
    """Return the texts that are too small where the figure has the width of a phone."""
    pixels_per_point = figure.dpi / 72 * min(1, PHONE / figure.bbox.width)
    figure.canvas.draw()
    return sorted(
        {
            text.get_text()
            for text in figure.findobj(Text)
            if text.get_visible()
            and text.get_text().strip()
            # Exponents and indices of formulas are smaller than this, in every font.
            and text.get_fontsize() * pixels_per_point < SMALLEST_TEXT
        }
    )


def cut_off(figure):
    """Return the sides of a figure at which something is cut off."""
    figure.canvas.draw()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    beyond = {
        "left": page.x0 - drawn.x0,
        "right": drawn.x1 - page.x1,
        "bottom": page.y0 - drawn.y0,
        "top": drawn.y1 - page.y1,
    }
    pixel = 1 / figure.dpi
    return [f"the {side} side" for side, inches in beyond.items() if inches > pixel]


def covered_axes(figure):
    """Return the axes in which something is drawn under the legend."""
    figure.canvas.draw()
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")  # all stays where it is while parts are hidden
    covered = [ax for ax in figure.axes if _is_covered(figure, ax)]
    figure.set_layout_engine(engine)
    return covered


def _is_seen(figure, ax):
    """Return whether a pixel changes where lines, images, texts and so on are left out."""
    parts = [*_drawn_parts(ax), ax.get_legend()]
    return not np.array_equal(_pixels(figure), _pixels(figure, without=parts))


def _is_covered(figure, ax):
    legend = ax.get_legend()
    if legend is None or not legend.get_visible():
        return False
    with_parts = _pixels(figure, without=[legend])
    without = _pixels(figure, without=[legend, *_drawn_parts(ax)])
    x0, y0, x1, y1 = np.round(legend.get_window_extent().extents).astype(int)
    rows = slice(max(with_parts.shape[0] - y1, 0), with_parts.shape[0] - y0)
    columns = slice(max(x0, 0), x1)
    return not np.array_equal(with_parts[rows, columns], without[rows, columns])


def _drawn_parts(ax):
    return [*ax.lines, *ax.collections, *ax.images, *ax.patches, *ax.texts, *ax.tables]


def _pixels(figure, without=()):
    """Return the picture, without some of its parts."""
    hidden = [part for part in without if part is not None and part.get_visible()]
    for part in hidden:
        part.set_visible(False)
    figure.canvas.draw()
    pixels = np.array(figure.canvas.buffer_rgba())
    for part in hidden:
        part.set_visible(True)
    return pixels


def scrape(block, block_vars, gallery_conf):
    """Save the open figures as sphinx-gallery does; it closes them after each block of code."""
    import matplotlib.pyplot as plt
    from sphinx_gallery.scrapers import matplotlib_scraper

    for number in plt.get_fignums():
        found = faults(plt.figure(number))
        if found:
            plt.close("all")  # or the next example would be blamed for them
            raise ValueError(
                f"{block_vars['src_file']}: in figure {number} {'; '.join(found)}. Draw all of a "
                "figure in one block, remove axes not needed, and make wide figures narrower."
            )
    return matplotlib_scraper(block, block_vars, gallery_conf)


def _get_sg_image_scraper():
    """Return the function that sphinx-gallery calls after each block."""
    return scrape
