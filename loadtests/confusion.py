#!/usr/bin/env python3
"""How categories are confused, and how often living recipients are suppressed at once.

    malleposte bounces parse --json FOLDER > predictions
    loadtests/confusion.py predictions labels.jsonl score.py

`score.py` is the one beside the labels: what a source's reason may be called stands there. Prints
two tables for docs/BOUNCES.md. Needs nothing but Python 3.
"""
import collections
import importlib.util
import json
import sys


def main():
    predictions, labels, scorer = sys.argv[1:4]
    spec = importlib.util.spec_from_file_location("score", scorer)
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    told = {row["file"]: row for row in map(json.loads, open(predictions, encoding="utf-8"))}
    truth = collections.defaultdict(collections.Counter)
    living = harmed = 0
    for label in map(json.loads, open(labels, encoding="utf-8")):
        row = told.get(label["file"], {})
        failures = row.get("failures") or []
        if label["kind"] in score.NEVER_A_FAILURE | {"bounce-soft", "delayed"}:
            living += 1
            harmed += any(f["hygiene"] == "suppress" for f in failures)
        also = label.get("category_also") or []
        also = [also] if isinstance(also, str) else also
        given = [label["category"], *also] if label.get("category") else None
        accepted = given or sorted(score.REASON.get(label.get("reason"), []))
        if label["kind"] not in score.FAILURE or not accepted:
            continue
        got = failures[0]["category"] if failures else "not a failure"
        truth[got if got in accepted else accepted[0]][got] += 1
    print("| category | of | right | taken for |\n|---|---|---|---|")
    for category, got in sorted(truth.items(), key=lambda item: -sum(item[1].values())):
        wrong = ", ".join(f"`{name}` {n}" for name, n in got.most_common() if name != category)
        print(f"| `{category}` | {sum(got.values())} | {got[category]} | {wrong} |")
    print(f"\nliving recipients suppressed at once: {harmed} of {living}; ", end="")
    print(f"at most {10_000 * upper(harmed, living):.0f} in 10,000 (95 %, one-sided)")


def upper(wrong, asked):
    """The rate of which so few would be seen in one of twenty tries (Clopper and Pearson)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        term = seen = (1 - rate) ** asked
        for k in range(wrong):
            term *= (asked - k) / (k + 1) * rate / (1 - rate)
            seen += term
        low, high = (rate, high) if seen > 0.05 else (low, rate)
    return high


if __name__ == "__main__":
    main()
