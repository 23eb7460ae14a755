"""A server for tests, of their own: on a free loopback port, in its own folder, ended by its pid.

The module is that of AGG_MODULE, else the workspace's release build; the server that of AGG_SERVER,
else redis-server or valkey-server. Where one of them is missing the tests say so and do nothing,
but in CI they fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import redis

ROOT = Path(__file__).resolve().parents[3]


def missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def until(what: str, look: Callable[[], Any], within: float = 20) -> Any:
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


class Server:
    """A running server with the module."""

    def __init__(self, *arguments: str, settings: str = "") -> None:
        # What is named relatively is named from the top of the repository.
        module = ROOT / os.environ.get("AGG_MODULE", "target/release/libaggregator.so")
        if not module.exists():
            missing(f"the module {module}")
        named = os.environ.get("AGG_SERVER")
        if named and "/" in named:
            named = str(ROOT / named)
        programs = [named] if named else ["redis-server", "valkey-server"]
        program = next((p for p in programs if shutil.which(p)), None)
        if program is None:
            missing("a server")
        assert program is not None
        self.port = free_port()
        self.dir = tempfile.TemporaryDirectory(prefix="agg-py-")
        own = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            self.dir.name,
        ]
        self.command = [program, *own, "--logfile", "server.txt", *arguments, "--loadmodule"]
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
            until("the server answers", lambda: self._answers(plain))

    def _answers(self, plain: Any) -> bool:
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

    def end(self) -> None:
        self.stop()
        self.dir.cleanup()


# Windows of four weeks: none closes while a test looks.
CALM = "min-window 2419200 hour-window 2419200"


# What the programs below have in common: a child's exit status, which is no child that hangs.
STATUS = """
import os, signal, sys, threading, time
import redis, agg

def status(pid):
    end = time.monotonic() + 90
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hung"
        time.sleep(0.002)
"""


def program(text: str, *arguments: str, within: float = 120, start: str = STATUS) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + textwrap.dedent(text), *arguments],
        timeout=within,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout
