#!/usr/bin/env python3
"""Makes dashboards/*.json from the two modules beside it. Same input, same bytes.

    dashboards/generate.py            write the files
    dashboards/generate.py --check    exit 1 if a file is not what would be written

The JSON is kept in the repository, because it is what people import and what the chart ships.
"""

import json
import sys
from pathlib import Path

import model
import overview

HERE = Path(__file__).resolve().parent


def files():
    """name -> text."""
    boards = {"overview.json": overview.dashboard(), "model.json": model.dashboard()}
    return {name: json.dumps(board, indent=2, ensure_ascii=False) + "\n" for name, board in boards.items()}


def main(check):
    stale = []
    for name, text in files().items():
        path = HERE / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"dashboards/{name} is not what dashboards/generate.py makes: run it and commit the result", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
