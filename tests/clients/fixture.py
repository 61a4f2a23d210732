"""A target that hands out half an hour of history in one scrape.

Every sample carries its timestamp, so that nobody has to wait for the history to happen, and the
series are chosen for where PromQL is difficult: counters that reset, series with gaps, that begin
late or end early, values at the edges of floating point, histograms of every shape. Nothing is
random: two runs differ only in when the history ends.
"""

import http.server
import math
import threading

STEP_MS = 15_000
STEPS = 120


def value_text(value):
    """A value as the text format writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def counters():
    """(name, labels, value at step) of the counters; no value is a gap."""
    for i, path in enumerate(["/", "/api", "/api/v1", "/a\\\\b\\\"c\\nd", "/ü"]):
        for j, code in enumerate(["200", "404", "500"]):
            labels = f'path="{path}",code="{code}",zone="{"ab"[i % 2]}"'

            def requests(k, i=i, j=j):
                reset = 31 + 7 * i + 11 * j
                missing = (j == 2 and k % 9 > 5) or (i == 3 and 40 < k < 85)
                before = 900.0 if k < reset else 0.0
                return None if missing else before + (k % reset) * (i + 1) * 1.5 + j + (k % 4) * 0.25

            yield "requests_total", labels, requests
    yield "late_total", 'kind="begins"', lambda k: float(5 * k) if k > 100 else None
    yield "late_total", 'kind="ends"', lambda k: float(3 * k) if k < 90 else None
    yield "late_total", 'kind="once"', lambda k: 42.0 if k == 80 else None


def gauges():
    """The gauges."""
    inf = math.inf
    odd = [0.0, -0.0, math.nan, inf, -inf, 1e300, -1e300, 1e-300, 1.5, -1.5, 0.1, 1e17]
    yield "odd", 'kind="cycle"', lambda k: odd[k % len(odd)]
    yield "odd", 'kind="nan"', lambda k: math.nan
    yield "odd", 'kind="big"', lambda k: 1e9 + k * 0.25
    yield "odd", 'kind="mixed"', lambda k: odd[(k + 4) % 12] if k % 3 else float(k)
    yield "level", 'host="h1",disk="a"', lambda k: math.sin(k / 7) * 100
    yield "level", 'host="h1",disk="b"', lambda k: float(k)
    yield "level", 'host="h2",disk="a"', lambda k: -float(k * k) / 3
    yield "level", 'host="h10",disk="a"', lambda k: 7.0
    yield "level", 'host="h2",disk="gap"', lambda k: float(k % 5) if k % 30 < 4 else None
    yield "limit", 'host="h1"', lambda k: 50.0
    yield "limit", 'host="h2"', lambda k: 0.0
    yield "limit", 'host="h3"', lambda k: 1.0
    yield "build", 'host="h1",version="1.2"', lambda k: 1.0
    yield "build", 'host="h2",version="1.3"', lambda k: 1.0
    yield "stamp", 'what="boot"', lambda k: 1709209800.0 + k * 86400 * 11
    yield "quantiles", 'quantile="0.5"', lambda k: k / 10
    yield "quantiles", 'quantile="0.99"', lambda k: k / 3


def histograms():
    """The classic histograms: good ones, and ones that a scrape cannot rule out. Bounds are written as
    obs and Prometheus 3 do, so that an older Prometheus has the same."""
    bounds = ["0.1", "0.5", "1.0", "2.5", "+Inf"]
    for n, handler in enumerate(["a", "b"]):
        for b, bound in enumerate(bounds):
            labels = f'handler="{handler}",le="{bound}"'
            yield "took_seconds_bucket", labels, lambda k, b=b, n=n: float(k * (b + 1) * (n + 1))
        labels = f'handler="{handler}"'
        yield "took_seconds_sum", labels, lambda k, n=n: k * 2.25 * (n + 1)
        yield "took_seconds_count", labels, lambda k, n=n: float(k * 5 * (n + 1))
    for b, bound in enumerate(["-1.0", "0.0", "1.0", "+Inf"]):
        yield "below_bucket", f'le="{bound}"', lambda k, b=b: float(k * b)
    for b, bound in enumerate(["1.0", "2.0", "4.0"]):
        yield "endless_bucket", f'le="{bound}"', lambda k, b=b: float(k * (b + 1))
    for bound, height in ("1.0", 5), ("2.0", 3), ("4.0", 9), ("+Inf", 9):
        yield "uneven_bucket", f'le="{bound}"', lambda k, h=height: float(k * h)
    for bound in "1.0", "bad", "+Inf":
        yield "faulty_bucket", f'le="{bound}"', lambda k: float(k)
    yield "lone_bucket", 'le="+Inf"', lambda k: float(k)
    yield "empty_bucket", 'le="1.0"', lambda k: 0.0
    yield "empty_bucket", 'le="+Inf"', lambda k: 0.0


NAMES = {name for series in (counters(), gauges(), histograms()) for name, _, _ in series}


def exposition(end_ms):
    """The history that ends at a time, in Prometheus' text format."""
    families = {}
    for kind, series in ("counter", counters()), ("gauge", gauges()), ("untyped", histograms()):
        for name, labels, value in series:
            lines = families.setdefault(name, [f"# HELP {name} Help of {name}.", f"# TYPE {name} {kind}"])
            for k in range(STEPS):
                at = end_ms - (STEPS - 1 - k) * STEP_MS
                # Scrapes are never quite regular.
                at += (k * 37) % 11 if kind != "gauge" else 0
                if (v := value(k)) is not None:
                    lines.append(f"{name}{{{labels}}} {value_text(v)} {at}")
    return "\n".join(line for lines in families.values() for line in lines) + "\n"


class Target:
    """The history behind HTTP on a free port: once to each scraper, then only that it is there."""

    def __init__(self, end_ms):
        history = exposition(end_ms)

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers a scrape."""

            given = set()

            def do_GET(self):
                scraper = self.headers.get("User-Agent", "")
                body = "" if scraper in Handler.given else history
                Handler.given.add(scraper)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.end_headers()
                self.wfile.write(f"{body}alive 1\n".encode())

            def log_message(self, *_):
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self):
        """Host and port."""
        return "127.0.0.1:%d" % self.server.server_address[1]

    def close(self):
        """Stops answering."""
        self.server.shutdown()
