"""How long `masksup predict` takes for one image, from the command to its end.

    python -m tests.benchmarks.cold_start [--repository OTHER]

prints seconds of the best of several runs, by turns with those of another checkout of masksup-med if one is named, as
`git worktree add OTHER COMMIT` makes it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.predict import trained_bundle, write_frames

RUNS = 7
MASKSUP = "import sys; from masksup_med.cli import main; sys.exit(main())"  # as the console script does


def seconds(repository: Path, folder: Path) -> float:
    """One run, in a process of its own."""
    results = folder / f"out{time.monotonic_ns()}"
    command = ["predict", str(folder / "frames"), "-o", str(results), "--bundle", str(folder / "bundle")]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", MASKSUP, *command],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
        cwd=folder,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, help="another checkout to compare with")
    here, other = Path(__file__).resolve().parents[2], parser.parse_args().repository
    repositories = [here] if other is None else [here, other.resolve()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained_bundle(folder / "bundle")
        write_frames(folder / "frames", 1)
        if other is not None:  # whose transforms may not know a temperature
            settings = folder / "bundle" / "configs" / "inference.yaml"
            step = "    - _target_: masksup_med.transforms.TemperatureScalingd\n      keys: pred\n"
            settings.write_text(settings.read_text().replace(f'{step}      temperature: "@temperature"\n', ""))
        taken = [[seconds(repository, folder) for repository in repositories] for _ in range(RUNS)]
    print("| | seconds |\n|---|---:|")
    for number, label in enumerate(["`masksup predict` of one image", "the other checkout"][: len(repositories)]):
        print(f"| {label} | {min(run[number] for run in taken):.2f} |")


if __name__ == "__main__":
    main()
