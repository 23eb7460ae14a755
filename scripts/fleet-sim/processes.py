"""The processes of a run: each is started here, and ended by its process id."""

import ctypes
import json
import os
import pathlib
import resource
import signal
import subprocess
import threading
import time
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
# The longest time that a process takes to end, s.
END = 30
LIBC = ctypes.CDLL(None)


def prepare() -> None:
    """Runs in a new process: it may open all files that it can, and ends with the script."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A process, with its use of the machine."""

    def __init__(self, name: str, words: list[str], log: pathlib.Path, **options: Any) -> None:
        self.name = name
        with log.open("wb") as errors:
            self.child = subprocess.Popen(words, stderr=errors, preexec_fn=prepare, **options)
        self.cpu_at_end = 0.0
        self.peak = 0

    def is_alive(self) -> bool:
        return self.child.poll() is None

    def cpu(self) -> float:
        """Returns the CPU time so far, s."""
        try:
            stat = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            self.cpu_at_end = max(self.cpu_at_end, (int(stat[11]) + int(stat[12])) / TICK)
        except (OSError, IndexError):
            pass
        return self.cpu_at_end

    def memory(self) -> int:
        """Returns the largest resident memory so far, bytes."""
        try:
            status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
            lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
            self.peak = max(self.peak, int(lines[0].split()[1]) * 1024) if lines else self.peak
        except OSError:
            pass
        return self.peak

    def kill(self) -> None:
        self.cpu(), self.memory()
        self.child.kill()
        self.child.wait(END)

    def end(self) -> None:
        if not self.is_alive():
            return
        self.cpu(), self.memory()
        self.child.terminate()
        try:
            self.child.wait(END)
        except subprocess.TimeoutExpired:
            self.kill()


class Simulator(Process):
    """A process of fleet-sim: it gets orders, and writes lines of JSON."""

    def __init__(self, name: str, words: list[str], log: pathlib.Path) -> None:
        super().__init__(name, words, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.status: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.child.stdout:
            value = json.loads(line)
            if value["kind"] == "report":
                self.reports.append(value)
            else:
                self.status = value

    def order(self, text: str) -> None:
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()

    def report(self) -> dict[str, Any]:
        """Returns what was measured since the mark."""
        count = len(self.reports)
        self.order("report")
        deadline = time.monotonic() + 120
        while len(self.reports) == count:
            if time.monotonic() > deadline or not self.is_alive():
                raise RuntimeError(f"{self.name} does not report")
            time.sleep(0.02)
        return self.reports[-1]
