"""The harness waits for values with a bound, notices programs that end, and leaves none behind."""

import contextlib
import io
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import Programs, free_port, get, wait_for


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Harness(unittest.TestCase):
    def test_waiting_ends_with_the_value_or_at_the_bound(self):
        seen = iter([None, None, "here"])
        self.assertEqual("here", wait_for("it", lambda: next(seen), every=0))
        with self.assertRaisesRegex(TimeoutError, "in vain for it"):
            wait_for("it", lambda: None, patience=0, every=0)

    def test_a_program_that_ended_by_itself_fails_the_wait(self):
        with Programs() as programs:
            programs.start("short", ["sh", "-c", "exit 3"])
            with self.assertRaisesRegex(RuntimeError, "short ended with 3"):
                programs.wait_for("something", lambda: None)
            programs.running.clear()

    def test_programs_are_ended_and_their_logs_shown_after_a_failure(self):
        shown = io.StringIO()
        with self.assertRaises(KeyError), contextlib.redirect_stdout(shown), Programs() as programs:
            process = programs.start("talker", ["sh", "-c", "echo said this; exec sleep 60"])
            programs.wait_for("its words", lambda: "said this" in programs.log("talker"))
            raise KeyError
        self.assertFalse(alive(process.pid))
        self.assertFalse(programs.folder.exists())
        self.assertIn("said this", shown.getvalue())

    def test_stopping_tells_the_exit_code(self):
        with Programs() as programs:
            programs.start("polite", ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"])
            programs.wait_for("it", lambda: "up" in programs.log("polite"))
            self.assertEqual(0, programs.stop("polite"))

    def test_nobody_there_is_an_answer_too(self):
        status, reason = get(f"http://127.0.0.1:{free_port()}/")
        self.assertEqual(0, status)
        self.assertTrue(reason)


if __name__ == "__main__":
    unittest.main()
