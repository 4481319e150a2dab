"""``masksup doctor``: what is installed and works here, and what is missing for what."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

__all__ = ["add"]

_WIDTH = 110
_SECTIONS = ("devices", "runtimes", "features", "bundles")


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "doctor",
        help="say what is installed and works on this machine, and what is missing for what",
        description="Try packages, devices, runtimes and features, and say what works and what mends the rest. Nothing "
        "is downloaded or written, and the output names neither the user nor the machine: put it into bug reports.",
        epilog="Exit codes: 0 all that is required works; 1 something required is broken, or the bundle cannot be "
        "used; 2 wrong usage. What an extra would add may be missing.",
    )
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="a bundle to look at, too: its name or folder")
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from masksup_med.doctor import examine

    found = examine(args.bundle)
    print(json.dumps(found, indent=1) if args.json else "\n".join(_text(found)))
    return 0 if found["ok"] else 1


def _text(found: dict[str, Any]) -> list[str]:
    system = found["system"]
    memory = "" if system["memory_gib"] is None else f", {system['memory_gib']} GiB of memory"
    lines = [
        f"masksup-med {system['masksup_med']} in {system['location']}",
        f"Python {system['python']}, {system['system']}, {system['cores']} cores{memory}",
        *_packages(found["packages"]),
    ]
    for section in _SECTIONS:
        lines += ["", section.capitalize(), *_table(found[section])]
    if "bundle" in found:
        lines += ["", "The bundle", *_table(found["bundle"])]
    return [*lines, "", "All that is required works." if found["ok"] else _broken(found)]


def _packages(packages: dict[str, dict[str, Any]]) -> list[str]:
    """Those without a fault in a paragraph, the others a line each."""
    plain = {name: row for name, row in packages.items() if row["state"] == "ok" and " " not in row["detail"]}
    versions = ", ".join(f"{name} {row['detail']}" for name, row in plain.items())
    paragraph = textwrap.wrap(versions, _WIDTH - 11, break_on_hyphens=False, break_long_words=False)
    others = _table({name: row for name, row in packages.items() if name not in plain})
    starts = ["  ok       ", *[" " * 11] * len(paragraph)]
    return ["", "Packages", *(start + line for start, line in zip(starts, paragraph, strict=False)), *others]


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [f"  {row['state']:<7}  {name:<{width}}  {_said(row)}".rstrip() for name, row in rows.items()]


def _said(row: dict[str, Any]) -> str:
    return "; ".join(part for part in (row["detail"], row["remedy"]) if part)


def _broken(found: dict[str, Any]) -> str:
    tables = [table for table in found.values() if isinstance(table, dict)]
    rows = [(name, row) for table in tables for name, row in table.items() if isinstance(row, dict)]
    names = [name for name, row in rows if row["required"] and row["state"] != "ok"]
    return f"Does not work, and is required: {', '.join(dict.fromkeys(names))}."
