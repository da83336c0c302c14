"""`summary`: what compression did, as text."""

import numpy as np


def summary(H):
    """Describe a hierarchical matrix in several lines.

    Parameters
    ----------
    H : HierarchicalMatrix

    Returns
    -------
    text : str
        Form, error promised and measured, memory, entries read, seconds by phase, ranks by level.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, compress
    >>> X = np.random.default_rng(0).standard_normal((3000, 2))
    >>> H = compress(KernelMatrix(X, bandwidth=2.0), rtol=1e-3, random_state=0)
    >>> print(H.summary())  # doctest: +SKIP
    """
    n, report = H.shape[0], H.report_
    lines = [
        f"HierarchicalMatrix {n:,} x {n:,}, {H.dtype}",
        _line("form", form(H)),
        _line("error", _error(H)),
        _line("memory", _memory(H)),
        _line("entries read", f"{report.n_read / n**2:.2%} of K ({report.n_read:,})"),
    ]
    lines += _phase_lines(report.seconds)
    if not H.is_dense:
        lines += _rank_lines(H)
    return "\n".join(lines)


def form(H):
    """Name the form of the matrix: dense and why, HSS, or FMM with its near fraction."""
    if H.is_dense:
        return f"dense, exact: {H.report_.reason_dense or 'no reason given'}"
    s = H._structure
    sizes = np.diff(s.leaf_bounds)
    leaf = np.repeat(np.arange(len(sizes)), np.diff(s.near_ptr))
    fraction = float((sizes[leaf] * sizes[s.near_leaf]).sum()) / H.shape[0] ** 2
    name = "HSS" if (leaf == s.near_leaf).all() else "FMM"
    stored = "" if s.near is not None else ", its blocks recomputed for each product"
    return f"{name}, {fraction:.2%} of K near{stored}"


def _line(name, text):
    return f"  {name:<14}{text}"


def _error(H):
    measured = "0 (exact)" if H.is_dense else f"{H.error_estimate_:.1e}"
    return f"{H.report_.rtol:.1e} promised, {measured} measured"


def _memory(H):
    dense = H.shape[0] ** 2 * H.dtype.itemsize
    return (
        f"{format_bytes(H.nbytes)}, dense {format_bytes(dense)}: "
        f"{H.compression_ratio_:.1f} times smaller"
    )


def format_bytes(count):
    """Return a number of bytes with three digits and a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"


def _phase_lines(seconds):
    """Return the seconds of each phase, in the order in which the phases first ran."""
    if not seconds:
        return []
    texts = [f"{phase} {duration:.3g}" for phase, duration in seconds.items()]
    return [
        _line("seconds", f"{sum(seconds.values()):.3g} in total"),
        *(_line("", text) for text in _wrapped(texts, 70)),
    ]


def _wrapped(texts, width):
    lines = [""]
    for text in texts:
        if lines[-1] and len(lines[-1]) + len(text) + 2 > width:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + text
    return lines


def _rank_lines(H):
    """Return a table of ranks: a line for each level that has bases."""
    s = H._structure
    lines = [_line("ranks", "level  nodes  columns    min   mean    max")]
    for level in range(1, s.depth + 1):
        rank = s.rank[(1 << level) - 1 : (1 << (level + 1)) - 1]
        lines.append(
            _line(
                "",
                f"{level:>5}  {len(rank):>5}  {H.shape[0] / len(rank):>7.0f}  "
                f"{rank.min():>5}  {rank.mean():>5.0f}  {rank.max():>5}",
            )
        )
    return lines if len(lines) > 1 else [_line("ranks", "none, a single leaf")]
