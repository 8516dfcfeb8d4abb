#!/bin/sh
# Install Tandem into .venv with pinned versions, once: a second run sees the stamp and ends at once.
#
# Needs Python 3.11. On Debian and Ubuntu, as root, what else is missing (venv, a C compiler for the one package that
# ships as source only) is installed with apt. Whatever cannot be had is one clear message and a non-zero exit; the
# stamp is written last, so that an interrupted or failed run is repaired by the next one.
#
# Exit codes: 0 done, 69 the package index (or apt) did not deliver, 78 this machine lacks something; the message says what.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
venv=.venv
stamp=$venv/.installed
log=$venv/install.log

say() { echo "setup: $*"; }

fail() {
    code=$1
    shift
    echo "setup: $*" >&2
    exit "$code"
}

# What the installation depends on: the pins, this script, and where the checkout stands (scripts carry that path).
wanted() {
    { echo "$root"; cat pyproject.toml requirements.lock scripts/setup.sh; } | cksum
}

# A .venv that was half made, belongs to another Python, or was moved or copied here is made anew.
is_sound() {
    [ -x $venv/bin/python ] && [ "$(cat $venv/.root 2>/dev/null)" = "$root" ] &&
        $venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

apt_install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        fail 78 "this machine lacks $*, under the names Debian gives them; install them and run make setup again"
    fi
    if [ "$(id -u)" != 0 ]; then
        fail 78 "this machine lacks $*; install them with: sudo apt-get install -y $*"
    fi
    say "installing $* with apt"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$@"; } >/tmp/tandem-apt.$$ 2>&1 || {
        tail -n 5 /tmp/tandem-apt.$$ >&2
        rm -f /tmp/tandem-apt.$$
        fail 69 "apt could not install $*; is there a network? Then run make setup again"
    }
    rm -f /tmp/tandem-apt.$$
}

pip_install() {
    $venv/bin/python -m pip install -q --disable-pip-version-check --no-input "$@" >>$log 2>&1
}

has_compiler() {
    command -v cc >/dev/null 2>&1 &&
        "$1" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' >/dev/null 2>&1
}

if is_sound && [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ]; then
    exit 0
fi

PYTHON=${PYTHON:-python3.11}
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
if [ "$version" != 3.11 ]; then
    fail 78 "needs Python 3.11, found $version ($PYTHON); install it, or run: make setup PYTHON=/path/to/python3.11"
fi

if ! is_sound; then
    rm -rf $venv
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3.11-venv
    "$PYTHON" -m venv $venv || fail 78 "$PYTHON -m venv failed in $root; is the directory writable and the disk not full?"
    echo "$root" >$venv/.root
fi

say "installing pinned packages into $venv (a minute or two the first time)"
: >$log
# --no-deps: the lock is complete, and two of its packages name different versions of urllib3; both work with the newer.
if ! pip_install --no-deps -r requirements.lock; then
    repaired=no
    if ! has_compiler "$PYTHON"; then
        apt_install gcc libc6-dev python3.11-dev
        pip_install --no-deps -r requirements.lock && repaired=yes
    fi
    if [ $repaired = no ]; then
        tail -n 5 $log >&2
        fail 69 "the packages of requirements.lock could not be installed; is there a network? All of it: $log"
    fi
fi
# The setuptools that comes with a venv of Python 3.11 builds with the pinned `wheel`; isolation would fetch both anew.
pip_install --no-deps --no-build-isolation -e . || {
    tail -n 5 $log >&2
    fail 69 "Tandem itself could not be installed into $venv; all of it: $log"
}
$venv/bin/tandem prepare >>$log 2>&1 || {
    tail -n 5 $log >&2
    fail 78 "the sandbox environment could not be prepared; all of it: $log"
}
wanted >$stamp
say "done"
