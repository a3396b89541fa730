"""Charts: round ticks, points where they belong, nothing that could break out of the SVG."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.report import charts
from stages.report.charts import Box, Change, Chart, Series, Span

FINITE = st.floats(-1e6, 1e6)


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_ticks_are_round_and_hold_both_ends() -> None:
    assert charts.ticks(0, 100) == [0, 50, 100]
    assert charts.ticks(0, 0.9) == pytest.approx([0, 0.5, 1.0])
    assert charts.ticks(3, 3) == pytest.approx([3, 4, 5, 6])


@settings(max_examples=100, deadline=None)
@given(FINITE, FINITE)
def test_any_axis_gets_a_few_ticks_around_its_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 8
    slack = (found[1] - found[0]) * 1e-6
    assert found[0] <= low + slack and found[-1] >= high - slack


def test_an_axis_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="axis"):
        charts.ticks(math.nan, 1.0)


def test_a_rising_curve_rises_on_the_page() -> None:
    svg = charts.line_chart(Chart("pass@1", [Series("strict", [(0, 0.1), (10, 0.9)])], share=True))
    path = next(one.get("d", "") for one in tree(svg).iter() if one.get("class") == "line tone0")
    (x0, y0), (x1, y1) = ([float(value) for value in point.split(",")] for point in path[1:].split("L"))
    assert x1 > x0 and y1 < y0
    assert "100 %" in svg


def test_a_flat_series_is_one_dashed_level_and_a_mark_stands_at_its_step() -> None:
    curve = Series("strict", [(0, 0.1), (10, 0.9)])
    svg = charts.line_chart(Chart("x", [curve, Series("base", [(0, 0.1)], 3, flat=True)], share=True, marks=[5, 99]))
    kinds = [one.get("class") for one in tree(svg).iter()]
    assert kinds.count("flat") == 1
    assert kinds.count("mark") == 1  # step 99 lies outside the run


def test_points_that_are_no_numbers_are_left_out_and_a_chart_of_none_says_so() -> None:
    svg = charts.line_chart(Chart("x", [Series("a", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)])]))
    assert "nan" not in svg and "inf" not in svg
    assert "Not recorded" in charts.line_chart(Chart("x", [Series("a", [(0, math.nan)])]))


def test_one_point_alone_can_be_drawn() -> None:
    svg = charts.line_chart(Chart("x", [Series("a", [(5, 0.0)])]))
    dots = [one for one in tree(svg).iter() if one.tag == "circle"]
    assert [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in dots] == [(44.0, 170.0)]  # lower left


def test_smoothing_keeps_steps_and_level() -> None:
    level = [(float(step), 2.0) for step in range(100)]
    assert charts.smoothed(level) == level
    few = [(0.0, 1.0), (1.0, 5.0)]
    assert charts.smoothed(few) == few


def test_before_and_after_stand_at_their_shares() -> None:
    rows = [
        Change("all", Span(0.1, 0.05, 0.15), Span(0.9, 0.85, 0.95), strong=True),
        Change("cups", None, Span(0.5, 0.4, 0.6)),
    ]
    circles = [one for one in tree(charts.change_chart(rows)).iter() if one.tag == "circle"]
    assert [one.get("class") for one in circles] == ["before", "after", "after"]
    x = [float(one.get("cx", "0")) for one in circles]
    assert x[0] < x[2] < x[1]
    assert x[2] == pytest.approx((x[0] + x[1]) / 2, abs=0.2)


def test_the_lineage_draws_an_arrow_for_each_known_parent_and_no_box_upon_another() -> None:
    boxes = [
        Box("base@1", ["base@1"], 0, []),
        Box("data@1", ["data@1"], 0, ["gone@1"]),
        Box("zero@1", ["zero@1", "rl"], 1, ["base@1", "data@1"], strong=True),
        Box("scores@1", ["scores@1"], 2, ["zero@1", "data@1"]),
        Box("scores@2", ["scores@2"], 2, ["base@1", "data@1"]),
    ]
    svg = tree(charts.lineage_chart(boxes))
    places = [(float(one.get("x", "0")), float(one.get("y", "0"))) for one in svg.iter() if one.tag == "rect"]
    assert len([one for one in svg.iter() if one.tag == "path"]) == 2 * 6
    for x, y in places:
        assert not [1 for a, b in places if a == x and 0 < abs(b - y) < charts.BOX_HEIGHT]


def test_every_text_is_escaped() -> None:
    evil = '</svg><script>alert("x")</script>'
    drawings = [
        charts.line_chart(Chart(evil, [Series(evil, [(0, 1.0), (1, 2.0)])])),
        charts.change_chart([Change(evil, None, Span(0.5, 0.4, 0.6))]),
        charts.lineage_chart([Box("a", [evil], 0, [])]),
    ]
    for svg in drawings:
        tree(svg)
        assert not re.search("<script", svg)
