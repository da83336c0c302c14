"""Groups of variables, by regular expressions for their paths."""

import re

import numpy as np

from ..._utils.validation import parameter_error


class VariableGroups:
    """Variables in the order of their groups, so that each group is one piece of all vectors.

    Parameters
    ----------
    variables : list of keras.Variable
    groups : None, "per_variable" or list of str

    Attributes
    ----------
    ordered : list of keras.Variable
    """

    def __init__(self, variables, groups):
        found = _find_groups(variables, groups)
        self.ordered = [variable for group in found for variable in group]
        self._stops = np.cumsum([0, *map(len, found)])

    def __len__(self):
        return len(self._stops) - 1

    def split(self, items):
        """Return a list for each group of items that belong to the variables, in their order."""
        return [items[a:b] for a, b in zip(self._stops[:-1], self._stops[1:], strict=True)]


def check_groups(groups):
    """Raise ValueError unless these are None, "per_variable" or a list of regular expressions."""
    allowed = "None, 'per_variable' or a list of regular expressions for paths of variables"
    if groups is None or (isinstance(groups, str) and groups == "per_variable"):
        return
    is_list = isinstance(groups, (list, tuple))
    if not is_list or not all(isinstance(group, str) for group in groups):
        raise parameter_error("parameter_groups", allowed, groups)
    try:
        for group in groups:
            re.compile(group)
    except re.error as error:
        text = f"{groups!r}, where {error}"
        raise parameter_error("parameter_groups", allowed, got=text) from error


def _find_groups(variables, groups):
    """Return a list of variables for each group; those without a match are the last."""
    if groups == "per_variable":
        return [[variable] for variable in variables]
    paths = [getattr(variable, "path", variable.name) for variable in variables]
    left = dict(enumerate(paths))
    found = []
    for pattern in groups or []:
        members = [i for i, path in left.items() if re.search(pattern, path)]
        if not members:
            raise ValueError(
                f"parameter_groups: {pattern!r} matches none of the variables that are left. "
                f"Their paths are {list(left.values())}."
            )
        found.append(members)
        left = {i: path for i, path in left.items() if i not in members}
    found += [list(left)] * bool(left)
    return [[variables[i] for i in members] for members in found]
