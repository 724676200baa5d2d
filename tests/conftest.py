"""Before numpy: fogsim pins BLAS to one thread, which numpy reads as it is loaded."""

import sys

import pytest

import fogsim  # noqa: F401


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """What is expected is computed on the CPU: so are the engines' results, also where there is a GPU."""
    if "torch" in sys.modules:
        monkeypatch.setattr(sys.modules["torch"].cuda, "is_available", lambda: False)
