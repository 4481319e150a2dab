"""The tables of a grid, as people read them: Markdown, CSV and HTML, all from the tracked runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.ticker import FuncFormatter

from masksup_med.evaluate.hiding import HIDINGS, RATIOS
from masksup_med.evaluate.reports.plots import BLUE, plot_axes
from masksup_med.evaluate.results import CONFIDENCE, RESAMPLES
from masksup_med.evaluate.write import write_rows
from masksup_med.experiments.grid import Grid
from masksup_med.experiments.store import Finished
from masksup_med.experiments.table import FIGURES, Line, Table, tables
from masksup_med.outputs.atomic import atomic_paths
from masksup_med.outputs.page import write_page
from masksup_med.outputs.plots import INK

__all__ = ["write_report"]

_FILES = ("table.md", "table.csv", "images.csv", "report.html")
_LEVEL = 0.05
_ORIGINS = {"commit": "mlflow.source.git.commit", "on": "masksup.machine"}
_DRAWN = ("iou", "patch 0.6")


class _Cell(NamedTuple):
    """A figure in words, and how far it is from the baseline's."""

    value: str
    about: str  # interval, and spread of the seeds
    difference: str
    test: str
    clear: bool


class _Section(NamedTuple):
    """A data set's table, in words."""

    table: Table
    rows: list[tuple[Line, list[_Cell]]]
    forests: dict[str, Markup]  # differences from the baselines, by figure
    curves: dict[str, Markup]


def write_report(folder: Path, grid: Grid, finished: Sequence[Finished], planned: int) -> None:
    """Write ``table.md``, ``table.csv``, ``images.csv`` (every image of every training) and ``report.html``.

    Args:
        folder: where to.
        grid: which was run.
        finished: its trainings that were measured, one at least.
        planned: how many there are to be.
    """
    sections = [_section(table) for table in tables(finished)]
    tags = finished[0].tags
    origins = {
        title: sorted({each.tags[name] for each in finished if name in each.tags}) for title, name in _ORIGINS.items()
    }
    content = {
        "grid": grid,
        "sections": sections,
        "figures": list(FIGURES.values()),
        "finished": len(finished),
        "planned": planned,
        "hours": sum(each.minutes for each in finished) / 60,
        "origins": {title: values for title, values in origins.items() if values},
        "versions": {name: tags[name] for name in ("masksup-med", "monai", "torch")},
        "data": {
            part: sorted({each.params["datalist_sha256"][:16] for each in finished if each.training.part == part})
            for part in dict.fromkeys(each.training.part for each in finished)
        },
        "settings": {"resamples": RESAMPLES, "confidence": f"{CONFIDENCE:.0%}".replace("%", " %"), "level": _LEVEL},
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    with atomic_paths(folder, *_FILES) as (markdown, table, images, page):
        markdown.write_text(environment.get_template("table.md").render(content), encoding="utf-8")
        write_rows(table, list(_rows(sections)))
        write_rows(images, list(_image_rows(finished)))
        write_page(page, "experiment.html", **content)


def _section(table: Table) -> _Section:
    rows = [(line, [_cell(line.figures[name]) for name in FIGURES]) for line in table.lines]
    compared = [line for line in table.lines if line.figures["iou"].get("bounds")]
    forests = {title: _forest(compared, name) for name, title in FIGURES.items() if name in _DRAWN and compared}
    return _Section(table, rows, forests, {kind: _curves(table.lines, kind) for kind in HIDINGS})


def _cell(figure: dict[str, Any]) -> _Cell:
    about = [] if figure["interval"] is None else ["{:.3f} to {:.3f}".format(*figure["interval"])]
    about += [] if figure["seed_sd"] is None else [f"SD of seeds {figure['seed_sd']:.3f}"]
    if "difference" not in figure:
        return _Cell(f"{figure['value']:.3f}", ", ".join(about), "", "", False)
    bounds = "" if figure["bounds"] is None else "{:+.3f} to {:+.3f}, ".format(*figure["bounds"])
    clear = figure["bounds"] is not None and not figure["bounds"][0] <= 0 <= figure["bounds"][1]
    return _Cell(
        f"{figure['value']:.3f}",
        ", ".join(about),
        f"{figure['difference']:+.3f}",
        f"{bounds}p {figure['p']:.2g}",
        clear and figure["p"] < _LEVEL,
    )


def _rows(sections: Sequence[_Section]) -> Iterator[dict[str, Any]]:
    """One row for each cell, with all digits."""
    for section in sections:
        for line in section.table.lines:
            row = {
                "data": section.table.part,
                "cell": line.cell,
                "baseline": line.baseline,
                "seeds": line.seeds,
                "images": section.table.images,
                "groups": section.table.groups,
                "steps": line.steps,
                "passes": line.passes,
                "minutes": round(line.minutes, 2),
            }
            for name, figure in line.figures.items():
                low, high = figure["interval"] or (None, None)
                low_difference, high_difference = figure.get("bounds") or (None, None)
                row |= {
                    name: figure["value"],
                    f"{name} low": low,
                    f"{name} high": high,
                    f"{name} seed sd": figure["seed_sd"],
                    f"{name} difference": figure.get("difference"),
                    f"{name} difference low": low_difference,
                    f"{name} difference high": high_difference,
                    f"{name} p": figure.get("p"),
                }
            yield row


def _image_rows(finished: Sequence[Finished]) -> Iterator[dict[str, Any]]:
    """One row for each image of each training, from which everything else can be computed again."""
    for each in finished:
        training = each.training
        for row in each.rows.values():
            figures = {key: _short(value) for key, value in row.items()}
            yield {"data": training.part, "cell": training.cell, "seed": training.seed, **figures}


def _short(value: str) -> str:
    """A number with five digits that count; text as it is."""
    try:
        return f"{float(value):.5g}" if "." in value else value
    except ValueError:
        return value


def _forest(lines: Sequence[Line], name: str) -> Markup:
    """How far each cell is from its baseline, with intervals; the first on top."""
    figures = [line.figures[name] for line in lines]
    differences = [figure["difference"] for figure in figures]
    reach = [[abs(figure["bounds"][side] - figure["difference"]) for figure in figures] for side in (0, 1)]
    with plot_axes(5.2, 0.9 + 0.24 * len(lines)) as (axes, draw):
        axes.errorbar(differences, range(len(lines)), xerr=reach, fmt="o", color=BLUE, markersize=4, linewidth=1.4)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(lines)), [line.cell for line in lines], fontsize=7)
        axes.set(ylim=(len(lines) - 0.5, -0.5), xlabel="difference")
        axes.grid(visible=False, axis="y")
        return draw()


def _curves(lines: Sequence[Line], kind: str) -> Markup:
    """IoU over the hidden share, a line for each cell."""
    with plot_axes(6.6, 4.2) as (axes, draw):
        for number, line in enumerate(lines):
            style = {"color": INK, "linewidth": 2} if not line.baseline else {"color": colormaps["tab20"](number % 20)}
            axes.plot(RATIOS, line.curves[kind], marker=".", label=line.cell, clip_on=False, **style)
        axes.set(xlim=(0, RATIOS[-1]), ylim=(0, 1), xlabel="hidden share of the picture", ylabel="IoU")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
        return draw()
