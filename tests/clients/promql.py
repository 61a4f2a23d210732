"""obs beside Debian's Prometheus: remote write from it, the same answers, promtool, scraping.

    promql.py OBS_BINARY

Both scrape a target with a prepared history; Prometheus also scrapes itself and obs, and writes what
it takes in to obs. Then both are asked the same things, over the API and with promtool. Any difference fails.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import compare
import queries
from generated import expressions
from fixture import NAMES, STEP_MS, STEPS, Target
from processes import DEADLINE, Programs, ask, wait_for

# The history is given once, and is much: a busy machine has time for it.
# Remote write leaves out what is older than the start of Prometheus, so both scrape the history.
OBS_CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
- {job_name: history, scrape_interval: 10s, scrape_timeout: 10s, static_configs: [{targets: ['$HISTORY']}]}
"""
PROMETHEUS_CONFIG = OBS_CONFIG + """
- {job_name: prom, static_configs: [{targets: ['$SELF']}]}
- {job_name: peer, static_configs: [{targets: ['$OBS']}]}
remote_write:
- url: 'http://$OBS/api/v1/write'
  send_exemplars: true
  queue_config: {batch_send_deadline: 1s, max_shards: 1}
  metadata_config: {send_interval: 2s}
"""

# How long the live series must be before they are asked about: what the longest query reaches
# back from the beginning of the range.
LIVE_RANGE_SECONDS = 10
LIVE_SECONDS = LIVE_RANGE_SECONDS + 22

failures = []


def fail(text):
    """Notes and tells a failure."""
    failures.append(text)
    print(text, flush=True)


def step(what, found):
    """Tells what one part found."""
    for text in found:
        fail(text)
    print(f"{what}: {len(found)} differences", flush=True)


def vector(base, query, **parameters):
    """The samples of an instant query."""
    answer = ask(base, "/api/v1/query", {"query": query, **parameters})
    return answer["data"]["result"]


def touch(prometheus):
    """Makes Prometheus' own request counters begin, so that they are old when asked about; also those of
    queries that fail, whether there is data yet or not."""
    for query in "up", "sum(", "vector(1) + on () (label_replace(vector(1), 'a', 'x', '', '') or vector(1))":
        end = time.time()
        ask(prometheus, "/api/v1/query", {"query": query})
        ask(prometheus, "/api/v1/query_range", {"query": query, "start": end, "end": end, "step": 1})
    for path in "labels", "series", "label/job/values", "metadata", "targets":
        ask(prometheus, f"/api/v1/{path}")
        ask(prometheus, f"/api/v1/{path}", {"match[]": "up"})


def history(prometheus, obs, end):
    """Compares the prepared history; first where it is in memory, then from files."""
    query = " + ".join(f"sum(count_over_time({name}[1h]))" for name in sorted(NAMES))
    wanted = wait_for("the history in Prometheus", lambda: vector(prometheus, query, time=end))[0]["value"][1]
    wait_for("the history in obs", lambda: vector(obs, query, time=end)[0]["value"][1] == wanted)
    whole = end - STEPS * STEP_MS / 1000 - 60
    asked = list(
        compare.requests(
            queries.HISTORY + queries.REFUSED,
            "history",
            (end, end - 299.9, end - 1010),
            ((whole, end, 15), (whole + 3, end, 60), (end - 300, end - 200, 1)),
        )
    )
    step(f"{len(asked)} requests about history in memory", compare.compare(prometheus, obs, asked))
    ask(obs, "/api/v1/admin/storage/flush", method="POST")
    step(f"{len(asked)} requests about history in files", compare.compare(prometheus, obs, asked))


def refusals(prometheus, obs):
    """What is wrong with a query is told in the same words, but where Prometheus 3 has others."""
    found = []
    for query in queries.REFUSED:
        parameters = {"query": query, "time": 1}
        left, right = (ask(base, "/api/v1/query", parameters).get("error") for base in (prometheus, obs))
        if left != right and query not in queries.TOLD_OTHERWISE:
            found.append(f"DIFFERENT {query}\n  {left}\n  {right}")
    step(f"{len(queries.REFUSED)} refusals", found)


def generated(prometheus, obs, end):
    """Compares expressions that are put together from parts. Late, since those that fail begin
    counters of Prometheus, which extrapolates them differently."""
    asked = list(compare.requests(expressions(), "history", (end - 299.9,), ((end - 1200, end, 73),)))
    step(f"{len(asked)} generated requests", compare.compare(prometheus, obs, asked))


def live(prometheus, obs, began):
    """Compares what Prometheus says about itself, as it came in."""
    at = compare.quiet_instant(prometheus, max(time.time(), began + LIVE_SECONDS) - 2)
    wait_for(
        "live samples in obs",
        lambda: min(
            float(vector(base, 'timestamp(go_goroutines{job="prom"})')[0]["value"][1]) for base in (prometheus, obs)
        )
        > at + 3,
        LIVE_SECONDS + DEADLINE,
    )
    span = LIVE_RANGE_SECONDS
    asked = list(
        compare.requests(
            queries.LIVE, "prom", (at, at - 7), ((at - span, at, 1), (at - span, at, 3), (at - span, at, 10))
        )
    )
    step(f"{len(asked)} live requests", compare.compare(prometheus, obs, asked))
    return at


def lists(prometheus, obs):
    """Compares labels, values, series and metadata."""
    found = []
    asked = 0
    selectors = [
        ['{job="history"}'],
        ['{job="prom"}', 'level{host!="h1"}'],
        ['requests_total{path=~"(?s).*c.*"}', 'up{job="history"}'],
        ['nothing{a="b"}'],
    ]
    paths = ["/api/v1/labels", "/api/v1/series"]
    paths += [f"/api/v1/label/{name}/values" for name in ("__name__", "job", "path", "le", "nothing")]
    for match in selectors:
        for path in paths:
            asked += 1
            left, right = (ask(base, path, {"match[]": match}) for base in (prometheus, obs))
            key = lambda item: sorted(item.items()) if isinstance(item, dict) else item
            if sorted(left["data"], key=key) != sorted(right["data"], key=key):
                found.append(f"DIFFERENT {path} {match}\n  {left['data'][:9]}\n  {right['data'][:9]}")
    for path in "/api/v1/series", "/api/v1/labels?match[]=", "/api/v1/labels?match[]={}", "/api/v1/series?match[]=up[1m]":
        asked += 1
        path, _, match = path.partition("?match[]=")
        left, right = (ask(base, path, {"match[]": match} if match else {}) for base in (prometheus, obs))
        if (left["status"], left.get("errorType")) != (right["status"], right.get("errorType")):
            found.append(f"DIFFERENT {path} {match!r}\n  {left}\n  {right}")
    known = ask(prometheus, "/api/v1/metadata")["data"]
    wait_for("metadata in obs", lambda: set(known) <= set(ask(obs, "/api/v1/metadata")["data"]))
    taken = ask(obs, "/api/v1/metadata")["data"]
    for name, meta in known.items():
        asked += 1
        missing = [one for one in meta if one not in taken[name]]
        if missing:
            found.append(f"DIFFERENT metadata of {name}: {missing} against {taken[name]}")
    step(f"{asked} lists and metadata", found)


def promtool(prometheus, obs, end):
    """Compares what promtool prints for both."""
    found = []

    def run(*arguments):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=DEADLINE)
        return done.returncode, sorted(done.stdout.splitlines()), done.stderr

    start = end - 600
    commands = [
        ("query", "instant", f"--time={end}", "URL", "level"),
        ("query", "instant", "-o", "json", f"--time={end}", "URL", "sum by (code) (rate(requests_total[5m]))"),
        ("query", "instant", f"--time={end}", "URL", "scalar(limit{host='h1'})"),
        ("query", "instant", "URL", "sum("),
        ("query", "range", f"--start={start}", f"--end={end}", "--step=60s", "URL", "rate(requests_total[5m])"),
        ("query", "series", "--match=level", "--match=limit", f"--start={int(start)}", f"--end={int(end)}", "URL"),
        ("query", "labels", f"--start={int(start)}", f"--end={int(end)}", "URL", "host"),
    ]
    for command in commands:
        left, right = (run(*(base if a == "URL" else a for a in command)) for base in (prometheus, obs))
        if left[:2] != right[:2]:
            found.append(f"DIFFERENT promtool {' '.join(command)}\n  {left}\n  {right}")
    step(f"{len(commands)} promtool commands", found)


def expositions(binary, prometheus, obs, address):
    """Prometheus scrapes obs without complaint; promtool finds nothing in what obs exposes."""
    found = []

    def active():
        return ask(prometheus, "/api/v1/targets", {"state": "active"})["data"]["activeTargets"]

    # A scrape may take longer than it has time on a busy machine; another one does not.
    faults = {}

    def all_up():
        targets = active()
        faults.update({t["scrapeUrl"]: t["lastError"] for t in targets if t["health"] != "up"})
        return all(t["health"] == "up" for t in targets) and targets

    try:
        targets = wait_for("targets that are up", all_up)
    except SystemExit:
        targets = active()
        found += [f"FAILED scrape of {url}: {error}" for url, error in faults.items()]
    if not any(address in t["scrapeUrl"] for t in targets):
        found.append(f"FAILED: {address} is not among the targets")
    own = subprocess.run(["curl", "-sf", f"{obs}/metrics"], capture_output=True, check=True).stdout
    once = subprocess.run([binary, "node-exporter", "--once"], capture_output=True, check=True).stdout
    for what, text in ("/metrics", own), ("node-exporter --once", once):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=DEADLINE)
        # node_exporter's own names, which it has had for ever.
        ignored = (b"metric names should be written in 'snake_case' not 'camelCase'", b"node_entropy_")
        lines = done.stdout.splitlines() + done.stderr.splitlines()
        told = [line for line in lines if not any(part in line for part in ignored)]
        if told or len(text.splitlines()) < 50:
            found.append(f"FAILED promtool check metrics of {what}: {len(text)} bytes, {told}")
    step("expositions", found)


def main():
    """Runs everything; the exit status."""
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        print("skipped: prometheus is not installed")
        return 0
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        # A quarter off the second: subqueries evaluate at whole seconds, where no sample may lie.
        end = int(time.time()) - 5 + 0.25
        target = Target(int(end * 1000))
        obs, addresses = programs.obs(binary, OBS_CONFIG.replace("$HISTORY", target.address))
        config = PROMETHEUS_CONFIG.replace("$HISTORY", target.address)
        prometheus = programs.prometheus(config.replace("$OBS", addresses["http"]))
        touch(prometheus)
        began = time.time()
        # Half a second behind the last sample: nothing of the history shares its milliseconds.
        history(prometheus, obs, end + 0.503)
        lists(prometheus, obs)
        promtool(prometheus, obs, end + 0.503)
        refusals(prometheus, obs)
        live(prometheus, obs, began)
        generated(prometheus, obs, end + 0.503)
        expositions(binary, prometheus, obs, addresses["http"])
        target.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
