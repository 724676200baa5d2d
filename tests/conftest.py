"""Before numpy: fogsim pins BLAS to one thread, which numpy reads as it is loaded."""

import pytest

import fogsim  # noqa: F401


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """What is expected is computed on the CPU: so are the engines' results, also where there is a GPU."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
