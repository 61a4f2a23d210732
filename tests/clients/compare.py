"""The same PromQL at the same instants to obs and to a Prometheus: what differs.

Prometheus before 3.0 takes in samples exactly at the left end of a range; the instants are chosen
so that no sample lies there. It also extrapolates a counter that just began a little further; the
live series are asked about only when they are old enough.
"""

import concurrent.futures
import json
import math
import re

from processes import ask

RELATIVE_TOLERANCE = 1e-9


def same_number(left, right):
    """Whether two sample values as text mean the same, rounding aside."""
    a, b = float(left), float(right)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)


def difference(query, expected, actual):
    """What differs between two answers, or None."""
    if expected["status"] != actual["status"]:
        return f"{expected.get('error', 'success')!r} against {actual.get('error', 'success')!r}"
    if expected["status"] == "error":
        left, right = expected["errorType"], actual["errorType"]
        if left == right:
            return None
        return f"{left} ({expected['error']}) against {right} ({actual['error']})"
    left, right = expected["data"], actual["data"]
    if left["resultType"] != right["resultType"]:
        return f"{left['resultType']} against {right['resultType']}"
    if left["resultType"] == "string":
        return None if left["result"] == right["result"] else f"{left} against {right}"
    if left["resultType"] == "scalar":
        return samples_difference([left["result"]], [right["result"]])
    return series_difference(query, left["result"], right["result"])


def series_difference(query, left, right):
    """What differs between two vectors or matrices, or None."""

    def key(series):
        return json.dumps(series["metric"], sort_keys=True)

    ordered = re.match(r"(sort|topk|bottomk)", query) and "values" not in (left or [{}])[0]
    # Equal values and NaN have no order among each other.
    values = [series["value"][1] for series in left] if ordered else []
    if not ordered or "NaN" in values or len(set(values)) < len(values):
        left, right = sorted(left, key=key), sorted(right, key=key)
    names, others = [key(s) for s in left], [key(s) for s in right]
    if names != others:
        only = [n for n in names if n not in others], [n for n in others if n not in names]
        return f"{len(names)} against {len(others)} series, only here: {only[0][:2]} | {only[1][:2]}"
    for a, b in zip(left, right):
        found = samples_difference(a.get("values") or [a["value"]], b.get("values") or [b["value"]])
        if found:
            return f"{key(a)}: {found}"
    return None


def samples_difference(left, right):
    """What differs between two lists of samples, or None."""
    times, others = [t for t, _ in left], [t for t, _ in right]
    if times != others:
        only = [t for t in times if t not in others], [t for t in others if t not in times]
        return f"{len(left)} against {len(right)} samples, only here: {only[0][:5]} | {only[1][:5]}"
    for (at, a), (_, b) in zip(left, right):
        if not same_number(a, b):
            return f"at {at}: {a} against {b}"
    return None


def compare(prometheus, obs, requests):
    """Puts each (query, path, parameters) to both; the differences as text."""

    def put(request):
        query, path, parameters = request
        parameters = {"query": query, **parameters}
        # Prometheus 3 has this function by another name.
        renamed = {**parameters, "query": query.replace("holt_winters(", "double_exponential_smoothing(")}
        found = difference(query, ask(prometheus, path, parameters), ask(obs, path, renamed))
        return found and f"DIFFERENT {query}\n  {path} {parameters}\n  {found}"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return [found for found in pool.map(put, requests) if found]


def requests(queries, job, instants, ranges):
    """Every query at every instant and over every range of (start, end, step)."""
    for query in queries:
        query = query.replace("$J", f'job="{job}"').replace("$T", str(instants[0] - 5))
        for at in instants:
            yield query, "/api/v1/query", {"time": at}
        for start, end, step in ranges:
            yield query, "/api/v1/query_range", {"start": start, "end": end, "step": step}


def quiet_instant(prometheus, before):
    """A time at or shortly before `before` whose milliseconds no sample shares."""
    parameters = {"query": "up[5m]", "time": before + 60}
    matrix = ask(prometheus, "/api/v1/query", parameters)["data"]["result"]
    taken = {round(t * 1000) % 1000 for series in matrix for t, _ in series["values"]}
    free = next(ms for ms in range(3, 1000, 7) if ms not in taken)
    return int(before) - 1 + free / 1000
