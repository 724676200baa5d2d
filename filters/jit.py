"""The decorators of every compiled kernel: cached on disk, serial, division as NumPy does it (no zero checks).

No fast-math: the kernels rely on inf.

Numba renews a cached kernel when its own file changes, not when a kernel it calls or a constant it froze does: after
an update a filter would silently score with the old model. So the cache's folder is named by the package's sources.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config as numba_config

HERE = Path(__file__).parent
config: Any = numba_config


@lru_cache
def cache_folder(package: Path = HERE) -> Path:
    """Beside the code where that is writable, else in the user's cache; keyed by `filters` and a package."""
    folders = sorted({HERE, package})
    sources = b"".join(p.read_bytes() for folder in folders for p in sorted(folder.rglob("*.py")))
    root = HERE / "__pycache__" if os.access(HERE, os.W_OK) else Path.home() / ".cache" / "fogsim"
    return root / f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"


def compiled_before(package: Path) -> bool:
    """Whether the cache holds kernels of a package; its folders are there as soon as kernels are decorated."""
    return any(Path(config.CACHE_DIR or cache_folder(package)).rglob("*.nbi"))


def package_of(function: Callable[..., Any]) -> Path:
    """The folder of the top-level package that a function is defined in; `filters` for a script's."""
    folders = Path(function.__code__.co_filename).parents
    tops = (f for f in folders if (f / "__init__.py").exists() and not (f.parent / "__init__.py").exists())
    return next(tops, HERE)


def compiled(forceinline: bool = False, cache: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles lazily with the house's flags; NUMBA_CACHE_DIR, where set, is respected."""

    def decorate(function: Callable[..., Any]) -> Any:
        before = config.CACHE_DIR
        config.CACHE_DIR = before or str(cache_folder(package_of(function)))
        try:
            return njit(cache=cache, error_model="numpy", forceinline=forceinline)(function)
        finally:
            config.CACHE_DIR = before

    return decorate


jit = compiled()
inlined = compiled(forceinline=True)  # for the insides of a long loop: LLVM else copies whole tables to each call
uncached = compiled(cache=False)  # for kernels that are given kernels, which numba would never find in its cache again
