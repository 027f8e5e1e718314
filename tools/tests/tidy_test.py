"""Each rule of tools/tidy is seen to fire, and to leave a clean file alone."""

import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import tempfile
import unittest
import unittest.mock

TOOL = pathlib.Path(__file__).resolve().parents[1] / "tidy"
loader = importlib.machinery.SourceFileLoader("tidy", str(TOOL))
tidy = importlib.util.module_from_spec(importlib.util.spec_from_loader("tidy", loader))
loader.exec_module(tidy)

# rule → (path, content, whether the file is executable)
OFFENCES = {
    "length": ("src/long.rs", "//! Long.\n" + "fn f() {}\n" * (tidy.MAX_SOURCE_LINES + 1), False),
    "machine_paths": ("docs/a.md", "See /" + "work/main/src.\n", False),
    "conflict_marks": ("docs/b.md", "<" * 7 + " HEAD\n", False),
    "header": ("src/bare.rs", "fn f() {}\n", False),
    "runnable": ("tools/go", "#!/usr/bin/env bash\n# Goes.\ntrue\n", False),
    "ending": ("docs/c.md", "no newline", False),
    "rooms": ("src/http/leak.rs", "//! Leaks.\nuse crate::driver::Handle;\n", False),
    "ignored_tests": ("tests/it/some.rs", "//! Some.\n#[ignore]\nfn f() {}\n", False),
    "sleeping_tests": ("tests/it/slow.rs", "//! Slow.\nfn f() { sleep(1); }\n", False),
    "links": ("docs/d.md", "[gone](nowhere.md)\n", False),
    "binary": ("docs/blob", b"\xff\xfe\x00", False),
    "size": ("docs/huge.txt", "x\n" * tidy.MAX_BYTES, False),
}
CLEAN = {
    "src/http/fine.rs": "//! Fine.\n// use crate::driver::Handle would be wrong here.\nuse crate::engine::Snapshot;\n",
    "src/engine/fine.rs": "//! Fine.\nuse std::sync::Arc;\n",
    "src/engine/tests/any.rs": "//! Tests may.\nuse tokio::time;\n",
    "src/driver/tests.rs": "//! Paused.\n#[tokio::test(start_paused = true)]\nasync fn f() { sleep(1).await; }\n",
    "docs/e.md": "# Some heading\n[here](e.md#some-heading) and [there](https://example.org)\n",
    "fixtures/recorded.json": '{"path": "/' + 'root/x"}',
}


def offences(contents):
    """The rules that fire for these files in a repository of their own."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        subprocess.run(["git", "init", "--quiet", folder], check=True)
        for path, (content, executable) in contents.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            os.chmod(file, 0o755 if executable else 0o644)
        return [(str(path), rule) for path, _, rule, _ in tidy.offences(root)]


class Tidy(unittest.TestCase):
    def test_each_rule_fires_for_its_offence_and_no_other_does(self):
        self.assertLessEqual({rule.__name__ for rule in tidy.RULES}, set(OFFENCES))
        for rule, (path, content, executable) in OFFENCES.items():
            with self.subTest(rule):
                self.assertEqual({(path, rule)}, set(offences({path: (content, executable)})))

    def test_clean_files_are_left_alone(self):
        self.assertEqual([], offences({path: (content, False) for path, content in CLEAN.items()}))

    def test_an_impure_engine_is_found(self):
        for line in ("use tokio::time;", "use std::time::Instant;", "use crate::ollama::Client;"):
            with self.subTest(line):
                path = "src/engine/leak.rs"
                self.assertEqual([(path, "rooms")], offences({path: (f"//! Leaks.\n{line}\n", False)}))

    def test_an_exemption_only_shrinks(self):
        path, limit = "src/long.rs", tidy.MAX_SOURCE_LINES + 100
        with unittest.mock.patch.dict(tidy.LONG_FILES, {path: (limit, "a reason")}):
            for lines, found in ((limit - 20, [(path, "length")]), (limit, []), (limit + 1, [(path, "length")])):
                with self.subTest(lines):
                    self.assertEqual(found, offences({path: ("//! Long.\n" + "fn f() {}\n" * lines, False)}))


if __name__ == "__main__":
    unittest.main()
