"""``masksup experiment``: a grid of trainings, compared."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "experiment",
        help="train a grid of bundles, networks, paradigms, maskings and seeds, and compare them",
        description="Do all trainings of a grid, each a bundle of its own, tracked in MLflow below one run; then write "
        "report.html, table.md, table.csv and images.csv from what is tracked. What is finished is not done again.",
    )
    parser.add_argument("grid", metavar="GRID", help="YAML file, such as configs/experiments/masking.yaml")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for all trainings")
    parser.add_argument("--data", default="data", metavar="DIR", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    parser.add_argument("--report", metavar="OUT", help="folder for the report (default: report, below -o)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from masksup_med.errors import SettingError
    from masksup_med.experiments.grid import read_grid
    from masksup_med.experiments.report import write_report
    from masksup_med.experiments.run import plan, run_tasks
    from masksup_med.experiments.store import Store
    from masksup_med.train.workflow import reports

    grid, folder = read_grid(args.grid), Path(args.output).expanduser().absolute()
    if folder.exists() and any(folder.iterdir()) and not args.resume:
        raise SettingError(f"{folder} is not empty; go on with its trainings by --resume, or name a new folder.")
    tasks = plan(grid, Path(args.data).expanduser().absolute(), folder)
    report = Path(args.report).expanduser() if args.report else folder / "report"
    store = Store(folder, grid)
    failures, status = [], "KILLED"
    try:
        with reports():
            failures = run_tasks(tasks, store)
        status = "FAILED" if failures else "FINISHED"
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; the same command with --resume goes on from there.") from None
    finally:
        store.end(status)
        there = {each.training: each for each in store.finished()}
        if finished := [there[task.training] for task in tasks if task.training in there]:
            write_report(report, grid, finished, len(tasks))
            print(f"{report}: report.html, table.md, table.csv, images.csv ({len(finished)} of {len(tasks)} trainings)")
    return 3 if failures else 0
