"""``masksup calibrate``: make a bundle's probabilities and doubts ones to rely on."""

from __future__ import annotations

import argparse
from typing import Any

from masksup_med.cli.arguments import natural, share

__all__ = ["add"]

_SHARES = ("sensitivity", "sensitivity_held_back", "false_alarms")


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "calibrate",
        help="fit a bundle's temperature, and the threshold above which a prediction is doubtful",
        description="Fit, on labelled images that a bundle was not trained on, the temperature with which its "
        "probabilities can be taken at their word, and the threshold above which `masksup predict --quality` flags a "
        "prediction as doubtful. Both are kept in the bundle. Writes quality.json, quality.csv and report.html.",
    )
    parser.add_argument("--bundle", required=True, metavar="NAME|DIR", help="a trained bundle, which is changed")
    parser.add_argument("--datalist", required=True, metavar="FILE", help="images and labels; see `masksup datalist`")
    parser.add_argument("--split", default="validation", choices=("training", "validation", "test"))
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--views",
        default="symmetries",
        metavar="KIND",
        help="symmetries, hidden:RATIO or symmetries+hidden:RATIO (default: %(default)s)",
    )
    parser.add_argument(
        "--sensitivity",
        type=share,
        default=0.9,
        metavar="SHARE",
        help="of the predictions with an IoU below 0.5, how many are to be flagged (default: %(default)s)",
    )
    parser.add_argument("--compare", action="store_true", help="compare with other scores of doubt, which takes longer")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: what the bundle chooses)")
    parser.add_argument("--seed", type=natural, default=0, help="of the bootstrap (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.bundle import Bundle
    from masksup_med.evaluate.predict import labelled_cases
    from masksup_med.evaluate.quality.run import calibrate

    bundle = Bundle.open(args.bundle)
    cases = labelled_cases(args.datalist, args.split, bundle.label_values)
    results = calibrate(bundle, cases, args.output, args.views, args.sensitivity, args.compare, args.device, args.seed)
    _print(results)
    print(f"\n{bundle.folder}: configs/inference.yaml has the temperature, configs/metadata.json the thresholds")
    print(f"{args.output}: report.html, quality.json, quality.csv")


def _print(results: dict[str, Any]) -> None:
    images, groups, bad = results["images"], results["groups"], results["bad"]
    print(f"{images} images in {groups} groups; IoU {results['iou']:.4f}, {bad} below 0.5")
    print(
        f"temperature {results['temperature']:g}: calibration error {results['ece_before']:.4f} before, "
        f"{results['ece_after']:.4f} after"
    )
    print("\nscore                  passes  Spearman   AUROC  risk-coverage")
    for row in results["scores"]:
        cells = [f"{row[name]:.3f}" if row[name] is not None else "–" for name in ("spearman", "auroc")]
        print(f"{row['score']:22} {row['passes']:6}  {cells[0]:>8}  {cells[1]:>6}  {row['risk_coverage']:.4f}")
    print(f"{'perfect order':48} {results['risk_coverage_best']:.4f}")
    print(f"{'any order':48} {results['risk_coverage_chance']:.4f}")
    print("\nviews  IoU averaged  threshold  bad flagged (held back)  good flagged")
    for count, averaged in results["averaged"].items():
        flags = results["thresholds"].get(count)
        shares = "        –"
        if flags:
            bad, held_back, good = map(_percent, (flags[name] for name in _SHARES))
            shares = f"{flags['threshold']:9.4f}  {bad:>11} ({held_back:>9})  {good:>12}"
        print(f"{count:>5}  {averaged['iou']:12.4f}  {shares}")
    if not results["thresholds"]:
        print(f"No threshold was set: of too few images, {results['bad']}, the IoU is below 0.5; give more images.")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
