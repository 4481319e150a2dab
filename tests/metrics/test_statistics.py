"""Bootstrap against SciPy, NumPy's draws and loops; tests and corrections against SciPy, R and enumeration."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, rankdata, wilcoxon

from masksup_med.metrics.statistics import Bootstrap, group_means, holm, interval, paired_test

GROUPS = ["b", "a", "b", "c", "a", "b", "d", "c"]


def clustered(patients, images, seed, spread=1.0):
    """Values that differ between patients by ``spread`` and within them by 0.3, around 0; and their patients."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, spread, (patients, 1)) + rng.normal(0, 0.3, (patients, images))
    return values.ravel(), np.repeat(np.arange(patients).astype(str), images)


def interval_of_mean(values, groups, resamples=1000, seed=0):
    draws = Bootstrap(groups, resamples, seed)
    return interval(draws.sums(values) / draws.sums(np.ones(len(values))))


def test_whole_groups_are_drawn_and_as_many_as_there_are():
    draws = Bootstrap(GROUPS, resamples=200, seed=1)
    assert draws.groups == 4
    times = draws.sums(np.eye(len(GROUPS)))  # how often each image was drawn
    assert times.shape == (200, 8)
    for name in "abcd":
        of_group = times[:, [i for i, group in enumerate(GROUPS) if group == name]]
        assert (of_group == of_group[:, :1]).all()
    np.testing.assert_array_equal(times[:, [0, 1, 3, 6]].sum(axis=1), 4)
    assert len(np.unique(times, axis=0)) > 20


def test_sums_like_a_loop_over_the_images_drawn():
    draws = Bootstrap(GROUPS, resamples=50, seed=2)
    values = np.random.default_rng(0).normal(size=(8, 3, 2))
    times = draws.sums(np.eye(8)).astype(int)
    expected = [sum((values[i] for i, n in enumerate(row) for _ in range(n)), np.zeros((3, 2))) for row in times]
    np.testing.assert_allclose(draws.sums(values), expected, atol=1e-12)


def test_ratio_of_sums_has_the_distribution_of_groups_drawn_by_hand():
    rng = np.random.default_rng(3)
    part, whole = rng.random(8), rng.integers(1, 50, 8)
    draws = Bootstrap(GROUPS, resamples=20000)
    ours = draws.sums(part * whole) / draws.sums(whole)
    members = [[i for i, group in enumerate(GROUPS) if group == name] for name in "abcd"]
    images = [[i for g in rng.integers(4, size=4) for i in members[g]] for _ in range(20000)]
    by_hand = np.array([part[drawn] @ whole[drawn] / whole[drawn].sum() for drawn in images])
    assert ours.mean() == pytest.approx(by_hand.mean(), abs=5 * by_hand.std() * np.sqrt(2 / 20000))
    assert ours.std() == pytest.approx(by_hand.std(), rel=0.05)
    np.testing.assert_allclose(interval(ours), interval(by_hand), atol=0.1 * by_hand.std())


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_of_single_images_like_scipy(confidence):
    values = np.random.default_rng(4).beta(4, 1, 40)
    draws = Bootstrap([f"{i}" for i in range(40)], resamples=20000)
    low, high = interval(draws.sums(values) / 40, confidence)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20000, confidence_level=confidence, method="percentile", rng=5
    ).confidence_interval
    noise = 0.1 * values.std() / np.sqrt(40)  # five standard errors of a 2.5 % quantile of 20000 draws
    assert low == pytest.approx(theirs.low, abs=noise)
    assert high == pytest.approx(theirs.high, abs=noise)


def test_interval_by_hand():
    estimates = np.random.default_rng(0).permutation(np.arange(101.0))
    assert interval(estimates) == pytest.approx((2.5, 97.5))
    assert interval(estimates, confidence=0.5) == pytest.approx((25, 75))
    for undefined in (np.nan, np.inf):
        estimates[7] = undefined
        assert interval(estimates) is None


def test_same_seed_same_draws():
    values = np.arange(8.0)
    first, again, other = (Bootstrap(GROUPS, 100, seed).sums(values) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_draws_do_not_depend_on_the_order_of_images():
    values, order = np.arange(8.0), np.random.default_rng(0).permutation(8)
    shuffled = Bootstrap([GROUPS[i] for i in order], 100).sums(values[order])
    np.testing.assert_allclose(shuffled, Bootstrap(GROUPS, 100).sums(values))


def test_one_group_has_no_spread():
    assert interval_of_mean(np.array([0.2, 0.4, 0.9]), ["a", "a", "a"]) == pytest.approx((0.5, 0.5))


def test_patients_widen_the_interval_of_their_images():
    values, patients = clustered(20, 9, seed=6)
    of_patients = np.subtract(*interval_of_mean(values, patients))
    of_images = np.subtract(*interval_of_mean(values, np.arange(len(values)).astype(str)))
    assert of_patients / of_images == pytest.approx(3, rel=0.2)  # the root of 9, were images of a patient all alike


def test_interval_covers_the_truth():
    def coverage(of_patients):
        covered = 0
        for seed in range(200):
            values, patients = clustered(30, 5, seed)
            low, high = interval_of_mean(values, patients if of_patients else np.arange(150).astype(str), 400, seed)
            covered += low <= 0 <= high
        return covered / 200

    assert 0.88 <= coverage(of_patients=True) <= 0.99
    assert coverage(of_patients=False) < 0.75  # images taken for independent: what the groups are for


def test_group_means():
    np.testing.assert_allclose(group_means(np.arange(8.0), GROUPS), [(1 + 4) / 2, (0 + 2 + 5) / 3, (3 + 7) / 2, 6])


@pytest.mark.parametrize("size", [5, 30, 100])
@pytest.mark.parametrize("kind", ["all differ", "ties", "zeros"])
def test_paired_like_scipy(kind, size):
    differences = np.random.default_rng(size).normal(0.3, 1, size)
    if kind != "all differ":
        differences = differences.round(1)
    if kind == "zeros":
        differences[::3] = 0
    others = differences[differences != 0]
    expected = wilcoxon(others, np.zeros(len(others))).pvalue
    assert paired_test(differences) == pytest.approx(expected, rel=1e-12)
    assert paired_test(-differences) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("others", "exact"), [(4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_paired_is_exact_among_many_zeros(others, exact):
    differences = np.zeros(30)
    differences[:others] = 0.1 * np.arange(1, others + 1)
    assert paired_test(differences) == pytest.approx(exact)


@pytest.mark.parametrize("differences", [[1, 2, 3, 4, 5], [1, 2, 3, -4, 5, 6, 7], [-3, 1, 2, 8, 4, 9, -10, 11, 12]])
def test_paired_like_all_signs(differences):
    ranks = rankdata(np.abs(differences))
    extreme = abs(ranks @ np.sign(differences))
    sums = [abs(ranks @ signs) for signs in product([-1, 1], repeat=len(ranks))]
    assert paired_test(np.array(differences)) == pytest.approx(np.mean(np.array(sums) >= extreme))


def test_paired_without_differences_or_with_rounding_errors_alone():
    assert paired_test(np.zeros(10)) == 1
    assert paired_test(np.full(10, 0.1 + 0.2 - 0.3)) == 1
    third = np.array([0.1, 0.2, 0.3, -0.4, 0.5, 0.6])
    third[1] = third[0] + 1e-16  # a tie but for rounding
    assert paired_test(third) == paired_test(np.array([0.1, 0.1, 0.3, -0.4, 0.5, 0.6]))


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [  # of R's p.adjust(…, "holm")
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
        ([0.03, 0.04, 0.01, 0.02], [0.06, 0.06, 0.04, 0.06]),
        ([0.4, 0.6, 0.001], [0.8, 0.8, 0.003]),
        ([0.5, 0.6, 0.9], [1, 1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.3], [0.3]),
        ([], []),
    ],
)
def test_holm_like_r(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)
