"""Before numpy: fogsim pins BLAS to one thread, which numpy reads as it is loaded."""

import gc
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

import fogsim

settings.register_profile("fogsim", deadline=None)  # no test rests on an absolute time
settings.load_profile("fogsim")


def pytest_collection_finish():
    """All that is imported stays: the collector of cycles need not look through it again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def kernels():
    """Compile them in one of pytest-xdist's workers, where no cache is; all would else compile the same at once.

    The others meanwhile begin with the files of most tests, those of the networks, which need no kernels.
    """
    from filters.jit import compiled_before

    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" and not compiled_before(Path(fogsim.__file__).parent):
        from fogsim.runner import run
        from fogsim.scenario import Scenario

        with suppress(Exception):  # tests that need it will tell
            for _ in run(Scenario(), 0):
                pass


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """What is expected is computed on the CPU: so are the engines' results, also where there is a GPU."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
