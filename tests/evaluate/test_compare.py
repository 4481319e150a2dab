"""`masksup compare`: paired, seeds pooled, corrected."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from masksup_med.cli import main
from masksup_med.evaluate.compare import compare_runs
from tests.evaluate.masks import LABELS, PREDS, read_rows, square, without_plots, write

IMAGES = 24


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Evaluations of two configurations, 'good' with three seeds and 'plain' with one, and of another task."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    labels = write(folder / "labels", {f"{number:02}.png": square(5, 5, 30) for number in range(IMAGES)})
    (folder / "groups.csv").write_text("image,group\n" + "".join(f"{n:02},{n // 3}\n" for n in range(IMAGES)))
    for name, least in (("good/1", 26), ("good/2", 26), ("good/3", 25), ("plain", 22)):
        preds = {f"{number:02}.png": square(5, 5, int(rng.integers(least, 31))) for number in range(IMAGES)}
        evaluate(write(folder / "preds" / name, preds), labels, folder / name, "--groups", str(folder / "groups.csv"))
    return folder


def evaluate(preds, labels, out, *more, task="polyp"):
    arguments = ["evaluate", "--pred", str(preds), "--label", str(labels), "-o", str(out), "--task", task, *more]
    with without_plots():
        assert main(arguments) == 0


def column(folder, name):
    return np.array([float(row[name]) for row in read_rows(folder / "per_image.csv")])


def test_differences_are_paired_and_seeds_are_one_configuration(runs, tmp_path, capsys):
    assert main(["compare", str(runs / "plain"), str(runs / "good"), "-o", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "comparison.json").read_text())
    iou = next(pair for pair in results["pairs"] if pair["metric"] == "iou")
    good, plain = (
        np.mean([column(runs / "good" / str(n), "iou") for n in (1, 2, 3)], axis=0),
        column(runs / "plain", "iou"),
    )
    difference = good - plain
    assert (iou["first"], iou["second"]) == ("plain", "good")
    assert iou["difference"] == pytest.approx(difference.mean())
    assert iou["interval"][0] < iou["difference"] < iou["interval"][1]
    assert iou["second_better"] == (difference > 1e-12).sum() and iou["first_better"] == (difference < -1e-12).sum()
    assert iou["second_better"] + iou["first_better"] + iou["equal"] == IMAGES
    of_groups = difference.reshape(-1, 3).mean(axis=1)
    assert iou["units"] == 8 and iou["p"] == pytest.approx(stats.wilcoxon(of_groups).pvalue)
    assert all(pair["p"] <= pair["p_holm"] <= 1 for pair in results["pairs"])
    summary = results["configurations"]["good"]
    means = [column(runs / "good" / str(number), "iou").mean() for number in (1, 2, 3)]
    assert summary["seeds"] == 3 and summary["metrics"]["iou"]["value"] == pytest.approx(np.mean(means))
    assert summary["metrics"]["iou"]["seed_sd"] == pytest.approx(np.std(means, ddof=1))
    assert not summary["metrics"]["lesion_f1"]["paired"] and summary["metrics"]["lesion_f1"]["value"] is not None
    assert "good − plain" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "per_image.csv", "report.html"]
    assert column(tmp_path, "iou: good") == pytest.approx(good)


def test_lower_is_better_for_distances(runs, tmp_path):
    results = compare_runs([runs / "plain", runs / "good"], tmp_path)
    assd = next(pair for pair in results["pairs"] if pair["metric"] == "assd")
    assert assd["difference"] < 0 and assd["second_better"] > assd["first_better"]


def test_seeds_that_differ_widen_the_interval(runs, tmp_path):
    """Three times the same seed says less about a configuration than it seems, but not more than the images do."""

    def width(folder):
        pairs = compare_runs([runs / "plain", folder], tmp_path / "out")["pairs"]
        low, high = next(pair["interval"] for pair in pairs if pair["metric"] == "iou")
        return high - low

    same, apart = tmp_path / "same", tmp_path / "apart"
    for number, shift in enumerate((-0.1, 0, 0.1)):
        for folder, by in ((same, 0), (apart, shift)):
            target = folder / str(number)
            target.mkdir(parents=True)
            (target / "metrics.json").write_bytes((runs / "plain" / "metrics.json").read_bytes())
            rows = read_rows(runs / "plain" / "per_image.csv")
            with open(target / "per_image.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows({**row, "iou": float(row["iou"]) + by} for row in rows)
    assert width(same) == pytest.approx(0, abs=1e-9)
    assert width(apart) > 0.1


def test_three_configurations_are_three_pairs(runs, tmp_path):
    results = compare_runs([runs / "plain", runs / "good" / "1", runs / "good" / "2"], tmp_path)
    assert {(pair["first"], pair["second"]) for pair in results["pairs"]} == {
        ("plain", "1"),
        ("plain", "2"),
        ("1", "2"),
    }


def test_an_evaluation_against_its_copy(runs, tmp_path):
    copy = tmp_path / "elsewhere" / "plain"
    copy.mkdir(parents=True)
    for name in ("metrics.json", "per_image.csv"):
        (copy / name).write_bytes((runs / "plain" / name).read_bytes())
    results = compare_runs([runs / "plain", copy], tmp_path / "out")
    assert len(results["configurations"]) == 2  # of one name, told apart by their paths
    assert all(pair["difference"] == 0 and pair["p"] == 1 and pair["equal"] == IMAGES for pair in results["pairs"])


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    labels, preds = write(tmp_path / "labels", LABELS), write(tmp_path / "preds", PREDS)
    evaluate(preds, labels, tmp_path / "other")
    evaluate(preds, labels, tmp_path / "glands", task="gland")
    evaluate(preds, labels, tmp_path / "wide", "--tolerance", "5")
    (tmp_path / "groups.csv").write_text("image,group\na,1\nb,1\nd,2\ndeep/c,2\n")
    evaluate(preds, labels, tmp_path / "grouped", "--groups", str(tmp_path / "groups.csv"))
    evaluate(preds, write(tmp_path / "others", {**LABELS, "a.png": square(5, 5, 9)}), tmp_path / "relabelled")
    evaluate(preds, labels, tmp_path / "torn")
    table = tmp_path / "torn" / "per_image.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text("{")
    capsys.readouterr()
    one = str(tmp_path / "other")
    for others, message in [
        ([], "two or more"),
        ([one], "each once"),
        ([str(tmp_path / "preds")], "holds no metrics.json"),
        ([str(tmp_path / "broken")], "cannot be read"),
        ([str(tmp_path / "glands")], "differ in task: polyp and gland"),
        ([str(tmp_path / "wide")], "--tolerance"),
        ([str(tmp_path / "relabelled")], "have another label for a"),
        ([str(tmp_path / "torn")], "do not belong together"),
        ([str(tmp_path / "grouped")], "to different groups"),
    ]:
        assert main(["compare", one, *others, "-o", str(tmp_path / "out")]) == 1
        err = capsys.readouterr().err
        assert err.startswith("Error: ") and message in err and err.count("\n") == 1
    grouped = ["compare", str(tmp_path / "grouped"), str(runs / "plain"), "-o", str(tmp_path / "out")]
    assert main(grouped) == 1
    assert "not of the same images: 00, 01, 02, 03 and 24 more in one only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten(runs, capsys):
    before = (runs / "plain" / "per_image.csv").read_bytes()
    assert main(["compare", str(runs / "plain"), str(runs / "good"), "-o", str(runs / "plain")]) == 1
    assert "holds the results of another command (metrics.json)" in capsys.readouterr().err
    assert (runs / "plain" / "per_image.csv").read_bytes() == before


def test_rows_are_paired_by_name_in_whatever_order(runs, tmp_path):
    lines = (runs / "plain" / "per_image.csv").read_text().splitlines(keepends=True)
    (tmp_path / "turned").mkdir()
    (tmp_path / "turned" / "per_image.csv").write_text("".join([lines[0], *reversed(lines[1:])]))
    (tmp_path / "turned" / "metrics.json").write_bytes((runs / "plain" / "metrics.json").read_bytes())
    results = compare_runs([runs / "plain", tmp_path / "turned"], tmp_path / "out")
    assert all(pair["equal"] == IMAGES for pair in results["pairs"])
