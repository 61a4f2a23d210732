"""Debian's blackbox exporter beside obs: the same modules and targets, the same names and values.

    probes.py OBS_BINARY

Values that depend on time (durations, dates of what was made) are compared by being there only.
"""

import http.client
import http.server
import pathlib
import re
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from processes import DEADLINE, LISTENING, Programs, free_port, wait_for

MODULES = r"""
modules:
  http: {prober: http}
  http_post: {prober: http, http: {method: POST, body: hello, headers: {X-A: b}}}
  http_404: {prober: http, http: {valid_status_codes: [404]}}
  http_versions: {prober: http, http: {valid_http_versions: ["HTTP/2.0"]}}
  http_no_follow: {prober: http, http: {follow_redirects: false}}
  http_regex: {prober: http, http: {fail_if_body_matches_regexp: ["wor[lk]d"]}}
  http_regex_not: {prober: http, http: {fail_if_body_not_matches_regexp: ["nothing"]}}
  http_header: {prober: http, http: {fail_if_header_matches: [{header: Content-Type, regexp: text}]}}
  http_header_not: {prober: http, http: {fail_if_header_not_matches: [{header: X-None, regexp: x}]}}
  http_not_ssl: {prober: http, http: {fail_if_not_ssl: true}}
  http_tls: {prober: http, http: {tls_config: {ca_file: ca.pem}, fail_if_ssl: true}}
  http_tls_good: {prober: http, http: {tls_config: {ca_file: ca.pem}}}
  http_tls_blind: {prober: http, http: {tls_config: {insecure_skip_verify: true}}}
  http_gzip: {prober: http, http: {compression: gzip, headers: {Accept-Encoding: gzip}}}
  http_small: {prober: http, http: {body_size_limit: 3B}}
  http_auth: {prober: http, http: {basic_auth: {username: u, password: p}}}
  http_four: {prober: http, http: {preferred_ip_protocol: ip4, ip_protocol_fallback: false}}
  tcp: {prober: tcp}
  tcp_banner: {prober: tcp, tcp: {query_response: [{expect: "^SSH-2.0-"}]}}
  tcp_talk: {prober: tcp, tcp: {query_response: [{expect: "^SSH-(.*)-(.*)"}, {send: "got ${1}"}, {expect: "^bye"}]}}
  tcp_wrong: {prober: tcp, timeout: 2s, tcp: {query_response: [{expect: "^never"}]}}
  tcp_tls: {prober: tcp, tcp: {tls: true, tls_config: {ca_file: ca.pem}}}
  dns: {prober: dns, dns: {query_name: example.test, query_type: A}}
  dns_tcp: {prober: dns, dns: {query_name: example.test, query_type: A, transport_protocol: tcp}}
  dns_soa: {prober: dns, dns: {query_name: example.test, query_type: SOA}}
  dns_rcode: {prober: dns, dns: {query_name: none.test, query_type: A}}
  dns_rcode_good: {prober: dns, dns: {query_name: none.test, query_type: A, valid_rcodes: [NXDOMAIN]}}
  dns_answer: {prober: dns, dns: {query_name: example.test, query_type: A, validate_answer_rrs: {fail_if_matches_regexp: ["10\\.1\\..*"]}}}
  dns_answer_not: {prober: dns, dns: {query_name: example.test, query_type: A, validate_answer_rrs: {fail_if_not_matches_regexp: [".*127.*"]}}}
  icmp: {prober: icmp}
  icmp_four: {prober: icmp, icmp: {preferred_ip_protocol: ip4}}
  grpc: {prober: grpc, timeout: 3s, grpc: {}}
"""
# Times and what they are made of.
VARIES = re.compile(r"duration|_seconds\b|_time|probe_ip_addr_hash")
failures = []


class Web(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        """All methods."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        status, headers, text = 200, {"Content-Type": "text/plain", "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"hello world"
        if self.path == "/missing":
            status = 404
        elif self.path == "/there":
            status, headers = 302, {"Location": "/"}
        elif self.path == "/round":
            status, headers = 302, {"Location": "/round"}
        elif self.path == "/echo":
            text = self.command.encode() + b" " + body + self.headers.get("X-A", "").encode()
        elif self.path == "/gzip":
            import gzip

            text, headers["Content-Encoding"] = gzip.compress(b"x" * 1000, mtime=0), "gzip"
        elif self.path == "/auth" and self.headers.get("Authorization") != "Basic dTpw":
            status = 401
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        """Says nothing."""


class Banner(socketserver.BaseRequestHandler):
    """Says what it is, and answers once."""

    def handle(self):
        self.request.sendall(b"SSH-2.0-test\r\n")
        if self.request.recv(100).startswith(b"got 2.0"):
            self.request.sendall(b"bye\r\n")


def dns_answer(query):
    """A, or SOA, of example.test; nothing else exists."""
    end = 12
    while query[end]:
        end += query[end] + 1
    name, question = query[12:end], query[12 : end + 5]
    kind = struct.unpack(">H", query[end + 1 : end + 3])[0]
    exists = name == b"\x07example\x04test"
    data = bytes([127, 0, 0, 7])
    if kind == 6:
        data = b"\x02ns\xc0\x0c\x01m\xc0\x0c" + struct.pack(">5I", 2026112201, 1, 2, 3, 4)
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    head = query[:2] + struct.pack(">HHHHH", 0x8580 | (0 if exists else 3), 1, 1 if exists else 0, 0, 0)
    return head + question + (record if exists else b"")


class DnsUdp(socketserver.BaseRequestHandler):
    """A datagram, a datagram."""

    def handle(self):
        data, sock = self.request
        sock.sendto(dns_answer(data), self.client_address)


class DnsTcp(socketserver.BaseRequestHandler):
    """The same after lengths."""

    def handle(self):
        length = struct.unpack(">H", self.request.recv(2))[0]
        reply = dns_answer(self.request.recv(length))
        self.request.sendall(struct.pack(">H", len(reply)) + reply)


def serve(server):
    """Runs a server in the background; its port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def certificate(folder):
    """An authority and a certificate for localhost."""
    run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Test CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "20", "-out", "server.pem", "-extfile", "ext")


def targets(folder):
    """(module, target) of all probes."""
    web = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web))
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    secure = serve(secure)
    banner = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Banner))
    dns = serve(socketserver.ThreadingUDPServer(("127.0.0.1", 0), DnsUdp))
    dns_tcp = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), DnsTcp))
    closed = free_port()
    at, https = f"http://127.0.0.1:{web}", f"https://127.0.0.1:{secure}"
    yield from [
        ("http", at), ("http", f"127.0.0.1:{web}"), ("http", f"{at}/missing"), ("http", f"{at}/there"),
        ("http", f"{at}/round"), ("http", f"http://127.0.0.1:{closed}"), ("http", f"{at}/chunked"),
        ("http", f"http://localhost:{web}"), ("http", https), ("http", "http://no-such-host.invalid"),
        ("http_four", f"http://localhost:{web}"), ("http_post", f"{at}/echo"), ("http_404", f"{at}/missing"),
        ("http_404", at), ("http_versions", at), ("http_no_follow", f"{at}/there"), ("http_regex", at),
        ("http_regex_not", at), ("http_header", at), ("http_header_not", at), ("http_not_ssl", at),
        ("http_not_ssl", f"{at}/there"), ("http_tls", https), ("http_tls_good", https), ("http_tls_blind", https),
        ("http_tls_good", f"https://localhost:{secure}/there"), ("http_gzip", f"{at}/gzip"), ("http", f"{at}/gzip"),
        ("http_small", at), ("http_auth", f"{at}/auth"), ("http", f"{at}/auth"),
        ("tcp", f"127.0.0.1:{banner}"), ("tcp", f"127.0.0.1:{closed}"), ("tcp_banner", f"127.0.0.1:{banner}"),
        ("tcp_talk", f"127.0.0.1:{banner}"), ("tcp_wrong", f"127.0.0.1:{banner}"), ("tcp_tls", f"localhost:{secure}"),
        ("tcp_tls", f"127.0.0.1:{banner}"),
        ("dns", f"127.0.0.1:{dns}"), ("dns_tcp", f"127.0.0.1:{dns_tcp}"), ("dns_soa", f"127.0.0.1:{dns}"),
        ("dns_rcode", f"127.0.0.1:{dns}"), ("dns_rcode_good", f"127.0.0.1:{dns}"), ("dns_answer", f"127.0.0.1:{dns}"),
        ("dns_answer_not", f"127.0.0.1:{dns}"),
        ("icmp", "127.0.0.1"), ("icmp_four", "localhost"), ("grpc", f"127.0.0.1:{closed}"),
        ("none", at), ("http", ""),
    ]


def probe(address, module, target):
    """The status, and the metrics by name and labels."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    query = urllib.parse.urlencode({"module": module, "target": target})
    connection.request("GET", f"/probe?{query}", headers={"X-Prometheus-Scrape-Timeout-Seconds": "60"})
    reply = connection.getresponse()
    lines = reply.read().decode().splitlines()
    connection.close()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#")) if reply.status == 200 else {}
    types = {line for line in lines if line.startswith("# ")}
    return reply.status, samples, types


def compare(what, peer, own):
    """Notes what differs."""
    def note(problem):
        failures.append(what)
        print(f"FAILED {what}: {problem}", flush=True)

    # A label of newer versions.
    own = (own[0], {re.sub(r',?serialnumber="[^"]*"', "", name): value for name, value in own[1].items()}, own[2])
    if peer[0] != own[0]:
        note(f"status {peer[0]}, obs {own[0]}")
    for name in sorted(peer[1].keys() - own[1].keys()):
        like = [one for one in own[1] if one.split("{")[0] == name.split("{")[0]]
        note(f"obs lacks {name} {peer[1][name]}, has {like}")
    # Newer versions tell more.
    known = {"probe_tls_cipher_info", "probe_http_duration_seconds", "probe_ssl_last_chain_info"}
    for name in sorted(own[1].keys() - peer[1].keys()):
        if name.split("{")[0] not in known:
            note(f"only obs has {name} {own[1][name]}")
    for name in sorted(peer[1].keys() & own[1].keys()):
        if not VARIES.search(name) and float(peer[1][name]) != float(own[1][name]):
            note(f"{name}: peer {peer[1][name]}, obs {own[1][name]}")
        elif "expiry" in name or "last_modified" in name or "ip_addr_hash" in name:
            if float(peer[1][name]) != float(own[1][name]):
                note(f"{name}: peer {peer[1][name]}, obs {own[1][name]}")
    for line in sorted(peer[2] - own[2]):
        note(f"obs lacks {line}")


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    exporter = sys.argv[2] if len(sys.argv) > 2 else "prometheus-blackbox-exporter"
    with tempfile.TemporaryDirectory() as name, Programs(name) as programs:
        folder = pathlib.Path(name)
        certificate(folder)
        modules = MODULES.replace("ca.pem", str(folder / "ca.pem"))
        (folder / "blackbox.yml").write_text(modules)
        url, _ = programs.obs(binary, "obs: {collector: {probes: {modules_file: blackbox.yml}}}")
        own = url.removeprefix("http://")
        arguments = [exporter, "--config.file=blackbox.yml", "--web.listen-address=127.0.0.1:0"]
        peer = programs.start("blackbox", arguments, LISTENING)
        wait_for("the peer", lambda: socket.create_connection(peer.split(":")).close() is None)
        count = 0
        for module, target in targets(folder):
            count += 1
            what = f"{module} {re.sub('[0-9]{4,5}', 'PORT', target)}"
            compare(what, probe(peer, module, target), probe(own, module, target))
    print(f"probes: {count} compared, {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
