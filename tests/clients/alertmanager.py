"""amtool and Alertmanager of Debian with obs: the same alerts and silences on both, told once.

    alertmanager.py OBS_BINARY
"""

import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

from processes import DEADLINE, LISTENING, Programs, ask, wait_for

CONFIG = """
global: {evaluation_interval: 1s, external_labels: {region: eu}}
rule_files: [rules.yml]
alerting:
  alertmanagers:
  - static_configs: [{targets: ['127.0.0.1:PORT']}]
obs: {alertmanager_file: am.yml}
"""
RULES = """
groups:
- name: g
  rules:
  - {alert: Always, expr: vector(1), labels: {severity: page}, annotations: {summary: it fires}}
"""
ALERTMANAGER = """
route:
  receiver: web
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  routes:
  - {receiver: other, matchers: ['team="x"']}
receivers:
- name: web
  webhook_configs: [{url: 'http://127.0.0.1:HOOK/'}]
- name: other
"""
failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


class Hook(http.server.BaseHTTPRequestHandler):
    """Notes what it is told."""

    told = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.told.append(json.loads(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def amtool(url, *arguments, code=0):
    """What amtool writes."""
    command = ["amtool", f"--alertmanager.url={url}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    expect(f"{' '.join(arguments)}: exit code ({done.stderr.strip()})", code, done.returncode)
    return done.stdout


def alerts(url, *arguments):
    """The alerts that amtool finds, by name."""
    found = json.loads(amtool(url, "-o", "json", "alert", "query", *arguments))
    return sorted(alert["labels"]["alertname"] for alert in found)


def silences(url, *arguments):
    """The silences that amtool finds."""
    return json.loads(amtool(url, "-o", "json", "silence", "query", *arguments))


def tool(url, folder):
    """Every command of amtool that speaks to a server."""
    amtool(url, "alert", "add", "alertname=Added", "team=x", "--annotation=summary=s")
    expect("alerts", ["Added", "Always"], alerts(url))
    expect("filter", ["Added"], alerts(url, "team=x"))
    expect("by name", ["Always"], alerts(url, "Always"))
    id = amtool(url, "silence", "add", "-c", "why", "-a", "me", "-d", "1h", "alertname=Added").strip()
    expect("length of an id", 36, len(id))
    expect("not silenced", ["Always"], alerts(url))
    expect("silenced", ["Added"], alerts(url, "--silenced"))
    found = silences(url)
    expect("silences", [(id, "me", "why", "active")], [(s["id"], s["createdBy"], s["comment"], s["status"]["state"]) for s in found])
    amtool(url, "silence", "update", "-c", "longer", "-d", "2h", id)
    expect("updated", [(id, "longer")], [(s["id"], s["comment"]) for s in silences(url)])
    path = pathlib.Path(folder) / "silences.json"
    path.write_text(json.dumps(silences(url)))
    amtool(url, "silence", "expire", id)
    expect("expired", [], silences(url))
    # amtool asks for silences that ended less than `--within` ago.
    expect("expired ones", [(id, "expired")], [(s["id"], s["status"]["state"]) for s in silences(url, "--expired", "--within=1h")])
    amtool(url, "silence", "import", "-f", str(path))
    imported = silences(url)
    expect("imported", ["longer"], [s["comment"] for s in imported])
    amtool(url, "silence", "expire", *[s["id"] for s in imported])
    amtool(url, "silence", "expire", "6aa8d3ff-8ee3-4a8f-8a3c-0d5d4b9b4a11", code=1)
    expect("refused", "", amtool(url, "silence", "add", "-a", "me", "alertname=x", code=1))
    shown = amtool(url, "config", "show")
    expect("config", True, "receiver: web" in shown)
    expect("routes", True, "team=\"x\"" in amtool(url, "config", "routes", "show"))
    expect("route", "other", amtool(url, "config", "routes", "test", "team=x").strip())
    expect("route", "web", amtool(url, "config", "routes", "test", "team=y").strip())
    expect("cluster", True, "disabled" in amtool(url, "cluster", "show"))


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    text = ALERTMANAGER.replace("HOOK", str(hook.server_address[1]))
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        root = pathlib.Path(folder)
        (root / "rules.yml").write_text(RULES)
        (root / "am.yml").write_text(text)
        (root / "peer.yml").write_text(text)
        peer = programs.start(
            "alertmanager",
            [
                "prometheus-alertmanager",
                f"--config.file={root}/peer.yml",
                f"--storage.path={root}/peer",
                f"--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            LISTENING,
        )
        port = peer.rpartition(":")[2]
        peer = f"http://{peer}"
        obs, _ = programs.obs(binary, CONFIG.replace("PORT", port))
        there = wait_for("the alert there", lambda: ask(peer, "/api/v2/alerts"))
        here = wait_for("the alert here", lambda: ask(obs, "/api/v2/alerts"))
        for key in "labels", "annotations", "startsAt", "generatorURL", "fingerprint":
            expect(key, there[0][key], here[0][key])
        active = ask(obs, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        expect("active", [{"url": f"{peer}/api/v2/alerts"}], active)
        wait_for("both to tell", lambda: len(Hook.told) >= 2)
        first, second = Hook.told[:2]
        for key in "version", "status", "receiver", "groupKey", "groupLabels", "commonLabels", "commonAnnotations":
            expect(f"told: {key}", first[key], second[key])
        expect("told", 2, len(Hook.told))
        for url in peer, obs:
            tool(url, folder)
        metrics = subprocess.run(["curl", "-sf", f"{obs}/metrics"], capture_output=True, text=True, check=True).stdout
        expect("metric", True, 'alertmanager_notifications_total{integration="webhook"} 1\n' in metrics)
    print("alertmanager: amtool, Alertmanager of Debian, webhook", flush=True)
    return 1 if failures else 0


sys.exit(main())
