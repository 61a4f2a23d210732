"""obs kube-state against kmock, an API server that is not ours, and kubectl's view of it.

    kubernetes.py OBS_BINARY

What kmock has is listed, watched, and forgotten when it goes.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

from processes import DEADLINE, Programs, wait_for

failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


def read(url):
    """The text behind an address."""
    with urllib.request.urlopen(url, timeout=DEADLINE) as reply:
        return reply.read().decode()


def pods(url):
    """The names of the pods that are told of."""
    return sorted(re.findall(r'kube_pod_info{namespace="shop",pod="([^"]+)"', read(url)))


def main():
    """Runs everything; the exit status."""
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    script = str(pathlib.Path(__file__).with_name("kmock_server.py"))
    server = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
            flags = ["--host=127.0.0.1", "--port=0", "--telemetry-port=0"]
            arguments = [binary, "kube-state", f"--apiserver=http://127.0.0.1:{port}"]
            arguments += ["--resources=pods", "--namespaces=shop", *flags]
            url = programs.start("kube-state", arguments, r"kube-state on (http://[^\s,]+)")
            expect("the list", ["first"], wait_for("the first pod", lambda: pods(url)))
            server.stdin.write("\n")
            server.stdin.flush()
            wait_for("another pod", lambda: pods(url) == ["first", "second"])
            server.stdin.write("\n")
            server.stdin.flush()
            wait_for("the end of a pod", lambda: pods(url) == ["second"])
    finally:
        server.kill()
        server.wait()
    print(f"kmock: {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
