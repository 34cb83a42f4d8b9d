"""Plots as SVG, without a library: lines over a logarithmic axis, and bars beside 1.00."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 46, 64
COLOURS = ("#1f6f8b", "#c8553d", "#5b8c5a", "#7d5ba6", "#b8860b", "#444444", "#d17a94", "#2a9d8f")
TICKS_MAX = 8

Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """Each series a line; both axes logarithmic, the upper one from half the least value to twice the greatest."""
    every = [point for points in series.values() for point in points]
    xs, ys = [x for x, _ in every], [y for _, y in every]
    x_of = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_of = _scale(min(ys) / 2, max(ys) * 2, HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 20, title, weight="bold"), _text(WIDTH / 2, HEIGHT - 26, across, anchor="middle")]
    parts.append(_text(LEFT, 38, up, size=11))
    for x in sorted(set(xs)):
        parts.append(_text(x_of(x), HEIGHT - BOTTOM + 16, _short(x), anchor="middle", size=11))
    for tick in _ticks(min(ys) / 2, max(ys) * 2):
        parts.append(_rule(LEFT, y_of(tick), WIDTH - RIGHT, y_of(tick)))
        parts.append(_text(LEFT - 6, y_of(tick) + 4, _short(tick), anchor="end", size=11))
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in sorted(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(LEFT + 150 * index, HEIGHT - 8, name, colour=colour, size=12))
    return _svg(HEIGHT, parts)


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """A group of bars for each row, one for each name in it; a line marks 1.00."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    high = 22 * len(names) * len(groups) + 26 * len(groups) + TOP + BOTTOM
    most = max([1.2, *(value for group in groups.values() for value in group.values())])
    left = 250

    def x_of(value: float) -> float:
        return left + value / most * (WIDTH - left - 60)

    parts = [_text(20, 20, title, weight="bold")]
    y = float(TOP)
    for group, values in groups.items():
        parts.append(_text(20, y + 14, group, size=12, weight="bold"))
        y += 24
        for name, value in values.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(_text(left - 8, y + 12, name, anchor="end", size=11))
            width = x_of(value) - left
            parts.append(f'<rect x="{left}" y="{y:.1f}" width="{width:.1f}" height="15" fill="{colour}"/>')
            parts.append(_text(x_of(value) + 5, y + 12, f"{value:.2f}", size=11))
            y += 20
    parts.append(f'<line x1="{x_of(1):.1f}" y1="{TOP}" x2="{x_of(1):.1f}" y2="{y:.1f}" stroke="#000"/>')
    return _svg(min(high, int(y) + 20), parts)


def _scale(low: float, high: float, start: float, end: float) -> _Axis:
    return _Axis(math.log(low), math.log(high if high > low else low * 10), start, end)


class _Axis:
    """Value -> place on a logarithmic axis."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; of many only the powers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    made = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    made = [tick for tick in made if low <= tick <= high]
    powers = [tick for tick in made if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]
    return powers if len(made) > TICKS_MAX else made


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 13,
    weight: str = "normal",
    colour: str = "#222",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _svg(height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
