"""Pictures of the gallery: saved by sphinx-gallery, once each of their axes shows something."""

import numpy as np


def empty_axes(figure):
    """Return the axes of a figure that look the same without what is drawn in them."""
    return [ax for ax in figure.axes if not _is_seen(figure, ax)]


def _is_seen(figure, ax):
    """Return whether a pixel changes where lines, images, texts and so on are left out."""
    parts = [*ax.lines, *ax.collections, *ax.images, *ax.patches, *ax.texts, *ax.tables]
    parts = [part for part in (*parts, ax.get_legend()) if part is not None and part.get_visible()]
    drawn = _pixels(figure)
    for part in parts:
        part.set_visible(False)
    left = _pixels(figure)
    for part in parts:
        part.set_visible(True)
    return not np.array_equal(drawn, left)


def _pixels(figure):
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


def scrape(block, block_vars, gallery_conf):
    """Save the open figures as sphinx-gallery does; it closes them after each block of code."""
    import matplotlib.pyplot as plt
    from sphinx_gallery.scrapers import matplotlib_scraper

    for number in plt.get_fignums():
        empty = empty_axes(plt.figure(number))
        if empty:
            titles = ", ".join(repr(ax.get_title()) for ax in empty)
            raise ValueError(
                f"{block_vars['src_file']}: nothing is drawn in {len(empty)} axes ({titles}) of "
                f"figure {number}. Draw all of a figure in one block, and remove axes not needed."
            )
    return matplotlib_scraper(block, block_vars, gallery_conf)


def _get_sg_image_scraper():
    """Return the function that sphinx-gallery calls after each block."""
    return scrape
