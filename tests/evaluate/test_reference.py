"""The reference page says what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_reference_is_what_its_script_prints(capsys):
    runpy.run_path(str(DOCS / "reference" / "metrics.py"), run_name="__main__")
    assert capsys.readouterr().out == (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8"), (
        "run: python docs/reference/metrics.py > docs/reference/metrics.md"
    )
