import copy
import re
import warnings

import numpy as np
import pytest

from masksup_med.evaluate.reports import comparison as compare_report
from masksup_med.evaluate.reports.comparison import write_comparison_report
from masksup_med.evaluate.reports.words import Plot
from masksup_med.evaluate.tasks import TASKS
from tests.evaluate.reports.page import Page

NAMES = ("base", "<b>new</b> $x$")
IMAGES = 12
FIGURES = {  # title, unit, lower is better, values
    "iou": ("IoU", "", False, (0.5, 0.55)),
    "dice": ("Dice", "", False, (0.65, 0.7)),
    "hd95": ("HD95", "px", True, (20.0, 12.0)),
    "false_positive_lesions": ("False positives per image", "", True, (2.0, 2.0)),
}
POOLED = ("Lesion F1", 0.8)


def pair(metric, difference, interval, p, p_holm, better, worse, names=NAMES):
    title, unit, lower_is_better, _ = FIGURES[metric]
    return {
        "first": names[0],
        "second": names[1],
        "metric": metric,
        "title": title,
        "unit": unit,
        "lower_is_better": lower_is_better,
        "difference": difference,
        "interval": interval,
        "second_better": better,
        "first_better": worse,
        "equal": IMAGES - better - worse,
        "units": IMAGES,
        "p": p,
        "p_holm": p_holm,
    }


PAIRS = [
    pair("iou", 0.05, [0.021, 0.079], 0.0021, 0.0084, 10, 2),
    pair("dice", 0.05, [0.0123, 0.0912], 2.5e-5, 1e-4, 9, 2),
    pair("hd95", -8.0, [-16.4, 0.35], 0.0123, 0.0369, 8, 4),
    pair("false_positive_lesions", 0.0, [0.0, 0.0], 1.0, 1.0, 0, 0),
]


def configuration(number, seeds):
    figures = {
        name: {
            "title": title,
            "unit": unit,
            "lower_is_better": lower_is_better,
            "value": values[number],
            "interval": [values[number] * 0.9, values[number] * 1.1],
            "seed_sd": None if seeds == 1 else 0.0123,
            "paired": True,
        }
        for name, (title, unit, lower_is_better, values) in FIGURES.items()
    }
    pooled = {"title": POOLED[0], "unit": "", "lower_is_better": False, "value": POOLED[1]}
    pooled |= {"interval": None, "seed_sd": None if seeds == 1 else 0.02, "paired": False}
    return {"seeds": seeds, "metrics": {**figures, "lesion_f1": pooled}}


def comparison(names=NAMES, seeds=(3, 3), **changes):
    pairs = [{**each, "first": names[0], "second": names[1]} for each in PAIRS]
    return {
        "task": "polyp",
        "protocol": "native",
        "version": "0.1.0",
        "images": IMAGES,
        "groups": IMAGES,
        "grouped": False,
        "settings": {"resamples": 2000, "confidence": 0.95, "seed": 7},
        "configurations": {name: configuration(n, seeds[n]) for n, name in enumerate(names)},
        "pairs": pairs,
        **changes,
    }


def rows(names=NAMES):
    rng = np.random.default_rng(0)
    columns = [
        (f"{metric}: {name}", values[n % 2]) for metric, (*_, values) in FIGURES.items() for n, name in enumerate(names)
    ]
    return [
        {
            "image": str(number),
            "group": str(number),
            **{column: value * rng.uniform(0.8, 1.2) for column, value in columns},
        }
        for number in range(IMAGES)
    ]


def written(path, results, of_images=None):
    write_comparison_report(path, results, of_images or rows(tuple(results["configurations"])))
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "report.html"
    write_comparison_report(path, comparison(), rows())
    return path


@pytest.fixture(scope="module")
def page(file):
    return Page(file.read_text("utf-8"))


@pytest.fixture
def no_plots(monkeypatch):
    monkeypatch.setattr(compare_report, "all_differences", lambda *_: "")
    monkeypatch.setattr(compare_report, "_plot", lambda *_: Plot("", ""))


def test_answer_stands_first(page):
    short = page.text[: page.text.index("Configurations Means")]
    assert "Polyp segmentation, evaluated at native size. " + TASKS["polyp"]["native"].about in short
    assert "Images 12" in short and "Tests on this page 4" in short and "Patients" not in short
    assert (
        "<b>new</b> $x$ is better than base in Dice, by 0.0500 (95 % interval 0.0123 to 0.0912; p 1.00e-04 "
        "after Holm), better in 9 images, worse in 2, equal in 1." in short
    )
    assert "seed only" not in short and "too narrow" not in short


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"p_holm": 0.06}, "new and old are not told apart by Dice: new is ahead by 0.0500"),
        (
            {"interval": [-0.01, 0.09]},
            "new and old are not told apart by Dice: new is ahead by 0.0500 (95 % interval −0.0100",
        ),
        (
            {"difference": -0.05, "interval": [-0.09, -0.01], "second_better": 3, "first_better": 9, "equal": 0},
            "old is better than new in Dice, by 0.0500 (95 % interval 0.0100 to 0.0900; p 1.00e-04 after Holm), "
            "better in 9 images, worse in 3.",
        ),
        (
            {"lower_is_better": True, "difference": -0.05, "interval": [-0.09, -0.01]},
            "new is better than old in Dice, by 0.0500 (95 % interval 0.0100 to 0.0900",
        ),
        (
            {"interval": None, "p_holm": 1.0},
            "told apart by Dice: new is ahead by 0.0500 (p 1.000 after Holm), better in",
        ),
        ({"difference": 0.0, "equal": IMAGES}, "new and old are equal in Dice, in every image."),
    ],
)
def test_answer_says_who_is_ahead_and_whether_that_is_sure(tmp_path, changes, answer):
    results = comparison(("old", "new"))
    results["pairs"][1] |= changes
    assert answer in written(tmp_path / "a.html", results).text


def test_configurations_have_value_interval_and_spread(page):
    table = page.table("base 3 seeds")
    assert table[0] == ["Figure", "base 3 seeds", "<b>new</b> $x$ 3 seeds"]
    assert table[1][1:] == ["0.500 0.450–0.550 SD 0.012", "0.550 0.495–0.605 SD 0.012"]
    assert table[3] == ["HD95 px ↓(lower is better)", "20.0 18.0–22.0 SD 0.0", "12.0 10.8–13.2 SD 0.0"]
    assert table[5] == ["Lesion F1 no paired test", "0.800 SD 0.020", "0.800 SD 0.020"]
    assert "pooled over the set" in page.text


def test_differences_have_all_their_numbers(page):
    head, second, *lines = page.table("Difference")
    assert head[1:] == [
        "Difference",
        "95 % interval",
        "p",
        "p after Holm",
        "In favour of",
        "Images in which <b>new</b> $x$ is",
    ]
    assert second == ["better", "worse", "equal"]
    new = NAMES[1]
    assert lines == [
        ["IoU", "+0.0500", "+0.0210 to +0.0790", "0.00210", "0.00840", new, "10", "2", "0"],
        ["Dice", "+0.0500", "+0.0123 to +0.0912", "2.50e-05", "1.00e-04", new, "9", "2", "1"],
        ["HD95 px ↓(lower is better)", "−8.00", "−16.40 to +0.35", "0.0123", "0.0369", new, "8", "4", "0"],
        [
            "False positives per image ↓(lower is better)",
            *["0.0000", "0.0000 to 0.0000", "1.000", "1.000", "neither", "0", "0", "12"],
        ],
    ]
    assert f"Difference: {new} − base." in page.text and "corrected for all 4 tests" in page.text
    assert "one difference per image, 12 in all" in page.text


def test_only_lines_that_are_sure_are_stressed(page):
    stressed = re.findall(r'<tr class="clear">\s*<th scope="row">\s*(\w+)', page.html)
    assert stressed == ["IoU", "Dice"]  # not HD95: p is small, and the interval holds 0


def test_plots_are_of_the_key_figure_and_a_distance(page):
    about = re.findall(r'role="img" aria-label="([^"]*)"', page.html)
    assert [text.split(" of ")[0] for text in about] == [
        "All differences with their intervals, as in the table",
        "Each point is an image: Dice",
        "Each point is an image: HD95",
    ]
    assert "above the dashed line" in about[1] and "below the dashed line" in about[2]
    overview, dice, distance = re.findall(r"<svg.*?</svg>", page.html, re.DOTALL)
    assert overview.count("difference") == 3  # shares, distances, counts
    assert "&lt;b&gt;new&lt;/b&gt; $x$ better" in overview
    for svg in (dice, distance):
        assert "&lt;b&gt;new&lt;/b&gt; $x$ better" in svg and ("in 9" in svg or "in 8" in svg)
        assert len(re.findall(r"<use ", svg)) >= IMAGES


def test_page_holds_all_it_shows_and_escapes_names(file, page):
    assert [link for link in page.links if not link.startswith("#")] == ["comparison.json", "per_image.csv"]
    rest = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page.html)
    assert not re.search(r"https?:|//\w+\.\w|<script|<link|@import|url\((?!#)", rest)
    assert "<b>" not in page.html and "secret" not in page.html


def test_same_results_give_the_same_page(tmp_path, file):
    write_comparison_report(tmp_path / "again.html", comparison(), rows())
    assert (tmp_path / "again.html").read_bytes() == file.read_bytes()


@pytest.mark.usefixtures("no_plots")
def test_one_seed_and_few_groups_are_said(tmp_path):
    page = written(tmp_path / "a.html", comparison(("old", "new"), (3, 1), groups=4, grouped=True))
    assert "One seed only: new." in page.text and "trained models, not ways to train" in page.text
    assert "Patients or sequences 4" in page.text and "only 4 patients or sequences" in page.text
    assert "With 4 patients or sequences and 4 tests, no p-value after Holm can be expected below 0.05" in page.text
    assert "patients or sequences, each as a whole, are drawn" in page.text
    assert "one difference per patient or sequence (the mean over its images), 4 in all" in page.text
    assert page.table("new 1 seed")[1][1:] == ["0.500 0.450–0.550 SD 0.012", "0.550 0.495–0.605"]
    page = written(tmp_path / "a.html", comparison(("old", "new"), (1, 1)))
    assert "One seed only: old, new." in page.text and "SD" not in page.text.split("Difference:")[0]


def test_one_group_has_no_intervals(tmp_path):
    results = comparison(("old", "new"), groups=1, grouped=True)
    for each in results["pairs"]:
        each |= {"interval": None, "p": 1.0, "p_holm": 1.0}
    page = written(tmp_path / "a.html", results)
    assert "There is only one patient or sequence" in page.text and "can be expected" not in page.text
    assert page.table("old 3 seeds")[1][1:] == ["0.500 SD 0.012", "0.550 SD 0.012"]
    assert page.table("Difference")[2][1:5] == ["+0.0500", "–", "1.000", "1.000"]
    assert 'class="clear"' not in page.html and "In no line" in page.text


@pytest.mark.usefixtures("no_plots")
def test_figures_that_one_configuration_lacks_or_that_are_undefined(tmp_path):
    results = comparison(("old", "new"))
    del results["configurations"]["old"]["metrics"]["lesion_f1"]
    results["configurations"]["new"]["metrics"]["dice"]["value"] = None
    table = written(tmp_path / "a.html", results).table("old 3 seeds")
    assert table[2][2] == "–"
    assert table[5] == ["Lesion F1 no paired test", "–", "0.800 SD 0.020"]


@pytest.mark.usefixtures("no_plots")
def test_every_pair_has_its_part(tmp_path):
    results = comparison(("a", "b"))
    results["configurations"]["c"] = configuration(0, 3)
    results["pairs"] += [{**each, "first": "b", "second": "c"} for each in results["pairs"]]
    page = written(tmp_path / "a.html", results)
    assert "3 configurations compared" in page.text and "all 8 tests" in page.text
    assert [link for link in page.links if link.startswith("#")] == ["#pair-1", "#pair-2"]
    assert {"pair-1", "pair-2"} <= set(page.ids)
    assert re.findall(r'<h2 id="pair-\d">([^<]*)', page.html) == ["b against a", "c against b"]


@pytest.mark.parametrize("name", ["多中心", "a$b", "\udcff", "x" * 200, "a\nb"])
def test_names_come_from_folders(tmp_path, monkeypatch, name):
    monkeypatch.setattr(compare_report, "_plot", lambda *_: Plot("", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = written(tmp_path / "a.html", comparison(("old", name)))
    shown = name.encode("utf-8", "replace").decode().replace("\n", " ")
    assert f"{shown} is better than old" in page.text


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(("task", "protocol"), [(task, protocol) for task in TASKS for protocol in TASKS[task]])
def test_every_protocol_has_a_key_figure_and_words(tmp_path, task, protocol):
    results = comparison(("old", "new"), task=task, protocol=protocol)
    name = next(each.name for each in TASKS[task][protocol].figures if each.column == TASKS[task][protocol].key)
    results["pairs"][0] |= {"metric": name, "title": "the key"}
    if name != "dice":
        del results["pairs"][1]
    of_images = [{**row, f"{name}: old": 0.1, f"{name}: new": 0.2} for row in rows(("old", "new"))]
    page = written(tmp_path / "a.html", copy.deepcopy(results), of_images)
    assert "is better than old in the key" in page.text or name == "dice"
    assert TASKS[task][protocol].about in page.text
