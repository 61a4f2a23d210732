"""Real senders of logs against obs: what they send comes back.

    logs.py OBS_BINARY

Elasticsearch's client, Python's SysLogHandler, fluent-logger, a Splunk-style sender, logger(1) and
rsyslog where they are installed.
"""

import base64
import gzip
import hashlib
import json
import logging
import logging.handlers
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import elasticsearch
import elasticsearch.helpers
import msgpack
from fluent import sender

from processes import DEADLINE, Programs, ask, free_port, wait_for

CONFIG = """
obs:
  logs:
    syslog: {tcp: '127.0.0.1:0', udp: '127.0.0.1:0'TLS}
    fluent: {listen: '127.0.0.1:0'KEY}
    gelf: {tcp: '127.0.0.1:0', udp: '127.0.0.1:0'}
    splunk_hec: {tokens: [secret]}
"""
failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


def lines(obs, query):
    """The labels and lines that a LogQL query gives."""
    now = time.time()
    parameters = {"query": query, "start": int((now - 3600) * 1e9), "end": int((now + 60) * 1e9), "limit": 5000}
    streams = ask(obs, "/loki/api/v1/query_range", parameters)["data"]["result"]
    return [(s["stream"], line) for s in streams for _, line in s["values"]]


def found(obs, what, query, wanted):
    """Waits for as many lines as are wanted, and compares them; the labels."""
    got = wait_for(f"{what}: {query}", lambda: len(l := lines(obs, query)) >= len(wanted) and l)
    expect(what, sorted(wanted), sorted(line for _, line in got))
    return [labels for labels, _ in got]


def elastic(obs):
    """helpers.bulk, streaming with refused items, single documents."""
    client = elasticsearch.Elasticsearch(
        f"{obs}/elastic", http_compress=True, retry_on_timeout=False, request_timeout=DEADLINE
    )
    expect("info", "8.9.0", client.info()["version"]["number"])
    expect("ping", True, client.ping())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    documents = [
        {
            "_op_type": "create",
            "_index": "logs-client",
            "_source": {"@timestamp": stamp, "message": f"bulk {i}", "n": i, "kubernetes": {"pod": {"name": f"p{i % 3}"}}},
        }
        for i in range(1000)
    ]
    expect("bulk", (1000, []), elasticsearch.helpers.bulk(client, documents, chunk_size=300))
    labels = found(obs, "bulk lines", '{index="logs-client"}', [f"bulk {i}" for i in range(1000)])
    expect("pods", {"p0", "p1", "p2"}, {one["pod"] for one in labels})
    found(obs, "field", '{index="logs-client"} | n="7"', ["bulk 7"])
    mixed = [
        {"_op_type": "index", "_index": "mixed", "message": "good"},
        {"_op_type": "delete", "_index": "mixed", "_id": "1"},
    ]
    done, errors = elasticsearch.helpers.bulk(client, mixed, raise_on_error=False)
    expect("mixed", (1, [400]), (done, [e["delete"]["status"] for e in errors]))
    answer = client.index(index="single", document={"message": "one document", "service": "s"})
    expect("index", "created", answer["result"])
    found(obs, "document", '{index="single", service_name="s"}', ["one document"])
    expect("template", True, client.indices.exists_index_template(name="logs").body)
    client.ilm.put_lifecycle(name="x", policy={"phases": {}})
    client.close()
    print("elasticsearch: bulk, items, documents", flush=True)


def syslog(obs, addresses):
    """SysLogHandler over UDP and TCP, with its NUL and without."""
    for name, kind, nul in (("udp", socket.SOCK_DGRAM, True), ("tcp", socket.SOCK_STREAM, True), ("tcp", socket.SOCK_STREAM, False)):
        host, port = addresses[f"syslog_{name}"].rsplit(":", 1)
        handler = logging.handlers.SysLogHandler((host, int(port)), facility="local3", socktype=kind)
        handler.append_nul = nul
        handler.setFormatter(logging.Formatter("pyapp[9]: %(message)s" + ("" if nul else "\n")))
        logger = logging.getLogger(f"syslog-{name}-{nul}")
        logger.propagate = False
        logger.addHandler(handler)
        for i in range(20):
            logger.error("%s %s %d äöü", name, nul, i)
        handler.close()
        query = f'{{app="pyapp", facility="local3"}} | detected_level="error" | proc_id="9" |= "{name} {nul}"'
        found(obs, f"SysLogHandler {name}", query, [f"{name} {nul} {i} äöü" for i in range(20)])
    print("SysLogHandler: UDP and TCP", flush=True)


def logger_command(obs, addresses):
    """logger(1) in both formats and framings."""
    if not shutil.which("logger"):
        print("skipped: logger is not installed", flush=True)
        return
    for name, options in (
        ("modern-udp", ["-d"]),
        ("modern-tcp", ["-T"]),
        ("counted", ["-T", "--octet-count", "--sd-id", "a@1", "--sd-param", 'b="c"']),
        ("classic-udp", ["-d", "--rfc3164"]),
        ("classic-tcp", ["-T", "--rfc3164"]),
    ):
        host, port = addresses["syslog_tcp" if "-T" in options else "syslog_udp"].rsplit(":", 1)
        command = ["logger", "-n", host, "-P", port, "-t", name, "-p", "mail.warning", *options, f"by {name}"]
        subprocess.run(command, check=True, timeout=DEADLINE)
        query = f'{{app="{name}", facility="mail", host="{socket.gethostname().split(".")[0]}"}} | detected_level="warn"'
        found(obs, name, query, [f"by {name}"])
    found(obs, "structured data", '{app="counted"} | a_1_b="c"', ["by counted"])
    print("logger: RFC 5424 and 3164, UDP and TCP, both framings", flush=True)


def rsyslog(obs, addresses, programs):
    """rsyslogd forwards what it reads from a file of its own input."""
    if not shutil.which("rsyslogd"):
        print("skipped: rsyslog is not installed", flush=True)
        return
    host, port = addresses["syslog_tcp"].rsplit(":", 1)
    listen = free_port()
    config = programs.folder / "rsyslog.conf"
    config.write_text(
        f"""
global(workDirectory="{programs.folder}")
module(load="imtcp")
input(type="imtcp" port="{listen}" address="127.0.0.1")
*.* action(type="omfwd" target="{host}" port="{port}" protocol="tcp" template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted")
*.* action(type="omfwd" target="{host}" port="{port}" protocol="tcp" template="RSYSLOG_ForwardFormat")
"""
    )
    process = subprocess.Popen(["rsyslogd", "-n", "-f", str(config), "-i", str(programs.folder / "rsyslog.pid")])
    try:
        def send():
            with socket.create_connection(("127.0.0.1", listen), 5) as stream:
                stamp = time.strftime("%b %e %H:%M:%S").encode()
                stream.sendall(b"<13>" + stamp + b" gate relay[3]: through rsyslog\n")
            return True

        wait_for("rsyslogd", send)
        query = '{app="relay", host="gate"} | proc_id="3"'
        wait_for("lines of rsyslogd", lambda: len(lines(obs, query)) >= 2)
        expect("rsyslog", {"through rsyslog"}, {line.strip() for _, line in lines(obs, query)})
    finally:
        process.terminate()
        process.wait(DEADLINE)
    print("rsyslog: octet counting and lines", flush=True)


def tls(obs, addresses, certificate):
    """Syslog over TLS."""
    host, port = addresses["syslog_tls"].rsplit(":", 1)
    context = ssl.create_default_context(cafile=certificate)
    with socket.create_connection((host, int(port)), DEADLINE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            message = b"<13>1 - h tlsapp - - - over TLS"
            stream.sendall(str(len(message)).encode() + b" " + message)
    found(obs, "TLS", '{app="tlsapp"}', ["over TLS"])
    print("syslog over TLS", flush=True)


def fluent(obs, addresses):
    """fluent-logger, and chunks with acknowledgements in all modes."""
    host, port = addresses["fluent"].rsplit(":", 1)
    logger = sender.FluentSender("py", host=host, port=int(port), nanosecond_precision=True, timeout=DEADLINE)
    for i in range(50):
        expect("emit", True, logger.emit("web", {"message": f"logged {i}", "n": i}))
    logger.close()
    found(obs, "fluent-logger", '{tag="py.web"} | n!=""', [f"logged {i}" for i in range(50)])

    now = int(time.time())
    entries = [[now, {"message": f"packed {i}"}] for i in range(10)]
    packed = b"".join(msgpack.packb(entry) for entry in entries)
    halves = gzip.compress(packed[: len(packed) // 2]) + gzip.compress(packed[len(packed) // 2 :])
    with socket.create_connection((host, int(port)), DEADLINE) as stream:
        unpacker = msgpack.Unpacker()
        for mode, body, option in (
            ("forward", entries, {}),
            ("packed", packed, {}),
            ("compressed", halves, {"compressed": "gzip"}),
        ):
            chunk = base64.b64encode(os.urandom(16)).decode()
            stream.sendall(msgpack.packb([f"mode.{mode}", body, {"chunk": chunk, "size": 10, **option}]))
            while not (answers := list(unpacker)):
                unpacker.feed(stream.recv(4096))
            expect(f"ack of {mode}", [{"ack": chunk}], answers)
            # Acknowledged is durable, and can be found at once.
            expect(mode, 10, len(lines(obs, f'{{tag="mode.{mode}"}}')))
    print("fluent: fluent-logger, all modes, acknowledgements", flush=True)


def handshake(obs, addresses, key):
    """The shared key: known, and not."""
    host, port = addresses["fluent"].rsplit(":", 1)
    for known in key, "wrong":
        with socket.create_connection((host, int(port)), DEADLINE) as stream:
            unpacker = msgpack.Unpacker()

            def receive():
                while True:
                    for message in unpacker:
                        return message
                    data = stream.recv(4096)
                    if not data:
                        return None
                    unpacker.feed(data)

            helo, options = receive()
            nonce = options["nonce"].encode()
            salt, name = os.urandom(16), b"client"
            digest = hashlib.sha512(salt + name + nonce + known.encode()).hexdigest()
            stream.sendall(msgpack.packb(["PING", name, salt, digest, "", ""]))
            pong = receive()
            expect("PONG", ("HELO", "PONG", known == key), (helo, pong[0], pong[1]))
            if known == key:
                wanted = hashlib.sha512(salt + pong[3].encode() + nonce + key.encode()).hexdigest()
                expect("digest of the server", wanted, pong[4])
                stream.sendall(msgpack.packb(["shared", int(time.time()), {"message": "trusted"}, {"chunk": "c"}]))
                expect("ack", {"ack": "c"}, receive())
            else:
                expect("end", None, receive())
    found(obs, "with a shared key", '{tag="shared"}', ["trusted"])
    print("fluent: shared key", flush=True)


def splunk(obs):
    """Events in batches, raw lines, acknowledgements."""

    def post(path, body, headers=None, packed=False):
        request = urllib.request.Request(f"{obs}/services/collector{path}", gzip.compress(body) if packed else body)
        request.add_header("Authorization", "Splunk secret")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if packed:
            request.add_header("Content-Encoding", "gzip")
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    batch = "".join(json.dumps({"time": time.time(), "sourcetype": "batch", "event": f"event {i}"}) for i in range(100))
    expect("batch", (200, {"text": "Success", "code": 0}), post("/event", batch.encode(), packed=True))
    found(obs, "events", '{sourcetype="batch"}', [f"event {i}" for i in range(100)])
    channel = {"X-Splunk-Request-Channel": "6d2a1e0c-0000-4000-8000-000000000001"}
    expect("ack id", (200, {"text": "Success", "code": 0, "ackId": 0}), post("/raw?sourcetype=raw", b"a\nb\n", channel))
    expect("ack", (200, {"acks": {"0": True, "5": False}}), post("/ack", b'{"acks":[0,5]}', channel))
    found(obs, "raw lines", '{sourcetype="raw"}', ["a", "b"])
    expect("no event", (400, 12), (lambda s, b: (s, b["code"]))(*post("", b'{"time":1}')))
    print("splunk: events, raw, acknowledgements", flush=True)


def certificates(folder):
    """A certificate for localhost and its key, or nothing."""
    if not shutil.which("openssl"):
        print("skipped: TLS: openssl is not installed", flush=True)
        return None
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=DEADLINE)
    return str(pathlib.Path(folder) / "cert.pem")


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        certificate = certificates(folder)
        files = ", tls: {listen: '127.0.0.1:0', cert_file: cert.pem, key_file: key.pem}"
        config = CONFIG.replace("TLS", files if certificate else "").replace("KEY", "")
        obs, addresses = programs.obs(binary, config)
        elastic(obs)
        syslog(obs, addresses)
        logger_command(obs, addresses)
        rsyslog(obs, addresses, programs)
        if certificate:
            tls(obs, addresses, certificate)
        fluent(obs, addresses)
        splunk(obs)
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        config = CONFIG.replace("TLS", "").replace("KEY", ", shared_key: sesame")
        handshake(*programs.obs(binary, config), "sesame")
    print(f"senders of logs: {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
