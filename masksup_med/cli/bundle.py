"""``masksup bundle``: the bundles that come with the package."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser("bundle", help="list the bundles, or copy one to train it there")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show where the bundles and the overlays lie")
    listing.set_defaults(run=_list)
    copy = actions.add_parser("copy", help="copy a bundle into a new folder")
    copy.add_argument("bundle", metavar="NAME", help="a bundle's name or folder")
    copy.add_argument("folder", metavar="FOLDER", help="a folder that does not exist yet")
    copy.set_defaults(run=_copy)


def _list(args: argparse.Namespace) -> None:
    from masksup_med.bundle.location import bundle_names, find_bundle, overlays

    for name in bundle_names():
        print(f"{name}\t{find_bundle(name)}")
    print(f"overlays\t{overlays()}")


def _copy(args: argparse.Namespace) -> None:
    from masksup_med.bundle.location import copy_bundle

    print(f"Copied to {copy_bundle(args.bundle, args.folder)}")
