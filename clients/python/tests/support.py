"""Starts the servers and programs that the tests use.

A server listens on a free loopback port, works in its own folder and is killed by its pid. The
module is AGG_MODULE, else the release build of the repository; the server is AGG_SERVER, else
redis-server or valkey-server. If one of them is missing, the tests are skipped, but in CI they
fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import redis

ROOT = Path(__file__).resolve().parents[3]

# Windows of four weeks, so that none closes during a test.
LONG_WINDOWS = "min-window 2419200 hour-window 2419200"


def skip_without(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_until(what: str, condition: Callable[[], Any], timeout: float = 20) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.01)


class Server:
    """A running server with the module."""

    def __init__(self, *arguments: str, settings: str = "") -> None:
        # Relative paths start at the root of the repository.
        module = ROOT / os.environ.get("AGG_MODULE", "target/release/libaggregator.so")
        if not module.exists():
            skip_without(f"the module {module}")
        chosen = os.environ.get("AGG_SERVER")
        if chosen and "/" in chosen:
            chosen = str(ROOT / chosen)
        candidates = [chosen] if chosen else ["redis-server", "valkey-server"]
        program = next((p for p in candidates if shutil.which(p)), None)
        if program is None:
            skip_without("a server")
        assert program is not None
        self.port = free_port()
        self.dir = tempfile.TemporaryDirectory(prefix="agg-py-")
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            self.dir.name,
        ]
        self.command = [program, *options, "--logfile", "server.txt", *arguments, "--loadmodule"]
        self.command += [str(module), *settings.split()]
        self.child: Optional[subprocess.Popen[bytes]] = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert self.child is None
        self.child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as plain:
            wait_until("the server replies", lambda: self._replies(plain))

    def _replies(self, plain: Any) -> bool:
        assert self.child is not None
        if self.child.poll() is not None:
            raise AssertionError((Path(self.dir.name) / "server.txt").read_text())
        try:
            return bool(plain.ping())
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def close(self) -> None:
        self.stop()
        self.dir.cleanup()


Filter = Callable[[bytes], "tuple[bytes, bool]"]
"""Returns what a proxy passes on of some bytes, and whether it then closes the connection."""


def pass_on(data: bytes) -> tuple[bytes, bool]:
    return data, False


class Proxy:
    """A TCP proxy in front of a server, whose filters change or cut what passes."""

    def __init__(self, target: int, *, requests: Filter = pass_on, replies: Filter = pass_on):
        self.requests, self.replies = requests, replies
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, name in ((client, server, "requests"), (server, client, "replies")):
                copying = (source, sink, name)
                threading.Thread(target=self._copy, args=copying, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        cut = False
        with source, contextlib.suppress(OSError):
            while not cut and (data := source.recv(1 << 16)):
                passed, cut = getattr(self, name)(data)
                sink.sendall(passed)
        with contextlib.suppress(OSError):
            # Wakes the thread of the other direction, which closes the other socket.
            sink.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


# The beginning of every program that `run_program` runs.
PRELUDE = """
import contextlib, os, signal, sys, threading, time
import redis, agg

def exit_status(pid):
    "Returns the exit status of a child, and kills a child that hangs."
    deadline = time.monotonic() + 90
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hung"
        time.sleep(0.002)

def fork_while_locked(recorder, locks_of):
    "Forks while another thread holds locks of the recorder's connection. Returns the exit status."
    recorder.stat("before", 1)
    assert recorder.flush(60)
    locked, forked = threading.Event(), threading.Event()

    def lock_until_forked():
        with contextlib.ExitStack() as stack:
            for lock in locks_of(recorder._connection.client.redis):
                stack.enter_context(lock)
            locked.set()
            forked.wait()

    threading.Thread(target=lock_until_forked, daemon=True).start()
    locked.wait()
    pid = os.fork()
    if pid == 0:
        # The locks stay locked in the child, which exits through all finalizers.
        recorder.stat("child", 1)
        sys.exit(0 if recorder.flush(60) else 3)
    forked.set()
    return exit_status(pid)
"""


def run_program(text: str, *arguments: str, timeout: float = 120, prelude: str = PRELUDE) -> str:
    """Runs a Python program to its end and returns its output."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", prelude + textwrap.dedent(text), *arguments],
        timeout=timeout,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout
