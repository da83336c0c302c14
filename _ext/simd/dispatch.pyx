"""The instruction set of all vectorised loops: chosen here, once for every module.

At import it is the widest that this build and CPU have, or the one that the environment variable
SKHMAT_ISA names.
"""

import warnings
from os import environ

from cpython.pycapsule cimport PyCapsule_New
from cython cimport floating

from simd.loops cimport SKHMAT_CHOSEN, skhmat_simd, skhmat_simd_best, skhmat_simd_named

cdef const skhmat_simd* chosen = skhmat_simd_best()

# The address of `chosen`, for the other modules: cimport would want the sources in the package.
chosen_table = PyCapsule_New(&chosen, SKHMAT_CHOSEN, NULL)


def isa():
    """Name of the instruction set in use: plain, avx2 or avx512."""
    return chosen.isa.decode()


def available():
    """Names of the instruction sets that this build and CPU have, narrowest first."""
    return tuple(
        name for name in ("plain", "avx2", "avx512") if skhmat_simd_named(name.encode()) != NULL)


def select_isa(str name):
    """Use instruction set `name`; False, and no change, where this CPU or build lacks it."""
    global chosen
    cdef bytes encoded = name.encode()
    cdef const skhmat_simd* found = skhmat_simd_named(encoded)
    if found != NULL:
        chosen = found
    return found != NULL


def exp_array(const floating[::1] x, floating[::1] out):
    """Write the exponential of `x` to `out`: the one that the kernels use, for tests."""
    if x.shape[0] == 0:
        return
    if floating is float:
        chosen.exp_f32(&x[0], &out[0], x.shape[0])
    else:
        chosen.exp_f64(&x[0], &out[0], x.shape[0])


def _from_environment():
    """Use the instruction set that SKHMAT_ISA names, to find differences between machines."""
    wanted = environ.get("SKHMAT_ISA", "")
    if wanted and not select_isa(wanted):
        warnings.warn(
            f"SKHMAT_ISA={wanted!r} is ignored: it must be one of {', '.join(available())} "
            f"on this machine; using {isa()}",
            RuntimeWarning,
            stacklevel=2,
        )


_from_environment()
