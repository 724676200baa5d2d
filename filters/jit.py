"""One decorator for every compiled kernel: cached on disk, serial, division as NumPy does it (no zero checks).

No fast-math: the kernels rely on inf.
"""

from numba import njit

jit = njit(cache=True, error_model="numpy")
