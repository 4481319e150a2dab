"""The figures of an evaluation, as verbs print them."""

from __future__ import annotations

from typing import Any

__all__ = ["print_figures"]


def print_figures(results: dict[str, Any]) -> None:
    """Print a line for each figure of what ``metrics.json`` holds, with its interval."""
    width = max(len(metric["title"]) for metric in results["metrics"].values())
    for metric in results["metrics"].values():
        value = "undefined" if metric["value"] is None else f"{metric['value']:.4f}"
        bounds = "" if metric["interval"] is None else "  95 % {:.4f} to {:.4f}".format(*metric["interval"])
        print(f"{metric['title']:{width}}  {value:>9} {metric['unit']:2}{bounds}".rstrip())
