"""The command line: ``masksup VERB …``, one file per verb, which imports its work only when it runs."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from masksup_med.cli import (
    bundle,
    calibrate,
    compare,
    datalist,
    doctor,
    evaluate,
    experiment,
    export,
    label,
    networks,
    occlusion,
    phantoms,
    predict,
    train,
)
from masksup_med.errors import MaskSupError
from masksup_med.telemetry import silence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 when it is done, 1 when it could not be, 2 on wrong usage, 130 when interrupted.

    A verb that can be done in part returns a code of its own.
    """
    silence()
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter shows a question mark instead
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    parser = _parser()
    args, left = parser.parse_known_args(argv)
    if left:  # argparse wants all folders in one place
        hint = "" if any(each.startswith("-") for each in left) else "; give folders and files before the options"
        parser.error(f"unrecognized arguments: {' '.join(left)}{hint}")
    args.own_process = argv is None  # rather than called from Python
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
    except MaskSupError as error:
        return _say(f"Error: {error}")
    except BrokenPipeError:  # as `| head` does, when it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = error.filename2 or error.filename  # the second is where a file was to be moved
        where = f" ({place})" if place else ""
        return _say(f"Error: {error.strerror or error}{where}; see that the place exists, is yours and has room.")
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "Interrupted.", 130)
    return code


def _say(sentence: str, code: int = 1) -> int:
    print(sentence, file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="masksup",
        description="MaskSup for medical image segmentation. Models are MONAI bundles: train, evaluate and infer with "
        "`python -m monai.bundle run`; the verbs here prepare what it needs and measure what comes out.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (
        phantoms,
        datalist,
        bundle,
        networks,
        train,
        experiment,
        predict,
        evaluate,
        compare,
        occlusion,
        calibrate,
        export,
        label,
        doctor,
    ):
        verb.add(verbs)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from masksup_med import __version__

        print(f"masksup-med {__version__}")
        parser.exit()
