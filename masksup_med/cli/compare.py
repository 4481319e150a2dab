"""``masksup compare``: evaluations of the same images, side by side."""

from __future__ import annotations

import argparse

from masksup_med.cli.arguments import natural

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "compare",
        help="compare evaluations of the same images: paired differences, intervals and tests",
        description="Compare what `masksup evaluate` has written for the same images. A RUN is such a folder, or one "
        "whose sub-folders are: one configuration, trained with several seeds. Writes comparison.json, per_image.csv "
        "and report.html.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more; differences are the later minus the earlier"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--seed", type=natural, default=0, help="of the bootstrap (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.evaluate.compare import compare_runs

    results = compare_runs(args.runs, args.output, args.seed)
    for pair in results["pairs"]:
        bounds = "" if pair["interval"] is None else " (95 % {:+.4f} to {:+.4f})".format(*pair["interval"])
        print(
            f"{pair['title']}: {pair['second']} − {pair['first']} = {pair['difference']:+.4f}{bounds}, "
            f"p {pair['p_holm']:.3g} after Holm; better in {pair['second_better']}, worse in {pair['first_better']}"
        )
    print(f"\n{args.output}: report.html, comparison.json, per_image.csv")
