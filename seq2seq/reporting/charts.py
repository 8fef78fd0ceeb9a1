"""Line charts and intervals as inline SVG, drawn from plain numbers.

Colours are the page's variables `--s1` to `--s6`, so that light, dark and print each have their own; dashes and markers
tell the lines apart without colour.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 460, 270  # about the size at which it is shown, so that text is as large as it says
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 10, 40
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "4 2 1 2")
_MOST_POINTS, _MOST_MARKERS = 400, 40  # of a line


class Series(NamedTuple):
    """A named line; `slot` counts from 0 and chooses its look."""

    name: str
    points: Sequence[tuple[float, float]]
    slot: int


class _Scale(NamedTuple):
    """A linear map of values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(title: str, x_label: str, series: Sequence[Series]) -> str:
    """A figure with a line for each series that has points; x begins at 0, y where the values do."""
    shown = [each._replace(points=thinned(each.points)) for each in series if each.points]
    if not shown:
        return f'<figure class="chart"><figcaption>{escape(title)}</figcaption><p class="none">no values</p></figure>'
    xs, ys = zip(*(point for each in shown for point in each.points), strict=True)
    x_ticks, y_ticks = ticks(0, max(xs)), ticks(min(ys), max(ys))
    across = _Scale(0, max(xs) or 1, _LEFT, _WIDTH - _RIGHT)
    up = _Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    drawn = [_axes(across, up, x_ticks, y_ticks, x_label), *(_line(each, across, up) for each in shown)]
    keys = "".join(f'<span class="key">{key(each.slot)} {escape(each.name)}</span>' for each in shown)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><p class="keys">{keys}</p>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" data-box="{_LEFT} {_TOP} {_WIDTH - _RIGHT} {_HEIGHT - _BOTTOM}" '
        f'data-unit="{escape(x_label)}" role="img" aria-label="{escape(title)}, by {escape(x_label)}">'
        f'{"".join(drawn)}</svg></figure>'
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most + 2` round numbers at equal distances, the first not above `low` and the last not below `high`."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-30):  # the same but for rounding
        half = abs(low) / 2 if abs(low) > 1e-30 else 0.5
        low, high = (0.0, 1.0) if low == high == 0 else (low - half, low + half)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most some 400 of the points, at equal distances, the last among them."""
    every = -(-len(points) // _MOST_POINTS)
    return points if every <= 1 else points[(len(points) - 1) % every :: every]


def number(value: float) -> str:
    """A number on an axis: `1,300`, `0.5`, `40k`, `1.5e-3`."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.10g}k"
    if 0 < abs(value) < 0.01:
        digits, _, power = f"{value:.6e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,.10g}"


def key(slot: int) -> str:
    """A piece of a line, as a legend has it."""
    return (
        f'<svg class="line s{slot % 6 + 1}" viewBox="0 0 30 12" width="30" height="12" aria-hidden="true">'
        f'<path d="M1 6H29"{_dash(slot)}/>{_marker(slot, 15, 6)}</svg>'
    )


def interval(low: float, score: float, high: float, bounds: tuple[float, float], slot: int) -> str:
    """A score as a dot within its interval, on a scale that all rows of a table share."""
    across = _Scale(*bounds, 4, 136)
    return (
        f'<svg class="line s{slot % 6 + 1}" viewBox="0 0 140 12" width="140" height="12" aria-hidden="true">'
        f'<path class="rule" d="M0 6H140"/><path d="M{across(low):.1f} 2V10M{across(low):.1f} 6H{across(high):.1f}'
        f'M{across(high):.1f} 2V10"/><circle cx="{across(score):.1f}" cy="6" r="3.5"/></svg>'
    )


def _axes(across: _Scale, up: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str) -> str:
    parts = []
    for value in y_ticks:
        y = up(value)
        parts.append(f'<path class="rule" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in x_ticks:
        if value <= across.high * 1.0001:
            x = across(value)
            parts.append(f'<path class="axis" d="M{x:.1f} {up.start}v4"/>')
            parts.append(f'<text x="{x:.1f}" y="{up.start + 18}" text-anchor="middle">{number(value)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {up.start}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">{escape(x_label)}</text>')
    return "".join(parts)


def _line(series: Series, across: _Scale, up: _Scale) -> str:
    """A line with its values beside it, for the page's script to show."""
    places = [(across(x), up(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    values = json.dumps([[float(f"{value:.5g}") for value in point] for point in series.points], separators=(",", ":"))
    markers = [_marker(series.slot, x, y) for x, y in places] if len(places) <= _MOST_MARKERS else []
    return (
        f'<g class="line s{series.slot % 6 + 1}" data-name="{escape(series.name)}" data-values="{values}">'
        f'<polyline points="{path}"{_dash(series.slot)}/>{"".join(markers)}</g>'
    )


def _dash(slot: int) -> str:
    dash = _DASHES[slot % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _marker(slot: int, x: float, y: float) -> str:
    match slot % 4:
        case 0:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        case 1:
            return f'<path class="mark" d="M{x - 3.2:.1f} {y - 3.2:.1f}h6.4v6.4h-6.4z"/>'
        case 2:
            return f'<path class="mark" d="M{x:.1f} {y - 4.6:.1f}l4.6 4.6l-4.6 4.6l-4.6-4.6z"/>'
        case _:
            return f'<path class="mark" d="M{x:.1f} {y - 4.2:.1f}l4.4 7.6h-8.8z"/>'
