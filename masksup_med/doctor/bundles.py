"""Bundles: those that come with the package, and whether one can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from masksup_med.doctor.findings import Finding, tried

if TYPE_CHECKING:
    from masksup_med.bundle import Bundle

__all__ = ["check_bundle", "check_bundles"]

_SIDE = 64


def check_bundles() -> list[Finding]:
    """Open each bundle that comes with the package; one that has lost its weights is no broken one."""
    from masksup_med.bundle.location import bundle_names

    return [_shipped(name) for name in bundle_names()]


def _shipped(name: str) -> Finding:
    finding = tried(name, partial(_weights, name), required=True)
    if finding.state == "ok" and not finding.detail:
        return Finding(name, "missing", "it has no weights", "copy it and train it: docs/train.md")
    return finding


def _weights(name: str) -> str:
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.errors import MissingDataError

    try:
        return f"its weights are {Bundle.open(name).weights.name}"
    except MissingDataError:
        return ""


def check_bundle(name: str) -> list[Finding]:
    """Open a bundle, predict with it, and look at what else it offers; errors say themselves what mends them."""
    return list(_findings(name))


def _findings(name: str) -> Iterator[Finding]:
    opened: list[Bundle] = []

    def open_it() -> str:
        from masksup_med.bundle.bundle import Bundle

        opened.append(Bundle.open(name))
        return f"{opened[0].name} {opened[0].version}: {', '.join(opened[0].classes.values())}"

    yield tried("opens", open_it, required=True)
    if opened:
        bundle = opened[0]
        yield tried("weights fit, and it predicts", partial(_predict, bundle), required=True)
        yield _slides(bundle)
        yield _codes(bundle)
        yield from _exports(bundle)


def _predict(bundle: Bundle) -> str:
    import numpy as np

    from masksup_med.bundle.predictor import Predictor

    predictor = Predictor(bundle, "cpu")
    predictor(np.full((_SIDE, _SIDE, 3), 127, np.uint8))
    millions = sum(parameter.numel() for parameter in predictor.network.parameters()) / 1e6
    return f"{millions:.3f} M parameters; weights SHA-256 {bundle.weights_sha256[:12]}"


def _slides(bundle: Bundle) -> Finding:
    if "mpp" not in bundle.config:
        return Finding("slides", "missing", "it has no mpp", "set mpp in its inference.yaml, if it is for slides")
    return tried("slides", lambda: f"{bundle.mpp} µm per pixel", required=True)


def _codes(bundle: Bundle) -> Finding:
    if "dicom_segments" not in bundle.metadata:
        return Finding("DICOM codes", "missing", "it has none", "add dicom_segments as docs/formats.md shows")
    return tried("DICOM codes", lambda: ", ".join(segment.type.meaning for segment in bundle.segments), required=False)


def _exports(bundle: Bundle) -> Iterator[Finding]:
    from masksup_med.inferers.runtimes.files import FILES, checked

    exports: Any = bundle.metadata.get("exports")
    if not exports:
        yield Finding("exports", "missing", "none were made", "only other runtimes than torch need them")
    elif not isinstance(exports, dict):
        yield Finding("exports", "broken", "metadata.json does not name them by form", "export it again")
    else:
        for form in [form for form in FILES if form in exports]:
            yield tried(f"export {form}", partial(_precision, checked, bundle, form), required=False)


def _precision(checked: Callable[[Bundle, str], dict[str, Any]], bundle: Bundle, form: str) -> str:
    return str(checked(bundle, form)["precision"])
