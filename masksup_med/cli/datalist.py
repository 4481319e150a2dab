"""``masksup datalist``: images paired with labels, split by patient or video sequence."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "datalist",
        help="pair images with labels and split them by patient or sequence",
        description="Check data folders (GlaS, CVC-ClinicDB, Kvasir-SEG, or images/ beside labels/) and write a "
        "Decathlon-style list of training and validation images, which bundles take as --dataset_dir.",
    )
    parser.add_argument("folder", nargs="+", metavar="FOLDER")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.json")
    parser.add_argument(
        "--validation", type=float, default=0.2, metavar="SHARE", help="share for validation (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.data import datalist_digest, load_datalist, save_datalist

    datalist = load_datalist(args.folder, args.validation, args.seed)
    save_datalist(datalist, args.output)
    for name, items in datalist.items():
        print(f"{name}: {len(items)} images in {len({item['group'] for item in items})} groups")
    print(f"{args.output} written, SHA-256 of its images and labels {datalist_digest(datalist)}")
