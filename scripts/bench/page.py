"""The page: goals, bars, curves and tables of one run in one HTML file that needs nothing else.

Light or dark by the browser's preference. Subjects keep one colour through all plots; only
subjects that were measured are in the legend.
"""

import re
from html import escape

from . import svg, table
from .goals import verdicts, with_counted

COLOURS = {  # subject: (in light, in dark)
    "rsp": ("#d1342f", "#ff6b61"),
    "rsp-without": ("#b0577f", "#f09cc0"),
    "haproxy": ("#1f6fb4", "#5cb0f5"),
    "haproxy+splice": ("#0f9a9a", "#45d0cf"),
    "nginx": ("#2e8540", "#63c974"),
    "hitch": ("#a3701c", "#e0a94f"),
    "varnish": ("#8250b8", "#bb94ea"),
    "relay": ("#6b7280", "#a3abb8"),
}

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2128; --soft: #5b6570; --line: #dfe3e8; --card: #f7f8fa; --good: #1a7f37; --bad: #c62828; %s }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171c; --ink: #e8ebef; --soft: #9aa4b0; --line: #31373f; --card: #1b1f26; --good: #57c774; --bad: #ff7a70; %s }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 60px; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 19px; margin: 38px 0 10px } h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600 } h3 span { display: block; font-weight: 400; font-size: 13px }
p { max-width: 78ch; margin: 6px 0 } .whole { max-width: none; color: var(--soft) } .soft { color: var(--soft) }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0; font-size: 14px }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px }
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)) }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(520px, 100%%), 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; min-width: 0 }
svg { display: block; width: 100%%; height: auto }
svg text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft) } svg .label, svg .value { fill: var(--ink) }
.grid { stroke: var(--line) } .curve { fill: none; stroke: var(--c); stroke-width: 2 } .dot { fill: var(--c) } .reach { stroke: var(--c); stroke-width: 1.5; opacity: .45 }
.s-rsp .curve { stroke-width: 3.2 } .cut { fill: none; stroke: var(--card); stroke-width: 2.5 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 4px 0 16px }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap } th { font-weight: 600; color: var(--soft) }
td:first-child, th:first-child { text-align: left; padding-left: 0 }
.met { color: var(--good); font-weight: 600 } .missed { color: var(--bad); font-weight: 600 }
summary { cursor: pointer; font-size: 19px; font-weight: 600; margin: 38px 0 10px }
"""

HOW = (
    "The figure that compares is CPU time of the proxy for one request: user and system of all its threads, from the "
    "kernel's schedstat, idle before and after. It holds on a machine where other things run; requests per second and "
    "latencies hold less. Noise only adds, so the best round counts; a thin line above a point reaches to the worst "
    "round. All subjects stand in front of the same origins and take turns within every round. The relay copies bytes "
    "and does not parse HTTP: less than it costs is hardly possible without splice. The load is closed: each "
    "connection sends its next request when the answer came."
)


def variables(which):
    return " ".join(f"--s-{name.replace('+', '-')}: {colours[which]};" for name, colours in COLOURS.items())


def style():
    return STYLE % (variables(0), variables(1))


def html_table(rows):
    if not rows:
        return ""
    head = "".join(f"<th>{escape(c)}</th>" for c in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def goal_matrix(measured):
    """One line a goal, one column a peer; a cell is "measured ≤ limit"."""
    all_of_them = list(verdicts(with_counted(measured)))
    peers = list(dict.fromkeys(p for p in (*table.PEERS, "itself") for v in all_of_them if v.peer == p))
    rows = {v.work: {} for v in all_of_them}
    for v in all_of_them:
        rows[v.work][v.peer] = v
    return peers, rows


def goal_cell(verdict):
    if verdict is None:
        return "<td></td>"
    kind = {"met": "met", "MISSED": "missed"}.get(verdict.word, "soft")
    sign = {"met": "≤", "MISSED": "&gt;"}.get(verdict.word)
    words = f"{verdict.measured()} {sign} {table.short(verdict.limit)}" if sign else f"{verdict.word}, limit {table.short(verdict.limit)}"
    return f'<td class="{kind}">{words}</td>'


def goals(measured):
    peers, rows = goal_matrix(measured)
    if not rows:
        return ""
    known = [v for cells in rows.values() for v in cells.values() if v.value is not None]
    head = "".join(f"<th>{'absolute' if p == 'itself' else f'of {p}'}</th>" for p in peers)
    body = "".join(f"<tr><td>{escape(w)}</td>{''.join(goal_cell(cells.get(p)) for p in peers)}</tr>" for w, cells in rows.items())
    said = f"{sum(v.word == 'met' for v in known)} of {len(known)} met. rsp's best round divided by the peer's, and the limit that is the goal."
    whole = f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"<h2>Goals</h2><p class=soft>{said}</p>{whole}"


def card(title, drawing, unit=""):
    small = f'<span class="soft">{escape(unit)}</span>' if unit else ""
    return f'<div class="card"><h3>{escape(title)}{small}</h3>{drawing}</div>' if drawing else ""


def section(title, cards, kind=""):
    inside = "".join(cards)
    return f'<h2>{escape(title)}</h2><div class="cards {kind}">{inside}</div>' if inside else ""


def bar_card(scenario, results, labels):
    rows = []
    for subject, label in labels(scenario).items():
        value = table.best(results.get(subject), scenario.figure)
        if value is not None:
            rows.append((subject, label, value, table.short(value)))
    return card(scenario.title, svg.bars(rows), scenario.unit) if rows else ""


def reach(rounds, figure):
    """(best, worst) of a figure, or None."""
    have = table.values(rounds, figure)
    if not have:
        return None
    return (max(have), min(have)) if figure == "per_second" else (min(have), max(have))


def lines_of(sweep, measured, subjects, points_of):
    """{subject: (label, points)} for a plot; `points_of(subject, scenario)` gives (best, worst) or None."""
    lines = {}
    for subject in subjects:
        ends = [(x, points_of(subject, scenario)) for x, scenario in sweep.points]
        points = [(x, *two, f"{x:,} {sweep.axis}: {table.short(two[0])}") for x, two in ends if two]
        if points:
            lines[subject] = (subject, points)
    return lines


def sweep_card(sweep, measured, subjects):
    ends = lambda subject, s: reach(measured.get(s.name, {}).get(subject), s.figure)
    xs = [x for x, s in sweep.points if measured.get(s.name)]
    unit = "requests a second" if sweep.points[0][1].figure == "per_second" else "µs CPU a request"
    return card(sweep.title, svg.curves(lines_of(sweep, measured, subjects, ends), sweep.axis, unit, xs))


def ratio_card(sweep, measured, subjects, peer="haproxy"):
    """The same sweep divided by one peer, point by point: what a factor of 1,000 on the other axis hides."""

    def ends(subject, scenario):
        value = table.ratio(measured.get(scenario.name, {}), subject, peer, scenario.figure)
        return value and (value, value)

    xs = [x for x, s in sweep.points if measured.get(s.name, {}).get(peer)]
    return card(f"The same, divided by {peer}", svg.curves(lines_of(sweep, measured, subjects, ends), sweep.axis, f"times {peer}", xs)) if xs else ""


SHARES = {"p50_us": "50 %", "p75_us": "75 %", "p90_us": "90 %", "p99_us": "99 %", "p999_us": "99.9 %"}


def latency_card(scenario, results, labels):
    lines = {}
    for subject, label in labels(scenario).items():
        have = [(share, table.middle(results.get(subject), f"{share}")) for share in SHARES]
        points = [(share, value, value, f"{SHARES[share]} within {svg.duration(value)}") for share, value in have if value]
        if points:
            lines[subject] = (label, points)
    drawing = svg.curves(lines, "share of the requests", "median of the rounds", list(SHARES), SHARES.get, svg.duration)
    return card(scenario.title, drawing)


def named(subject, words):
    """With the number of its version, if its words have one."""
    number = re.search(r"\d+\.\d+[\w.]*", words)
    return f"{subject} {number.group()}" if number else subject


def legend(subjects):
    marks = "".join(f'<span><i style="background:var(--s-{s.replace("+", "-")})"></i>{escape(words)}</span>' for s, words in subjects.items())
    return f'<div class="legend">{marks}</div>'


def tables(scenarios, sweeps, measured, labels, subjects):
    parts = []
    for s in scenarios:
        parts.append(f"<h3>{escape(s.title)}</h3>{html_table(table.scenario_rows(s, labels(s), measured[s.name]))}")
        parts += [f"<p class=soft>{escape(words)}</p>" for words in table.added(labels(s), measured[s.name])]
    for sweep in sweeps:
        rows = table.sweep_rows(sweep, measured, subjects)
        parts.append(f"<h3>{escape(sweep.title)}</h3>{html_table(rows)}" if len(rows) > 1 else "")
    return "<details open><summary>All figures</summary>" + "".join(parts) + "</details>"


def page(machine, versions, scenarios, sweeps, measured, labels, failed):
    """The whole page. `versions`: subject → its version; `labels(scenario)`: subject → how it is called there."""
    scenarios = [s for s in scenarios if measured.get(s.name)]
    sweeps = [s for s in sweeps if any(measured.get(p.name) for _, p in s.points)]
    subjects = {s: named(s, words) for s, words in versions.items() if any(measured[name].get(s) for name in measured)}
    latencies = [s for s in scenarios if s.kind != "calls" and any(table.values(r, "p50_us") for r in measured[s.name].values())]
    body = [f"<h1>rsp beside its peers</h1><p class=whole>{escape(machine)}</p>", legend(subjects)]
    body += [f'<p class="missed">Not clean: {escape(line)}</p>' for line in failed]
    body += [goals(measured), section("What a request costs", [bar_card(s, measured[s.name], labels) for s in scenarios])]
    body += [section("Curves", [card(s, measured, subjects) for s in sweeps for card in (sweep_card, ratio_card)], "wide")]
    body += [section("Latencies", [latency_card(s, measured[s.name], labels) for s in latencies], "wide")]
    body += [tables(scenarios, sweeps, measured, labels, subjects), f"<h2>How it was measured</h2><p>{escape(HOW)}</p>"]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>rsp beside its peers</title>'
    return f"<!doctype html>\n<html lang=en><head>{head}<style>{style()}</style></head><body>{''.join(body)}</body></html>\n"
