"""Plots as inline SVG, drawn without a library: curves over a measured axis, and bars.

Colours are CSS variables of the page (`--s-NAME` a subject), so that a drawing works in light and dark mode. Every
point has a title that a browser shows under the pointer.
"""

import math
from html import escape
from statistics import median

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 12, 46


def number(value):
    """8192 → 8k, 16777216 → 16M: for axes, in powers of 1024 where it is one."""
    for unit, size in (("M", 1 << 20), ("k", 1 << 10)):
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def duration(us):
    """Microseconds in the unit that keeps them short."""
    for unit, size in (("s", 1_000_000), ("ms", 1000)):
        if us >= size:
            return f"{us / size:.3g} {unit}"
    return f"{us:.3g} µs"


def nice_steps(top, wanted=5):
    """Round values from 0 to at least `top`."""
    rough = top / wanted if top > 0 else 1
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    count = math.ceil(top / step - 1e-9) if top > 0 else 1
    return [round(step * i, 10) for i in range(count + 1)]


def decades(low, high):
    """Ticks of a logarithmic axis: it begins and ends at 1, 2 or 5 times a power of ten; in between there are all
    of these, or the powers alone where they would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{m}e{p}") for p in powers for m in (1, 2, 5)]
    first, last = max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)
    few = high / low < 300
    return [t for t in ticks if t in (first, last) or first < t < last and (few or f"{t:e}"[0] == "1")]


class Axis:
    """Values to pixels; logarithmic where the values span more than a factor of 6: a ratio then is a distance."""

    def __init__(self, values, start, end, log=None):
        low, high = min(values), max(values)
        self.log = low > 0 and high / low > 6 if log is None else log
        self.ticks = decades(low, high) if self.log else nice_steps(high)
        self.low, self.high = self.ticks[0], self.ticks[-1]
        self.start, self.end = start, end

    def at(self, value):
        a, b, v = (math.log(n) for n in (self.low, self.high, max(value, self.low))) if self.log else (self.low, self.high, value)
        share = (v - a) / (b - a) if b > a else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def text(x, y, words, anchor="middle", kind="tick"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(str(words))}</text>'


def amount(value):
    return number(int(value) if value == int(value) else value) if value < 10_000 else f"{value:,.0f}"


def grid(y_axis, shown):
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(text(LEFT - 7, y + 4, shown(tick), "end"))
    return parts


def series(name, label, points, at_x, y_axis):
    """One curve. `points`: (x, low, high, words); the curve runs through `low`, the best round, and a thin line
    reaches up to `high`, the worst."""
    place = [(at_x(x), y_axis.at(low), y_axis.at(high), words) for x, low, high, words in points]
    path = " ".join(f"{x},{y}" for x, y, _, _ in place)
    parts = [f'<g class="s-{name.replace("+", "-")}" style="--c:var(--s-{name.replace("+", "-")})"><polyline points="{path}" class="curve"/>']
    for x, y, worst, words in place:
        if abs(worst - y) > 3:
            parts.append(f'<line x1="{x}" x2="{x}" y1="{y}" y2="{worst}" class="reach"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" class="dot"><title>{escape(f"{label}: {words}")}</title></circle>')
    return "".join(parts) + "</g>"


def curves(lines, x_label, y_label, xs, shown=number, y_shown=amount):
    """A plot of `lines` {name: (label, points)} over `xs`, which stand at equal distances, being powers of something."""
    values = [v for _, points in lines.values() for _, low, high, _ in points for v in (low, high)]
    if not values:
        return ""
    y_axis = Axis(values, HEIGHT - BOTTOM, TOP)
    gap = (WIDTH - LEFT - RIGHT) / max(len(xs), 1)
    at_x = lambda x: round(LEFT + gap * (xs.index(x) + 0.5), 1)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{y_label} by {x_label}")}">', *grid(y_axis, y_shown)]
    parts += [text(at_x(x), HEIGHT - BOTTOM + 17, shown(x)) for x in xs]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, kind="axis"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle" class="axis">{escape(y_label)}</text>')
    # Backwards: the first subject, ours, lies on top.
    parts += [series(name, label, points, at_x, y_axis) for name, (label, points) in reversed(lines.items())]
    return "".join(parts) + "</svg>"


BAR, BAR_LEFT, BAR_RIGHT, BAR_WIDTH = 22, 112, 62, 380


def bars(rows):
    """Horizontal bars. `rows`: (name, label, value, words). One that would shrink all others is cut, and marked."""
    values = [max(value, 0) for _, _, value, _ in rows]
    top = min(max(values), 3 * median(values)) or 1
    height = BAR * len(rows) + 4
    parts = [f'<svg viewBox="0 0 {BAR_WIDTH} {height}" role="img" class="bars">']
    for i, (name, label, value, words) in enumerate(rows):
        y = i * BAR + 2
        width = max(round(min(max(value, 0) / top, 1) * (BAR_WIDTH - BAR_LEFT - BAR_RIGHT), 1), 1)
        parts.append(text(BAR_LEFT - 8, y + 14, label, "end", "label"))
        parts.append(f'<rect x="{BAR_LEFT}" y="{y + 2}" width="{width}" height="{BAR - 7}" rx="2" style="fill:var(--s-{name.replace("+", "-")})"/>')
        if value > top:
            x = BAR_LEFT + width - 24
            parts.append(f'<path d="M{x},{y + BAR - 4} l6,{3 - BAR} m6,0 l-6,{BAR - 3}" class="cut"/>')
        parts.append(text(BAR_LEFT + width + 6, y + 14, words, "start", "value"))
    return "".join(parts) + "</svg>"
