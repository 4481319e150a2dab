"""``masksup train``: from a folder of images and masks to a bundle that is ready to use."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masksup_med.cli.arguments import natural, positive
from masksup_med.cli.figures import print_figures

if TYPE_CHECKING:
    from masksup_med.data.datalist import Datalist
    from masksup_med.train.choices import Choice
    from masksup_med.train.survey import Survey

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "train",
        help="make a bundle from images and labels of your own",
        usage="masksup train (IMAGES LABELS | --data DIR …) -o BUNDLE [--preset fast|balanced|best] …",
        description="Look at images and labels, choose image size, batch, loss, learning rate and length by stated "
        "rules, train with MaskSup, keep what does best on a fifth of the images, held out by whole groups, and write "
        "a complete bundle: configs, weights, split, model card.",
    )
    parser.add_argument("images", nargs="?", metavar="IMAGES", help="folder of images")
    parser.add_argument("labels", nargs="?", metavar="LABELS", help="folder of labels, named as the images are")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="DIR",
        help="instead: data sets in known layouts, or datalists; see `masksup datalist`",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="BUNDLE", help="a new folder, whose name the bundle has"
    )
    parser.add_argument(
        "--preset",
        default="fast",
        choices=("fast", "balanced", "best"),
        help="for a hundred images, fast: 2000 steps on about 128² pixels, minutes on a CPU; balanced: 6000 on 256²; "
        "best: 20000 on 352²; more for more images, by the root of their number (default: %(default)s)",
    )
    parser.add_argument(
        "--paradigm",
        choices=("masksup", "context", "baseline", "mae"),
        help="masksup: with the paper's equal weights; context: without agreement of the views; baseline: without "
        "hiding; mae: baseline, after as many epochs without labels as a masked autoencoder (default: MaskSup in "
        "which the masked view weighs 0.3)",
    )
    parser.add_argument(
        "--network", metavar="NAME", default="residual_unet", help="see `masksup networks` (default: %(default)s)"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="what labels mean, with names: polyp for masks, or 1:polyp 2:fold, or '#ff0000:polyp'",
    )
    parser.add_argument("--groups", metavar="CSV", help="columns image and group: patients or sequences, kept together")
    parser.add_argument("--epochs", type=positive, metavar="N", help="how long, in place of the preset's steps")
    parser.add_argument("--seed", type=natural, default=0, help="of split and training (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    parser.set_defaults(run=lambda args: _run(parser, args))


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    _check_sources(parser, args)
    from masksup_med.train.choices import Wishes
    from masksup_med.train.run import begin, check_same, finish, usable_folder
    from masksup_med.train.workflow import fit, progress, reports

    folder = Path(os.path.abspath(Path(args.output).expanduser()))
    begun = usable_folder(folder, args.resume, [args.images, args.labels] if args.images else [])
    datalist = _datalist(args)
    wishes = Wishes(args.preset, args.paradigm, args.network, args.epochs, args.seed)
    if begun:
        check_same(folder, datalist, wishes, args.classes)
    else:
        seen, choices, leaks = begin(folder, datalist, wishes, args.classes)
        _print_data(datalist, seen, leaks)
        _print_choices(choices)
    try:
        with reports():
            fit(folder, resume=begun)
        results = finish(folder)
    except KeyboardInterrupt:
        done, epochs = progress(folder)
        raise KeyboardInterrupt(
            f"Interrupted after epoch {done} of {epochs}; the same command with --resume goes on from there."
        ) from None
    _print_results(results, folder)


def _check_sources(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if bool(args.data) == bool(args.images) or bool(args.images) != bool(args.labels):
        parser.error("give a folder of images and one of labels, or --data with data sets")
    if args.data and args.groups:
        parser.error("--groups goes with IMAGES and LABELS; data sets have groups of their own")


def _datalist(args: argparse.Namespace) -> Datalist:
    from masksup_med.train.source import from_data_sets, from_folders

    if args.data:
        return from_data_sets(args.data, args.seed)
    return from_folders(args.images, args.labels, args.groups, args.seed)


def _print_data(datalist: Datalist, seen: Survey, leaks: list[tuple[str, str]]) -> None:
    from masksup_med.train.source import absent

    for name, items in datalist.items():
        print(f"{name}: {len(items)} images in {len({item['group'] for item in items})} groups")
    smallest, largest = (" × ".join(map(str, size)) for size in seen.sizes)
    print(f"sizes: {smallest} to {largest} pixels{', grey' if seen.grey else ''}")
    print(f"labels: {seen.drawn.why}; {seen.empty} are empty")
    for number, name in enumerate(("background", *seen.drawn.names)):
        print(f"  {number} {name}: {seen.shares[number]:.2%} of the pixels, in {seen.present[:, number].sum()} images")
    for name, classes in absent(datalist, seen).items():
        if classes:
            use = {"training": "learnt", "validation": "measured"}[name]
            print(
                f"Warning: no image for {name} has {', '.join(classes)}, which so cannot be {use}; give more images, "
                "or another --seed to split by.",
                file=sys.stderr,
            )
    if leaks:
        print(
            f"Warning: {len(leaks)} of the {len(datalist['validation'])} images for validation are nearly the same as "
            f"images for training, such as {leaks[0][0]} and {leaks[0][1]}: figures will flatter; give --groups, so "
            "that what belongs together stays together.",
            file=sys.stderr,
        )


def _print_choices(choices: list[Choice]) -> None:
    print()
    name_width, value_width = (max(len(getattr(choice, part)) for choice in choices) for part in ("name", "value"))
    for choice in choices:
        print(f"{choice.name:{name_width}}  {choice.value:{value_width}}  {choice.why}")
    print(flush=True)


def _print_results(results: dict[str, Any], folder: Path) -> None:
    print(f"\n{results['images']} validation images, at their own size:")
    print_figures(results)
    print(f"\n{folder}: docs/README.md is the model card, eval/validation/report.html shows the worst images")
    print(f"Use it: masksup predict IMAGES -o OUT --bundle {folder}")
