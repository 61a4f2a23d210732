"""Debian's prometheus-node-exporter and obs' on one machine: the same families and labels.

    node_exporter.py OBS_BINARY

Both run with the same collectors; flags whose defaults changed between versions are given to both.
At least 98 in 100 of the other's `node_*` families must be here, with the same types and names of labels.
"""

import pathlib
import re
import sys
import tempfile
import urllib.request

from processes import DEADLINE, LISTENING, Programs, wait_for

MORE = (
    "buddyinfo cgroups drbd ethtool interrupts ksmd lnstat logind meminfo_numa mountstats network_route "
    "processes qdisc slabinfo sysctl systemd tcpstat zoneinfo"
).split()
SAME = {
    "collector.filesystem.mount-points-exclude": "^/(dev|proc|sys)($|/)",
    "collector.filesystem.fs-types-exclude": "^(proc|sysfs|cgroup2?)$",
    "collector.diskstats.device-exclude": "^(ram|loop)\\d+$",
    "collector.netstat.fields": "^(.*)$",
    "collector.vmstat.fields": "^(oom_kill|pgpg|pswp|pg.*fault).*",
}
# About the exporter and its collectors.
OWN = {"node_exporter_build_info", "node_scrape_collector_duration_seconds", "node_scrape_collector_success"}
SHARE = 0.98
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def families(url):
    """Type, and the names of labels in use, by family."""
    with urllib.request.urlopen(url, timeout=DEADLINE) as reply:
        text = reply.read().decode()
    kinds = dict(re.findall(r"^# TYPE (node_\S+) (\S+)$", text, re.M))
    labels = {name: set() for name in kinds}
    for line in text.splitlines():
        sample = SAMPLE.match(line)
        if sample and sample.group(1) in labels:
            labels[sample.group(1)].update(name for name, value in LABEL.findall(sample.group(2) or "") if value)
    return {name: (kind, frozenset(labels[name])) for name, kind in kinds.items() if name not in OWN}


def main():
    """Compares; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    flags = [f"--collector.{name}" for name in MORE] + [f"--{name}={value}" for name, value in SAME.items()]
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        peer = ["prometheus-node-exporter", "--web.listen-address=127.0.0.1:0", *flags]
        peer_url = f"http://{programs.start('prometheus-node-exporter', peer, LISTENING)}/metrics"
        ours = [binary, "node-exporter", "--listen=127.0.0.1:0", *flags]
        url = programs.start("obs", ours, r"node exporter on (http://\S+)")
        theirs = wait_for("node_exporter", lambda: families(peer_url))
        mine = families(url)
    missing = sorted(theirs.keys() - mine.keys())
    differing = sorted(name for name in theirs.keys() & mine.keys() if theirs[name] != mine[name])
    for name in missing:
        print(f"missing: {name}")
    for name in differing:
        (kind, labels), (own_kind, own_labels) = theirs[name], mine[name]
        print(f"different: {name}: {kind} {sorted(labels)}, here {own_kind} {sorted(own_labels)}")
    agree = len(theirs) - len(missing) - len(differing)
    print(f"node_exporter: {agree} of {len(theirs)} families agree")
    return 0 if theirs and agree >= SHARE * len(theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
