"""What notebooks 00 to 02 say in words is what their cells print and the rows hold."""

import math

import pytest
from prose import said, says, shown, table

from lmcourse.evidence.results import latest, read_rows


def by_seed(setting: str, metric: str) -> list[float]:
    """Values of a network on Shapes, in the order of the seeds."""
    rows = latest(read_rows("seqmt-shapes", budget="class", metric=metric))
    rows = [row for row in rows if row.setting == setting]
    return [row.value for row in sorted(rows, key=lambda row: row.seed)]


# -- 00 --------------------------------------------------------------------------------


def test_00_names_the_offsets_of_all_three_trainings():
    first, *others = said(
        "00", r"its offset is (\S+) pixels, those of the others are (\S+) and (\S+)\. "
    )
    rounded = [round(x, 1) for x in by_seed("long", "offset_px")]
    assert [first, *others] == rounded and first == min(rounded)
    inside = by_seed("long", "inside_own_shape")
    assert 0.45 < inside[0] < 0.56 and 0.2 < sum(inside) / 3 < 0.3
    says("00", "in about half of the images", "in about a quarter, on average over")


def test_00_has_two_parts_of_the_distance_like_the_sides_of_a_triangle():
    names = ("distance_px", "offset_px", "scatter_px")
    whole, offset, rest = (shown("00", rf"{name} (\d\S+)")[0] for name in names)
    assert math.hypot(offset, rest) == pytest.approx(whole, rel=0.02)
    assert offset + rest > 1.15 * whole
    says("00", "roughly like the sides of a right triangle, not like lengths")


def test_00_counts_the_plain_trainings_that_did_not_find_both():
    right = by_seed("plain-start", "accuracy")
    found = by_seed("plain-start", "nearest_own_shape")
    assert min(right) > 0.96 and len(right) == 5
    assert sum(share < 0.9 for share in found) == 3
    says("00", "all five plain runs are nearly always right, and three of the five did")


def test_00_says_what_the_sliders_do():
    rows = list(table("00", "points apart (px)").values())
    before, hot, later, back, told = rows
    apart, right = "points apart (px)", "accuracy"
    assert hot[apart] < 0.5 * before[apart] and hot[right] < before[right] - 0.1
    assert later[apart] > 0.75 * before[apart] and back[apart] > 0.9 * before[apart]
    assert later[right] > hot[right] + 0.1
    assert told["offset (px)"] < 0.3 * before["offset (px)"]
    says("00", "and the points return", "with $\\lambda$ above 0 the offset goes")


# -- 01 --------------------------------------------------------------------------------


def test_01_shares_a_pixel_out_as_it_says():
    says("01", "holds more than a quarter of the probability")  # asserted in its cell
    says("01", "about 0.75, is best", "hardly any pixel is exactly zero")


# -- 02 --------------------------------------------------------------------------------


def test_02_mixes_customs_at_the_cost_it_says():
    (corner,) = said("02", r"costs up to (\S+) pixels in a corner")
    (measured,) = shown("02", r"at the corners (\S+) pixels")
    assert corner == pytest.approx(measured, abs=0.05)


def test_02_solves_the_four_pins_as_it_says():
    dents = [shown("02", rf"w{n} = (\S+)")[0] for n in range(1, 5)]
    assert [round(d, 3) for d in dents] == [0.018, -0.018, -0.018, 0.018]
    slope_x, slope_y, shift = (
        shown("02", rf"{name} = (\S+)")[0] for name in ("A x", "A y", r"\| t")
    )
    there = -slope_x - slope_y + shift  # what the affine part reads at (-1, -1)
    assert there + 1 == pytest.approx(0.3) and -0.6 - there == pytest.approx(0.1)
    says("02", "The affine part does the other 0.3 of the pull.")


def test_02_calls_both_answers_right():
    (median,) = said("02", r"the table of section 9 has a median of (\S+) pixels at")
    (bend,) = said("02", r"Lost at bend (\S+), although the table")
    rows = table("02", "Equivariance error: median over 30 warps")
    assert rows["template (tower)"]["bend"] == median
    assert shown("02", r"bending: lost at bend (\S+)") == [bend]
    strength, lost = shown(
        "02", r"30 random bends of (\S+) \(section 9\): lost in (\d+)"
    )
    assert strength == bend and lost < 10  # one warp of few
