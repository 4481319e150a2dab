"""Print docs/reference/metrics.md: what each task's protocols measure, as the code defines it.

python docs/reference/metrics.py > docs/reference/metrics.md
"""

from __future__ import annotations

from masksup_med.evaluate.tasks import TASKS

INTRODUCTION = """\
# Figures

What `masksup evaluate --task TASK --protocol PROTOCOL` measures. Made by `python docs/reference/metrics.py` from the
definitions in `masksup_med/evaluate/tasks/`; formulas and their sources are in the docstrings of
`masksup_med/metrics/`.

A lower figure is better where ↓ stands. `column` is the column of `per_image.csv` that a figure is the mean of; a
figure without one is computed over the whole set. `{tolerance}` is `--tolerance`."""


def main() -> None:
    """Print the page."""
    print(INTRODUCTION)
    for task, protocols in TASKS.items():
        for name, protocol in protocols.items():
            print(f"\n## {task}, {name}\n\n{protocol.about}")
            if protocol.strata:
                small, large = (f"{100 * edge:g} %" for edge in protocol.strata)
                print(f"Sizes: the label's mean object is small below {small} of the picture, large from {large}.")
            print("\n| in `metrics.json` | figure | definition | column |\n|---|---|---|---|")
            for figure in protocol.figures:
                title = figure.title.replace("{tolerance:g}", "{tolerance}") + (" ↓" if figure.lower_is_better else "")
                definition = figure.definition.replace("{tolerance:g}", "{tolerance}")
                column = f"`{figure.column}`" if figure.column else "whole set"
                print(f"| `{figure.name}` | {title} | {definition} | {column} |")


if __name__ == "__main__":
    main()
