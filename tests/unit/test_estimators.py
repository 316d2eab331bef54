"""Estimators against worked examples of papers and against what they claim on simulated maps."""

import numpy as np
import pytest
from scipy import stats

from mapmill import interpreted
from mapmill.allocation import allocate, sample_size
from mapmill.estimators import Strata, share
from mapmill.interpreted import Interpreted

OLOFSSON = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
"""Olofsson et al. 2014, table 8: map in rows; deforestation, forest gain, forest, other."""
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
"""Of 30 m, 0.09 ha."""
STEHMAN = {
    "stratum": "1111111111222222222233333333334444444444",
    "mapped": "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD",
    "reference": "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB",
}
"""Stehman 2014, table 1."""


def olofsson():
    """The example as points."""
    mapped, reference = (np.repeat(i.ravel() + 1, OLOFSSON.ravel()) for i in np.indices((4, 4)))
    units = np.concatenate([[0], PIXELS])
    return Interpreted(mapped, mapped, reference, units, units * 0.09, True)


def stehman():
    """The example as points."""
    codes = {letter: number for number, letter in enumerate("ABCD", 1)}
    mapped, reference = (np.array([codes[c] for c in STEHMAN[k]]) for k in ("mapped", "reference"))
    units = np.array([0, 40_000, 30_000, 20_000, 10_000])
    stratum = np.array([int(c) for c in STEHMAN["stratum"]])
    return Interpreted(stratum, mapped, reference, units, units * 1.0, False)


def test_the_example_of_olofsson_and_others():
    """Published areas would not be those that the good-practice paper asks for."""
    data = olofsson()
    ground = data.hectares.sum()
    found = interpreted.class_share(data, 1)
    assert found.value * ground == pytest.approx(21_158, abs=1)
    assert found.half_width * ground == pytest.approx(6_158, abs=1.5)  # theirs is without 1 - n/N
    accuracy = interpreted.overall(data)
    assert accuracy.value == pytest.approx(0.947, abs=5e-4)
    assert accuracy.half_width == pytest.approx(0.018, abs=5e-4)
    of_producers = [interpreted.producers(data, value) for value in (1, 2, 3, 4)]
    assert [round(float(s.value), 2) for s in of_producers] == [0.75, 0.85, 0.93, 0.96]
    assert [round(float(s.half_width), 2) for s in of_producers] == [0.21, 0.25, 0.03, 0.02]
    of_users = [interpreted.users(data, value) for value in (1, 2, 3, 4)]
    assert [round(float(s.value), 2) for s in of_users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(float(s.half_width), 2) for s in of_users] == [0.07, 0.10, 0.04, 0.02]


def olofssons(n, pixels, j):
    """Eq. 4 to 11 as they are printed, by loops: (value, standard error) of four estimates."""
    of_map, areas = n.sum(axis=1), pixels / pixels.sum()
    right = np.diag(n) / of_map
    accuracy = sum(w * u for w, u in zip(areas, right, strict=True))
    spread = right * (1 - right) / (of_map - 1)
    yield accuracy, np.sqrt(sum(areas**2 * spread))
    yield right[j], np.sqrt(spread[j])
    found = pixels * n[:, j] / of_map
    producers = found[j] / found.sum()
    variance = pixels[j] ** 2 * (1 - producers) ** 2 * spread[j]
    for i in range(len(n)):
        part = n[i, j] / of_map[i]
        if i != j:
            variance += producers**2 * pixels[i] ** 2 * part * (1 - part) / (of_map[i] - 1)
    yield producers, np.sqrt(variance) / found.sum()
    part = n[:, j] / of_map
    yield (areas * part).sum(), np.sqrt(sum(areas**2 * part * (1 - part) / (of_map - 1)))


def test_random_matrices_give_what_the_papers_equations_give():
    """The example might agree where the equations do not, as in a class that is never missed."""
    random = np.random.default_rng(0)
    for _ in range(12):
        size = random.integers(2, 6)
        n = random.integers(0, 40, (size, size)) + 5 * np.eye(size, dtype=int)
        n[0, 1:] *= random.integers(0, 2)
        pixels = random.integers(10**9, 10**11, size)
        mapped, reference = (np.repeat(i.ravel() + 1, n.ravel()) for i in np.indices(n.shape))
        units = np.concatenate([[0], pixels])
        data = Interpreted(mapped, mapped, reference, units, units * 0.09, True)
        for j in range(size):
            found = [interpreted.overall(data)]
            for estimate in (interpreted.users, interpreted.producers, interpreted.class_share):
                found.append(estimate(data, j + 1))
            pairs = [(float(each.value), float(each.standard_error)) for each in found]
            expected = list(olofssons(n, pixels.astype(float), j))
            np.testing.assert_allclose(pairs, expected, rtol=1e-6, atol=1e-7)


def test_the_example_of_stehman():
    """A sample drawn from one map could not judge another one."""
    data = stehman()
    found = interpreted.overall(data)
    assert (round(float(found.value), 2), round(float(found.standard_error), 3)) == (0.63, 0.085)
    found = interpreted.users(data, 2)
    assert (round(float(found.value), 3), round(float(found.standard_error), 3)) == (0.574, 0.125)
    found = interpreted.producers(data, 2)
    # The paper prints 0.114: one of the variances in its calculation is 0.00 instead of 0.10.
    assert (round(float(found.value), 3), round(float(found.standard_error), 3)) == (0.794, 0.117)
    assert float(interpreted.class_share(data, 1).value) == pytest.approx(0.35)
    error = float(interpreted.class_share(data, 3).standard_error)
    assert float(interpreted.class_share(data, 3).value) == pytest.approx(0.2)
    assert round(error, 3) == 0.064


def simulated(share_HK, sizes, seed, draws=4000):
    """Counts (draw, H, K) by class of the map and reference, in samples of a known place."""
    random = np.random.default_rng(seed)
    parts = [random.multinomial(n, p, draws) for n, p in zip(sizes, share_HK, strict=True)]
    return np.stack(parts, axis=1)


def contenders(found, truth):
    """In how many draws intervals hold that rest on the standard error of the whole alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value, error = found.value, found.standard_error
        odds, wide = np.log(value / (1 - value)), 1.96 * error / (value * (1 - value))
        logit = np.abs(odds - np.log(truth / (1 - truth))) <= wide
        size = value * (1 - value) / error**2  # effective (Korn and Graubard 1998)
        count = value * size
        low = stats.beta.ppf(0.025, count, size - count + 1)
        exact = (low <= truth) & (truth <= stats.beta.ppf(0.975, count + 1, size - count))
    return logit.mean(), exact.mean()


def coverages(share_HK, weights, sizes, value, seed=1):
    """In how many of all draws the Wald interval, ours, logit and exact ones hold the true area."""
    share_HK, weights, sizes = (np.array(each) for each in (share_HK, weights, sizes))
    hits = simulated(share_HK, sizes, seed)[..., value]
    units = np.round(weights * 1e8)
    found = share(hits, sizes - hits, Strata(units, units, sizes))
    truth = (weights * share_HK[:, value]).sum()
    wald = np.abs(found.value - truth) <= found.half_width
    ours = (found.low <= truth) & (truth <= found.high)
    return wald.mean(), ours.mean(), *contenders(found, truth)


BENIGN = [[0.85, 0.10, 0.05], [0.07, 0.85, 0.08], [0.05, 0.10, 0.85]]


CASES = {
    "simple-a": ([[0.5, 0.3, 0.2]], [1.0], [200]),
    "simple-b": ([[0.1, 0.3, 0.6]], [1.0], [200]),
    "stratified-a": (BENIGN, [0.2, 0.3, 0.5], [50, 60, 100]),
    "stratified-b": (BENIGN, [0.1, 0.3, 0.6], [75, 75, 100]),
    "stratified-c": (BENIGN, [0.15, 0.35, 0.5], [50, 70, 100]),
}
"""Shares of reference classes in each stratum, weights of strata, samples."""


@pytest.mark.parametrize(("share_HK", "weights", "sizes"), CASES.values(), ids=CASES)
def test_intervals_hold_the_true_area_as_often_as_they_say(share_HK, weights, sizes):
    """`95 %` would be a word. Simulated: strata and cells are large, so that both are to hold."""
    found = [coverages(share_HK, weights, sizes, value)[:2] for value in range(3)]
    print("coverage (Wald, ours):", [(round(w, 3), round(o, 3)) for w, o in found])
    assert all(0.92 <= wald <= 0.97 and 0.93 <= ours <= 0.97 for wald, ours in found)


def exact_coverages(share_HK, weights, sizes, value):
    """The same two without chance: summed over all samples that there can be."""
    p_H, weights, sizes = np.array(share_HK)[:, value], np.array(weights), np.array(sizes)
    every = np.meshgrid(*[np.arange(size + 1) for size in sizes], indexing="ij")
    hits = np.stack([each.ravel() for each in every], axis=-1)
    often = stats.binom.pmf(hits, sizes, p_H).prod(axis=-1)
    hits, often = hits[often > 1e-8], often[often > 1e-8]
    units = np.round(weights * 1e8)
    found, truth = share(hits, sizes - hits, Strata(units, units, sizes)), weights @ p_H
    wald = np.abs(found.value - truth) <= found.half_width
    return often[wald].sum(), often[(found.low <= truth) & (truth <= found.high)].sum()


def test_that_the_usual_interval_holds_less_often_than_it_says_is_no_chance():
    """0.928 of a simulation might be noise, or a mistake; it is the interval itself.

    A class of 10 % in a simple sample of 200: the Wald interval holds in 0.927 of all samples, as
    its textbook form does (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286).
    """
    k = np.arange(201)
    near = np.abs(k / 200 - 0.1) <= 1.96 * np.sqrt(k / 200 * (1 - k / 200) / 199)
    expected = stats.binom.pmf(k[near], 200, 0.1).sum()
    found = {name: [exact_coverages(*case, v) for v in range(3)] for name, case in CASES.items()}
    for name, values in found.items():
        print(name, "exact coverage (Wald, ours):", np.round(values, 4).tolist())
    assert found["simple-b"][0][0] == pytest.approx(expected, abs=1e-5) and 0.925 < expected < 0.93
    wald, ours = np.array(list(found.values())).reshape(-1, 2).T
    assert wald.min() == found["simple-b"][0][0] and wald.max() < 0.95
    assert 0.94 < ours.min() < ours.max() < 0.96


@pytest.mark.parametrize("omission", [0.002, 0.005])
def test_rare_omission_is_where_the_usual_interval_fails(omission):
    """A class that the map misses in a large stratum would have an area too sure by far."""
    shares = [[0.8, 0.2], [omission, 1 - omission]]
    wald, ours, logit, exact = coverages(shares, [0.02, 0.98], [75, 300], 0)
    others = f"logit {logit:.3f}, Clopper-Pearson of effective size {exact:.3f}"
    print(f"omission {omission}: coverage of Wald {wald:.3f}, ours {ours:.3f}, {others}")
    assert max(wald, logit, exact) < 0.85 and 0.93 <= ours <= 0.99


def test_no_interval_is_of_zero_width_unless_all_was_seen():
    """A sample without errors would be taken for a map without errors."""
    strata = Strata(np.array([1000.0, 9000.0]), np.array([1.0, 9.0]), np.array([1, 30]))
    found = share(np.array([1, 30]), np.array([0, 0]), strata)
    assert found.value == 1 and found.high == 1 and 0.7 < found.low < 0.95
    assert np.isnan(found.standard_error)  # one sample tells nothing of spread
    nothing = share(np.array([0, 0]), np.array([0, 0]), strata)
    assert np.isnan(nothing.value) and (nothing.low, nothing.high) == (0, 1)
    seen = Strata(np.array([2.0, 30.0]), np.array([2.0, 30.0]), np.array([2, 30]))
    every = share(np.array([1, 30]), np.array([1, 0]), seen)
    assert every.low == pytest.approx(31 / 32) and every.high == pytest.approx(31 / 32)
    with pytest.raises(ValueError, match="without a sample"):
        Strata(np.array([5.0]), np.array([5.0]), np.array([0]))


def test_one_stratum_is_wilsons_interval():
    """The interval would be our own invention even where a standard one exists."""
    strata = Strata(np.array([1e12]), np.ones(1), np.array([100]))
    found = share(np.array([8]), np.array([92]), strata)
    expected = stats.binomtest(8, 100).proportion_ci(method="wilson")
    assert (float(found.low), float(found.high)) == pytest.approx(tuple(expected), abs=1e-6)


def test_the_size_and_allocation_of_olofsson_and_others():
    """Samples would be too few for the accuracy that is asked for, or miss rare classes."""
    weights, accuracy = np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95])
    assert sample_size(weights, weights * 1e7, accuracy, 0.01) == 641
    assert allocate(640, weights, PIXELS, 75).tolist() == [75, 75, 162, 328]
    assert allocate(100, weights, PIXELS, 50).tolist() == [50, 50, 50, 50]
    few = np.array([5, 1000, 9000])
    assert allocate(300, few / few.sum(), few, 50).tolist() == [5, 50, 245]
    assert allocate(20_000, few / few.sum(), few, 50).tolist() == few.tolist()


def by_unit(seed):
    """A simulated place of two units and two classes, sampled by class; truth and estimates."""
    random = np.random.default_rng(seed)
    unit = np.repeat([0, 1], [4000, 16_000])
    truth = 1 + (random.random(20_000) < np.where(unit, 0.3, 0.6))
    mapped = np.where(random.random(20_000) < 0.85, truth, 3 - truth)
    picked = [random.choice(np.flatnonzero(mapped == k), 150, replace=False) for k in (1, 2)]
    points = np.concatenate(picked)
    units = np.bincount(mapped, minlength=3)
    classes = mapped[points]
    data = Interpreted(classes, classes, truth[points], units, units * 1.0, True)
    for number in (0, 1):
        here = np.bincount(mapped[unit == number], minlength=3)
        found = interpreted.unit_share(data, 2, unit[points] == number, here, here * 1.0)
        yield (truth[unit == number] == 2).mean(), found


def test_areas_in_units_hold_the_truth_though_the_sample_was_not_drawn_for_them():
    """Areas of municipalities would be told with the wrong certainty."""
    held, widths = [], []
    for seed in range(150):
        for truth, found in by_unit(seed):
            assert found.method == interpreted.POSTSTRATIFIED
            held.append(found.share.low <= truth <= found.share.high)
            widths.append(abs(found.share.value - truth) / found.share.standard_error)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(np.array(widths) < 1) == pytest.approx(0.68, abs=0.06)


def test_a_unit_with_few_points_or_none_says_so():
    """A unit without a sample would be given an area all the same."""
    data = olofsson()
    alone = np.zeros(len(data.stratum), bool)
    units, hectares = np.array([0, 100, 0, 100, 100]), np.array([0, 9.0, 0, 9.0, 9.0])
    assert interpreted.unit_share(data, 1, alone, units, hectares).share is None
    alone[:1] = True
    found = interpreted.unit_share(data, 1, alone, units, hectares)
    assert (found.method, found.points) == (interpreted.RATIO, 1)
    assert found.share.value == 1 and found.share.low < 0.7
    assert np.isnan(found.share.standard_error)  # of one point


def test_remarks_name_what_the_numbers_rest_on():
    """Readers would trust numbers that rest on one point, or on none."""
    stratum = np.array([1] * 10 + [2])
    reference = np.array([1] * 8 + [0, 2, 2])
    mapped = np.array([0] + [1] * 9 + [2])
    units = np.array([0, 500, 40, 0])
    data = Interpreted(stratum, mapped, reference, units, units * 1.0, False)
    text = "\n".join(interpreted.remarks(data, ["field", "wood", "lake"]))
    for part in ("1 of 11 points have no", "1 points lie where", "stratum wood has one point"):
        assert part in text
    assert "lake was never seen" in text
    assert (
        "intervals that rest on it hold less often" in text
    )  # one point holds 80 % of some shares
    assert "no point is mapped as lake: its user's accuracy is unknown" in text
    assert "wood was seen in fewer than 5 points of strata (field 1, wood 1)" in text


def test_every_stratum_with_few_points_of_a_class_is_named():
    """Warnings would pass over the very strata in which an omission can hide: those without one.

    The strata count and not the classes of the map that is judged, which weigh nothing.
    """
    stratum = np.repeat([1, 2, 3], [60, 60, 1])
    reference = np.concatenate([np.repeat([1, 2], [56, 4]), np.full(60, 2), [3]])
    units = np.array([0, 5000, 90_000, 1])
    data = Interpreted(stratum, 4 - stratum, reference, units, units * 1.0, False)
    text = "\n".join(interpreted.remarks(data, ["field", "wood", "lake"]))
    assert "field was seen in fewer than 5 points of strata (none in wood)" in text
    assert "wood was seen in fewer than 5 points of strata (field 4)" in text
    assert "stratum lake: all its pixels (1) were looked at" in text
