"""Writes down what pySigma makes of the pipelines in `detect/tests/data/pipelines.txt`.

    pip install pysigma==2.0.1
    python tests/conformance/pipelines.py           # rewrites the `--- pysigma` lines
    python tests/conformance/pipelines.py --check   # fails where one would change

Or of random ones, which a test then compares (the seed and how many there are come last):

    python tests/conformance/random_pipelines.py 1 2000 > random.txt
    python tests/conformance/pipelines.py random.txt
    MASTHEAD_PIPELINES=$PWD/random.txt cargo test -p masthead-detect --test sigma_pipelines random

Each case begins with `=== name` and has one or more parts `--- pipeline`, one `--- rule`
and one `--- pysigma`: the rule as JSON after the pipelines, or `error`. Where Masthead means
something else on purpose, `--- masthead` follows with a line that starts with `#` and says why.
`cargo test -p masthead-detect --test sigma_pipelines` holds the same cases to Masthead.
"""

import json
import sys
from pathlib import Path

from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.processing.resolver import ProcessingPipelineResolver
from sigma.types import (
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
    SpecialChars,
)

FILES = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("--")]
CASES = (FILES or [Path(__file__).parents[2] / "detect/tests/data/pipelines.txt"])[0]
HEADER = "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001\n"
LOGSOURCE = "logsource: {product: kubernetes, service: audit}\n"


def string(value):
    def escape(text):
        return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")

    parts = []
    for part in value.s:
        if isinstance(part, str):
            parts.append(escape(part))
        elif isinstance(part, Placeholder):
            raise SigmaError(f"placeholder {part.name} is left")
        else:
            star = "*" if part == SpecialChars.WILDCARD_MULTI else "?"
            # Several stars in a row are one.
            if not (star == "*" and parts and parts[-1] == "*"):
                parts.append(star)
    return "".join(parts)


def show(value):
    if isinstance(value, SigmaCasedString):
        return f"cased {string(value)}"
    if isinstance(value, SigmaString):
        return f"text {string(value)}"
    if isinstance(value, SigmaBool):
        return f"text {str(value.boolean).lower()}"
    if isinstance(value, SigmaNumber):
        return f"number {value.number}"
    if isinstance(value, SigmaNull):
        return "null"
    if isinstance(value, SigmaExists):
        return f"exists {str(value.exists).lower()}"
    if isinstance(value, SigmaCIDRExpression):
        return f"cidr {value.cidr}"
    if isinstance(value, SigmaRegularExpression):
        if value.contains_placeholder():
            raise SigmaError("a placeholder is left")
        flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
        return f"regex {flags} {value.regexp}"
    if isinstance(value, SigmaFieldReference):
        anchor = {(False, False): "whole", (True, False): "start", (False, True): "end", (True, True): "anywhere"}
        return f"field {anchor[(value.starts_with, value.ends_with)]} {value.field}"
    if isinstance(value, SigmaCompareExpression):
        names = {"LT": "less", "LTE": "lessorequal", "GT": "greater", "GTE": "greaterorequal"}
        return f"{names[value.op.name]} {value.number}"
    raise TypeError(type(value))


def leaf(field, value):
    if isinstance(value, SigmaExpansion):
        return join("any", [leaf(field, part) for part in value.values])
    if field is None and isinstance(value, SigmaNumber):
        value = SigmaString(str(value))  # Keywords are looked for as texts.
    return f"{'keyword' if field is None else field}: {show(value)}"


def join(how, parts):
    flat = []
    for part in parts:
        if isinstance(part, dict) and how in part:
            flat.extend(part[how])
        elif part is not None:
            flat.append(part)
    if len(flat) < 2:
        return flat[0] if flat else None
    return {how: flat}


def tree(node):
    if node is None:
        return None
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return leaf(node.field, node.value)
    if isinstance(node, ConditionValueExpression):
        return leaf(None, node.value)
    if isinstance(node, ConditionNOT):
        part = tree(node.args[0]) if node.args else None
        return None if part is None else {"not": part}
    if isinstance(node, (ConditionAND, ConditionOR)):
        return join("all" if isinstance(node, ConditionAND) else "any", [tree(arg) for arg in node.args])
    raise TypeError(type(node))


def outcome(pipelines, text):
    try:
        resolver = ProcessingPipelineResolver()
        parsed = [ProcessingPipeline.from_yaml(pipeline) for pipeline in pipelines]
        for index, pipeline in enumerate(parsed):
            resolver.pipelines[str(index)] = pipeline
        merged = resolver.resolve([str(index) for index in range(len(parsed))])
        text = HEADER + ("" if "logsource:" in text else LOGSOURCE) + text
        rule = SigmaCollection.from_yaml(text).rules[0]
        merged.apply(rule)
        condition = join("any", [tree(condition.parsed) for condition in rule.detection.parsed_condition])
        if condition is None:
            return "error"
        logsource = {
            key: getattr(rule.logsource, key)
            for key in ("category", "product", "service")
            if getattr(rule.logsource, key) is not None
        }
        return json.dumps(
            {"condition": condition, "custom": rule.custom_attributes, "logsource": logsource},
            sort_keys=True,
            ensure_ascii=False,
        )
    except (SigmaError, ValueError) as error:
        print(f"  {type(error).__name__}: {error}", file=sys.stderr)
        return "error"


def main():
    blocks = CASES.read_text(encoding="utf-8").split("=== ")
    changed, count, out = [], 0, [blocks[0]]
    for block in blocks[1:]:
        name, *parts = block.split("\n--- ")
        print(name.strip(), file=sys.stderr)
        titled = [part.split("\n", 1) for part in parts]
        pipelines = [text for title, text in titled if title == "pipeline"]
        rule = next(text for title, text in titled if title == "rule")
        found = outcome(pipelines, rule)
        count += 1
        kept = []
        for title, text in titled:
            if title == "pysigma":
                if text.strip() != found:
                    changed.append(name.strip())
                text = found
            kept.append(f"{title}\n{text.rstrip()}")
        out.append("\n--- ".join([name.strip(), *kept]) + "\n\n")
    print(f"{count} cases, {len(changed)} changed: {', '.join(changed)}")
    if "--check" in sys.argv:
        sys.exit(bool(changed))
    CASES.write_text("=== ".join(out).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
