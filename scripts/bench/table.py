"""Figures into tables: best, median and spread over the rounds, and ratios of the best.

Noise only adds to a figure, so the best round is compared; the median and the spread show how reliable it is.
"""

from statistics import median

PEERS = ("rsp-without", "haproxy", "haproxy+splice", "nginx", "relay")


def values(rounds, figure):
    """The rounds' values; rounds without the figure do not count."""
    return [r[figure] for r in rounds or () if r.get(figure) is not None]


def best(rounds, figure):
    if figure == "added_us":  # what the proxy adds to the median of going direct
        through, direct = best(rounds, "p50_us"), best(rounds, "direct_us")
        return None if through is None or direct is None else through - direct
    have = values(rounds, figure)
    if not have:
        return None
    return max(have) if figure == "per_second" else min(have)


def middle(rounds, figure):
    have = values(rounds, figure)
    return median(have) if have else None


def spread(rounds, figure):
    """How far the rounds lie apart, in percent of their median; one round says nothing about that."""
    have = values(rounds, figure)
    centre = median(have) if have else 0
    if len(have) < 2 or not centre:
        return None
    return 100 * (max(have) - min(have)) / abs(centre)


def errors(rounds):
    total = {}
    for r in rounds:
        for kind, count in r["errors"].items():
            total[kind] = total.get(kind, 0) + count
    return total


def ratio(results, subject, peer, figure="cpu_us"):
    mine, theirs = best(results.get(subject), figure), best(results.get(peer), figure)
    if mine is None or theirs is None or theirs <= 0:
        return None
    return mine / theirs


def shown(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def short(value):
    """A figure with as many digits as say something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def head(scenario, peers):
    return ("", "req/s best", "median", "spread", "p50 µs", "p99 µs", f"{scenario.unit} best", "median", "spread", *(f"of {p}" for p in peers))


def compared(scenario):
    """The figure that compares; that of a workers' sweep stands in its own column already."""
    return "cpu_us" if scenario.figure == "per_second" else scenario.figure


def row(scenario, label, results, subject, peers):
    rounds, figure = results[subject], compared(scenario)
    return (
        label,
        shown(best(rounds, "per_second"), "{:,.0f}"),
        shown(middle(rounds, "per_second"), "{:,.0f}"),
        shown(spread(rounds, "per_second"), "{:.0f} %"),
        shown(best(rounds, "p50_us"), "{:,.0f}"),
        shown(best(rounds, "p99_us"), "{:,.0f}"),
        short(best(rounds, figure)),
        short(middle(rounds, figure)),
        shown(spread(rounds, figure), "{:.0f} %"),
        *(shown(ratio(results, subject, peer, figure)) for peer in peers),
    )


def columns(rows):
    """Text columns: the first to the left, the others to the right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        yield "  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:]))]).rstrip()


def scenario_rows(scenario, labels, results):
    """The table of one scenario, its head first; empty if nothing was measured."""
    measured = [s for s in labels if results.get(s)]
    peers = [p for p in PEERS if p in measured]
    return [head(scenario, peers), *(row(scenario, labels[s], results, s, peers) for s in measured)] if measured else []


def scenario_table(scenario, labels, results):
    rows = scenario_rows(scenario, labels, results)
    if not rows:
        return f"\n{scenario.title}: nothing measured\n"
    lines = ["", scenario.title, *columns(rows)]
    lines += [f"  ERRORS {labels[s]}: {errors(rounds)}" for s, rounds in results.items() if errors(rounds)]
    lines += [f"  {words}" for words in added(labels, results)]
    return "\n".join(lines)


def added(labels, results):
    """A sentence about what each proxy adds to going direct, where that was measured."""
    direct = [best(rounds, "direct_us") for rounds in results.values() if values(rounds, "direct_us")]
    if direct:
        each = ", ".join(f"{labels[s]} {shown(best(rounds, 'added_us'), '{:.0f}')}" for s, rounds in results.items())
        yield f"p50 without a proxy {min(direct):.0f} µs; added by {each} µs"


def sweep_rows(sweep, all_results, subjects):
    """One line a subject, one column a point: the figure of its best round."""
    rows = [(sweep.axis, *(f"{x:,}" for x, _ in sweep.points))]
    for subject in subjects:
        cells = [short(best(all_results.get(s.name, {}).get(subject), s.figure)) for _, s in sweep.points]
        if any(cell != "-" for cell in cells):
            rows.append((subject, *cells))
    return rows


def summary(measured, subjects):
    """One Markdown table over all scenarios: the figure of the best round, and rsp's ratios."""
    peers = [p for p in PEERS if p in subjects]
    lines = ["| CPU µs a request (or what is named), best round | " + " | ".join([*subjects, *(f"rsp / {p}" for p in peers)]) + " |"]
    lines += ["|---|" + "---|" * (len(subjects) + len(peers))]
    for scenario, results in measured:
        cells = [short(best(results.get(s), scenario.figure)) for s in subjects]
        cells += [shown(ratio(results, "rsp", peer, scenario.figure)) for peer in peers]
        named = "" if scenario.figure == "cpu_us" else f", {scenario.unit}"
        lines.append(f"| {scenario.title}{named} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
