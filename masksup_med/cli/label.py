"""``masksup label``: annotate with a bundle, in MONAI Label."""

from __future__ import annotations

import argparse
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from masksup_med.label.workspace import Workspace

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "label",
        help="annotate a folder of images in MONAI Label: masks drawn ahead, the most informative image next",
        description="Serve a bundle by MONAI Label, to be used from 3D Slicer, QuPath, CVAT or Python. A working copy "
        "of the bundle, DIR/masksup/NAME, learns from what is labelled; the bundle itself stays as it is. Ctrl-C ends.",
    )
    parser.add_argument("--install", action="store_true", help="first of all, once: install MONAI Label, beside this")
    parser.add_argument(
        "--studies", metavar="DIR", help="folder of PNG, JPEG, BMP or TIFF images; labels go there, too"
    )
    parser.add_argument("--bundle", metavar="NAME|DIR", help="bundle with weights, to start from")
    parser.add_argument("--undo", action="store_true", help="take back the last training that was accepted, and end")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    parser.add_argument("--device", help="cpu, or cuda:0 where there is a GPU (default: what the bundle chooses)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="whom to listen to: 0.0.0.0 for all (default: this computer alone)"
    )
    parser.add_argument(
        "--token", help="what clients must bring, Authorization: Bearer TOKEN; or set MASKSUP_LABEL_TOKEN"
    )
    parser.add_argument(
        "--let-anyone-see-and-change-everything",
        dest="open",
        action="store_true",
        help="listen to other computers without a token",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from masksup_med.errors import SettingError
    from masksup_med.label.environment import install

    if args.install:
        print("Installing MONAI Label, which takes a minute or two …", flush=True)
        print(f"MONAI Label is installed in {install()}. Start it by: masksup label --studies DIR --bundle NAME")
        return 0
    if not args.studies:
        raise SettingError("Say which images are to be labelled by --studies DIR, or --install MONAI Label first.")
    workspace = _workspace(args)
    if args.undo:
        left = workspace.undo()
        print(f"{workspace.folder.name} predicts as before its last training; {left} more can be taken back.")
        return 0
    _serve(args, workspace)


def _workspace(args: argparse.Namespace) -> Workspace:
    """The working copy that is meant."""
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.errors import MissingDataError, SettingError
    from masksup_med.label.workspace import Workspace

    studies = Path(args.studies).expanduser().absolute()
    if not studies.is_dir():
        raise MissingDataError(f"There is no folder {studies}; give the one that has the images.")
    if args.bundle and not args.undo:
        return Workspace.of(studies, Bundle.open(args.bundle))
    there = {each.folder.name: each for each in Workspace.all_in(studies)}
    wanted = Path(args.bundle).name if args.bundle else next(iter(there), "")
    if wanted not in there or (len(there) > 1 and not args.bundle):
        names = f" one of {', '.join(there)}" if there else ""
        raise SettingError(f"Say which bundle by --bundle{names}.")
    return there[wanted]


def _serve(args: argparse.Namespace, workspace: Workspace) -> NoReturn:
    """Become the server, in the other environment."""
    from masksup_med.errors import SettingError
    from masksup_med.label.environment import python
    from masksup_med.label.guard import LOOPBACK
    from masksup_med.label.server import TOKEN

    interpreter = python()
    token = args.token or os.environ.get(TOKEN)
    if args.host not in LOOPBACK and not token and not args.open:
        raise SettingError(
            f"With --host {args.host} others can reach the server; give --token, or say "
            "--let-anyone-see-and-change-everything."
        )
    with socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((args.host, args.port))
        except (OSError, OverflowError) as error:
            place, why = f"port {args.port} on {args.host}", getattr(error, "strerror", None) or error
            raise SettingError(f"Nothing can listen to {place} ({why}); name another.") from None
    settings = {
        "studies": str(workspace.folder.parents[1]),
        "model": workspace.folder.name,
        "host": args.host,
        "port": args.port,
        "device": args.device,
    }
    environment = {**os.environ, **({TOKEN: token} if token else {})}
    if not token:
        environment.pop(TOKEN, None)
    print("Starting MONAI Label, which takes half a minute …", flush=True)
    os.execve(interpreter, [str(interpreter), "-m", "masksup_med.label.server", json.dumps(settings)], environment)
