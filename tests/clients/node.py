"""OpenTelemetry's SDK for Node against obs: what it sends comes back.

    node.py OBS_BINARY FOLDER

FOLDER is a copy of `node/` in which the packages are installed. It sends over gRPC, HTTP in JSON
and protobuf, plain and compressed, and as Zipkin's client does.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from processes import DEADLINE, Programs, ask, wait_for

CONFIG = "obs: {traces: {zipkin: {listen: '127.0.0.1:0'}}}"
failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


def check(obs, service, ids):
    """A parent with everything, and a child that failed."""

    def found():
        batches = ask(obs, f"/tempo/api/traces/{ids['trace']}")["batches"]
        spans = [s for b in batches for scope in b["scopeSpans"] for s in scope["spans"]]
        return len(spans) == 2 and (batches, spans)

    batches, spans = wait_for(f"{service}: the trace", found)
    resource = {a["key"]: a["value"] for a in batches[0]["resource"]["attributes"]}
    expect(f"{service}: service", {"stringValue": service}, resource["service.name"])
    by_name = {span["name"]: span for span in spans}
    parent, child = by_name["parent"], by_name["child"]
    kinds = ("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT")
    expect(f"{service}: kinds", kinds, (parent["kind"], child["kind"]))
    expect(f"{service}: parent", parent["spanId"], child["parentSpanId"])
    attributes = {a["key"]: a["value"] for a in parent["attributes"]}
    expect(f"{service}: text", {"stringValue": "ü"}, attributes["text"])
    expect(f"{service}: status", "STATUS_CODE_ERROR", child["status"]["code"])
    if "zipkin" not in service:
        # Zipkin has texts only, and no links.
        expect(f"{service}: team", {"stringValue": "red"}, resource["team"])
        expect(f"{service}: number", {"intValue": "7"}, attributes["whole"])
        expect(f"{service}: real number", {"doubleValue": 0.5}, attributes["real"])
        expect(f"{service}: truth value", {"boolValue": True}, attributes["yes"])
        wanted = {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
        expect(f"{service}: list", wanted, attributes["list"])
        expect(f"{service}: event", "happened", parent["events"][0]["name"])
        expect(f"{service}: exception", "exception", child["events"][0]["name"])
        expect(f"{service}: message", "no", child["status"]["message"])
        expect(f"{service}: one link", 1, len(child["links"]))
    query = f'{{ resource.service.name = "{service}" && status = error }}'
    hits = ask(obs, "/tempo/api/search", {"q": query})["traces"]
    expect(f"{service}: search", [ids["trace"]], [hit["traceID"].zfill(32) for hit in hits])
    found = ask(obs, f"/jaeger/api/traces/{ids['trace']}")["data"][0]["spans"]
    expect(f"{service}: Jaeger", ["child", "parent"], sorted(span["operationName"] for span in found))
    print(f"{service}: sent and read", flush=True)


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    script = pathlib.Path(sys.argv[2]) / "spans.mjs"
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        obs, addresses = programs.obs(binary, CONFIG)
        sent = subprocess.run(
            ["node", str(script), json.dumps(addresses)], capture_output=True, text=True, timeout=2 * DEADLINE
        )
        expect("exit status of the sender", (0, ""), (sent.returncode, sent.stderr))
        for service, ids in json.loads(sent.stdout or "{}").items():
            check(obs, service, ids)
        groups = ask(obs, "/api/v1/errors", {"type": "TypeError"})["data"]["groups"]
        expect("error groups", 5, sum(group["count"] for group in groups))
    print(f"SDK for Node: {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
