"""Checks of parameters."""

from numbers import Real


def check_real(name, value, low, high=None, *, strings=(), none=False, open_low=False):
    """Raise unless the value is a real number in an interval, or one of the strings, or None."""
    if (none and value is None) or (isinstance(value, str) and value in strings):
        return
    allowed = [f"a number {'above' if open_low else 'not below'} {low}"]
    if high is not None:
        allowed[0] += f" and not above {high}"
    allowed += [repr(string) for string in strings] + ["None"] * none
    fits = isinstance(value, Real) and not isinstance(value, bool)
    fits = fits and (value > low if open_low else value >= low)
    if not (fits and (high is None or value <= high) and value < float("inf")):
        raise ValueError(f"{name} must be {' or '.join(allowed)}, not {value!r}.")


def check_option(name, value, options):
    """Raise unless the value is one of the options."""
    if not any(value is option or value == option for option in options):
        allowed = ", ".join(map(repr, options))
        raise ValueError(f"{name} must be one of {allowed}, not {value!r}.")
