"""Expressions put together from parts: every function, aggregator and operator over the series of
the fixture, with windows, offsets, `@`, subqueries and groupings. The same ones in every run.
"""

import itertools

# What a selector may be followed by.
SHIFTS = ["", " offset 2m", " offset -90s", " @ $T", " @ end() offset 40s"]
COUNTERS = ["requests_total", "late_total", "took_seconds_bucket"]
GAUGES = ["level", 'level{disk="gap"}', 'odd{kind="big"}', "limit", 'requests_total{code="500"}']
WINDOWS = ["40s", "3m", "11m"]
ON_COUNTERS = ["rate", "increase", "irate", "resets", "changes"]
ON_GAUGES = ["delta", "idelta", "deriv", "changes", "resets"] + [
    f"{what}_over_time"
    for what in ("avg", "min", "max", "sum", "count", "stddev", "stdvar", "last", "present")
]
# Of values at the edges of floating point too.
ON_ODD = [f"{what}_over_time" for what in ("avg", "min", "max", "sum", "count", "last", "present")]
MATH = """abs ceil floor exp ln log2 log10 sqrt sgn round deg rad sin cos tan asin acos atan sinh
cosh tanh asinh acosh atanh minute hour day_of_week day_of_month day_of_year days_in_month month
year timestamp -""".split()
VECTORS = ["level", "odd", "stamp", "limit", "rate(requests_total[2m])", "level > 0", "-level", "level * 2"]
AGGREGATORS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
WITH_PARAMETER = [
    ("topk", "2"),
    ("bottomk", "3"),
    ("topk", "scalar(limit{host='h3'})"),
    ("quantile", "0.3"),
    ("quantile", "0.95"),
    ("count_values", "'v'"),
]
GROUPINGS = ["", "by (host) ", "by (host, disk) ", "without (host) ", "without (disk, code) ", "by (nothing) "]
# Without atan2, which kept the name of its left side before Prometheus 3.
ARITHMETIC = ["+", "-", "*", "/", "%", "^"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
MATCHERS = ['="h1"', '!="h1"', '=~"h1.*"', '!~"h1.*"', '=""', '!=""', '=~""', '=~"h1|h2"', '!~"h1|", disk=~".+"', '=~".*2$"']


def windows():
    """Functions of windows over selectors and subqueries."""
    for function, series, window, shift in itertools.product(ON_COUNTERS, COUNTERS, WINDOWS, SHIFTS):
        yield f"{function}({series}[{window}]{shift})"
    for function, series, window, shift in itertools.product(ON_GAUGES, GAUGES, WINDOWS, SHIFTS):
        yield f"{function}({series}[{window}]{shift})"
    for function, window in itertools.product(ON_ODD, WINDOWS):
        yield f"{function}(odd[{window}])"
    for q, series, window in itertools.product(["0", "0.25", "0.5", "0.99", "1"], GAUGES, WINDOWS):
        yield f"quantile_over_time({q}, {series}[{window}])"
    for ahead, series, window in itertools.product(["60", "-60", "3600", "scalar(limit{host='h1'})"], GAUGES, WINDOWS):
        yield f"predict_linear({series}[{window}], {ahead})"
    for function, series, shift in itertools.product(ON_GAUGES, ["level * 3", "sum by (host) (level)", "rate(requests_total[1m])"], SHIFTS):
        yield f"{function}(({series})[4m:17s]{shift})"
    for a, b, series in itertools.product(["0.1", "0.7"], ["0.2", "0.9"], GAUGES):
        yield f"holt_winters({series}[9m], {a}, {b})"


def values():
    """Functions of values."""
    for function, vector in itertools.product(MATH, VECTORS):
        yield f"{function}({vector})"
    for vector, (a, b) in itertools.product(VECTORS, [("-1", "5"), ("0", "Inf"), ("-Inf", "NaN"), ("5", "-5")]):
        yield f"clamp({vector}, {a}, {b})"
        yield f"clamp_min({vector}, {a}) - clamp_max({vector}, {b})"
    for vector, to in itertools.product(VECTORS, ["0.3", "7", "-2", "1e-3"]):
        yield f"round({vector}, {to})"


def aggregations():
    """Aggregators by and without labels."""
    for aggregator, grouping, vector in itertools.product(AGGREGATORS, GROUPINGS, VECTORS):
        # Since Prometheus 3 the deviation of infinity is NaN also where it is alone.
        if not (aggregator.startswith("std") and vector == "odd"):
            yield f"{aggregator} {grouping}({vector})"
    for (aggregator, parameter), grouping, vector in itertools.product(WITH_PARAMETER, GROUPINGS, VECTORS):
        # Which of equal ones is kept is nobody's promise.
        if vector != "odd" and not ("k" in aggregator and vector in ("limit", "level > 0")):
            yield f"{aggregator} {grouping}({parameter}, {vector})"


def operators():
    """Operators between vectors and numbers."""
    numbers = ["2", "-0.5", "0", "Inf", "NaN", "time() / 1e9"]
    for op, vector, number in itertools.product(ARITHMETIC + COMPARISONS, ["level", "odd", "limit"], numbers):
        yield f"({vector}) {op} {number}"
        yield f"{number} {op} ({vector})"
    for op, vector, number in itertools.product(COMPARISONS, ["level", "odd"], numbers):
        yield f"({vector}) {op} bool {number}"
    sides = [
        ("level", "on (host) group_left", "limit"),
        ("limit", "on (host) group_right", "level"),
        ("level", "ignoring (disk) group_left ()", "limit"),
        ("level", "", "level offset 1m"),
        ("level", "on (host, disk)", "level offset 5m"),
        ("level", "on (host) group_left (version)", "build"),
        ("sum by (host) (level)", "", "limit"),
        ("level > 0", "ignoring (nothing)", "-level"),
    ]
    for op, (left, matching, right) in itertools.product(ARITHMETIC + COMPARISONS, sides):
        yield f"{left} {op} {matching} {right}"
        if op in COMPARISONS:
            yield f"{left} {op} bool {matching} {right}"
    for op, matching, right in itertools.product(["and", "or", "unless"], ["", "on (host)", "ignoring (disk)", "on ()"], ["limit", "level > 10", "build", "nothing"]):
        yield f"level {op} {matching} {right}"
        yield f"{right} {op} {matching} level{{host='h2'}}"


def selectors():
    """Every form of matching."""
    for matcher, shift in itertools.product(MATCHERS, SHIFTS):
        yield f"level{{host{matcher}}}{shift}"
        yield f"{{__name__=~'l.*', host{matcher}}}{shift}"
    for q, grouping in itertools.product(["0.01", "0.5", "0.9", "0.999"], ["le", "le, handler"]):
        yield f"histogram_quantile({q}, sum by ({grouping}) (rate(took_seconds_bucket[3m])))"
        yield f"histogram_quantile({q}, sum by ({grouping}) (below_bucket))"


def expressions():
    """All of them."""
    return itertools.chain(windows(), values(), aggregations(), operators(), selectors())
