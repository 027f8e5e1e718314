"""How the simulated Ollama and the preloader are started by the scrape test and the benchmark: the one place that knows
their command lines."""

import json

from harness import get

# 1 400 tokens are an agent's usual system prompt; the simulated Ollama counts words.
SYSTEM = "You are a careful assistant of a software team. " * 100


def ollama_sim(programs, binaries, port, models, load_ms=50):
    """A simulated Ollama that has these models and room for all of them."""
    argv = [binaries / "ollama-sim", "--listen", f"127.0.0.1:{port}", "--max-loaded-models", len(models) + 1]
    for name in models:
        argv += ["--model", f"{name},load={load_ms}ms,prompt=1ms,token=1ms"]
    programs.start("ollama-sim", argv)
    programs.wait_for("ollama-sim", lambda: get(f"http://127.0.0.1:{port}/api/version")[0] == 200)


def preloader(programs, binaries, port, servers, models, warmed=None):
    """The preloader with these servers and models; `warmed` is the one that gets a warm-up."""
    configuration = {
        "http": {"listen": f"127.0.0.1:{port}"},
        "servers": [{"name": f"ollama-{number}", "url": url} for number, url in enumerate(servers)],
        "models": [
            {"model": name, **({"warmup": [{"system": SYSTEM}]} if name == warmed else {})} for name in models
        ],
    }
    path = programs.folder / "preloader.json"
    path.write_text(json.dumps(configuration))
    return programs.start("model-preloader", [binaries / "model-preloader", "--config", path])
