"""``masksup evaluate``: predictions, or a bundle's, against labels."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from masksup_med.cli.arguments import distance, natural
from masksup_med.cli.figures import print_figures
from masksup_med.errors import SettingError

if TYPE_CHECKING:
    from masksup_med.evaluate.cases import Case

__all__ = ["add", "parse_classes"]

_CLASSES = re.compile(r"(\d{1,5})(?:-(\d{1,5})|:(.+))?")
_SOURCES = {"pred": ("pred", "label"), "bundle": ("bundle", "datalist")}


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "evaluate",
        help="measure predictions against labels, with intervals and a report",
        usage="masksup evaluate (--pred DIR --label DIR | --bundle NAME|DIR --datalist FILE) -o OUT --task TASK …",
        description="Measure predictions against labels of the same names, or let a bundle predict first. Writes "
        "per_image.csv, metrics.json and report.html. A missing prediction counts as one that found nothing.",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--task",
        required=True,
        choices=("polyp", "gland", "semantic"),
        help="polyp: masks or maps of probabilities; gland: objects; semantic: maps of many classes",
    )
    parser.add_argument(
        "--protocol",
        default="native",
        choices=("native", "paper", "pranet", "glas"),
        help="native: at the labels' own size; paper: MaskSup's published code; pranet, for polyps, and glas, for "
        "glands: as those are scored elsewhere (default: %(default)s)",
    )
    files = parser.add_argument_group("predictions in files")
    files.add_argument("--pred", metavar="DIR", help="predictions, named as the labels are")
    files.add_argument("--label", metavar="DIR", help="labels; they say which images are evaluated")
    files.add_argument("--image", metavar="DIR", help="images, for the pictures in the report")
    files.add_argument("--groups", metavar="CSV", help="columns image and group: patients or sequences, for intervals")
    bundle = parser.add_argument_group("predictions by a bundle")
    bundle.add_argument("--bundle", metavar="NAME|DIR", help="a trained bundle; see `masksup bundle list`")
    bundle.add_argument("--datalist", metavar="FILE", help="images, labels and groups; see `masksup datalist`")
    bundle.add_argument("--split", default="test", choices=("training", "validation", "test"), help="default: test")
    bundle.add_argument("--device", help="such as cpu or cuda:0 (default: what the bundle chooses)")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="N",
        help="for semantic: 1-40, or 0:wall 1:floor; 0 and 255, if no classes, are void (default: the bundle's)",
    )
    how.add_argument("--tolerance", type=distance, default=2.0, metavar="PX", help="of NSD, in pixels (default: 2)")
    how.add_argument("--seed", type=natural, default=0, help="of the bootstrap (default: %(default)s)")
    how.add_argument("--mlflow-run", metavar="ID", help="log the results into this MLflow run, too")
    how.add_argument("--tracking-uri", metavar="URI", help="its store (default: the environment's MLFLOW_TRACKING_URI)")
    parser.set_defaults(run=lambda args: _run(parser, args))


def parse_classes(given: list[str]) -> dict[int, str]:
    """Read class numbers with or without names: ``1-40``, ``7``, ``0:wall``.

    Raises:
        SettingError: something else was given, or a number twice.
    """
    classes: dict[int, str] = {}
    for text in given:
        match = _CLASSES.fullmatch(text)
        first, last, name = match.groups() if match else ("1", "0", "")
        if int(first) > int(last or first):
            raise SettingError(f"--classes got {text}; give numbers such as 1-40, or names too, as in 0:wall 1:floor.")
        for number in range(int(first), int(last or first) + 1):
            if number in classes:
                raise SettingError(f"--classes names {number} twice; name each class once.")
            classes[number] = name or f"class {number}"
    return classes


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    _check_sources(parser, args)
    from masksup_med.evaluate.run import evaluate_cases, usable_protocol
    from masksup_med.evaluate.write import METRICS, usable_output

    classes = parse_classes(args.classes) or _classes_of_bundle(args)
    usable_protocol(args.task, args.protocol, classes)
    args.output = usable_output(args.output, METRICS)
    if args.mlflow_run:
        from masksup_med.evaluate.tracking import find_run

        run = find_run(args.mlflow_run, args.tracking_uri)
    results = evaluate_cases(
        _cases(args),
        args.output,
        args.task,
        args.protocol,
        classes=classes,
        tolerance=args.tolerance,
        seed=args.seed,
    )
    if args.mlflow_run:
        run.log(results, args.output)
    _print(results)
    print(f"\n{args.output}: report.html, metrics.json, per_image.csv")


def _classes_of_bundle(args: argparse.Namespace) -> dict[int, str]:
    """A bundle knows its classes."""
    if not args.bundle or args.task != "semantic":
        return {}
    from masksup_med.bundle.bundle import Bundle

    return {0: "background", **Bundle.open(args.bundle).classes}


def _check_sources(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    given = [source for source, needed in _SOURCES.items() if any(getattr(args, name) for name in needed)]
    if len(given) != 1 or not all(getattr(args, name) for name in _SOURCES[given[0]]):
        parser.error("give either --pred and --label, or --bundle and --datalist")
    if given == ["bundle"] and (args.image or args.groups):
        parser.error("--image and --groups go with --pred; a datalist has images and groups of its own")
    if given == ["pred"] and args.device:
        parser.error("--device goes with --bundle; measuring needs none")
    if args.tracking_uri and not args.mlflow_run:
        parser.error("--tracking-uri says where --mlflow-run is; name the run, too")


def _cases(args: argparse.Namespace) -> list[Case]:
    if args.pred:
        from masksup_med.evaluate.cases import list_cases

        return list_cases(args.pred, args.label, args.image, args.groups)
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.bundle.predictor import Predictor
    from masksup_med.evaluate.predict import labelled_cases, predict_cases

    bundle = Bundle.open(args.bundle)
    cases = labelled_cases(args.datalist, args.split, bundle.label_values)
    return predict_cases(Predictor(bundle, args.device), cases, args.output)


def _print(results: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in results["counts"].items())
    print(f"{results['images']} images in {results['groups']} groups; {counts}")
    print_figures(results)
