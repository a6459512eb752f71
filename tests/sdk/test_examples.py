"""Examples in docstrings are executed."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import tandem_sdk


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(tandem_sdk.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(f"tandem_sdk.{name}")).failed == 0
