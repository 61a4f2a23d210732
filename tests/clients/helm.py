#!/usr/bin/env python3
"""The chart through Helm itself (its SDK), beside `obs kubernetes install` with the same values.

Every object must be the same in both, Helm's linter must find nothing to complain about, and values
that one refuses the other refuses, too.
"""

import pathlib
import subprocess
import sys
import tempfile

import helm_python as helm
import yaml

OBS = sys.argv[1]
CHART = pathlib.Path(__file__).resolve().parents[2] / "deploy/helm/obs"

CASES = {
    "defaults": {},
    "large": yaml.safe_load((CHART / "examples/large.yaml").read_text()),
    "nothing but a server": {
        "agent": {"enabled": False},
        "kubeState": {"mode": "none"},
        "networkPolicy": {"enabled": False},
        "server": {
            "events": False,
            "persistence": {"enabled": False},
            "podDisruptionBudget": {"enabled": False},
            "scrape": dict.fromkeys(["kubelet", "apiServer", "coreDns", "annotations"], False),
        },
    },
    "everything": {
        "fullnameOverride": "a-name-that-is-far-too-long-for-what-objects-may-be-called-",
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
        "commonLabels": {"team": "on"},
        "commonAnnotations": {"note": 'a "quoted" one: yes'},
        "server": {
            "alertmanager": {"route": {"receiver": "x"}, "receivers": [{"name": "x"}]},
            "config": {"obs": {"limits": {"series_max": 1234567}, "telemetry": {"logs": True}}},
            "extraScrapeConfigs": [{"job_name": "more", "static_configs": [{"targets": ["a:1"]}]}],
            "extraArgs": ["--log-format=json"],
            "extraEnv": [{"name": "A", "value": "<&>"}],
            "extraVolumes": [{"name": "x", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "hosts": [{"host": "obs.example"}, {"host": "b.example", "path": "/obs"}],
                "tls": [{"secretName": "t", "hosts": ["obs.example"]}],
            },
            "podAnnotations": {"x/y": "1"},
            "podLabels": {"v": "1"},
            "scrape": {"controlPlane": True, "monitors": True, "kubeletInsecureSkipVerify": False},
            "service": {"type": "LoadBalancer", "annotations": {"lb": "internal"}},
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
        "kubeState": {
            "mode": "deployment",
            "resources": ["pods", "nodes", "secrets"],
            "labelsAllowList": {"pods": ["app", "k8s-*"], "nodes": ["*"]},
        },
        "agent": {
            "nodeProblems": True,
            "destinations": [{"loki": {"url": "http://loki:3100"}}],
            "logs": {"excludeNamespaces": ["noise"], "podLabels": ["team"]},
            "nodeExporter": {"collectors": {"systemd": True}},
            "config": {"obs": {"collector": {"redaction": {"builtin": False}}}},
        },
        "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"podSelector": {}}]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "resourceMetrics": {"enabled": True, "tlsSecret": "tls", "caBundle": "QQ=="},
    },
}

REFUSED = [
    {"sever": {}},
    {"server": {"retention": "long"}},
    {"server": {"ingress": {"enabled": True}}},
    {"kubeState": {"resources": ["cats"]}},
    {"kubeState": {"mode": "both"}},
    {"agent": {"port": "9096"}},
    {"resourceMetrics": {"enabled": True}},
]


def documents(texts):
    """Objects by kind and name, with what is YAML in them read."""
    found = {}
    for text in texts:
        for document in yaml.safe_load_all(text):
            if document is None:
                continue
            for field in ("data", "stringData"):
                for name, inside in document.get(field, {}).items():
                    document[field][name] = yaml.safe_load(inside)
            unnamed = strip(document)
            key = (document["kind"], document["metadata"]["name"])
            assert key not in found, f"{key} is there twice"
            found[key] = unnamed
    return found


def strip(value):
    """Without who manages it, in which the two differ."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k != "app.kubernetes.io/managed-by"}
    if isinstance(value, list):
        return [strip(v) for v in value]
    return value


def with_obs(values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [OBS, "kubernetes", "install", "--dry-run", "--name", "test", "--namespace", "monitoring"]
        return subprocess.run([*command, "--values", file.name], capture_output=True, text=True)


def with_helm(chart, values):
    chart.validate_schema(values)
    rendered = chart.render(values, name="test", namespace="monitoring")
    return [text for name, text in rendered.items() if name.endswith(".yaml")]


def main():
    findings = helm.lint(str(CHART))
    # 1 is information (there is no icon), 2 a warning, 3 an error.
    bad = [message for message in findings["messages"] if message["severity"] > 1]
    assert not bad and not findings["errors"], f"the linter says {findings}"
    objects = 0
    with helm.Chart.load(str(CHART)) as chart:
        for name, values in CASES.items():
            values = {**values, "namespace": {"create": True}}
            theirs = documents(with_helm(chart, values))
            answer = with_obs(values)
            assert answer.returncode == 0, f"{name}: {answer.stderr}"
            ours = documents([answer.stdout])
            assert ours.keys() == theirs.keys(), f"{name}: {ours.keys() ^ theirs.keys()}"
            for key, object in ours.items():
                assert object == theirs[key], f"{name}: {key}\nobs:  {object}\nHelm: {theirs[key]}"
            objects += len(ours)
        for values in REFUSED:
            answer = with_obs(values)
            assert answer.returncode == 1, f"obs takes {values}"
            try:
                with_helm(chart, values)
            except Exception:  # noqa: BLE001: whatever it is, it is a refusal
                continue
            raise AssertionError(f"Helm takes {values}")
    print(f"chart with Helm {helm.helm_sdk_version()}: {objects} objects of {len(CASES)} sets of values "
          f"are the same, {len(REFUSED)} sets are refused")


if __name__ == "__main__":
    main()
