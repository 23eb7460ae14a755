#!/usr/bin/env python3
"""Measures one agg poll that drains many servers, found in a range of loopback addresses.

Starts the servers, each with the module and a few records, and one poller with a file sink. Measures the time until all
servers are found and drained, then the CPU time of the idle poller and the commands that each server gets from it. Then
kills some of the servers, watches the poller, starts them again with new records, and measures until all are drained.
Every record must be in the file once. Prints a table in Markdown, and with --json writes the results to a file.

    crates/agg/benches/fleet.py
    crates/agg/benches/fleet.py --servers 50 --deaths 10 --idle 20 --json fleet.json

Build first: cargo build --release -p agg -p aggregator. Needs redis-server, and Linux, where 127.0.0.0/8 is local.
The servers and the poller share the cores of this machine.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from sinks import BINARIES, TICK, encode, free_port

NETWORK = "127.77"
METRICS = 20
LOGS = 10
# Each metric has one sample of the past: a record of each window length.
RECORDS = 2 * METRICS + LOGS
# The longest wait for one step, s.
LIMIT = 120


class Connection:
    """A connection to a server, with the little of its protocol that is needed here."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=LIMIT)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        self.socket.sendall(encode(words))
        line = self.file.readline()
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        if line[:1] == b"*":
            return [self.file.readline() for _ in range(int(line[1:]))]
        if line[:1] in (b"+", b":"):
            return line[1:-2].decode()
        raise RuntimeError(line.decode() or "the server has closed the connection")


class Server:
    """A server at an address of its own. Its node is named after its number."""

    def __init__(self, number, port, scratch):
        self.host = f"{NETWORK}.{number // 250}.{number % 250 + 1}"
        self.node = f"node-{number:04}"
        self.port = port
        self.log = scratch / f"{self.node}.log"
        self.starts = 0
        self.own_infos = 0
        self.start()

    def start(self):
        server = f"redis-server --bind {self.host} --port {self.port} --databases 1 --loglevel warning"
        module = f"{BINARIES}/libaggregator.so max-memory 8mb flush-delay-ms 0 min-history 0 hour-history 0"
        words = [*server.split(), "--save", "", "--loadmodule", *module.split()]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.starts += 1

    def connect(self):
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                self.connection = Connection(self.host, self.port)
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.host} did not start:\n{self.log.read_text()[-500:]}") from None
                time.sleep(0.05)

    def fill(self):
        """Reports records. Their windows are over, so that they close at once."""
        past = int(time.time() - 7200) * 1000
        values = [word for i in range(METRICS) for word in (f"metric.{i}", i)]
        self.connection.call("AGG.MSTAT", self.node, "AT", past, "VALUES", *values)
        for i in range(LOGS):
            self.connection.call("AGG.LOG", self.node, f"start {self.starts}, entry {i}")

    def info(self, section):
        self.own_infos += 1
        return dict(re.findall(r"^([\w.|]+):(.*?)\r?$", self.connection.call("INFO", section), re.M))

    def queued(self):
        info = self.info("agg")
        return sum(int(info[f"agg_{queue}_length"]) for queue in ("min", "hour", "log"))

    def commands(self):
        """Returns the commands by name, without the INFO of this program. The one that asks is not counted yet."""
        own = self.own_infos
        stats = self.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(value[6:].split(",")[0]) for name, value in stats.items()}
        calls["info"] = calls.get("info", 0) - own
        return collections.Counter(calls)


class Poller:
    """The process of agg poll, and the file of its sink."""

    def __init__(self, scratch, port, arguments):
        self.records = scratch / "records.jsonl"
        self.records.touch()
        self.web = free_port()
        config = scratch / "poller.toml"
        config.write_text(
            f"""listen = "127.0.0.1:{self.web}"
dead-letters = "{scratch}/dead-letters.jsonl"
[[source]]
range = "{arguments.range}"
port = {port}
[[route]]
queues = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"]
sinks = ["records"]
[sink.records]
type = "file"
path = "{self.records}"
"""
        )
        self.log = scratch / "poller.log"
        with open(self.log, "wb") as log:
            words = [arguments.agg, "poll", "--config", config]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self, field):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status).group(1)) / 1024

    def written(self):
        with open(self.records, "rb") as file:
            return file.read().count(b"\n")

    def servers(self):
        """Returns how many servers are connected."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/metrics", timeout=10) as reply:
                text = reply.read().decode()
        except OSError:
            return 0
        return float(re.search(r"^agg_poller_servers_up (\S+)$", text, re.M).group(1))

    def log_lines(self):
        return self.log.read_text(errors="replace").count("\n")

    def watch(self, seconds):
        """Returns the share of a core that the poller takes, in percent, and the log lines that it writes."""
        before, lines, begin = self.cpu(), self.log_lines(), time.monotonic()
        time.sleep(seconds)
        share = 100 * (self.cpu() - before) / (time.monotonic() - begin)
        return round(share, 2), self.log_lines() - lines


def until(what, is_done):
    """Waits, and returns the time that it took, s."""
    begin = time.monotonic()
    while not is_done():
        if time.monotonic() - begin > LIMIT:
            raise RuntimeError(f"{what}: not within {LIMIT} s")
        time.sleep(0.05)
    return round(time.monotonic() - begin, 2)


def fill(servers):
    for server in servers:
        server.connect()
        server.fill()
    for server in servers:
        until("the windows close", lambda: server.queued() >= RECORDS)


def check(poller, expected):
    """Checks that every record is in the file once."""
    with open(poller.records, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    unique = {(record["node"], record["queue"], record["id"]) for record in records}
    return {"records": len(records), "lost": expected - len(unique), "twice": len(records) - len(unique)}


def measure(arguments, scratch, servers, port):
    # One after the other, so that those that were started are ended if one is not.
    for number in range(arguments.servers):
        servers.append(Server(number, port, scratch))
    result = {"servers": len(servers), "records_per_server": RECORDS}
    fill(servers)
    expected = len(servers) * RECORDS
    poller = Poller(scratch, port, arguments)
    try:
        begin = time.monotonic()
        until("all servers are found", lambda: poller.servers() >= len(servers))
        result["found_s"] = round(time.monotonic() - begin, 2)
        until("all records are written", lambda: poller.written() >= expected)
        result["drained_s"] = round(time.monotonic() - begin, 2)
        until("all are acknowledged", lambda: not any(server.queued() for server in servers))
        result["drain_cpu_s"] = round(poller.cpu(), 2)
        # Pauses between empty fetches grow first.
        time.sleep(arguments.settle)

        before, begin = [server.commands() for server in servers], time.monotonic()
        result["idle_cpu_percent"], result["idle_log_lines"] = poller.watch(arguments.idle)
        seconds = time.monotonic() - begin
        calls = [server.commands() - counts for server, counts in zip(servers, before)]
        rates = [sum(count.values()) / seconds for count in calls]
        result["idle_commands_per_second"] = round(sum(rates) / len(rates), 3)
        result["idle_commands_per_second_max"] = round(max(rates), 3)
        total = sum(calls, collections.Counter())
        result["idle_commands"] = {name: round(n / seconds / len(servers), 3) for name, n in total.most_common()}
        result["memory_mib"] = round(poller.memory("VmRSS"), 1)
        result["memory_peak_mib"] = round(poller.memory("VmHWM"), 1)
        result["peak_kib_per_server"] = round(poller.memory("VmHWM") * 1024 / len(servers), 1)

        dead = servers[: arguments.deaths]
        for server in dead:
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        result["deaths"] = len(dead)
        result["death_cpu_percent"], result["death_log_lines"] = poller.watch(arguments.idle)
        begin = time.monotonic()
        for server in dead:
            server.start()
        for server in dead:
            server.connect()
            server.fill()
        result["restart_s"] = round(time.monotonic() - begin, 2)
        expected += len(dead) * RECORDS
        result["drained_after_restart_s"] = until("all records are written", lambda: poller.written() >= expected)
        until("all are acknowledged", lambda: not any(server.queued() for server in servers))
        result["log_lines"] = poller.log_lines()
        poller.process.terminate()
        poller.process.wait(LIMIT)
        result.update(check(poller, expected))
        return result
    finally:
        if poller.process.poll() is None:
            poller.process.kill()
            poller.process.wait()
        if arguments.log:
            print(poller.log.read_text(errors="replace")[-20000:], file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--deaths", type=int, default=50, help="servers that are killed")
    parser.add_argument("--idle", type=float, default=60, help="seconds for which the idle poller is watched")
    parser.add_argument("--settle", type=float, default=10, help="seconds before that")
    parser.add_argument("--range", default=f"{NETWORK}.0.0/24", help="addresses that the poller scans")
    parser.add_argument("--agg", type=pathlib.Path, default=BINARIES / "agg")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    parser.add_argument("--log", action="store_true", help="print the log of the poller, too")
    arguments = parser.parse_args()
    servers, port = [], free_port()
    with tempfile.TemporaryDirectory(prefix="agg-fleet-") as scratch:
        try:
            result = measure(arguments, pathlib.Path(scratch), servers, port)
        finally:
            for server in servers:
                server.process.kill()
                server.process.wait()
    print("| | |\n| --- | ---: |")
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {n}" for key, n in value.items())
        print(f"| {name.replace('_', ' ')} | {value} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if result["lost"] or result["twice"]:
        sys.exit("records were lost or written twice")


if __name__ == "__main__":
    main()
