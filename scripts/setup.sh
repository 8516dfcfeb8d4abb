#!/bin/sh
# Install Tandem into .venv with pinned versions. Needs Python 3.11; on Debian and Ubuntu, as root, what is missing is
# installed with apt. Prints one clear line and stops when something cannot be had.
set -eu

PYTHON=${PYTHON:-python3.11}
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
if [ "$version" != 3.11 ]; then
    echo "setup: needs Python 3.11, found $version ($PYTHON); install it, or run: make setup PYTHON=/path/to/python3.11" >&2
    exit 78
fi

apt_install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: missing $*; install it with: sudo apt-get install $*" >&2
        exit 78
    fi
    apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$@" >/dev/null
}

if [ ! -x .venv/bin/python ]; then
    rm -rf .venv
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3.11-venv
    fi
    "$PYTHON" -m venv .venv
fi

echo "setup: installing pinned packages into .venv (a minute or two the first time)"
log=.venv/install.log
# One package ships as source only and wants a C compiler; the log says so if that is what failed.
if ! .venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.lock >"$log" 2>&1; then
    if ! command -v gcc >/dev/null 2>&1 || ! "$PYTHON"-config --includes >/dev/null 2>&1; then
        apt_install gcc python3.11-dev
        .venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.lock >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
    else
        tail -n 20 "$log" >&2
        exit 1
    fi
fi
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . >>"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
echo "setup: done"
