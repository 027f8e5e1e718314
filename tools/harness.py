"""Starts programs on 127.0.0.1, waits for what they show, and ends exactly those. For scrape-test and bench."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# Waits that only a defect reaches.
PATIENCE = 60.0
# Between two looks at a value.
LOOK_AGAIN = 0.05


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url, timeout=10.0, headers=None):
    """(status, body) of a GET; (0, reason) when there was no answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def get_json(url, timeout=10.0):
    """The JSON of a GET, whatever its status; None when there was none."""
    _, body = get(url, timeout)
    try:
        return json.loads(body)
    except ValueError:
        return None


def wait_for(what, look, patience=PATIENCE, every=LOOK_AGAIN):
    """What `look` returns as soon as it is true. Never waits for a while, only for a value."""
    end = time.monotonic() + patience
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(every)


class Programs(contextlib.AbstractContextManager):
    """Programs of ours, each with a log of its own; all are ended at the end, and their logs shown if it was a bad one."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="model-preloader-"))
        self.running = {}

    def start(self, name, argv, env=None):
        """Starts a program with nothing of our environment but what it needs to be found."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(env or {})}
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
            )
        self.running[name] = process
        return process

    def check(self):
        """Fails when a program of ours has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}")

    def wait_for(self, what, look, patience=PATIENCE, every=LOOK_AGAIN):
        """As the function, and fails at once when a program has ended meanwhile."""

        def look_alive():
            self.check()
            return look()

        return wait_for(what, look_alive, patience, every)

    def stop(self, name):
        """Ends one program as an operator would; by force if it does not end."""
        process = self.running.pop(name)
        process.terminate()
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{name} did not end within 20 s of SIGTERM") from None

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def __exit__(self, kind, error, trace):
        for name in list(self.running)[::-1]:
            process = self.running.pop(name)
            process.kill()
            process.wait()
        if error is not None:
            for log in sorted(self.folder.glob("*.log")):
                print(f"--- the end of {log.name}")
                print("\n".join(log.read_text(errors="replace").splitlines()[-30:]))
        subprocess.run(["rm", "-rf", str(self.folder)], check=False)
        return False
