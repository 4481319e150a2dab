import json
import re
from pathlib import Path

import numpy as np
import pytest

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.quality.figures import BAD, FEWEST, gain, threshold_figures, worth
from masksup_med.evaluate.quality.scores import DROPOUT, ENTROPY, Scored
from masksup_med.evaluate.reports.quality import write_quality_report
from masksup_med.metrics.calibration import expected_calibration_error, reliability_bins
from masksup_med.metrics.doubt import risk_coverage_area
from masksup_med.metrics.statistics import Bootstrap
from tests.evaluate.reports.page import Page

NAME = "<i>b</i> & co"
OWN, OTHERS = "symmetries", ("hidden:0.3", "symmetries+hidden:0.1", DROPOUT)
NBSP = "\u00a0"


def scored(images=60, groups=15, lowest=0.1, noise=0.1, others=()):
    """Images whose doubt is about what their IoU lacks."""
    random = np.random.default_rng(0)
    rows = []
    for number, iou in enumerate(random.uniform(lowest, 1, images)):
        doubt = {OWN: {count: max(0.0, 1 - iou + random.normal(0, noise)) / 2 for count in range(1, 8)}}
        for name in others:
            doubt[name] = {count: abs(1 - iou + random.normal(0, 0.4)) for count in (1, 3, 7)}
        doubt |= {ENTROPY: {0: random.uniform()}} if others else {}
        case = Case(f"secret_{number}", Path("secret.png"), None, f"patient_{number % groups}")
        rows.append(Scored(case, iou, {count: iou + count / 100 for count in range(1, 8)}, doubt))
    return rows


def calibrated(rows, **changes):
    """What quality.json holds of them, read back."""
    groups, iou = [row.case.group for row in rows], np.array([row.iou for row in rows])
    bootstrap = Bootstrap(groups, 20, 0)
    doubts = {
        (name, k): np.array([row.doubt[name][k] for row in rows]) for name, of in rows[0].doubt.items() for k in of
    }
    bad = int((iou < BAD).sum())
    probability = np.random.default_rng(1).uniform(0, 1, (40, 40))
    bins = [reliability_bins(probability, probability > limit) for limit in (0.5, 0.4)]
    results = {
        "bundle": NAME,
        "version": "0.1.0",
        "images": len(rows),
        "groups": bootstrap.groups,
        "grouped": bootstrap.groups < len(rows),
        "bad": bad,
        "settings": {"views": OWN, "sensitivity": 0.9, "bad_iou": BAD, "resamples": 20, "confidence": 0.95, "seed": 3},
        "iou": float(iou.mean()),
        "averaged": {
            str(k): gain(np.array([row.averaged_iou[k] for row in rows]), iou, bootstrap) for k in rows[0].averaged_iou
        },
        "thresholds": {
            str(k): threshold_figures(doubts[OWN, k], iou, groups, 0.9) for k in range(1, 8) if bad >= FEWEST
        },
        "scores": [{"score": name, "passes": k, **worth(of, iou, bootstrap)} for (name, k), of in doubts.items()],
        "risk_coverage_best": float(risk_coverage_area(1 - iou, 1 - iou)),
        "risk_coverage_chance": float(1 - iou.mean()),
        "temperature": 1.31,
        "ece_before": 0.0512,
        "ece_after": float(expected_calibration_error(bins[1])) / 100,
        "reliability_before": bins[0].tolist(),
        "reliability_after": bins[1].tolist(),
        **changes,
    }
    return json.loads(json.dumps(results))


def write(path, rows, **changes):
    results = calibrated(rows, **changes)
    write_quality_report(path / "report.html", results, rows)
    return Page((path / "report.html").read_text("utf-8")), results


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return write(tmp_path_factory.mktemp("secret"), scored(others=OTHERS))


@pytest.fixture(scope="module")
def page(compared):
    return compared[0]


@pytest.fixture(scope="module")
def results(compared):
    return compared[1]


def three(number):
    return f"{number:.3f}".replace("-", "−")


def percent(share):
    return f"{100 * share:.0f}{NBSP}%"


def test_outcome_in_facts_and_words(page, results):
    at, bad = results["thresholds"]["3"], results["bad"]
    assert f"Calibration of {NAME}" in page.text and "Images 60 Patients or sequences 15" in page.text
    assert f"Mean IoU {results['iou']:.3f} Bad predictions, IoU below 0.5 {bad} Temperature 1.31" in page.text
    assert f"before → after 0.0512 → {results['ece_after']:.4f}" in page.text
    words = page.clean(page.text)
    assert f"Threshold, 3 views {three(at['threshold'])} Bad predictions flagged" in words
    assert f"flags a prediction as doubtful where its views disagree by {three(at['threshold'])} or more" in words
    bad_flagged, good_flagged = round(at["sensitivity"] * bad), round(at["false_alarms"] * (60 - bad))
    assert f"flags {bad_flagged + good_flagged} of 60 images: {bad_flagged} of {bad} bad ones" in words
    assert f"and {good_flagged} of {60 - bad} good ones" in words
    assert "masksup predict --quality 3 now flags" in words and "not trained on these images" in words
    for other in ("No threshold was set", "too narrow to trust", "better than chance", "has not become smaller"):
        assert other not in words


def test_worth_of_the_doubt(page, results):
    own = next(row for row in results["scores"] if row["score"] == OWN and row["passes"] == 3)
    _, rank, area, risk = page.table("Disagreement with 3 views")
    for line, name in ((rank, "spearman"), (area, "auroc"), (risk, "risk_coverage")):
        assert line[1:3] == [three(own[name]), " to ".join(map(three, own[f"{name}_interval"]))]
    assert risk[3:] == [three(results["risk_coverage_best"]), three(results["risk_coverage_chance"])]
    assert f"It rests on {results['bad']} of 60 images" in area[0]


def test_table_has_a_line_for_each_number_of_views(page, results):
    _, *lines = page.table("Threshold")
    assert [line[0] for line in lines] == [str(count) for count in range(1, 8)]
    at, averaged = results["thresholds"]["3"], results["averaged"]["3"]
    low, high = at["sensitivity_interval"]
    assert lines[2][1:4] == [three(averaged["iou"]), "+0.030 +0.030 to +0.030", three(at["threshold"])]
    assert [line.replace(" %", f"{NBSP}%") for line in lines[2][4:]] == [
        percent(at["sensitivity"]),
        f"{percent(at['sensitivity_held_back'])} {100 * low:.0f}–{percent(high)}",
        percent(at["false_alarms"]),
        percent(at["flagged"]),
    ]


def test_scores_are_compared_at_equal_passes(page, results):
    _, *lines = page.table("Score")
    names = [line[0] for line in lines]
    own = [OWN, *OTHERS]
    parts = ("No further pass", ENTROPY, "1 pass", *own, "3 passes", *own, "7 passes", *own)
    assert names == [*parts, "Perfect order", "By chance"]
    assert len(re.findall('class="best"', page.html)) >= 9 and 'class="best">−' in page.html
    at_three = {row["score"]: row for row in results["scores"] if row["passes"] == 3}
    best = min(at_three.values(), key=lambda row: row["spearman"])
    assert f'<td class="best">{three(best["spearman"])}<small>' in page.html
    for words in ("symmetries: the picture is mirrored", f"30{NBSP}% of the picture", "left out at random", "entropy"):
        assert words in page.text.replace(" %", f"{NBSP}%")


def test_reliability_before_and_after(page, results):
    assert "Before: calibration error 0.0512" in page.text and "Temperature 1. Below" in page.text
    assert (
        f"After: calibration error {results['ece_after']:.4f}" in page.text and "Temperature 1.31. Below" in page.text
    )
    assert "above 1, as here, the network was too sure of itself" in page.text


def test_plots_are_labelled(page):
    plots = re.findall(r"<svg.*?</svg>", page.html, re.DOTALL)
    assert len(plots) == 4 == page.html.count('role="img"')
    for text in ("disagreement with 3 views", "threshold", "below 0.5: bad"):
        assert f">{text}<" in plots[0]
    for text in ("perfect order", "by chance", "share of the images that is kept"):
        assert f">{text}<" in plots[1]


def test_page_holds_all_it_shows(page):
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == ["quality.json", "quality.csv"]
    rest = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", page.html)
    assert not re.search(r"https?:|//\w+\.\w|<script|<link|@import|url\((?!#)", rest)
    assert "<i>" not in page.html and "secret" not in page.html
    assert "at least 90" in page.text and "Seed 3" in page.text and "drawn with replacement, 20 times" in page.text


def test_same_results_give_the_same_page(tmp_path, page):
    again, _ = write(tmp_path, scored(others=OTHERS))
    assert again.html == page.html


def test_without_comparison_there_is_no_table_of_scores(tmp_path):
    page, _ = write(tmp_path, scored(groups=60))
    assert "Scores of doubt compared" not in page.text and "Patients" not in page.text
    assert "Images are drawn with replacement" in page.text and "one of its own" not in page.text
    assert "set without the image itself" in page.text


def test_no_bad_images(tmp_path):
    page, _ = write(tmp_path, scored(lowest=0.6, groups=4))
    assert "No threshold was set: none of these images has an IoU below 0.5, and it takes 5" in page.text
    assert "flags none as doubtful" in page.text and "only 4 patients or sequences" in page.text
    head, *_ = page.table("Views")
    assert len(head) == 3
    assert page.table("Disagreement with 3 views")[2][1:3] == ["–", "–"] and "There is no AUROC" in page.text
    assert ">threshold<" not in page.html and "Wilson" not in page.text


def test_one_group_has_no_intervals(tmp_path):
    page, _ = write(tmp_path, scored(groups=1))
    assert "There is only one patient or sequence" in page.text and "cannot be tested on another" in page.text
    assert all(line[2] == "–" for line in page.table("Disagreement with 3 views")[1:])
    assert all(line[2].endswith(" –") and line[5] == "– –" for line in page.table("Views")[1:])
    assert "are drawn" not in page.text


def test_doubts_that_tell_nothing_are_a_warning(tmp_path):
    page, _ = write(tmp_path, scored(noise=50))
    assert "Doubt may be no better than chance here" in page.text


def test_only_bad_images_have_no_false_alarms(tmp_path):
    rows = [row._replace(iou=row.iou / 3) for row in scored()]
    page, _ = write(tmp_path, rows)
    assert all(line[6] == "–" for line in page.table("Views")[1:])
    assert "False alarms: good ones flagged –" in page.text


def test_an_error_that_grew_is_told(tmp_path):
    page, _ = write(tmp_path, scored(), ece_before=0.01, ece_after=0.02, temperature=0.8)
    assert "has not become smaller" in page.text and "below 1, as here" in page.text
