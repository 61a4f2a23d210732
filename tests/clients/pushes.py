"""Debian's push gateway beside obs: the same requests to both, the same answers and metrics.

    pushes.py OBS_BINARY

Native histograms, which are beyond Debian's version, are looked at in obs alone.
"""

import http.client
import pathlib
import re
import struct
import sys
import tempfile
import time

from processes import DEADLINE, LISTENING, Programs, ask, wait_for

CONFIG = """
obs:
  collector:
    pushgateway: {listen: '127.0.0.1:0', enable_admin_api: true}
"""
TEXT = "text/plain; version=0.0.4"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
failures = []


def varint(number):
    """A number as protobuf writes it."""
    out = bytearray()
    while True:
        more = number > 0x7F
        out.append((number & 0x7F) | (0x80 if more else 0))
        number >>= 7
        if not more:
            return bytes(out)


def field(number, value):
    """A field: bytes and texts, floats, whole numbers."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def delimited(*families):
    """Messages after their lengths."""
    return b"".join(varint(len(one)) + one for one in families)


def native():
    """A native histogram: one in (0.5, 1], two in (1, 2], one around zero."""
    span = field(1, 0) + field(2, 2)
    deltas = varint(2) + varint(2)
    histogram = field(1, 4) + field(2, 6.5) + field(5, 0) + field(6, 0.001) + field(7, 1)
    histogram += field(12, span) + field(13, deltas)
    return field(1, "native_seconds") + field(2, "Native.") + field(3, 4) + field(4, field(7, histogram))


GAUGE = field(1, "from_protobuf") + field(2, "Help.") + field(3, 1) + field(
    4, field(1, field(1, "l") + field(2, "v")) + field(2, field(1, 1.5))
)

HISTOGRAM = """# TYPE took histogram
took_bucket{le="0.5"} 1
took_bucket{le="1"} 2
took_bucket{le="+Inf"} 3
took_sum 4
took_count 3
"""

# (method, path, content type, body)
REQUESTS = [
    ("PUT", "/metrics/job/a", TEXT, "one 1\n# TYPE two counter\n# HELP two Help of two.\ntwo{x=\"y\"} 2\n"),
    ("POST", "/metrics/job/a", TEXT, "three 3\n"),
    ("POST", "/metrics/job/a/instance/i", TEXT, "one 1.5\n"),
    ("PUT", "/metrics/job/a/instance/i/zone/z", TEXT, HISTOGRAM),
    ("PUT", "/metrics/job/s", TEXT, "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.99\"} 2\ns_sum 3\ns_count 4\n"),
    ("PUT", "/metrics/job@base64/L3Zhci90bXA=", TEXT, "slash 1\n"),
    ("PUT", "/metrics/job/b/path@base64/L3Zhcg", TEXT, "slash 1\n"),
    ("PUT", "/metrics/job/b/empty@base64/=", TEXT, "slash 2\n"),
    ("PUT", "/metrics/job/own", TEXT, 'mine{job="other",instance="x"} 1\n'),
    ("PUT", "/metrics/job/p", PROTOBUF, delimited(GAUGE)),
    ("PUT", "/metrics/job/odd", TEXT, "nan NaN\ninf +Inf\nbig 1e300\nsmall -0.000001\nwhole 12345678\nlarge 1e21\n"),
    ("PUT", "/metrics/job/spaces%20and%2Fslash", TEXT, "odd 1\n"),
    ("PUT", "/metrics/job/none", TEXT, ""),
    # What is refused.
    ("PUT", "/metrics/job/bad", TEXT, "no_end 1"),
    ("PUT", "/metrics/job/bad", TEXT, "this is { not\n"),
    ("PUT", "/metrics/job/bad", TEXT, "timed 1 1234567890\n"),
    ("PUT", "/metrics/job/bad", TEXT, "twice 1\ntwice 2\n"),
    ("PUT", "/metrics/job/bad", TEXT, "# TYPE one histogram\none_bucket{le=\"+Inf\"} 1\none_sum 1\none_count 1\n"),
    ("PUT", "/metrics/job/a/b", TEXT, "one 1\n"),
    ("PUT", "/metrics/job/a/not-a-name/b", TEXT, "one 1\n"),
    ("PUT", "/metrics/job/a/x@base64/!!", TEXT, "one 1\n"),
    ("PUT", "/metrics/job/p2", PROTOBUF, b"\x05\x0a\x01"),
    ("POST", "/metrics/job/a", TEXT, "took_count 1\n"),
    # What replaces and deletes.
    ("PUT", "/metrics/job/a", TEXT, "one 7\n"),
    ("DELETE", "/metrics/job/s", None, None),
    ("DELETE", "/metrics/job/never", None, None),
    ("DELETE", "/metrics/job/a/instance/i/zone/z", None, None),
    ("GET", "/metrics/job/a", None, None),
    ("GET", "/-/healthy", None, None),
    ("GET", "/-/ready", None, None),
    ("PUT", "/api/v1/admin/wipe", None, None),
]


def send(address, method, path, kind, body):
    """The status and the body of an answer."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    body = body.encode() if isinstance(body, str) else body
    connection.request(method, path, body, {"Content-Type": kind} if kind else {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def same(what, peer, own):
    """Notes a difference."""
    if peer != own:
        failures.append(what)
        if isinstance(peer, list) and isinstance(own, list):
            peer, own = [one for one in peer if one not in own] or "the same in another order", [one for one in own if one not in peer]
        print(f"FAILED {what}:\n  peer {peer!r}\n  obs  {own!r}", flush=True)


def metrics(address):
    """The page without what tells of the process and of times."""
    text = send(address, "GET", "/metrics", None, None)[1]
    lines = []
    for line in text.splitlines():
        name = line.split()[2] if line.startswith("#") else re.split(r"[{ ]", line)[0]
        if re.match(r"(go|process|pushgateway|promhttp)_", name):
            continue
        if name in ("push_time_seconds", "push_failure_time_seconds") and not line.startswith("#"):
            # Whether there was one, not when.
            line = re.sub(r" [1-9]\S*$", " TIME", line)
        if name in ("push_time_seconds", "push_failure_time_seconds") or "help text" not in line:
            lines.append(line)
    return lines


def groups(address):
    """The API's groups without times, in order."""
    answer = ask(f"http://{address}", "/api/v1/metrics")

    def plain(value, key=""):
        if isinstance(value, dict):
            return {k: plain(v, k) for k, v in value.items() if k != "time_stamp"}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return value

    data = sorted((plain(group) for group in answer["data"]), key=lambda g: str(sorted(g["labels"].items())))
    for group in data:
        for name in ("push_time_seconds", "push_failure_time_seconds"):
            for metric in group.get(name, {}).get("metrics", []):
                metric["value"] = metric["value"] != "0"
    return data


def settled(look, peer, own):
    """What both say; the peer answers a deletion before it is done, so it is asked for a while."""
    for _ in range(100):
        found = look(peer), look(own)
        if found[0] == found[1]:
            break
        time.sleep(0.1)
    return found


def native_histograms(url, address):
    """What Debian's version does not know."""
    status = send(address, "PUT", "/metrics/job/native", PROTOBUF, delimited(native()))
    same("native histogram: status", 200, status[0])

    def query(text):
        result = ask(url, "/api/v1/query", {"query": text})["data"]["result"]
        return [one["value"][1] for one in result]

    wait_for("the native histogram", lambda: query('histogram_count(native_seconds{job="native"})'))
    same("count", ["4"], query('histogram_count(native_seconds{job="native"})'))
    same("sum", ["6.5"], query('histogram_sum(native_seconds{job="native"})'))
    same("half", ["0.5"], query('histogram_fraction(1, 2, native_seconds{job="native"})'))


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    gateway = sys.argv[2] if len(sys.argv) > 2 else "prometheus-pushgateway"
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        url, addresses = programs.obs(binary, CONFIG)
        own = addresses["pushgateway"]
        peer = programs.start(
            "pushgateway",
            [gateway, "--web.listen-address=127.0.0.1:0", "--web.enable-admin-api", f"--persistence.file={folder}/metrics"],
            LISTENING,
        )
        wait_for("the peer", lambda: send(peer, "GET", "/-/ready", None, None)[0] == 200)
        for n, request in enumerate(REQUESTS):
            what = f"{n} {request[0]} {request[1]}"
            theirs, ours = send(peer, *request), send(own, *request)
            same(f"{what}: status", theirs[0], ours[0])
            if theirs[0] < 400:
                same(f"{what}: body", theirs[1], ours[1])
            same(f"{what}: metrics", *settled(metrics, peer, own))
            same(f"{what}: groups", *settled(groups, peer, own))
        theirs, ours = (ask(f"http://{a}", "/api/v1/status") for a in (peer, own))
        same("status", sorted(theirs["data"]), sorted(ours["data"]))
        same("build", sorted(theirs["data"]["build_information"]), sorted(ours["data"]["build_information"]))
        native_histograms(url, own)
        pushed = {"query": 'push_time_seconds{job="native"}'}
        wait_for("the time of the push", lambda: ask(url, "/api/v1/query", pushed)["data"]["result"])
    print(f"push gateway: {len(REQUESTS)} requests, {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
