"""Groups of variables, by regular expressions for their paths."""

import re


def check_groups(groups):
    """Raise ValueError unless these are None, "per_variable" or a list of regular expressions."""
    allowed = "None, 'per_variable' or a list of regular expressions for paths of variables"
    if groups is None or groups == "per_variable":
        return
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise ValueError(f"parameter_groups must be {allowed}, not {groups!r}.")
    try:
        for group in groups:
            re.compile(group)
    except re.error as error:
        raise ValueError(f"parameter_groups must be {allowed}; {groups!r} has {error}.") from error


def grouped(variables, groups):
    """Return the variables of each group, lists; those without a match are the last."""
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
