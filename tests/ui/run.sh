#!/bin/sh
# The web UI: its lints and unit tests, then the pages in a real browser against a real server.
# OBS_BIN names the binary (default: target/release/obs), OBS_CHROMIUM the browser.
set -eu
cd "$(dirname "$0")/../.."

[ -x ui/node_modules/.bin/oxlint ] || (cd ui && npm ci --no-audit --no-fund)
(cd ui && npm test)

OBS_BIN=${OBS_BIN:-target/release/obs}
OBS_CHROMIUM=${OBS_CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$OBS_CHROMIUM" ]; then
    install() {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
    }
    if ! install >/dev/null 2>&1; then
        echo "skipped: chromium cannot be installed"
        exit 0
    fi
fi
export OBS_BIN OBS_CHROMIUM
exec node tests/ui/ui.mjs
