"""Whether two engines find the same with the same rules."""

import json
from collections import Counter


def of_masthead(path):
    """Which rule found which request, as Masthead tells it."""
    found = set()
    with open(path, encoding="utf-8") as lines:
        for alert in map(json.loads, lines):
            found.update((alert["rule"]["id"], audit_id) for audit_id in alert["audit_ids"])
    return found


def of_rsigma(path):
    """Which rule found which request, as rsigma tells it with `--include-event`."""
    found = set()
    with open(path, encoding="utf-8") as lines:
        for match in map(json.loads, lines):
            found.add((match["rule_id"], match["event"]["auditID"]))
    return found


def differences(ours, theirs, titles):
    """For each rule on which they differ: title, found by both, by the first alone, by the second alone."""
    counts = [Counter(rule for rule, _ in found) for found in (ours & theirs, ours - theirs, theirs - ours)]
    rules = sorted(set(counts[1]) | set(counts[2]), key=lambda rule: titles[rule])
    return [(titles[rule], *(count[rule] for count in counts)) for rule in rules]


def titles(folder):
    """The titles of rules by their ids, read off lines that begin with `title:` and `id:`."""
    found = {}
    for path in sorted(folder.glob("*.yml")):
        lines = dict(line.split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if ": " in line)
        found[lines["id"]] = lines["title"]
    return found
