"""``masksup phantoms``: generated images with labels."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "phantoms",
        help="generate images with labels, to try things without data",
        description="Write generated images and their labels into FOLDER/images and FOLDER/labels, as PNG files: "
        "colonoscopy-like frames with polyps, or H&E-like fields with numbered glands.",
    )
    parser.add_argument("task", choices=["polyp", "gland"])
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--count", type=int, default=100, help="number of images (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=[192, 240],
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (default: 192 240)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other images (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.data.phantoms import write_phantoms

    write_phantoms(args.task, args.folder, args.count, tuple(args.size), args.seed)
    print(f"{args.count} {args.task} phantoms in {args.folder}")
