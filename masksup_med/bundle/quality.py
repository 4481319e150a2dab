"""What ``masksup calibrate`` has found out about a bundle, as its metadata keep it."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from masksup_med.bundle.bundle import Bundle
from masksup_med.errors import DataError
from masksup_med.inferers.views import DEFAULT, views

__all__ = ["Quality", "quality_of"]

logger = logging.getLogger("masksup_med")


class Quality(NamedTuple):
    """How a bundle's doubts are found, and from where on they count."""

    kind: str = DEFAULT  # of views
    thresholds: dict[int, float] = {}  # noqa: RUF012 - of disagreement, by the number of views; never changed
    sensitivity: float = 0.0  # share of the bad predictions that lie above, when they were set


def quality_of(bundle: Bundle) -> Quality:
    """What was found out about a bundle with these weights and settings; the defaults if it is not known.

    Raises:
        DataError: the metadata cannot be read.
    """
    found: Any = bundle.metadata.get("quality")
    if found is None:
        return Quality()
    try:
        made_for = found["weights_sha256"], found["settings_sha256"]
        thresholds = {int(count): float(value) for count, value in found["thresholds"].items()}
        quality = Quality(str(found["views"]), thresholds, float(found["sensitivity"]))
        views(quality.kind, 1)
    except Exception as error:
        raise DataError(
            f"{bundle.folder}/configs/metadata.json: quality cannot be read ({type(error).__name__}: {error}); run "
            "`masksup calibrate` again."
        ) from error
    if made_for == (bundle.weights_sha256, bundle.settings_sha256):
        return quality
    logger.warning(
        "The bundle %s has other weights or settings than when it was calibrated: its temperature may not fit, and its "
        "thresholds do not count; run `masksup calibrate` again.",
        bundle.name,
    )
    return Quality()
