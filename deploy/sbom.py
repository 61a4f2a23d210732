#!/usr/bin/env python3
"""What is in the binary: a CycloneDX 1.5 bill of materials on standard output.

Made of `cargo metadata --locked` for the target (default: this machine's) and of the checksums in
Cargo.lock. Only what is linked or runs while building counts: dependencies of tests are left out.
The same lock file gives the same bytes; SOURCE_DATE_EPOCH adds a time.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
# No product, but a name for identifiers made of the content.
SPACE = uuid.UUID("5c3ab0c6-2bb9-4f35-9c0c-2b7c1b3c7a11")


def metadata(target):
    cargo = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(cargo, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def host():
    words = subprocess.run([os.environ.get("RUSTC", "rustc"), "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.split(": ")[1] for line in words.splitlines() if line.startswith("host: "))


def checksums():
    """By name and version, of packages that come from a registry."""
    found, package = {}, {}
    for line in (ROOT / "Cargo.lock").read_text().splitlines():
        if line == "[[package]]":
            package = {}
        elif " = " in line:
            name, value = line.split(" = ", 1)
            package[name] = value.strip('"')
            if name == "checksum":
                found[package["name"], package["version"]] = package["checksum"]
    return found


def reached(nodes, start):
    """What is linked, and on what each depends."""
    edges, waiting = {}, [start]
    while waiting:
        package = waiting.pop()
        if package in edges:
            continue
        kinds = nodes[package]["deps"]
        edges[package] = sorted({d["pkg"] for d in kinds if any(k["kind"] != "dev" for k in d["dep_kinds"])})
        waiting += edges[package]
    return edges


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums):
    entry = {
        "type": "application" if package["name"] == "obs" else "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("license"):
        # Older packages write a slash for "or".
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def bill(target):
    found = metadata(target)
    packages = {p["id"]: p for p in found["packages"]}
    root = next(p["id"] for p in found["packages"] if p["name"] == "obs" and p["source"] is None)
    edges = reached({n["id"]: n for n in found["resolve"]["nodes"]}, root)
    sums = checksums()
    rest = sorted((packages[p] for p in edges if p != root), key=reference)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": component(packages[root], sums),
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": [component(p, sums) for p in rest],
        "dependencies": sorted(
            ({"ref": reference(packages[p]), "dependsOn": sorted(reference(packages[d]) for d in on)}
             for p, on in edges.items()),
            key=lambda entry: entry["ref"],
        ),
    }
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        document["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return {"serialNumber": f"urn:uuid:{uuid.uuid5(SPACE, digest)}", **document}


if __name__ == "__main__":
    json.dump(bill(sys.argv[1] if len(sys.argv) > 1 else host()), sys.stdout, indent=1)
    print()
