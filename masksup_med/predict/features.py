"""Objects as QuPath shows them: class, colour and measurements."""

from __future__ import annotations

from typing import Any

from masksup_med.outputs.overlay import CLASS_COLOURS
from masksup_med.predict.tables import physical_area

__all__ = ["feature"]

_MEASUREMENTS = {
    "area_px": "Area px^2",
    "area_mm2": "Area mm^2",
    "area_um2": "Area µm^2",
    "mean_probability": "Mean probability",
    "disagreement": "Disagreement of views",
    "solidity": "Solidity",
    "eccentricity": "Eccentricity",
    "equivalent_diameter_px": "Equivalent diameter px",
}


def feature(found: dict[str, Any], pixel_size: list[float] | None) -> dict[str, Any]:
    """The properties of an object, from the manifest's line, as in QuPath's own GeoJSON.

    Args:
        found: one of the line's objects.
        pixel_size: height and width of a pixel in mm, None where it is not known.
    """
    values = found | physical_area(found["area_px"], pixel_size)
    colour = CLASS_COLOURS[(found["class_number"] - 1) % len(CLASS_COLOURS)]
    return {
        "objectType": "annotation",
        "classification": {"name": found["class"], "color": list(colour)},
        "measurements": {name: values[key] for key, name in _MEASUREMENTS.items() if key in values},
    }
