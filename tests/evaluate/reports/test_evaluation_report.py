import base64
import copy
import io
import re

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Settings
from masksup_med.evaluate.measure import measure_cases
from masksup_med.evaluate.reports import evaluation as report
from masksup_med.evaluate.reports.evaluation import write_report
from masksup_med.evaluate.reports.pictures import COLOURS, case_pictures, colour_of
from masksup_med.evaluate.results import per_image_rows, summarise, worst_cases
from masksup_med.evaluate.tasks import TASKS
from masksup_med.outputs.overlay import CLASS_COLOURS, LABEL_COLOUR
from tests.evaluate.reports.page import Page

SHAPE = (60, 80)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def disc(row, column, radius, shape=SHAPE):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.uint8) * 255


def polyp_cases(folder):
    """One good, one missed, one without any polyp and without a prediction, one with a name that is HTML."""
    pairs = {
        "good": (disc(30, 40, 12) // 2 + disc(30, 40, 11) // 4, disc(30, 40, 12)),
        "missed": (disc(10, 10, 0), disc(30, 40, 20)),
        "sub/none": (None, disc(0, 0, 0)),
        "<b>x&": (disc(30, 44, 6), disc(30, 40, 6)),
    }
    cases = []
    for number, (name, (pred, label)) in enumerate(pairs.items()):
        image = save(folder / "images" / f"{number}.png", np.full((*SHAPE, 3), 40 * number + 40, np.uint8))
        label = save(folder / "labels" / f"{number}.png", label)
        pred = None if pred is None else save(folder / "preds" / f"{number}.png", pred)
        cases.append(Case(name, label, pred, name, image))
    return cases


def evaluated(cases, task="polyp", protocol="native", classes=None, grouped=False):
    """What an evaluation hands to its report."""
    way, settings = TASKS[task][protocol], Settings(classes=classes or {})
    measured = measure_cases(cases, task, protocol, settings)
    results = {"task": task, "protocol": protocol, **summarise(cases, measured, way, settings, 0), "grouped": grouped}
    rows, worst = per_image_rows(cases, measured, way), worst_cases(cases, measured, way)
    return results, rows, worst, lambda case: way.show(case, settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("secret")


@pytest.fixture(scope="module")
def polyps(folder):
    return evaluated(polyp_cases(folder))


@pytest.fixture(scope="module")
def polyp_page(folder, polyps):
    write_report(folder / "report.html", *polyps)
    return Page((folder / "report.html").read_text("utf-8"))


@pytest.fixture
def no_plots(monkeypatch):
    monkeypatch.setattr(report, "_histograms", lambda *_: [])
    monkeypatch.setattr(report, "_plots", lambda *_: [])


def written(path, evaluation):
    write_report(path, *evaluation)
    return Page(path.read_text("utf-8"))


def shown(page, title, name):
    uri = next(image["src"] for image in page.images if image["alt"] == f"{title} of {name}")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_every_figure_is_there_with_what_it_rests_on(polyps, polyp_page):
    table = {row[0]: row[1:] for row in polyp_page.table("Value")[1:]}
    results = polyps[0]
    assert len(table) == len(results["metrics"])
    for figure in results["metrics"].values():
        name, cells = next((name, cells) for name, cells in table.items() if figure["definition"] in name)
        digits = ".1f" if figure["unit"] == "px" else ".3f"
        bounds = figure["interval"] and "–".join(f"{bound:{digits}}" for bound in figure["interval"])
        assert name.startswith(f"{figure['title']} {figure['unit']}".strip())
        assert ("lower is better" in name) == figure["lower_is_better"]
        assert cells[:2] == [f"{figure['value']:{digits}}", bounds or "–b"]
        assert cells[-2:] == ["4", "2"]
        if "median" in figure:
            low, high = figure["quartiles"]
            assert cells[2:4] == [f"{figure['median']:{digits}}", f"{low:{digits}}–{high:{digits}}"]
        else:
            assert cells[2] == "whole set"


def test_counts_and_warnings_stand_above_the_figures(polyp_page):
    above = polyp_page.text[: polyp_page.text.index("Intersection over union")]
    assert "Images 4" in above and "Missing predictions 1" in above and "Empty labels 1" in above
    assert "Empty or missing predictions 2" in above and "Both empty 1" in above
    assert "1 of 4 images have no prediction and count as if nothing was found: sub/none." in above
    assert "too narrow to trust: there are only 4 images" in above
    assert "Nothing to find and nothing found is perfect" in above
    assert "sequence" not in above


def test_page_holds_all_it_shows(polyp_page):
    loaded = [link for link in polyp_page.links if not link.startswith(("#", "data:image/"))]
    assert loaded == ["metrics.json", "per_image.csv"]
    rest = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", polyp_page.html)
    assert not re.search(r"https?:|//\w+\.\w|<script|<link|@import|url\((?!#)", rest)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in rest


def test_page_tells_no_path_and_escapes_names(folder, polyp_page):
    assert str(folder) not in polyp_page.html and "secret" not in polyp_page.html
    assert "<b>" not in polyp_page.html and "&lt;b&gt;x&amp;" in polyp_page.html
    assert "<b>x&" in polyp_page.text
    assert "Label of <b>x&" in [image["alt"] for image in polyp_page.images]


def test_same_results_give_the_same_page(tmp_path, folder, polyps, polyp_page):
    write_report(tmp_path / "again.html", *polyps)
    assert (tmp_path / "again.html").read_bytes() == (folder / "report.html").read_bytes()


def test_sizes_have_a_column_each(polyps, polyp_page):
    table, strata = polyp_page.table("small below 5 % 1 image"), polyps[0]["strata"]
    headings = "small below 5 % 1 image", "medium 5 to 15 % 1 image", "large 15 % and more 1 image", "no object 1 image"
    assert tuple(table[0][1:]) == headings
    dice = next(row for row in table if row[0] == "Dice")
    values = [f"{stratum['metrics']['dice']['value']:.3f}" for stratum in strata.values()]
    assert [cell.split()[0] for cell in dice[1:]] == values
    sensitivity = next(row for row in table if row[0] == "Lesion sensitivity")
    assert sensitivity[4] == "–a –b"  # no lesion to find where there is no object
    assert "nothing to divide by" in polyp_page.text and "there is only one image" in polyp_page.text


def test_plots_are_there(polyp_page):
    labels = re.findall(r'aria-label="([^"]*)"', polyp_page.html)
    for title in ("IoU", "HD95", "False positives per image", "Brier score"):
        assert f"Histogram of {title} over 4 images" in labels
    assert any("Dice over the size" in label for label in labels)
    assert any("Reliability" in label for label in labels)
    assert polyp_page.html.count("<svg") == polyp_page.html.count("</svg>") == 11


def test_worst_come_first_with_their_pictures(polyp_page):
    headings = re.findall(r"<h3>.*?</span>(.*?)</h3>", polyp_page.html)
    assert [heading.strip() for heading in headings] == ["missed", "&lt;b&gt;x&amp;", "good", "sub/none"]
    titles = [image["alt"].split(" of ")[0] for image in polyp_page.images]
    assert titles == ["Image", "Label", "Prediction", "Outlines"] * 4
    assert shown(polyp_page, "Label", "missed")[30, 40] > 250 and not shown(polyp_page, "Prediction", "missed").any()
    assert np.abs(shown(polyp_page, "Image", "good").astype(int) - 40).max() < 3
    outlines = shown(polyp_page, "Outlines", "missed")
    assert (np.abs(outlines.astype(int) - LABEL_COLOUR).max(axis=-1) < 60).sum() > 30
    assert "There is no prediction." in polyp_page.text
    assert "Dice 0.000" in polyp_page.text


@pytest.mark.usefixtures("no_plots")
def test_what_is_undefined_says_why(tmp_path, polyps):
    results = copy.deepcopy(polyps[0])
    results["metrics"]["lesion_f1"] |= {"value": None, "interval": None}
    del results["strata"]
    page = written(tmp_path / "a.html", (results, *polyps[1:]))
    row = next(row for row in page.table("Value") if row[0].startswith("Lesion F1"))
    assert row[1:3] == ["–a", "–b"]
    assert "nothing to divide by" in page.text and "undefined in some resamples" in page.text
    assert "By size" not in page.text


@pytest.mark.usefixtures("no_plots")
def test_groups_are_named_and_few_are_a_warning(tmp_path, folder):
    two = [case._replace(group=f"patient {number % 2}") for number, case in enumerate(polyp_cases(folder))]
    page = written(tmp_path / "a.html", evaluated(two, grouped=True))
    assert "Patients or sequences 2" in page.text
    assert "only 2 patients or sequences" in page.text
    assert "patients or sequences, each as a whole," in page.text
    assert "Patient or sequence patient 1" in page.text
    one = [case._replace(group="x") for case in polyp_cases(folder)]
    page = written(tmp_path / "a.html", evaluated(one, grouped=True))
    assert "There is only one patient or sequence" in page.text
    assert page.table("Value")[1][2] == "–b"


@pytest.mark.usefixtures("no_plots")
def test_many_missing_predictions_are_not_all_named(tmp_path, folder):
    label = polyp_cases(folder)[0].label
    cases = [Case(f"case {number:02}", label, None, str(number)) for number in range(12)]
    page = written(tmp_path / "a.html", evaluated(cases))
    assert "12 of 12 images" in page.text and "case 07 and 4 more." in page.text
    assert page.text.count("case 08") == 1  # among the worst only
    assert "too narrow" not in page.text.split("By size")[0]
    assert len(page.images) == 10 * 3  # ten are shown, and there are no images


@pytest.mark.parametrize(("task", "protocol"), [(task, protocol) for task in TASKS for protocol in TASKS[task]])
@pytest.mark.usefixtures("no_plots")
def test_every_protocol_has_its_words(tmp_path, task, protocol):
    label = disc(30, 30, 20) if task == "polyp" else disc(30, 30, 20) // 255 + disc(30, 60, 5) // 255 * 2
    case = Case("a", save(tmp_path / "a.png", label), save(tmp_path / "b.png", label), "a")
    names = {0: "background", 1: "polyp", 2: "wall"} if task == "semantic" else None
    page = written(tmp_path / "a.html", evaluated([case], task, protocol, names))
    assert TASKS[task][protocol].about in page.text
    assert "There is only one image" in page.text
    assert report._EMPTY_RULES[task, protocol] in page.text
    assert "1.000" in page.text


@pytest.mark.usefixtures("no_plots")
def test_classes_have_names_values_and_the_colours_of_the_pictures(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[:, 20:], label[:, 40:], label[:5] = 1, 2, 255
    pred = label.copy()
    pred[20:, 40:] = 1
    case = Case("a", save(tmp_path / "l.png", label), save(tmp_path / "p.png", pred), "a")
    names = {0: "floor", 1: "<i>wall</i>", 2: "bed", 3: "sky"}
    page = written(tmp_path / "a.html", evaluated([case], "semantic", "native", names))
    table = page.table("Pixels in the labels")
    assert [row[:2] for row in table[1:]] == [[name, str(number)] for number, name in names.items()]
    assert table[1][2:4] == ["1 100", "1.000"] and table[4][2:4] == ["0", "–a"]
    assert "In no label and no prediction" in page.text
    assert f"background: {colour_of(2)}" in page.html
    picture = shown(page, "Label", "a").astype(int)
    assert np.abs(picture[30, [10, 30, 60]] - [[0, 0, 0], COLOURS[0], COLOURS[1]]).max() < 12
    assert picture[1, 60].max() < 12  # void


def drawn(tmp_path, pred, label, classes=False, image=None):
    case = Case("a", tmp_path / "l.png", tmp_path / "p.png", "a", image)
    pictures, notes = case_pictures(case, lambda _: (pred, label), classes)
    arrays = {
        picture.title: np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))))
        for picture in pictures
    }
    return arrays, notes


def test_objects_are_told_apart_by_colour(tmp_path):
    numbers = np.repeat(np.arange(20), 16)[None].repeat(32, axis=0).astype(np.uint16)
    pictures, _ = drawn(tmp_path, numbers, numbers)
    seen = pictures["Label"][16, 8::16].astype(int)
    assert not seen[0].any()
    differences = np.abs(seen[:, None] - seen[None]).max(axis=-1) + 255 * np.eye(20, dtype=int)
    differences[1, 19] = differences[19, 1] = 255  # colours repeat after 18
    assert differences.min() > 25


def test_hues_of_classes_are_those_of_their_outlines():
    for number in (1, 2, 6):
        assert colour_of(number) == "#" + bytes(CLASS_COLOURS[number - 1]).hex()
    assert colour_of(0) == colour_of(-1) == colour_of(255) == "#000000"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (None, "The image cannot be read."),
        (b"no picture", "The image cannot be read."),
        ((30, 50, 3), "The image has 50 × 30 pixels, its label 80 × 60; it is not shown."),
    ],
)
def test_image_that_does_not_fit_is_left_out_with_a_note(tmp_path, content, note):
    path = tmp_path / "image.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        save(path, np.zeros(content, np.uint8))
    pictures, notes = drawn(tmp_path, disc(30, 40, 9) > 0, disc(30, 40, 12) > 0, image=path)
    assert list(pictures) == ["Label", "Prediction", "Outlines"]
    assert notes == [note]


def test_prediction_of_another_size_is_shown_as_it_is(tmp_path):
    pictures, notes = drawn(tmp_path, disc(15, 20, 8, (30, 40)) > 0, disc(30, 40, 16) > 0)
    assert pictures["Prediction"].shape == (30, 40) and pictures["Label"].shape == SHAPE
    assert notes == ["The prediction has 40 × 30 pixels; its outline is stretched to the label's size."]
    outline = np.abs(pictures["Outlines"].astype(int) - CLASS_COLOURS[0]).max(axis=-1) < 60
    assert 14 < np.ptp(np.flatnonzero(outline.any(axis=1))) / 2 < 17


def test_pictures_of_a_large_case_stay_small(tmp_path):
    shape = (1070, 1348)
    tissue = gaussian_filter(np.random.default_rng(0).normal(size=(*shape, 3)), (4, 4, 0))
    tissue = (tissue / tissue.std() * 40 + 150).clip(0, 255).astype(np.uint8)
    image = save(tmp_path / "image.png", tissue)
    mask = disc(500, 600, 300, shape) > 0
    case = Case("a", image, image, "a", image)
    pictures, _ = case_pictures(case, lambda _: (mask, mask), classes=False)
    assert sum(len(picture.uri) for picture in pictures) < 180_000
