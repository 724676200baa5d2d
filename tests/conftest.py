"""Before numpy: fogsim pins BLAS to one thread, which numpy reads as it is loaded."""

import pytest
from hypothesis import settings

import fogsim  # noqa: F401

settings.register_profile("fogsim", deadline=None)  # no test rests on an absolute time
settings.load_profile("fogsim")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """What is expected is computed on the CPU: so are the engines' results, also where there is a GPU."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
