"""Prints random cases for `pipelines.py`: `random_pipelines.py SEED COUNT`.

What Masthead does differently on purpose does not occur: `cased` values, unknown placeholders
under `value_placeholders`, and values set to null where keywords are.
"""

import random
import sys

SEED, COUNT = sys.argv[1:3]
pick = random.Random(int(SEED))
FIELDS = ["f", "g", "h", "a.b", "a.c"]
TEXTS = ["x", "a*b", "x?", "\\*a", "b\\", "C:\\x\\*", "5", "null", "true", "abc", "AbC", "a\\\\*"]
MODIFIERS = [
    *[""] * 4, "|contains", "|startswith", "|endswith", "|neq", "|all", "|expand", "|contains|all",
    "|re", "|fieldref", "|base64offset", "|windash", "|exists", "|gt",
]  # fmt: skip
VALUES = {
    "|re": ["'a.*b'", "'^x'", "'a|b'"],
    "|fieldref": FIELDS,
    "|exists": ["true", "false"],
    "|gt": ["5"],
    "|base64offset": ["'abc'", "'x'"],
    "|windash": ["'-x a'", "'x'"],
    "|expand": ["'%p%'", "'a%p%'", "'%q%x%p%'"],
}
STEPS = """\
field_name_mapping / mapping: {f: g, g: [h, k]}
field_name_mapping / mapping: {f: [a.b, k], a.b: f}
field_name_mapping / mapping: {null: message, g: f}
field_name_prefix / prefix: p.
field_name_suffix / suffix: .s
field_name_prefix_mapping / mapping: {a.: b., f: [x, y]}
drop_detection_item
add_condition / conditions: {f: x, 'n|contains': [a, b]}
add_condition / negated: true / template: true / conditions: {f: '$product-$service$$'}
add_condition / name: s / conditions: {g: 5}
change_logsource / service: other
replace_string / regex: '[ax]' / replacement: '*'
replace_string / regex: '(a)?b' / replacement: '<\\1>\\\\'
replace_string / skip_special: true / regex: 'b|\\\\' / replacement: '\\g<0>?'
replace_string / skip_special: true / interpret_special: true / regex: 'x' / replacement: '\\\\*'
map_string / mapping: {x: [y, 'z*'], abc: '5', 'a*b': []}
value_placeholders
wildcard_placeholders / exclude: [p]
wildcard_placeholders
set_value / value: 7
set_value / value: 'v*'
rule_failure / message: m
detection_item_failure / message: m
set_custom_attribute / attribute: z / value: [1]
nest""".split("\n")
CONDITIONS = {
    "field_name": """\
{type: include_fields, fields: [f, g]}
{type: exclude_fields, fields: [f]}
{type: include_fields, mode: re, fields: ['a\\.', 'x']}
{type: processing_item_applied, processing_item_id: one}""".split("\n"),
    "detection_item": """\
{type: match_string, cond: any, pattern: '.*a'}
{type: match_string, cond: all, pattern: 'x', negate: true}
{type: contains_wildcard, cond: any}
{type: is_null, cond: all}
{type: match_value, cond: any, value: 5}
{type: match_value, cond: any, value: abc}
{type: processing_item_applied, processing_item_id: one}""".split("\n"),
    "rule": """\
{type: logsource, product: kubernetes}
{type: logsource, service: other}
{type: contains_field, field: f}
{type: contains_detection_item, field: f, value: x}
{type: contains_detection_item, field: g, value: 5}
{type: processing_item_applied, processing_item_id: one}
{type: is_sigma_rule}""".split("\n"),
}


def text():
    return "'" + pick.choice(TEXTS) + "'"


def value():
    return pick.choice(["5", "null", "true", *[text() for _ in range(12)]])


def values(one, count_min, count_max):
    return "[" + ", ".join(one() for _ in range(pick.randint(count_min, count_max))) + "]"


def item():
    modifier = pick.choice(MODIFIERS)
    if modifier in VALUES:
        found = pick.choice(VALUES[modifier])
    elif modifier in ("", "|neq"):
        found = pick.choice([value(), values(value, 1, 3)])
    else:
        found = values(text, 2, 3)
    return f"'{pick.choice(FIELDS)}{modifier}': {found}"


def mapping():
    items = {entry.split(": ")[0]: entry for entry in (item() for _ in range(pick.randint(1, 3)))}
    return "{" + ", ".join(items.values()) + "}"


def selection():
    return pick.choice([values(text, 2, 2), values(mapping, 2, 2), *[mapping() for _ in range(6)]])


def conditions(sort):
    if pick.random() > 0.35:
        return []
    found = [pick.choice(CONDITIONS[sort]) for _ in range(pick.randint(1, 2))]
    lines = [f"{sort}_conditions: [{', '.join(found)}]"]
    how = pick.random()
    if how < 0.25:
        named = ", ".join(f"c{index}: {condition}" for index, condition in enumerate(found))
        lines = [f"{sort}_conditions: {{{named}}}"]
        two = ["c0 and not c1", "not (c0 or c1)", "c0 or c1"]
        lines.append(f"{sort}_cond_expr: {pick.choice(two) if len(found) == 2 else 'not c0'}")
    elif how < 0.5:
        lines.append(f"{sort}_cond_op: {pick.choice(['or', 'and'])}")
    return lines + ["rule_cond_not: true".replace("rule", sort)] * (pick.random() < 0.2)


def step(is_nested):
    kind, *lines = pick.choice(STEPS[:-1] if is_nested else STEPS).split(" / ")
    if kind == "nest":
        lines = ["items:", *listed(step(True)), *listed(step(True)), *conditions("rule")]
    else:
        lines += [line for sort in CONDITIONS for line in conditions(sort)]
    ids = [f"id: {pick.choice(['one', 'two'])}"] * (pick.random() < 0.4)
    return [f"type: {kind}", *ids, *lines]


def listed(lines):
    return [("  " if index else "- ") + line for index, line in enumerate(lines)]


def case(number):
    steps = [line for _ in range(pick.randint(1, 4)) for line in listed(step(False))]
    names = pick.choice([["s"], ["s", "t"]])
    selections = [f"  {name}: {selection()}" for name in names]
    one, two = ["s", "not s", "1 of s*"], ["s and t", "s or not t", "1 of them", "all of them", "not (s and t)"]
    return "\n".join(
        [
            f"=== {number}",
            *["--- pipeline", "vars: {p: [one, 'tw*'], q: 7}", "transformations:", *steps],
            *["--- rule", "fields: [f, h]", "detection:", *selections],
            f"  condition: {pick.choice(two if len(names) == 2 else one)}",
            *["--- pysigma", "error", ""],
        ]
    )


print("Random cases.\n")
print("\n".join(case(number) for number in range(int(COUNT))))
