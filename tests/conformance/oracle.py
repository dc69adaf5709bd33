#!/usr/bin/env python3
"""Holds the conformance vectors against pySigma.

pySigma parses each rule; what it understood (its condition tree, not a query made from it)
is evaluated here over the events of the vector in the plainest way. Where the outcome is
not what the vector expects, the vector must say why in `differs.pysigma`; a note that is
not needed is a mistake too. Exits with 1 when anything is wrong.

    pip install pysigma==2.0.1
    python3 tests/conformance/oracle.py [files]

pySigma turns correlations into queries and does not say what they mean. Of vectors with
correlations only that is compared: which documents it takes and which it refuses.
Left out is `array_matching`, which pySigma 2.0.1 does not have: to it `list[any]` is the name
of a field.
"""

import json
import re
import sys
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

import yaml
from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation
from sigma.rule.base import SigmaYAMLLoader
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
    TimestampPart,
)

ID = "00000000-0000-4000-8000-00000000000"
HEAD = {"title": "Vector", "id": f"{ID}0", "level": "low"}
LOGSOURCE = {"product": "kubernetes", "service": "audit"}
RELATED = [
    {
        "title": verb,
        "id": f"{ID}{number}",
        "name": verb,
        "logsource": LOGSOURCE,
        "detection": {"selection": {"verb": verb}, "condition": "selection"},
    }
    for number, verb in enumerate(["get", "create", "delete"], start=1)
]
KEYWORDS = (SigmaString, SigmaRegularExpression, SigmaNumber, SigmaBool)
OPERATORS = {
    CompareOperators.LT: lambda left, right: left < right,
    CompareOperators.LTE: lambda left, right: left <= right,
    CompareOperators.GT: lambda left, right: left > right,
    CompareOperators.GTE: lambda left, right: left >= right,
}
TIME_PARTS = {
    TimestampPart.MINUTE: lambda time: time.minute,
    TimestampPart.HOUR: lambda time: time.hour,
    TimestampPart.DAY: lambda time: time.day,
    TimestampPart.WEEK: lambda time: time.isocalendar().week,
    TimestampPart.MONTH: lambda time: time.month,
    TimestampPart.YEAR: lambda time: time.year,
}


class Refused(Exception):
    """The rule cannot be used, though pySigma's parser did not say so yet."""


class VectorLoader(yaml.CSafeLoader):
    """Reads vectors: plain scalars are JSON scalars or texts, whatever the version of YAML."""


VectorLoader.yaml_implicit_resolvers = {}
VectorLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("null$"), ["n"])
VectorLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true$|false$"), ["t", "f"])
VectorLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9]\d*)$"), list("-0123456789")
)
VectorLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"-?(0|[1-9]\d*)(\.\d+([eE][-+]?\d+)?|[eE][-+]?\d+)$"),
    list("-0123456789"),
)


# --- Events ---------------------------------------------------------------------------


def values_of(node, path):
    """Every value at a dotted path: arrays are looked through, keys may contain dots."""
    if isinstance(node, list):
        if not node and path == "":
            yield node
        for element in node:
            yield from values_of(element, path)
    elif path == "":
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            if path == key:
                yield from values_of(value, "")
            elif path.startswith(key + "."):
                yield from values_of(value, path[len(key) + 1 :])


def text_of(value):
    """The text of a scalar; nothing for `null`, objects and lists."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return json.dumps(value)
    return value if isinstance(value, str) else None


def number_of(value):
    """The number that a value is or spells."""
    try:
        return float(text_of(value))
    except (TypeError, ValueError):
        return None


def words_of(node):
    """Every key and every scalar of an event."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from words_of(value)
    elif isinstance(node, list):
        for element in node:
            yield from words_of(element)
    elif text_of(node) is not None:
        yield text_of(node)


# --- Values of rules ------------------------------------------------------------------


def is_spelled(pattern, text, is_keyword=False):
    """Whether a text is what a `SigmaString` spells; for keywords: contains it."""
    wildcards = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    expression = "".join(
        wildcards[part] if isinstance(part, SpecialChars) else re.escape(part) for part in pattern.s
    )
    flags = re.DOTALL if isinstance(pattern, SigmaCasedString) else re.DOTALL | re.IGNORECASE
    return bool((re.search if is_keyword else re.fullmatch)(expression, text, flags))


def is_found(expression, text):
    flags = 0
    for flag in expression.flags:
        flags |= SigmaRegularExpression.sigma_to_python_flags[flag]
    return bool(re.search(str(expression.regexp), text, flags))


def is_inside(network, text):
    try:
        return ip_address(text) in network
    except ValueError:
        return False


def time_part(part, text):
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return TIME_PARTS[part](time.astimezone(timezone.utc))


def compares(test, value):
    number = test.number
    if isinstance(number, SigmaTimestampPart):
        left = time_part(number.timestamp_part, text_of(value) or "")
    else:
        left = number_of(value)
    return left is not None and OPERATORS[test.op](left, number.number)


def is_number(number, value):
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value == number
    return text_of(value) == str(number)


def relates(reference, value, other):
    value, other = text_of(value), text_of(other)
    if value is None or other is None:
        return False
    value, other = value.lower(), other.lower()
    if reference.starts_with and reference.ends_with:
        return other in value
    if reference.starts_with:
        return value.startswith(other)
    if reference.ends_with:
        return value.endswith(other)
    return value == other


def holds(test, values, event):
    """Whether a test of a field holds for any of its values."""
    if isinstance(test, SigmaExpansion):
        return any(holds(value, values, event) for value in test.values)
    if isinstance(test, SigmaExists):
        return bool(values) == test.exists
    if isinstance(test, SigmaNull):
        return not values or any(value is None for value in values)
    if isinstance(test, SigmaFieldReference):
        others = list(values_of(event, test.field))
        return any(relates(test, value, other) for value in values for other in others)
    return any(holds_for(test, value) for value in values)


def holds_for(test, value):
    text = text_of(value)
    if isinstance(test, SigmaCompareExpression):
        return compares(test, value)
    if text is None:
        return False
    if isinstance(test, SigmaTimestampPart):
        return time_part(test.timestamp_part, text) == test.number
    if isinstance(test, SigmaNumber):
        return is_number(test.number, value)
    if isinstance(test, SigmaBool):
        return text.lower() == ("true" if test.boolean else "false")
    if isinstance(test, SigmaRegularExpression):
        return is_found(test, text)
    if isinstance(test, SigmaCIDRExpression):
        return is_inside(test.network, text)
    if isinstance(test, SigmaString):
        return is_spelled(test, text)
    raise TypeError(f"{type(test).__name__} is not understood")


def is_mentioned(test, event):
    """Whether a keyword stands anywhere in an event."""
    if isinstance(test, SigmaExpansion):
        return any(is_mentioned(value, event) for value in test.values)
    if isinstance(test, SigmaString):
        return any(is_spelled(test, word, True) for word in words_of(event))
    if isinstance(test, SigmaRegularExpression):
        return any(is_found(test, word) for word in words_of(event))
    if isinstance(test, (SigmaNumber, SigmaBool)):
        return any(str(test).lower() in word.lower() for word in words_of(event))
    raise TypeError(f"{type(test).__name__} is not understood")


# --- Conditions -----------------------------------------------------------------------


def is_true(node, event):
    if isinstance(node, ConditionAND):
        return all(is_true(part, event) for part in node.args)
    if isinstance(node, ConditionOR):
        return any(is_true(part, event) for part in node.args)
    if isinstance(node, ConditionNOT):
        return not is_true(node.args[0], event)
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return holds(node.value, list(values_of(event, node.field)), event)
    if isinstance(node, ConditionValueExpression):
        return is_mentioned(node.value, event)
    raise TypeError(f"{type(node).__name__} is not understood")


def check_usable(node):
    """Finds what pySigma says late, when it makes a query: see to it before any event."""
    if isinstance(node, (ConditionAND, ConditionOR, ConditionNOT)):
        for part in node.args:
            check_usable(part)
        return
    for value in node.value.values if isinstance(node.value, SigmaExpansion) else [node.value]:
        parts = value.s if isinstance(value, SigmaString) else getattr(value, "regexp", SigmaString()).s
        if any(isinstance(part, Placeholder) for part in parts):
            raise Refused("an unresolved placeholder")
        if isinstance(node, ConditionValueExpression) and not isinstance(value, KEYWORDS):
            raise Refused(f"a keyword cannot be a {type(value).__name__}")


# --- Vectors --------------------------------------------------------------------------


def documents_of(vector):
    """The documents as pySigma's loader for single rules reads them: it sees duplicate keys."""
    if "rule" in vector:
        return [document for document in yaml.load_all(vector["rule"], SigmaYAMLLoader) if document]
    if "correlation" in vector:
        return [*RELATED, {**HEAD, "correlation": yaml.load(vector["correlation"], SigmaYAMLLoader)}]
    return [{**HEAD, "logsource": LOGSOURCE, "detection": yaml.load(vector["detection"], SigmaYAMLLoader)}]


def conditions_of(vector):
    """The condition trees of each rule; raises an exception when pySigma has none."""
    collection = SigmaCollection.from_dicts(documents_of(vector))
    collection.resolve_rule_references()
    rules = [rule for rule in collection.rules if not isinstance(rule, SigmaCorrelationRule)]
    if not collection.rules:
        raise Refused("no rule")
    if vector.get("lists"):
        items = [ProcessingItem(ValueListPlaceholderTransformation())]
        for rule in rules:
            ProcessingPipeline(items=items, vars=vector["lists"]).apply(rule)
    trees = {
        rule.name or rule.title: [condition.parsed for condition in rule.detection.parsed_condition]
        for rule in rules
    }
    for conditions in trees.values():
        for condition in conditions:
            check_usable(condition)
    return trees


def has_correlation(vector):
    """Whether a vector relates rules: what that means pySigma does not say."""
    if "correlation" in vector:
        return True
    return any(line.startswith("correlation:") for line in vector.get("rule", "").splitlines())


def outcome_of(vector):
    """Which events each rule matches, or why pySigma refuses the rules."""
    try:
        trees = conditions_of(vector)
    except (SigmaError, yaml.YAMLError, Refused) as error:
        return f"refused: {error}"
    except (AttributeError, KeyError, TypeError, ValueError, re.error) as error:
        # pySigma stumbles over some rules instead of refusing them.
        return f"refused: {type(error).__name__}: {error}"
    return {
        name: {
            number
            for number, event in enumerate(vector.get("events", []))
            if any(is_true(condition, event) for condition in conditions)
        }
        for name, conditions in trees.items()
    }


def agrees(vector, outcome):
    if vector.get("error"):
        return isinstance(outcome, str)
    if isinstance(outcome, str):
        return False
    if has_correlation(vector):
        return True
    expected = vector["match"]
    if isinstance(expected, dict):
        return outcome == {name: set(events) for name, events in expected.items()}
    return list(outcome.values()) == [set(expected)]


def complaint_about(vector):
    """What is wrong with a vector, if anything."""
    outcome = outcome_of(vector)
    note = vector.get("differs", {}).get("pysigma")
    if agrees(vector, outcome):
        return "`differs.pysigma` is not needed" if note else None
    if note:
        return None
    return f"expected {'a refusal' if vector.get('error') else vector['match']}, pySigma: {outcome}"


def main(arguments):
    paths = [Path(path) for path in arguments] or sorted(Path(__file__).parent.glob("*.yml"))
    is_sound = True
    totals = [0, 0]
    print(f"{'group':32} vectors  differ")
    for path in paths:
        if path.stem == "array_matching":
            continue
        vectors = yaml.load(path.read_text(encoding="utf-8"), VectorLoader)
        differing = sum("pysigma" in vector.get("differs", {}) for vector in vectors)
        totals = [totals[0] + len(vectors), totals[1] + differing]
        print(f"{path.stem:32} {len(vectors):7}  {differing:6}")
        for vector in vectors:
            complaint = complaint_about(vector)
            if complaint:
                is_sound = False
                print(f"  {vector['name']}: {complaint}")
    print(f"{'total':32} {totals[0]:7}  {totals[1]:6}")
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
