"""What compression did, as text."""

import numpy as np

from .._gofmm.cluster_tree import level_slice

# Forms that the summary lists.
_MAX_CONSIDERED = 5


def summary(form):
    """Describe a hierarchical matrix in several lines.

    Parameters
    ----------
    form : HierarchicalForm

    Returns
    -------
    text : str
        Form, error promised and measured, memory, entries read, seconds per phase, what other forms
        would have cost, ranks by level.
    """
    n, report = form.shape[0], form.report
    lines = [
        f"HierarchicalMatrix {n:,} x {n:,}, {form.dtype}",
        _line("form", describe_format(form)),
        _line("error", _error(form)),
        _line("memory", _memory(form)),
        _line("entries read", f"{report.n_read / n**2:.2%} of K ({report.n_read:,})"),
    ]
    lines += _phase_lines(report.seconds)
    lines += _considered_lines(report.considered)
    if form.structure is not None:
        lines += _rank_lines(form)
    return "\n".join(lines)


def describe_format(form):
    """Name the format: dense and why, Fourier with its modes, HSS, or FMM with its near part."""
    if form.is_dense:
        return f"dense, exact: {form.report.reason_dense or 'no reason given'}"
    if form.is_fourier:
        return f"Fourier, {' x '.join(map(str, form.fourier.modes.shape))} modes"
    s = form.structure
    sizes = np.diff(s.leaf_bounds)
    fraction = float((sizes[s.near_rows()] * sizes[s.near_leaf]).sum()) / form.shape[0] ** 2
    name = "HSS" if s.is_hss else "FMM"
    stored = "" if s.near is not None else ", its blocks recomputed for each product"
    return f"{name}, {fraction:.2%} of K near{stored}"


def _line(name, text):
    return f"  {name:<14}{text}"


def _error(form):
    measured = "0 (exact)" if form.is_dense else f"{form.report.error:.1e}"
    return f"{form.report.rtol:.1e} promised, {measured} measured"


def _memory(form):
    dense = form.shape[0] ** 2 * form.dtype.itemsize
    return (
        f"{format_bytes(form.nbytes)}, dense {format_bytes(dense)}: "
        f"{dense / form.nbytes:.1f} times smaller"
    )


def format_bytes(count):
    """Return a number of bytes as text, with three digits and a unit."""
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


def _considered_lines(considered):
    """Return a table of the forms with the least expected cost, the cheapest first."""
    if not considered:
        return []
    heads = ("form", "leaf size", "near", "set-up", "products", "memory")
    lines = [_line("considered", _row(heads))]
    for plan in considered[:_MAX_CONSIDERED]:
        is_exact = "leaf_size" not in plan
        seconds = [f"{plan[name]:.3g} s" for name in ("setup", "products")]
        where = ["", ""] if is_exact else [str(plan["leaf_size"]), f"{plan['budget']:.2%}"]
        memory = format_bytes(plan["nbytes"]) if plan["nbytes"] else "none"
        lines.append(_line("", _row([plan["form"], *where, *seconds, memory])))
    return lines


def _row(cells):
    return f"{cells[0]:<12}" + "".join(f"{cell:>11}" for cell in cells[1:])


def _wrapped(texts, width):
    lines = [""]
    for text in texts:
        if lines[-1] and len(lines[-1]) + len(text) + 2 > width:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + text
    return lines


def _rank_lines(form):
    """Return a table of ranks: a line for each level that has bases."""
    s = form.structure
    lines = [_line("ranks", "level  nodes  columns    min   mean    max")]
    for level in range(1, s.depth + 1):
        rank = s.rank[level_slice(level)]
        lines.append(
            _line(
                "",
                f"{level:>5}  {len(rank):>5}  {form.shape[0] / len(rank):>7.0f}  "
                f"{rank.min():>5}  {rank.mean():>5.0f}  {rank.max():>5}",
            )
        )
    return lines if len(lines) > 1 else [_line("ranks", "none, a single leaf")]
