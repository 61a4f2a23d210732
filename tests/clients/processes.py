"""Starting programs, and waiting with a deadline for what they do."""

import json
import pathlib
import random
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

# How long anything may take before a test gives up. Long, because machines may be busy.
DEADLINE = 180


def wait_for(what, check, seconds=DEADLINE):
    """What `check` returns once that is true; the deadline ends the run, saying what was awaited."""
    deadline = time.monotonic() + seconds
    while True:
        found, problem = None, ""
        try:
            found = check()
        except (OSError, ValueError, KeyError, LookupError) as error:
            problem = f": {error}"
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: not within {seconds} s: {what}{problem}")
        time.sleep(0.1)


def ask(base, path, parameters=None, method="GET"):
    """The decoded JSON answer to a request, an error's too."""
    url = f"{base}{path}?{urllib.parse.urlencode(parameters or {}, doseq=True)}"
    try:
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as reply:
            text = reply.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise ValueError(f"{url}: not JSON: {text[:200]!r}") from error


class Programs:
    """Programs that run in a folder and end with the block."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process, _ in self.running:
            process.terminate()
        for process, _ in self.running:
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name, arguments, ready):
        """Starts a program; what the pattern `ready` finds in its log."""
        path = self.folder / f"{name}.log"
        with path.open("w") as file:
            process = subprocess.Popen(arguments, stdout=file, stderr=file, cwd=self.folder)
        self.running.append((process, path))

        def said():
            if process.poll() is not None:
                raise SystemExit(f"FAILED: {name} ended:\n{path.read_text()}")
            return re.search(ready, path.read_text())

        return wait_for(f"start of {name}", said).group(1)

    def obs(self, binary, config="{}"):
        """Starts obs with a configuration on free ports; its URL and the addresses of its OTLP receivers."""
        data = self.folder / "obs"
        listen = [f"--{key}=127.0.0.1:0" for key in ("listen", "otlp-grpc-listen", "otlp-http-listen")]
        config_path = self.folder / "obs.yml"
        config_path.write_text(config)
        arguments = [binary, "serve", "--config", str(config_path), "--data", str(data), *listen]
        url = self.start("obs", arguments, r"ready: (http://\S+)")
        return url, json.loads((data / "addresses.json").read_text())

    def prometheus(self, config):
        """Starts Prometheus with a configuration on a free port; its URL."""
        config_path = self.folder / "prometheus.yml"
        # Its configuration names its port: so a free one is looked for, and where someone else was
        # faster, another.
        for left in reversed(range(5)):
            port = free_port()
            config_path.write_text(config.replace("$SELF", f"127.0.0.1:{port}"))
            arguments = [
                "prometheus",
                f"--config.file={config_path}",
                f"--storage.tsdb.path={self.folder}/prometheus",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ]
            try:
                self.start("prometheus", arguments, r"(Server is ready)")
                break
            except SystemExit as ended:
                if left == 0 or "address already in use" not in str(ended):
                    raise
        return f"http://127.0.0.1:{port}"


# What the programs of the Prometheus project log when they listen; the address.
LISTENING = r'msg="Listening on" address=(\S+)'


def free_port():
    """A port that was free a moment ago, for programs that do not say which one they took. It is
    below those that the kernel gives to clients: who connects to it before somebody listens is not
    connected to itself, and no client takes it."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
