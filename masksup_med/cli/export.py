"""``masksup export``: a bundle's network for engines that run it faster, or elsewhere."""

from __future__ import annotations

import argparse

__all__ = ["add"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "export",
        help="make a bundle's network a file for ONNX Runtime, OpenVINO or TorchScript",
        description="Export a bundle's network, check the file against torch, and put it into the bundle's models/ "
        "beside the weights. `masksup predict --runtime onnx|openvino` runs it.",
    )
    parser.add_argument("bundle", metavar="NAME|DIR", help="a trained bundle, to which the file is added")
    parser.add_argument("--to", required=True, choices=("onnx", "torchscript", "openvino"), help="what to make of it")
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "bf16"),
        help="to calculate in; bf16 is faster on processors with AMX, and less exact (default: %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from masksup_med.bundle import Bundle
    from masksup_med.inferers.runtimes.export import export
    from masksup_med.inferers.runtimes.files import FILES

    done = export(Bundle.open(args.bundle), args.to, args.precision)
    size = "of any size" if done.any_size else "of {} × {} pixels".format(*done.size)
    files = [done.path.with_name(name) for name in FILES[args.to]]
    print(f"{' and '.join(map(str, files))}: {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB")
    print(f"It takes any number of images {size}, as the network sees them.")
    print(f"Its logits differ from torch's by {done.difference:.1g} of the largest one at most.")
