"""Figures into tables: best, median and spread over the rounds, and ratios of the best.

Noise on a machine only ever adds, so the best round is the figure that compares; the median and the spread say
how far to believe it.
"""

from statistics import median

PEERS = ("haproxy", "nginx")


def best(rounds, figure):
    values = [r[figure] for r in rounds]
    return max(values) if figure == "per_second" else min(values)


def middle(rounds, figure):
    return median(r[figure] for r in rounds)


def spread(rounds, figure):
    """How far the rounds lie apart, in percent of their median; one round says nothing about that."""
    values = [r[figure] for r in rounds]
    centre = median(values)
    if len(values) < 2 or not centre:
        return None
    return 100 * (max(values) - min(values)) / centre


def errors(rounds):
    total = {}
    for r in rounds:
        for kind, count in r["errors"].items():
            total[kind] = total.get(kind, 0) + count
    return total


def ratio(results, subject, peer):
    if not results.get(subject) or not results.get(peer):
        return None
    return best(results[subject], "cpu_us") / best(results[peer], "cpu_us")


def shown(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


HEAD = ("", "req/s best", "median", "spread", "p50 us", "p99 us", "CPU us best", "median", "spread", "of haproxy", "of nginx")


def row(label, results, subject):
    rounds = results[subject]
    return (
        label,
        f"{best(rounds, 'per_second'):,.0f}",
        f"{middle(rounds, 'per_second'):,.0f}",
        shown(spread(rounds, "per_second"), "{:.0f} %"),
        f"{best(rounds, 'p50_us'):,.0f}",
        f"{best(rounds, 'p99_us'):,.0f}",
        f"{best(rounds, 'cpu_us'):.1f}",
        f"{middle(rounds, 'cpu_us'):.1f}",
        shown(spread(rounds, "cpu_us"), "{:.0f} %"),
        *(shown(ratio(results, subject, peer)) for peer in PEERS),
    )


def columns(rows):
    """Text columns: the first to the left, the others to the right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        yield "  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:]))]).rstrip()


def scenario_table(title, labels, results):
    measured = [s for s in labels if results.get(s)]
    if not measured:
        return f"\n{title}: nothing measured\n"
    lines = ["", title, *columns([HEAD, *(row(labels[s], results, s) for s in measured)])]
    lines += [f"  ERRORS {labels[s]}: {errors(results[s])}" for s in measured if errors(results[s])]
    return "\n".join(lines)


def summary(all_results, subjects):
    """One Markdown table over all scenarios: CPU microseconds of the proxy a request, best round."""
    lines = ["| CPU us a request, best round | " + " | ".join(subjects) + " | rsp / haproxy | rsp / nginx |"]
    lines += ["|---|" + "---|" * (len(subjects) + 2)]
    for title, results in all_results:
        cells = [shown(best(results[s], "cpu_us"), "{:.1f}") if results.get(s) else "-" for s in subjects]
        cells += [shown(ratio(results, "rsp", peer)) for peer in PEERS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
