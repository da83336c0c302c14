"""A value for every parameter of a kernel."""

PARAMETERS = {"bandwidth": 1.7, "alpha": 0.8, "gamma": 0.3, "coef0": 0.6, "degree": 5}
