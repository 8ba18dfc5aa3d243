"""Plots of the balancing figures, each an SVG file that needs nothing else."""

from html import escape

from . import svg
from .balancing import ALGORITHMS, FIGURES, SCENARIOS

COLOURS = {  # in light, in dark
    "round_robin": ("#6b7280", "#a3abb8"),
    "least_connections": ("#d1342f", "#ff6b61"),
    "least_latency": ("#1f6fb4", "#5cb0f5"),
    "random": ("#2e8540", "#63c974"),
    "first": ("#b7791f", "#e5b45a"),
    "source_hash": ("#0f9a9a", "#45d0cf"),
    "hash": ("#8250b8", "#bb94ea"),
}
STYLE = """
svg { background: var(--back); --back: #fff; --ink: #1c2128; --soft: #5b6570; --line: #dfe3e8; %s }
@media (prefers-color-scheme: dark) { svg { --back: #14171c; --ink: #e8ebef; --soft: #9aa4b0; --line: #31373f; %s } }
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft) } .label, .value, .title { fill: var(--ink) }
.title { font-weight: 600 } .grid { stroke: var(--line) } .curve { fill: none; stroke: var(--c); stroke-width: 2 }
.dot { fill: var(--c) } .reach { stroke: var(--c) } .cut { fill: none; stroke: var(--back); stroke-width: 2.5 }
"""
# Figure of the bars, where it is not p99.
BARS = {"hot": "peak", "remove": "moved", "outage": "attempts"}
# name: (title, scenario, axis, points)
SWEEPS = {
    "load": ("10 equal servers", "equal", "load, % of the capacity", (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)),
    "load-speeds": (SCENARIOS["speeds"].split(" at ")[0], "speeds", "load, % of the capacity", (10, 20, 30, 40, 50, 60, 70, 80, 90)),
    "servers": ("equal servers at 70 %, 2 workers", "servers", "servers", (2, 5, 10, 20, 50, 100, 200, 500)),
    "workers": ("10 equal servers at 70 %", "workers", "workers", (1, 2, 4, 8, 16)),
}
TITLE, LEGEND = 26, 40


def style():
    of = lambda which: " ".join(f"--s-{name}: {both[which]};" for name, both in COLOURS.items())
    return STYLE % (of(0), of(1))


def alone(title, drawing, width, height, names=()):
    """A drawing as a file of its own, with its title and the names of its curves."""
    marks, x, y = [], 14, TITLE + height + 14
    for name in names:
        needs = 30 + 7 * len(name)
        if x + needs > width:
            x, y = 14, y + 18
        marks.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" style="fill:var(--s-{name})"/>{svg.text(x + 15, y, name, "start")}')
        x += needs
    whole = TITLE + height + (LEGEND if names else 4)
    inner = drawing.replace("<svg ", f'<svg y="{TITLE}" width="{width}" height="{height}" ', 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}">'
    return f"{head}<title>{escape(title)}</title><style>{style()}</style>{svg.text(14, 17, title, 'start', 'title')}{inner}{''.join(marks)}</svg>\n"


def bars(scenario, results):
    figure = BARS.get(scenario, "p99_us")
    head, shown = FIGURES[figure]
    have = [(name, name, figures[figure], shown(figures[figure])) for name, figures in results.items() if figure in figures]
    height = round((svg.BAR * len(have) + 4) * svg.WIDTH / svg.BAR_WIDTH)
    return alone(f"{head}: {SCENARIOS[scenario]}", svg.bars(have), svg.WIDTH, height) if have else ""


def curve(name, measured):
    """p99 over the points of a sweep; a point a scenario `NAME:NUMBER`."""
    title, scenario, axis, points = SWEEPS[name]
    at = lambda algorithm, x: measured.get(f"{scenario}:{x}", {}).get(algorithm, {}).get("p99_us")
    return curves(f"p99: {title}", axis, "p99", points, at, svg.duration)


def picks(counted):
    sizes = sorted({size for of_sizes in counted.values() for size in of_sizes})
    at = lambda algorithm, size: counted.get(algorithm, {}).get(size)
    return curves("Instructions of a request's balancing", "servers", "instructions", sizes, at, svg.amount)


def curves(title, axis, figure, xs, at, shown):
    lines = {}
    for algorithm in ALGORITHMS:
        values = [(x, at(algorithm, x)) for x in xs]
        points = [(x, value, value, f"{x:,} {axis}: {shown(value)}") for x, value in values if value]
        if points:
            lines[algorithm] = (algorithm, points)
    return alone(title, svg.curves(lines, axis, figure, list(xs), y_shown=shown), svg.WIDTH, svg.HEIGHT, lines)


def sweep_names(name):
    _, scenario, _, points = SWEEPS[name]
    return [f"{scenario}:{x}" for x in points]
