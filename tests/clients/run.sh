#!/bin/sh
# Real clients against a real server: Debian's Prometheus, push gateway and blackbox exporter beside
# obs with the same questions to both, promtool, amtool and Alertmanager, the OpenTelemetry SDK, a Loki handler, prometheus-api-client, senders of logs and traces,
# node_exporter beside obs', kmock in the place of Kubernetes.
# OBS_BIN names the binary (default: target/release/obs). What cannot be installed is skipped.
set -eu
cd "$(dirname "$0")/../.."
OBS_BIN=$(realpath "${OBS_BIN:-target/release/obs}")
here=tests/clients
export PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

install() {
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

if ! command -v python3 >/dev/null && ! install python3 >/dev/null 2>&1; then
    echo "skipped: python3 cannot be installed"
    exit 0
fi
if ! { command -v prometheus && command -v promtool; } >/dev/null && ! install prometheus >/dev/null 2>&1; then
    echo "skipped: prometheus cannot be installed"
else
    python3 $here/promql.py "$OBS_BIN"
fi

if ! { command -v amtool && command -v prometheus-alertmanager; } >/dev/null && ! install prometheus-alertmanager >/dev/null 2>&1; then
    echo "skipped: prometheus-alertmanager cannot be installed"
else
    python3 $here/alertmanager.py "$OBS_BIN"
fi

for peer in pushes:prometheus-pushgateway probes:prometheus-blackbox-exporter; do
    if ! command -v "${peer#*:}" >/dev/null && ! install "${peer#*:}" >/dev/null 2>&1; then
        echo "skipped: ${peer#*:} cannot be installed"
    else
        python3 "$here/${peer%:*}.py" "$OBS_BIN"
    fi
done

if ! command -v prometheus-node-exporter >/dev/null && ! install prometheus-node-exporter >/dev/null 2>&1; then
    echo "skipped: prometheus-node-exporter cannot be installed"
else
    python3 $here/node_exporter.py "$OBS_BIN"
fi

venv() {
    python3 -m venv "$work/venv" || { install python3-venv && python3 -m venv "$work/venv"; }
}
if ! venv >"$work/log" 2>&1; then
    echo "skipped: no virtual environment for Python: $(tail -n 1 "$work/log")"
elif ! "$work/venv/bin/pip" install -q --disable-pip-version-check --retries 2 -r $here/requirements.txt >"$work/log" 2>&1; then
    echo "skipped: the client libraries cannot be installed: $(tail -n 1 "$work/log")"
else
    for program in rsyslogd:rsyslog logger:bsdutils openssl:openssl; do
        command -v "${program%%:*}" >/dev/null || install "${program##*:}" >/dev/null 2>&1 || true
    done
    "$work/venv/bin/python" $here/sdks.py "$OBS_BIN"
    "$work/venv/bin/python" $here/logs.py "$OBS_BIN"
    "$work/venv/bin/python" $here/traces.py "$OBS_BIN"
    "$work/venv/bin/python" $here/kubernetes.py "$OBS_BIN"
fi

# Helm itself, as a library for Python: large, and not there for every machine.
if ! "$work/venv/bin/pip" install -q --disable-pip-version-check --retries 2 helm-python-sdk==0.2.2 pyyaml==6.0.3 >"$work/log" 2>&1; then
    echo "skipped: Helm cannot be installed: $(tail -n 1 "$work/log")"
else
    "$work/venv/bin/python" $here/helm.py "$OBS_BIN"
fi

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "skipped: node and npm are not there"
elif ! { cp -r $here/node "$work/node" && npm ci --prefix "$work/node" --ignore-scripts --no-audit --no-fund; } >"$work/log" 2>&1; then
    echo "skipped: the packages for Node cannot be installed: $(tail -n 1 "$work/log")"
else
    python3 $here/node.py "$OBS_BIN" "$work/node"
fi
