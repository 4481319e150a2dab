import re

import numpy as np
import pytest

from masksup_med.evaluate.reports.occlusion import write_occlusion_report
from masksup_med.evaluate.reports.pictures import Picture
from tests.evaluate.reports.page import Page

RATIOS = [step / 10 for step in range(10)]
EXAMPLES = {"<b>a": [Picture("patch, 30% hidden", "data:image/jpeg;base64,AAAA")]}


def results(**changes):
    curves = {kind: 0.8 * (1 - np.array(RATIOS) ** power) for kind, power in (("patch", 2), ("scribble", 3))}
    return {
        "bundle": "<i>b</i> & co",
        "version": "0.1.0",
        "images": 40,
        "groups": 40,
        "grouped": False,
        "settings": {"resamples": 2000, "confidence": 0.95, "seed": 3},
        "ratios": RATIOS,
        "definition": "What an area is.",
        "hidings": {
            kind: {
                "iou": curve.tolist(),
                "intervals": [(value - 0.05, value + 0.04) for value in curve.tolist()],
                "area": float(curve.mean()),
                "area_interval": (0.111, 0.888),
            }
            for kind, curve in curves.items()
        },
        **changes,
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "report.html"
    write_occlusion_report(path, results(), EXAMPLES)
    return path


@pytest.fixture(scope="module")
def page(file):
    return Page(file.read_text("utf-8"))


def test_table_holds_every_number_and_the_areas(page):
    head, *lines, areas = page.table("Hidden")
    assert head == ["Hidden", "IoU, patches", "95 % interval", "IoU, scribbles", "95 % interval"]
    assert [line[0] for line in lines] == [f"{10 * step} %" for step in range(10)]
    assert lines[0][1:] == ["0.800", "0.750–0.840"] * 2
    assert lines[5][1:] == ["0.600", "0.550–0.640", "0.700", "0.650–0.740"]
    patch, scribble = (f"{each['area']:.3f}" for each in results()["hidings"].values())
    assert areas == ["Area", patch, "0.111–0.888", scribble, "0.111–0.888"]
    assert f"Area, patches {patch} Area, scribbles {scribble}" in page.text


def test_page_says_what_was_done(page):
    assert "Occlusion test of <i>b</i> & co" in page.text and "Images 40" in page.text
    assert "What an area is." in page.text
    assert "mid-grey: square patches of 16 pixels on a regular grid, or free-form scribbles" in page.text
    assert "Patients" not in page.text and "too narrow" not in page.text
    assert "Images are drawn with replacement, 2000 times" in page.text


def test_examples_are_shown(page):
    assert "<b>a patch, 30% hidden" in page.text and 'src="data:image/jpeg;base64,AAAA"' in page.html


def test_plot_has_two_lines_and_bands(page):
    (svg,) = re.findall(r"<svg.*?</svg>", page.html, re.DOTALL)
    assert svg.count("FillBetweenPolyCollection") + svg.count("PolyCollection") >= 2
    for text in ("patches", "scribbles", "only what is seen", "hidden share of the picture"):
        assert f">{text}<" in svg


def test_page_holds_all_it_shows(file, page):
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == ["occlusion.json", "occlusion.csv"]
    rest = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page.html)
    assert not re.search(r"https?:|//\w+\.\w|<script|<link|@import|url\((?!#)", rest)
    assert "<i>" not in page.html and "secret" not in page.html


def test_same_results_give_the_same_page(tmp_path, file):
    write_occlusion_report(tmp_path / "again.html", results(), EXAMPLES)
    assert (tmp_path / "again.html").read_bytes() == file.read_bytes()


def test_one_group_has_no_intervals(tmp_path):
    one = results(groups=1, grouped=True)
    for curve in one["hidings"].values():
        curve |= {"intervals": [None] * 10, "area_interval": None}
    write_occlusion_report(tmp_path / "a.html", one, {})
    page = Page((tmp_path / "a.html").read_text("utf-8"))
    _, *lines = page.table("Hidden")
    assert all(line[2] == line[4] == "–" for line in lines)
    assert "There is only one patient or sequence" in page.text
    assert "Bands" not in page.text and "are drawn" not in page.text and "PolyCollection" not in page.html


def test_few_groups_are_a_warning(tmp_path):
    write_occlusion_report(tmp_path / "a.html", results(groups=4, grouped=True), {})
    page = Page((tmp_path / "a.html").read_text("utf-8"))
    assert "Patients or sequences 4" in page.text and "only 4 patients or sequences" in page.text
    assert "Patients or sequences, each as a whole, are drawn" in page.text
