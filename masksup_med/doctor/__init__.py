"""What is installed and works on this machine, found out by trying it.

Without network, and nothing is written, but for the list of fonts that matplotlib makes once for each user.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from masksup_med.doctor.findings import Finding, private
from masksup_med.telemetry import silence

__all__ = ["examine"]


def examine(bundle: str | None = None) -> dict[str, Any]:
    """Try everything.

    Args:
        bundle: one to look at, too: its folder, or its name.

    Returns:
        What JSON can hold: ``ok``, whether all that is required works; ``system``; and ``packages``, ``devices``,
        ``runtimes``, ``features``, ``bundles`` and, if one was given, ``bundle``, each a dictionary from a name to
        ``state`` (ok, missing or broken), ``detail``, ``remedy`` and ``required``. Nothing in it names the user, the
        machine or the home folder.

    Example::

        >>> examine()["features"]["slides"]
        {'state': 'missing', 'detail': 'openslide is not installed', 'remedy': ..., 'required': False}
    """
    with _undisturbed():
        from masksup_med.doctor.machine import describe_system

        sections = _sections(bundle)
        ok = not any(finding.fails for findings in sections.values() for finding in findings)
        tables = {name: {each.name: _row(each) for each in findings} for name, findings in sections.items()}
        return private({"ok": ok, "system": describe_system(), **tables})


def _sections(bundle: str | None) -> dict[str, list[Finding]]:
    from masksup_med.doctor.bundles import check_bundle, check_bundles
    from masksup_med.doctor.features import check_features
    from masksup_med.doctor.machine import check_devices, check_runtimes
    from masksup_med.doctor.packages import check_packages

    packages, devices, runtimes = check_packages(), check_devices(), check_runtimes()
    sections = {"packages": packages, "devices": devices, "runtimes": runtimes}
    sections |= {"features": check_features(runtimes), "bundles": check_bundles()}
    return sections if bundle is None else {**sections, "bundle": check_bundle(bundle)}


def _row(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in finding._asdict().items() if key != "name"}


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what packages say while they are tried off the terminal, and them off the network and the disk."""
    silence()
    level, writes = logging.root.manager.disable, sys.dont_write_bytecode
    logging.disable(logging.CRITICAL)
    sys.dont_write_bytecode = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        sys.dont_write_bytecode = writes
