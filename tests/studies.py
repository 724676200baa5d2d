"""The studies' scripts as modules: `scenarios/studies` is no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).parents[1] / "scenarios" / "studies"


def study_of(name: str) -> ModuleType:
    """A study by its file's name; it may import `study` beside it."""
    spec = importlib.util.spec_from_file_location(f"{name}_study", STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDIES)
        spec.loader.exec_module(module)
    return module
