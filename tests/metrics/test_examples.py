"""The examples in the docstrings of all metrics give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import masksup_med.metrics

MODULES = [module.name for module in pkgutil.iter_modules(masksup_med.metrics.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"masksup_med.metrics.{name}"))
    assert attempted > 0 and failed == 0


def test_modules_are_found():
    assert {"boundary", "gland", "overlap"} <= set(MODULES)
