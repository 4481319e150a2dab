import base64
import io
import json
import os
import re
from collections import Counter
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from masksup_med.outputs.overlay import CLASS_COLOURS
from masksup_med.predict import report
from masksup_med.predict.report import write_report
from masksup_med.predict.tally import Tally
from tests.evaluate.reports.page import Page

SHAPE = (60, 80)
WEIGHTS, SETTINGS = "a1" * 32, "b2" * 32
GREY = 90


def found(area=100, number=1, name="polyp"):
    return {"class": name, "class_number": number, "area_px": area}


def failed(image="bad.png", error="it is damaged; copy it again."):
    return {
        "image": image,
        "status": "failed",
        "bundle": "polyp_masksup",
        "input_sha256": None,
        "settings_sha256": SETTINGS,
        "weights_sha256": WEIGHTS,
        "versions": {"torch": "2.13.0", "python": "3.11.7"},
        "outputs": {},
        "seconds": 0.1,
        "error": error,
    }


def done(image="a.png", confidence=0.9, objects=(), flags=(), **others):
    area = sum(each["area_px"] for each in objects)
    return failed(image, None) | {
        "status": "done",
        "width": SHAPE[1],
        "height": SHAPE[0],
        "pixel_size_mm": None,
        "area_share": area / (SHAPE[0] * SHAPE[1]),
        "mean_confidence": confidence,
        "flags": list(flags),
        "objects": list(objects),
        **others,
    }


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def disc(shape=SHAPE, level=255):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - 30) ** 2 + (x - 40) ** 2 < 15**2).astype(np.uint8) * np.uint8(level)


def grey(shape=SHAPE):
    return np.full((*shape, 3), GREY, np.uint8)


def written(folder, *lines, sources=None):
    path = folder / "report.html"
    write_report(path, lambda: iter(lines), sources or {})
    return Page(path.read_text("utf-8"))


@pytest.fixture
def no_histogram(monkeypatch):
    monkeypatch.setattr(report, "_histogram", lambda _: None)


def cards(page):
    """The text of each card, and its picture if it has one."""
    parts = re.findall(r'<article class="whole">.*?</article>', page.html, re.DOTALL)
    return [(Page(part).text, [image["src"] for image in Page(part).images]) for part in parts]


def picture(page, card=0):
    """The only picture of a card."""
    (uri,) = cards(page)[card][1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)


def is_outlined(shown, colour=CLASS_COLOURS[0]):
    """Whether there is an outline of the disc, which fills 2 * 29 pixels of its height, and nothing else."""
    outline = np.abs(shown - colour).max(axis=-1) < 70
    rows = np.flatnonzero(outline.any(axis=1))
    return bool(rows.size) and 26 <= np.ptp(rows) <= 30 and np.abs(shown[30, 40] - GREY).max() < 12


def test_totals_are_counted(tmp_path):
    page = written(
        tmp_path,
        done("a.png", objects=[found(), found()]),
        done("b.png", objects=[found()]),
        done("c.png", flags=["nothing_found"]),
        failed(),
    )
    assert "What was found in 3 of 4 images." in page.text
    assert "Images 4 Done 3 Failed 1 Objects found 3 Images with nothing found 1" in page.text
    assert "Research only: not a medical device." in page.text.split("Files")[1]
    assert [link for link in page.links if not link.startswith("#")] == [
        "images.csv",
        "measurements.csv",
        "manifest.jsonl",
    ]


def test_classes_are_counted_image_by_image(tmp_path):
    page = written(
        tmp_path,
        done("a.png", objects=[found(480), found(480), found(240, 2, "wall")]),  # 20 % and 5 %
        done("b.png", objects=[found(480, 2, "wall")]),  # 10 %
        done("c.png", objects=[found(1, 3, "<i>rare")]),
        done("d.png"),
    )
    assert page.table("Objects") == [
        ["Class", "Objects", "Images that have it", "Share"],
        ["polyp", "2", "1", "20.0 %"],
        ["wall", "2", "2", "7.5 %"],
        ["<i>rare", "1", "1", "< 0.1 %"],
    ]
    assert "no areas in mm², since no file says" in page.text


def test_areas_are_known_where_pixels_have_a_size(tmp_path):
    page = written(
        tmp_path,
        done("a.dcm", objects=[found(10), found(20), found(400)], pixel_size_mm=[0.5, 0.2]),  # 1, 2, 40 mm²
        done("b.dcm", objects=[found(30)], pixel_size_mm=[0.1, 1.0]),  # 3 mm²
        done("c.nii", objects=[found(100), found(50_000)], pixel_size_mm=[0.0005, 0.0005]),  # 25, 12500 µm²
        done("d.png", objects=[found(), found(7, 2, "wall")]),
    )
    polyp, wall = page.table("Objects")[1:]
    assert [cell.split() for cell in polyp[4:]] == [
        ["4", "2"],
        ["46", "mm²", "12", "525", "µm²"],
        ["2.5", "mm²", "6", "262", "µm²"],
    ]
    assert wall[4:] == ["0", "–", "–"]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_median_is_that_of_numpy(count):
    values = np.random.default_rng(count).integers(0, 4, 3 * count).tolist()
    assert report._median(Counter(values)) == np.median(values)


@pytest.mark.usefixtures("no_histogram")
def test_most_doubtful_images_come_first(tmp_path):
    confidences = np.random.default_rng(0).permutation(60) / 100 + 0.4
    lines = [done(f"{number:02}.png", confidence) for number, confidence in enumerate(confidences.tolist())]
    page = written(tmp_path, *lines)
    assert not page.images
    expected = sorted(lines, key=lambda line: line["mean_confidence"])[:24]
    assert [text.split("no picture ")[1][:6] for text, _ in cards(page)] == [line["image"] for line in expected]
    assert "The 24 images, of 60, with the lowest mean confidence, the lowest first." in page.text
    assert "one minus the highest probability anywhere" in page.text and "Unless the bundle was calibrated" in page.text
    assert "Mean confidence 0.400 Objects 0 Area 0 %" in cards(page)[0][0]


@pytest.mark.usefixtures("no_histogram")
def test_equally_doubtful_images_keep_their_order(tmp_path):
    page = written(tmp_path, *(done(f"{number:02}.png", 0.7) for number in range(30)))
    assert [text.split("no picture ")[1][:6] for text, _ in cards(page)] == [f"{n:02}.png" for n in range(24)]


def test_histogram_shows_images_that_have_no_card(tmp_path):
    many, few = [[done(f"{n:02}.png", 0.7) for n in range(count)] for count in (25, 24)]
    assert "Histogram of the mean confidence" in written(tmp_path, *many).html
    page = written(tmp_path, *few)
    assert "Histogram" not in page.html and "The images by their mean confidence, the lowest first" in page.text


def test_confidences_are_counted_in_bins():
    tally = Tally({})
    list(tally.done(done(confidence=value) for value in (0.0, 0.5, 0.575, 0.5749, 1.0, 0.9999)))
    assert {place: count for place, count in enumerate(tally.confidence) if count} == {0: 1, 20: 1, 22: 1, 23: 1, 39: 2}


def test_flags_are_said_in_words(tmp_path):
    page = written(
        tmp_path, done("a.png", 0.5, flags=["at_edge", "tiled"]), done("b.png", 0.6, flags=["tiled", "new_flag"])
    )
    first, second = (text for text, _ in cards(page))
    assert first.endswith("At the edge, in tiles") and second.endswith("In tiles, new flag")
    assert "At the edge (1 image): something" in page.text and "In tiles (2 images): the image" in page.text
    assert "Nothing found (" not in page.text


def test_failures_are_listed_with_their_reasons(tmp_path):
    errors = {
        "x/cut.dcm": "Cannot read image x/cut.dcm: it is cut short; copy it again from its source.",
        "gone.png": "There is no image file gone.png; correct the path.",
        "link.png": "link.png is a link that leads to no file; remove the link.",
        "<b>": "Cannot predict <b>: <script>alert(1)</script>.",
    }
    page = written(tmp_path, done(), *(failed(*each) for each in errors.items()))
    text = page.text.split(" Failures ")[1]
    assert "x/cut.dcm Cannot read image: it is cut short; copy it again from its source." in text
    assert "gone.png There is no image file; correct the path." in text
    assert "link.png is a link that leads to no file; remove the link." in text
    assert "<b> Cannot predict: <script>alert(1)</script>." in text and "<script" not in page.html
    assert "4 of 5 images failed" in page.text and "#failures" in page.links
    assert page.html.index('id="failures"') < page.html.index('id="doubtful"')


def test_many_failures_are_not_all_listed(tmp_path):
    page = written(tmp_path, *(failed(f"{number:04}.png") for number in range(1234)))
    assert page.html.count("<dt>0") == 200
    assert "0199.png" in page.text and "0200.png" not in page.text
    assert "And 1 034 more, which are in images.csv." in page.text
    assert "more, which" not in written(tmp_path, *(failed(f"{number}.png") for number in range(200))).text


def test_page_of_failures_alone_and_page_of_nothing(tmp_path):
    page = written(tmp_path, failed())
    assert "No image is done." in page.text and "1 of 1 image failed" in page.text
    assert "Doubtful" not in page.text and not cards(page) and page.table("Model")[1][:3] == ["polyp_masksup", "0", "1"]
    page = written(tmp_path)
    assert (
        "No image is done." in page.text and "Images 0" in page.text and "warning" not in page.html.split("</style>")[1]
    )


def test_images_without_a_result_are_a_warning(tmp_path):
    sources = {name: tmp_path / name for name in ("a.png", "b.png", "c.png")}
    page = written(tmp_path, done("a.png"), done("of a former run.png"), sources=sources)
    assert "2 images of the last run have no result yet: it was interrupted." in page.text
    page = written(tmp_path, done("a.png"), failed("b.png"), done("c.png"), sources=sources)
    assert "no result yet" not in page.text


def test_model_is_named(tmp_path):
    page = written(tmp_path, done("a.png"), failed("b.png"))
    assert "Predictions by polyp_masksup" in page.text and "<title>Predictions by polyp_masksup</title>" in page.html
    assert page.table("Model")[1] == [
        "polyp_masksup",
        "1",
        "1",
        "a1" * 6 + " " + "b2" * 6,
        "torch 2.13.0, python 3.11.7",
    ]
    assert "These results come from" not in page.text


def test_several_models_are_a_warning(tmp_path):
    lines = [done(f"{number}.png") for number in range(3)]
    lines += [done("x.png", weights_sha256="c3" * 32, bundle="other"), failed() | {"settings_sha256": "d4" * 32}]
    page = written(tmp_path, *lines)
    warning = page.text[: page.text.index("What was found Images")]
    assert "These results come from 2 models" in warning and "Predictions by 3 models" in warning
    assert f"3 images by polyp_masksup (weights {'a1' * 6}, settings {'b2' * 6})" in warning
    assert f"1 image by other (weights {'c3' * 6}, settings {'b2' * 6})" in warning and "d4d4" not in warning
    assert [row[:3] for row in page.table("Model")[1:]] == [
        ["polyp_masksup", "3", "0"],
        ["other", "1", "0"],
        ["polyp_masksup", "0", "1"],
    ]


def test_model_that_was_renamed_or_ran_on_other_versions_is_one_model(tmp_path):
    page = written(tmp_path, done("a.png"), done("b.png", bundle="copy", versions={"torch": "2.12.0"}))
    assert "These results come from" not in page.text
    (row,) = page.table("Model")[1:]
    assert row[:2] == ["copy, polyp_masksup", "2"] and row[4] == "torch 2.12.0 torch 2.13.0, python 3.11.7"


def test_picture_is_the_overlay_with_clear_contours(tmp_path):
    save(tmp_path / "overlays/sub/a.jpg", grey((1200, 1600)))
    save(tmp_path / "masks/sub/a.png", disc().repeat(20, 0).repeat(20, 1))
    outputs = {"masks/sub/a.png": "", "overlays/sub/a.jpg": ""}
    page = written(tmp_path, done("sub/a.png", objects=[found()], outputs=outputs, height=1200, width=1600))
    shown = picture(page)
    assert shown.shape == (180, 240, 3)
    assert (np.abs(shown - CLASS_COLOURS[0]).max(axis=-1) < 70).sum() > 150
    assert "overlays/sub/a.jpg" in page.links
    assert "Files" in page.text and "overlays the images with the contours" in page.text
    assert "probabilities how" not in page.text


def test_overlay_alone_will_do(tmp_path):
    save(tmp_path / "overlays/a.jpg", grey())
    assert np.abs(picture(written(tmp_path, done(outputs={"overlays/a.jpg": ""}))) - GREY).max() < 3


@pytest.mark.parametrize(("level", "number"), [(255, 1), (1, 1), (3, 3), (200, 2)])
def test_mask_is_drawn_over_the_source(tmp_path, level, number):
    save(tmp_path / "masks/a.png", disc(level=level))
    source = save(tmp_path / "in/a.png", grey())
    line = done(objects=[found(number=number)], outputs={"masks/a.png": ""})
    page = written(tmp_path, line, sources={"a.png": source})
    assert is_outlined(picture(page), CLASS_COLOURS[number - 1])
    assert "masks/a.png" in page.links
    assert not cards(written(tmp_path, line))[0][1]  # without a source


def test_mask_and_source_serve_where_the_overlay_is_damaged(tmp_path):
    save(tmp_path / "masks/a.png", disc())
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays/a.jpg").write_bytes(b"no picture")
    line = done(objects=[found()], outputs={"masks/a.png": "", "overlays/a.jpg": ""})
    assert is_outlined(picture(written(tmp_path, line, sources={"a.png": save(tmp_path / "in.png", grey())})))


@pytest.mark.parametrize("broken", ["overlays gone", "source gone", "mask cut", "source cut", "mask of another size"])
def test_what_cannot_be_read_any_more_gives_a_card_without_a_picture(tmp_path, broken):
    mask = save(tmp_path / "masks/a.png", disc(SHAPE if broken != "mask of another size" else (30, 40)))
    source = save(tmp_path / "in.png", grey())
    outputs = {"overlays/a.jpg": ""} if broken == "overlays gone" else {"masks/a.png": ""}
    if broken == "source gone":
        source.unlink()
    if broken.endswith("cut"):
        file = mask if broken == "mask cut" else source
        file.write_bytes(file.read_bytes()[:60])
    page = written(tmp_path, done(objects=[found()], outputs=outputs), sources={"a.png": source})
    ((text, pictures),) = cards(page)
    assert not pictures and text.startswith("no picture a.png Mean confidence 0.900")


@pytest.mark.parametrize("path", ["overlays/../in.jpg", "/etc/in.jpg", "../in.jpg", "overlays", "javascript:alert(1)"])
def test_results_are_looked_for_in_their_folders_only(tmp_path, path):
    (tmp_path / "out/overlays").mkdir(parents=True)
    save(tmp_path / "out/in.jpg", grey())
    save(tmp_path / "in.jpg", grey())
    page = written(tmp_path / "out", done(outputs={path: ""}))
    assert not cards(page)[0][1] and not any("in.jpg" in link or "javascript" in link for link in page.links)


HOSTILE = ["<script>alert(1)<", '"quoted" onerror=x', "new\nline", "non-\udce9-UTF-8", "a#b?c%20d e&amp;", "\u202etxt"]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_shown_and_linked(tmp_path, name):
    path = f"overlays/{name}.jpg"
    save(tmp_path / path, grey())
    line = done(f"{name}.png", objects=[found(1, 1, name)], outputs={path: ""}, bundle=name)
    page = written(tmp_path, line, failed(name, name))
    seen = " ".join(name.replace("\udce9", "?").split())
    assert cards(page)[0][0].startswith(f"{seen}.png") and page.text.count(seen) >= 5
    assert "<script" not in page.html and not any("onerror" in image for image in page.images)
    (link,) = [link for link in page.links if link.startswith("overlays/") and link != "overlays"]
    assert re.fullmatch(r"[\w/.%-]+", link, re.ASCII)
    assert (tmp_path / os.fsdecode(unquote_to_bytes(link))).is_file()


def test_page_holds_all_it_shows_and_tells_no_path(tmp_path):
    folder = tmp_path / "secret"
    lines = []
    for number in range(26):
        save(folder / f"masks/{number}.png", disc())
        lines.append(done(f"{number}.png", objects=[found()], outputs={f"masks/{number}.png": ""}, seconds=12345.678))
    sources = {line["image"]: save(folder / "in" / line["image"], grey()) for line in lines}
    page = written(folder, *lines, failed(), sources=sources)
    first = (folder / "report.html").read_bytes()
    assert len(page.images) == 24
    assert "secret" not in page.html and str(tmp_path) not in page.html and "12345" not in page.html
    rest = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page.html)
    rest = re.sub(r"data:image/jpeg;base64,[\w+/=]*", "", rest)
    assert not re.search(r"https?:|//\w+\.\w|<script|<link|@import|url\((?!#)", rest)
    written(folder, *lines, failed(), sources=sources)
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.usefixtures("no_histogram")
def test_lines_are_let_go(tmp_path):
    class Watched(dict):
        alive = most = 0

        def __init__(self, *args):
            super().__init__(*args)
            Watched.alive += 1
            Watched.most = max(Watched.most, Watched.alive)

        def __del__(self):
            Watched.alive -= 1

    def lines():
        for number in range(400):
            line = done(f"{number}.png", 1 - number / 1000) if number % 4 else failed(f"{number}.png")
            yield json.loads(json.dumps(line), object_hook=lambda each: Watched(each) if "image" in each else each)

    write_report(tmp_path / "report.html", lines, {})
    assert Watched.most < 30 and Watched.alive == 0
    assert "What was found in 300 of 400 images" in Page((tmp_path / "report.html").read_text("utf-8")).text


def test_page_of_many_large_pictures_stays_below_a_megabyte(tmp_path):
    cells = np.random.default_rng(0).integers(60, 220, (60, 75, 3), np.uint8)
    tissue = np.asarray(Image.fromarray(cells).resize((800, 640), Image.Resampling.BICUBIC))
    lines = []
    for number in range(24):
        save(tmp_path / f"overlays/{number}.jpg", tissue)
        lines.append(done(f"{number}.png", outputs={f"overlays/{number}.jpg": ""}))
    assert len(written(tmp_path, *lines).images) == 24
    assert 500_000 < (tmp_path / "report.html").stat().st_size < 1_000_000
