import json
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict_html import Page, text_of

from seq2seq.reporting.charts import Series, interval, key, line_chart, number, thinned, ticks

values = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: float(f"{value:.6g}"))


@given(values, values)
def test_ticks_enclose_the_values_at_equal_distances(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-300)
    assert found[0] <= low + slack and found[-1] >= high - slack
    assert 2 <= len(found) <= 9
    steps = {round((b - a) / (found[1] - found[0]), 3) for a, b in pairwise(found)}
    assert steps == {1.0}


def test_ticks_are_round() -> None:
    assert ticks(0, 0)[0] == 0
    assert ticks(0, 1300) == [0, 250, 500, 750, 1000, 1250, 1500]
    assert ticks(10.2, 36.4) == [10, 15, 20, 25, 30, 35, 40]
    assert ticks(0, 0.002) == [0, 0.0005, 0.001, 0.0015, 0.002]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (1300, "1,300"), (40_000, "40k"), (0.0015, "1.5e-3"), (-0.002, "-2e-3")]
)
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert number(value) == text


@given(st.integers(0, 3000))
def test_thinning_keeps_the_last_point_and_few(size: int) -> None:
    points = [(float(i), 0.0) for i in range(size)]
    kept = thinned(points)
    assert len(kept) <= 400
    assert list(kept[-1:]) == points[-1:]
    assert len(kept) >= min(size, 200)
    assert len({b[0] - a[0] for a, b in pairwise(kept)}) <= 1


def test_a_chart_is_well_formed_and_has_a_line_and_a_key_for_each_series() -> None:
    series = [Series("one", [(0, 1), (10, 5)], 0), Series("two", [(5, 2.5)], 1), Series("none", [], 2)]
    chart = line_chart("BLEU", "steps", series)
    figure = ElementTree.fromstring(chart)  # stricter than HTML
    lines = [group for group in figure.iter("g") if "data-values" in group.attrib]
    assert [line.get("data-name") for line in lines] == ["one", "two"]
    assert [json.loads(line.get("data-values")) for line in lines] == [[[0, 1], [10, 5]], [[5, 2.5]]]
    assert Page(chart).count("span", "key") == 2
    assert "steps" in text_of(chart)


def test_points_lie_where_their_values_are() -> None:
    chart = line_chart("", "", [Series("a", [(0, 0), (5, 5), (10, 10)], 0)])
    (path,) = re.findall(r'<polyline points="([^"]+)"', chart)
    (x0, y0), (x1, y1), (x2, y2) = (map(float, place.split(",")) for place in path.split())
    assert x1 - x0 == pytest.approx(x2 - x1) and x1 > x0
    assert y0 - y1 == pytest.approx(y1 - y2) and y1 < y0


@given(st.lists(st.tuples(st.floats(0, 1e6), values), min_size=1, max_size=20), st.integers(0, 20))
def test_all_points_are_within_the_picture(points: list[tuple[float, float]], slot: int) -> None:
    chart = line_chart("t", "x", [Series("a", sorted(points), slot)])
    (path,) = re.findall(r'<polyline points="([^"]+)"', chart)
    for place in path.split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= 460 and 0 <= y <= 270


def test_names_are_escaped() -> None:
    chart = line_chart('<script>"', "<b>", [Series('"><script>alert(1)</script>', [(1, 1)], 0)])
    assert "<script" not in chart and "<b>" not in chart
    assert '"><script>alert(1)</script>' in text_of(chart)
    assert {"g": '"><script>alert(1)</script>'} in [
        {tag: values["data-name"]} for tag, values in Page(chart).tags if "data-name" in values
    ]


def test_nothing_to_draw_is_said() -> None:
    assert "no values" in text_of(line_chart("BLEU", "steps", [Series("one", [], 0)]))


def test_keys_differ_without_colour() -> None:
    bare = {re.sub(r"s\d", "", key(slot)) for slot in range(6)}
    assert len(bare) == 6


def test_an_interval_has_its_score_between_its_ends() -> None:
    picture = interval(20, 30, 40, (0, 100), 1)
    low, high = (float(x) for x in re.findall(r"M([\d.]+) 2V10", picture))
    (score,) = (float(x) for x in re.findall(r'cx="([\d.]+)"', picture))
    assert low < score < high
    assert score == pytest.approx((low + high) / 2, abs=0.1)
