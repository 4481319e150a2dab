"""The command line: ``masksup VERB …``, one file per verb, which imports its work only when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from masksup_med.cli import bundle, compare, datalist, evaluate, networks, occlusion, phantoms
from masksup_med.errors import MaskSupError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 when it is done, 1 when it could not be, 2 on wrong usage, 130 when interrupted."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except MaskSupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="masksup",
        description="MaskSup for medical image segmentation. Models are MONAI bundles: train, evaluate and infer with "
        "`python -m monai.bundle run`; the verbs here prepare what it needs and measure what comes out.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (phantoms, datalist, bundle, networks, evaluate, compare, occlusion):
        verb.add(verbs)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from masksup_med import __version__

        print(f"masksup-med {__version__}")
        parser.exit()
