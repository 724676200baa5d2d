"""The decorators of every compiled kernel: cached on disk, serial, division as NumPy does it (no zero checks).

No fast-math: the kernels rely on inf.

Numba renews a cached kernel when its own file changes, not when a kernel it calls does: after an update
a filter would silently score with the old model. So the cache's folder is named by the sources of all models.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config as numba_config

HERE = Path(__file__).parent
config: Any = numba_config


def cache_folder() -> Path:
    """Beside the code where that is writable, else in the user's cache; keyed by the models' sources."""
    sources = b"".join(p.read_bytes() for p in sorted((HERE / "models").glob("*.py")))
    beside = os.access(HERE, os.W_OK)
    root = HERE / "__pycache__" if beside else Path.home() / ".cache" / "fogsim"
    return root / f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"


FOLDER = cache_folder()


def compiled(**flags: bool) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles lazily with the house's flags; NUMBA_CACHE_DIR, where set, is respected."""

    def decorate(function: Callable[..., Any]) -> Any:
        before = config.CACHE_DIR
        config.CACHE_DIR = before or str(FOLDER)
        try:
            return njit(cache=True, error_model="numpy", **flags)(function)
        finally:
            config.CACHE_DIR = before

    return decorate


jit = compiled()
inlined = compiled(forceinline=True)  # for the insides of a long loop: LLVM else copies whole tables to each call
