"""The tables of a grid against figures computed another way."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from masksup_med.errors import DataError
from masksup_med.evaluate.hiding import HIDINGS, RATIOS
from masksup_med.experiments.store import Finished, Training
from masksup_med.experiments.table import FIGURES, tables

PARAMS = {
    "max_epochs": "10",
    "batch_size": "8",
    "datalist/training": "20",
    "context_weight": "1.0",
    "similarity_weight": "0",
}
COLUMNS = {*FIGURES, *(f"{kind} {ratio}" for kind in HIDINGS for ratio in RATIOS)}
IMAGES = [f"{number:02}" for number in range(12)]
GROUPS = [f"patient {number // 2}" for number in range(12)]


def training(cell, seed, level, baseline="plain", images=IMAGES, groups=GROUPS, **params):
    random = np.random.default_rng([seed, *cell.encode()])
    rows = {
        image: {"image": image, "group": group, **{column: str(level + 0.1 * random.random()) for column in COLUMNS}}
        for image, group in zip(images, groups, strict=False)
    }
    return Finished(Training("glas", cell, baseline, seed, ""), rows, PARAMS | params, {}, 1.0 + seed)


def values(finished, name):
    return np.array([[float(row[name]) for row in each.rows.values()] for each in finished])


def test_means_spreads_and_differences():
    plain = [training("plain", seed, 0.5, baseline="", context_weight="0") for seed in range(3)]
    good = [training("good", seed, 0.7) for seed in range(3)]
    bad = [training("bad", seed, 0.45) for seed in range(2)]
    (table,) = tables([*plain, *good, *bad])
    assert (table.part, table.images, table.groups) == ("glas", 12, 6)
    lines = {line.cell: line for line in table.lines}
    assert [line.seeds for line in table.lines] == [3, 3, 2] and lines["good"].minutes == pytest.approx(2)
    for name in FIGURES:
        for runs in (plain, good, bad):
            figure = lines[runs[0].training.cell].figures[name]
            assert figure["value"] == pytest.approx(values(runs, name).mean())
            assert figure["seed_sd"] == pytest.approx(values(runs, name).mean(axis=1).std(ddof=1))
            assert figure["interval"][0] < figure["value"] < figure["interval"][1]
        assert "difference" not in lines["plain"].figures[name]
        gain = values(good, name).mean(axis=0) - values(plain, name).mean(axis=0)
        figure = lines["good"].figures[name]
        assert figure["difference"] == pytest.approx(gain.mean())
        assert figure["bounds"][0] < gain.mean() < figure["bounds"][1] and figure["bounds"][0] > 0
        alone = wilcoxon(gain.reshape(6, 2).mean(axis=1)).pvalue
        assert figure["p"] == pytest.approx(2 * alone)  # Holm: the lesser of two


def test_steps_and_passes():
    (table,) = tables([training("one", 0, 0.5, context_weight="0"), training("two", 0, 0.5)])
    one, two = table.lines
    assert (one.steps, one.passes) == (30, 200) and (two.steps, two.passes) == (30, 400)
    assert one.curves.keys() == set(HIDINGS) and len(one.curves["patch"]) == len(RATIOS)


def test_steps_are_those_of_the_first_seed_whichever_was_done_first():
    first, second = training("one", 0, 0.5), training("one", 1, 0.5, **{"datalist/training": "28"})
    assert tables([second, first])[0].lines[0].steps == tables([first, second])[0].lines[0].steps == 30


def test_a_cell_whose_baseline_is_not_done_yet_has_no_difference():
    (table,) = tables([training("good", 0, 0.7)])
    assert "difference" not in table.lines[0].figures["iou"] and table.lines[0].figures["iou"]["seed_sd"] is None


def halves(cell, levels, **more):
    """Trainings that each hold out another half of the images."""
    return [
        training(cell, seed, level, images=IMAGES[6 * seed :][:6], groups=GROUPS[6 * seed :][:6], **more)
        for seed, level in enumerate(levels)
    ]


def test_folds_are_put_together():
    plain, good = halves("plain", [0.5, 0.6], baseline=""), halves("good", [0.7, 0.9])
    (table,) = tables([plain[0], good[0], good[1], plain[1]])
    assert (table.images, table.groups) == (12, 6)
    both = [np.concatenate([values([run], "iou")[0] for run in runs]) for runs in (plain, good)]
    figure = {line.cell: line for line in table.lines}["good"].figures["iou"]
    assert figure["value"] == pytest.approx(both[1].mean()) and figure["seed_sd"] is None
    gain = both[1] - both[0]
    assert figure["difference"] == pytest.approx(gain.mean())
    assert figure["p"] == pytest.approx(wilcoxon(gain.reshape(6, 2).mean(axis=1)).pvalue)
    assert [line.seeds for line in table.lines] == [2, 2]


def test_folds_that_only_some_cells_have_done_wait():
    plain, good, bad = (halves(cell, [0.5, 0.6]) for cell in ("plain", "good", "bad"))
    (table,) = tables([plain[0], good[0], bad[0], plain[1]])
    assert table.images == 6 and [line.seeds for line in table.lines] == [1, 1, 1]
    (table,) = tables([plain[0], good[0], plain[1], good[1], bad[1]])
    assert table.images == 6 and [line.cell for line in table.lines] == ["plain", "good", "bad"]


def test_folds_twice_over():
    again = [
        each._replace(training=each.training._replace(seed=2 + each.training.seed)) for each in halves("a", [0, 1])
    ]
    (table,) = tables([*halves("a", [0.5, 0.6]), *again])
    assert table.images == 12 and table.lines[0].figures["iou"]["seed_sd"] > 0


def test_pretraining_counts():
    run = training("mae", 0, 0.5, context_weight="0")._replace(pretraining=(5, 30))
    (table,) = tables([run])
    assert (table.lines[0].steps, table.lines[0].passes) == (30 + 5 * 4, 200 + 150)


def test_other_images_are_refused():
    with pytest.raises(DataError, match="measured on different images"):
        tables([training("one", 0, 0.5), training("two", 0, 0.5, images=IMAGES[:6])])
