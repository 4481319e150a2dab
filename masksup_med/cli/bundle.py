"""``masksup bundle``: the bundles that come with the package, and whether one is as others expect it."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser("bundle", help="list the bundles, copy one to train it there, check or release one")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show where the bundles and the overlays lie")
    listing.set_defaults(run=_list)
    copy = actions.add_parser("copy", help="copy a bundle into a new folder")
    copy.add_argument("bundle", metavar="NAME", help="a bundle's name or folder")
    copy.add_argument("folder", metavar="FOLDER", help="a folder that does not exist yet")
    copy.set_defaults(run=_copy)
    check = actions.add_parser(
        "check",
        help="check what MONAI's model zoo checks, and that the bundle predicts",
        description="Check what MONAI's model zoo checks of a bundle, and that it predicts; nothing is downloaded, and "
        "nothing written into it. What cannot be checked because of another fault is left out. Check bundles only of "
        "people you trust: their configs can run code.",
        epilog="Exit codes: 0 all is well; 1 a bundle has a fault; 2 wrong usage.",
    )
    check.add_argument("bundle", nargs="+", metavar="BUNDLE", help="a bundle's name or folder")
    check.set_defaults(run=_check)
    release = actions.add_parser(
        "release",
        help="make the weights of a trained bundle half as large, and note their SHA-256",
        description="Make a trained bundle ready to be passed on: write the kernels of its weights in half precision, "
        "which predictions hardly notice, and note their SHA-256 in metadata.json, without which they are refused from "
        "then on. Calibrate and evaluate it afterwards.",
    )
    release.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")
    release.set_defaults(run=_release)


def _list(args: argparse.Namespace) -> None:
    from masksup_med.bundle.location import bundle_names, find_bundle, overlays

    for name in bundle_names():
        print(f"{name}\t{find_bundle(name)}")
    print(f"overlays\t{overlays()}")


def _copy(args: argparse.Namespace) -> None:
    from masksup_med.bundle.location import copy_bundle

    print(f"Copied to {copy_bundle(args.bundle, args.folder)}")


def _check(args: argparse.Namespace) -> int:
    folders = [_folder(bundle) for bundle in args.bundle]  # all of them first: a misspelt one ends the program at once
    from masksup_med.bundle.check import check_bundle

    ok = True
    for folder in folders:
        print(folder.resolve().name)
        for finding in check_bundle(folder):
            print(f"  ok  {finding.name}" if finding.ok else f"  no  {finding.name}: {finding.fault}", flush=True)
            ok = ok and finding.ok
    return 0 if ok else 1


def _release(args: argparse.Namespace) -> None:
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.bundle.release import release

    released = release(Bundle.open(args.bundle))
    size = released.weights.stat().st_size / 1e6
    print(f"{released.weights}: {size:.1f} MB, SHA-256 {released.weights_sha256}")


def _folder(bundle: str) -> Path:
    """A bundle's folder; any folder may be meant to be one."""
    from masksup_med.bundle.location import find_bundle
    from masksup_med.errors import MissingDataError

    try:
        return find_bundle(bundle)
    except MissingDataError:
        if Path(bundle).is_dir():
            return Path(bundle)
        raise
