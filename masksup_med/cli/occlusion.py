"""``masksup occlusion``: how well a bundle finds what is partly hidden."""

from __future__ import annotations

import argparse

from masksup_med.cli.arguments import natural

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "occlusion",
        help="measure how well a bundle finds objects when part of the picture is hidden",
        description="Hide 0 to 90 % of every image from the network, in patches and under scribbles, and measure the "
        "IoU with the whole label. Writes occlusion.json, occlusion.csv and report.html.",
    )
    parser.add_argument("--bundle", required=True, metavar="NAME|DIR", help="a trained bundle with one foreground")
    parser.add_argument("--datalist", required=True, metavar="FILE", help="images and labels; see `masksup datalist`")
    parser.add_argument("--split", default="test", choices=("training", "validation", "test"), help="default: test")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: what the bundle chooses)")
    parser.add_argument("--seed", type=natural, default=0, help="of what is hidden (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.bundle.predictor import Predictor
    from masksup_med.evaluate.occlusion import measure_occlusion
    from masksup_med.evaluate.predict import labelled_cases

    bundle = Bundle.open(args.bundle)
    cases = labelled_cases(args.datalist, args.split, bundle.label_values)
    results = measure_occlusion(Predictor(bundle, args.device), cases, args.output, args.seed)
    for kind, curve in results["hidings"].items():
        print(
            f"{kind}: IoU "
            + "  ".join(f"{ratio:.0%} {iou:.3f}" for ratio, iou in zip(results["ratios"], curve["iou"], strict=True))
        )
        bounds = "" if curve["area_interval"] is None else " (95 % {:.4f} to {:.4f})".format(*curve["area_interval"])
        print(f"{kind}: area {curve['area']:.4f}{bounds}")
    print(f"\n{args.output}: report.html, occlusion.json, occlusion.csv")
