"""``masksup predict``: images in, masks, overlays, measurements and a report out."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masksup_med.cli.arguments import natural, positive

if TYPE_CHECKING:
    from masksup_med.predict.run import Summary

__all__ = ["add"]

_OUTPUTS = ("masks", "overlays", "probabilities", "disagreement", "polygons", "dicom-seg")
_VIEWS = 3  # three flips: most of what more views would say
_NOTHING, _SOME = 1, 3  # exit codes
_LISTED = 50  # failures; the tables have all


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "predict",
        help="predict folders of images: masks, overlays, measurements and a report",
        description="Predict images with a trained bundle. Folders are searched with their sub-folders for PNG, JPEG, "
        "BMP, TIFF, NIfTI and DICOM files and whole slides; results repeat their structure. The same command again "
        "does what is left.",
        epilog="Exit codes: 0 all images are done; 1 nothing could be done; 2 wrong usage; 3 some images failed, which "
        "are listed at the end, in OUT/images.csv and in OUT/report.html.",
    )
    parser.add_argument("input", nargs="+", metavar="INPUT", help="an image, or a folder of images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--bundle", required=True, metavar="NAME|DIR", help="a trained bundle; see `masksup bundle list`"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=("auto", "torch", "onnx", "openvino"),
        help="what runs the network; others than torch run what `masksup export` has made. auto: the fastest of those "
        "whose masks are torch's, to an IoU of 0.999, tried on some of the images (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=_number_or_auto,
        metavar="N|auto",
        help="images that the network takes at once; halved when memory does not suffice (default: auto)",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="threads that read, and as many that write (default: up to 4)"
    )
    parser.add_argument(
        "--outputs",
        type=_outputs,
        default=("masks", "overlays"),
        metavar="KIND,…",
        help=f"of {', '.join(_OUTPUTS)} (default: masks,overlays)",
    )
    parser.add_argument(
        "--quality",
        type=natural,
        default=0,
        metavar="K",
        help="look at each image in K more views, from 1 to 7, and say how far they disagree: images are sorted by it, "
        "and flagged as doubtful where the bundle has a threshold; 3 is a good number (default: 0, none)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help=f"let the mean of all views decide, those of --quality or {_VIEWS}: better masks, in as much more time",
    )
    parser.add_argument(
        "--deidentify", action="store_true", help="leave patient, study and people out of DICOM segmentations"
    )
    parser.add_argument("--overwrite", action="store_true", help="predict again what is done already")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(run=_run)


def _number_or_auto(text: str) -> int | None:
    return None if text == "auto" else positive(text)


def _outputs(text: str) -> tuple[str, ...]:
    given = text.split(",")
    if unknown := [name for name in given if name not in _OUTPUTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0] or 'nothing'} is none of {', '.join(_OUTPUTS)}")
    return tuple(name for name in _OUTPUTS if name in given)


def _run(args: argparse.Namespace) -> int:
    from masksup_med.bundle.location import find_bundle
    from masksup_med.cli.quick import import_monai
    from masksup_med.errors import SettingError
    from masksup_med.predict.discovery import find_images

    if args.deidentify and "dicom-seg" not in args.outputs:
        raise SettingError(
            "--deidentify is for DICOM segmentations, and they are not among --outputs; add dicom-seg, or leave it "
            "out: no other result holds attributes of patients."
        )
    if "disagreement" in args.outputs and not (args.quality or args.tta):
        raise SettingError("--outputs disagreement is of several views; add --quality 3.")
    _quiet_readers()
    output = Path(args.output).expanduser()
    inputs = find_images(args.input, output)
    if args.own_process:
        import_monai(find_bundle(args.bundle))

    from masksup_med.bundle import Bundle
    from masksup_med.predict.model import Settings
    from masksup_med.predict.progress import shown
    from masksup_med.predict.run import planned, predict_images

    bundle = Bundle.open(args.bundle)
    settings = Settings(
        args.outputs,
        args.device,
        args.batch_size,
        args.workers,
        args.overwrite,
        args.deidentify,
        args.quality or (_VIEWS if args.tta else 0),
        args.tta,
        args.runtime,
    )
    if args.dry_run:
        return _say_plan(planned(bundle, inputs, output, settings), args.json)
    summary = predict_images(bundle, inputs, output, settings, shown)
    complete = summary.done == summary.images and not summary.stopped
    code = 0 if complete else _SOME if summary.done else _NOTHING
    if args.json:
        _say_json({**vars(summary), "left_out": inputs.left_out, "exit_code": code})
    else:
        _say_summary(summary, inputs.left_out, args.output)
    return code


def _quiet_readers() -> None:
    """Keep readers' own warnings off the terminal: what is wrong with a file is said once, in a sentence."""
    warnings.filterwarnings("ignore", module="PIL")


def _say_plan(plan: Iterator[tuple[str, str]], as_json: bool) -> int:
    if as_json:
        _say_json(dict(plan))
    else:
        for image, what in plan:
            print(_printable(f"{image}: {what}"))
    return 0


def _say_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, indent=1))


def _say_summary(summary: Summary, left_out: Counter[str], output: str) -> None:
    counts = [f"{summary.predicted} predicted"]
    counts += [f"{summary.done_before} done before"] if summary.done_before else []
    counts += [f"{len(summary.failed)} failed"] if summary.failed else []
    print(f"{summary.images} images: {', '.join(counts)}")
    if summary.doubtful:
        print(f"{summary.doubtful} of them doubtful: see {output}/report.html, or the flags in images.csv")
    for note in summary.notes:
        print(note)
    if left_out:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in left_out.most_common(5))
        print(f"{left_out.total()} other files were left out: {kinds}")
    if not summary.stopped:
        print(f"{output}: report.html, images.csv, measurements.csv, manifest.jsonl")
    failures = _sentences(summary.failed)
    for sentence in failures[:_LISTED]:
        print(_printable(f"Failed: {sentence}"), file=sys.stderr)
    if len(failures) > _LISTED:
        print(f"and {len(failures) - _LISTED} more: see {output}/images.csv", file=sys.stderr)
    if summary.stopped:
        print(
            f"Error: {summary.stopped}: {summary.done} of {summary.images} images are done; make room in {output}, and "
            "give the same command again.",
            file=sys.stderr,
        )


def _sentences(failed: dict[str, str]) -> list[str]:
    """What to say of images that failed; once of a file whose frames all fail alike."""
    sentences: dict[str, None] = {}
    for image, error in failed.items():
        file, _, frame = image.rpartition("/")
        is_named = image in error or (frame.isdecimal() and file in error)
        sentences[error if is_named else f"{image}: {error}"] = None
    return list(sentences)


def _printable(text: str) -> str:
    """Text that leaves the terminal as it is, whatever the names of files hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
