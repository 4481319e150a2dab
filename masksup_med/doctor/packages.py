"""The packages that masksup-med asks for: their versions, and whether they can be imported."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from masksup_med.doctor.findings import Finding, tried

__all__ = ["check_packages"]

_OWN = "masksup-med"
_DEVELOPMENT = "dev"  # the extra that only those need who change the program
_PLUGINS = {"openslide-bin", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"}  # which others load: tried with the features

_HELPED = ("timm", "torchvision")


class _Wanted(NamedTuple):
    requirement: Requirement
    extra: str  # that it belongs to; empty for what is always needed


def check_packages() -> list[Finding]:
    """Check each package that the installed masksup-med declares, those of its extras after the others."""
    owners = metadata.packages_distributions()
    return [_checked(wanted, owners) for wanted in _wanted()]


def _wanted() -> list[_Wanted]:
    distribution = metadata.distribution(_OWN)
    extras = ["", *(name for name in distribution.metadata.get_all("Provides-Extra") or [] if name != _DEVELOPMENT)]
    requirements = [Requirement(line) for line in distribution.requires or []]
    return [_Wanted(each, extra) for extra in extras for each in requirements if _belongs(each, extra)]


def _belongs(requirement: Requirement, extra: str) -> bool:
    """Whether a package is asked for here by an extra, and not without it."""
    if canonicalize_name(requirement.name) == _OWN:
        return False
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return not extra
    return bool(extra) and requirement.marker.evaluate({"extra": extra})


def _checked(wanted: _Wanted, owners: Mapping[str, list[str]]) -> Finding:
    requirement, required = wanted.requirement, not wanted.extra
    name = canonicalize_name(requirement.name)
    install = _remedy(wanted)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", f"{wanted.extra or 'always'} needs it", install, required)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(name, "broken", f"{version}, where {requirement.specifier} is needed", install, required)
    if name in _PLUGINS:
        return Finding(name, "ok", version, required=required)
    modules = _modules(name, owners)
    again = f"pip install --force-reinstall --no-deps {name}=={version.partition('+')[0]}"
    return tried(name, lambda: version + _imported(modules), modules[0], again, required)


def _remedy(wanted: _Wanted) -> str:
    if wanted.extra:
        return f"pip install '{_OWN}[{wanted.extra}]'"
    return f"pip install '{wanted.requirement.name}{wanted.requirement.specifier}'"


def _modules(name: str, owners: Mapping[str, list[str]]) -> list[str]:
    """The modules of a package, the one that is most like its name first."""
    public = [module for module, packages in owners.items() if name in [canonicalize_name(each) for each in packages]]
    public = [module for module in public if not module.startswith("_")] or [name.replace("-", "_")]
    return sorted(public, key=lambda module: (module not in name.replace("-", "_"), module))


def _imported(modules: list[str]) -> str:
    """Import a package; return what must be said of it beside its version."""
    if modules[0] not in _HELPED:
        import_module(modules[0])
        return ""
    alone = _torchvision_stands_alone()
    from masksup_med.networks._timm import import_timm

    import_timm()
    import_module(modules[0])
    return "" if alone else " (torchvision's own operators do not load beside this torch; masksup-med copes with it)"


@cache
def _torchvision_stands_alone() -> bool:
    """Whether it imports before anybody has helped it."""
    try:
        import_module("torchvision")
    except Exception:
        return False
    return True
