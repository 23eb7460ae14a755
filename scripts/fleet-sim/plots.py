"""The plots of a run, as SVG: lines over time, with axes, units and a legend."""

import pathlib
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 84, 76, 76, 56
GRID, INK, FAINT = "#e3e3e3", "#222222", "#666666"
BLUE, RED, GREEN = "#2a6fb0", "#c8553d", "#3a8f5c"


def step_of(largest: float, count: int) -> float:
    """Returns a round distance of about `count` grid lines up to a value."""
    wanted = max(largest, 1e-9) / count
    magnitude = 10.0 ** (len(str(int(wanted))) - 1) if wanted >= 1 else 0.1
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10, 20, 100) if m * magnitude >= wanted)


def step_of_time(largest: float) -> float:
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
    return next((step for step in steps if largest / step <= 12), 1200)


def number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{value:g}"


class Plot:
    """A plot of series over seconds. A series belongs to the left or the right axis."""

    def __init__(self, title: str, about: str, x_label: str, end: float, start: float = 0) -> None:
        self.start, self.end = start, max(end, start + 1)
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="22" font-size="15" fill="{INK}">{escape(title)}</text>',
            f'<text x="{LEFT}" y="40" font-size="11" fill="{FAINT}">{escape(about)}</text>',
        ]
        self.legend_x = float(LEFT)
        step = step_of_time(self.end - self.start)
        at = -(-self.start // step) * step
        while at <= self.end:
            x = self.x(at)
            self.line(x, TOP, x, HEIGHT - BOTTOM, GRID)
            self.text(x, HEIGHT - BOTTOM + 18, f"{at:g}", "middle")
            at += step
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, "middle")

    def x(self, at: float) -> float:
        return LEFT + (at - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str, dashes: str = "") -> None:
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{style}/>'
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start", color: str = INK) -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>')

    def axis(self, label: str, largest: float, is_right: bool = False) -> float:
        """Draws an axis. Returns the value at its top."""
        step = step_of(largest, 5)
        top = max(1, -(-largest // step)) * step
        edge = WIDTH - RIGHT if is_right else LEFT
        value = 0.0
        while value <= top:
            y = self.y(value, top)
            if not is_right:
                self.line(LEFT, y, WIDTH - RIGHT, y, GRID)
            self.text(edge + (8 if is_right else -8), y + 4, number(value), "start" if is_right else "end")
            value += step
        x, y = (WIDTH - 14 if is_right else 18), (TOP + HEIGHT - BOTTOM) / 2
        self.parts.append(
            f'<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle" fill="{INK}">{escape(label)}</text>'
        )
        return top

    def y(self, value: float, top: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    def series(self, name: str, points: list[tuple[float, float]], top: float, color: str, dashes: str = "") -> None:
        path = " ".join(f"{self.x(at):.1f},{self.y(value, top):.1f}" for at, value in points)
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round"{style}/>'
        )
        self.parts.append(
            f'<line x1="{self.legend_x}" y1="57" x2="{self.legend_x + 24}" y2="57" stroke="{color}" '
            f'stroke-width="2"{style}/>'
        )
        self.text(self.legend_x + 30, 61, name)
        self.legend_x += 54 + 6.4 * len(name)

    def mark(self, at: float, text: str) -> None:
        x = self.x(at)
        self.line(x, TOP, x, HEIGHT - BOTTOM, FAINT, "2 3")
        is_left = x < WIDTH - RIGHT - 60
        self.text(x + 5 if is_left else x - 5, TOP + 12, text, "start" if is_left else "end", FAINT)

    def save(self, path: pathlib.Path) -> None:
        path.write_text("\n".join([*self.parts, "</svg>"]) + "\n")


def points_of(results: dict[str, Any], part: str, value: Any) -> list[tuple[float, float]]:
    """Returns a series of a part, over the seconds since the end of its windows."""
    begin, end = results[part]["boundary"], results[part]["ended"]
    return [(p["at"] - begin, value(p)) for p in results["series"] if begin - 3 <= p["at"] <= end]


def about(results: dict[str, Any]) -> str:
    options = results["options"]
    return (
        f"{int(options['nodes']):,} nodes x {options['metrics']} metrics, windows of {options['window']} s, "
        f"{options['pollers']} pollers; servers, pollers and sink share {results['cores']} cores"
    )


def backlog(results: dict[str, Any], path: pathlib.Path) -> None:
    """Draws the records in the queues after the end of the windows."""
    at_once = points_of(results, "burst", lambda p: p["backlog"])
    jitter = points_of(results, "jitter", lambda p: p["backlog"])
    plot = Plot(
        "Records waiting after the end of all windows",
        about(results),
        "seconds since the end of the windows",
        max(at_once[-1][0], jitter[-1][0]),
        -3,
    )
    top = plot.axis("records in the queues of all nodes", max(value for _, value in at_once + jitter))
    plot.series("all close at once", at_once, top, RED)
    plot.series(f"jitter of up to {results['options']['jitter']} s", jitter, top, BLUE)
    plot.save(path)


def takeover(results: dict[str, Any], path: pathlib.Path) -> None:
    """Draws the age of the oldest record, and the records of the killed poller's servers."""
    part = results["takeover"]
    lag = points_of(results, "takeover", lambda p: p["oldest_ms"] / 1000)
    records = points_of(results, "takeover", lambda p: p["backlog"])
    orphans = points_of(results, "takeover", lambda p: p["orphan_backlog"])
    plot = Plot(
        "A poller is killed while it drains", about(results), "seconds since the end of the windows", lag[-1][0], -3
    )
    left = plot.axis("records in the queues", max(value for _, value in records))
    right = plot.axis("age of the oldest record, s", max(value for _, value in lag), is_right=True)
    plot.series("records of all nodes", records, left, BLUE)
    plot.series("of those whose poller is dead", orphans, left, RED)
    plot.series("age of the oldest record (right)", lag, right, GREEN, "6 4")
    plot.mark(part["killed_at"] - part["boundary"], "kill -9")
    plot.save(path)
