"""The files of a run: a CSV with one line a round, and all of it as JSON."""

import csv
import json

FIGURES = ("requests", "per_second", "cpu_us", "p50_us", "p75_us", "p90_us", "p99_us", "p999_us", "direct_us", "calls", "bytes", "held_ms")
COLUMNS = ("group", "scenario", "x", "subject", "round", *FIGURES, "errors")


def lines(groups, measured):
    """One dict a round. `groups`: (name, [(x, scenario)]), where x is empty outside sweeps."""
    for group, points in groups:
        for x, scenario in points:
            for subject, rounds in measured.get(scenario.name, {}).items():
                for number, figures in enumerate(rounds, 1):
                    yield line(group, scenario.name, x, subject, number, figures)


def line(group, scenario, x, subject, number, figures):
    made = {"group": group, "scenario": scenario, "x": x, "subject": subject, "round": number}
    for name in FIGURES:
        value = figures.get(name)
        made[name] = "" if value is None else round(value, 3)
    made["errors"] = " ".join(f"{kind}={count}" for kind, count in figures["errors"].items())
    return made


def write_csv(path, groups, measured):
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(lines(groups, measured))


def write_json(path, here, versions, groups, measured, failed):
    scenarios = {s.name: {"group": group, "x": x, "title": s.title, "results": measured[s.name]} for group, points in groups for x, s in points if s.name in measured}
    whole = {"machine": here, "versions": versions, "scenarios": scenarios, "failed": failed}
    path.write_text(json.dumps(whole, indent=1) + "\n")
