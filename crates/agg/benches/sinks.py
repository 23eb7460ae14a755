#!/usr/bin/env python3
"""Measures the sinks of agg poll, one after the other, beside the file sink.

Each round fills a server that has the module with records of MIN, starts agg poll, and measures until all records are
acknowledged. The server, the poller and the target run on this machine and share its cores. Prints a table in Markdown:
records per second, CPU time of the poller and of the target per record, and the largest resident memory of the poller.

    crates/agg/benches/sinks.py                          all sinks whose target is installed
    crates/agg/benches/sinks.py file postgresql          these
    crates/agg/benches/sinks.py --records 60000 --rounds 3

Build first: cargo build --release -p agg -p aggregator. Targets are the programs that the tests use (scripts/deps.sh,
scripts/servers.sh). A run ends with an error if a sink rejects a record.
"""

import argparse
import http.server
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARIES = ROOT / "target/release"
SERVERS = pathlib.Path(os.environ.get("AGG_SERVERS", ROOT / "target/servers"))
NODES = 10
WINDOW_MS = 300_000
HOUR_MS = 3_600_000
# The longest time of one run, s.
LIMIT = 900
TICK = os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """The target of a sink is not installed."""


# The server.


class Connection:
    """A connection to a server, with the little of its protocol that is needed here."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        self.send([words])
        return self.reply()

    def pipeline(self, commands):
        self.send(commands)
        for _ in commands:
            self.reply()

    def send(self, commands):
        self.socket.sendall(b"".join(encode(words) for words in commands))

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind in b"+:":
            return rest
        if kind == b"$":
            return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise RuntimeError(rest.decode() or "the server has closed the connection")


def encode(words):
    words = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def pairs(reply):
    return dict(zip(reply[::2], reply[1::2]))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Processes.


class Processes:
    """The processes of a run, each in a session of its own, so that its children are counted and ended with it."""

    def __init__(self, scratch):
        self.scratch = pathlib.Path(scratch)
        self.started = []

    def directory(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.scratch))

    def start(self, *command, **options):
        path = self.directory() / "log"
        with open(path, "wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )
        process.log = path
        self.started.append(process)
        return process

    def redis(self, *arguments):
        port = free_port()
        directory = self.directory()
        words = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory, *arguments]
        process = self.start("redis-server", *words)
        answers(port, process)
        return port, process

    def end(self):
        for process in self.started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def text_of(process):
    return process.log.read_text(errors="replace")


def answers(port, process):
    """Waits until a process accepts connections."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            pass
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended:\n{text_of(process)[-1000:]}")
        time.sleep(0.1)
    raise RuntimeError(f"nothing accepts connections at port {port}")


def cpu(process):
    """Returns the CPU time of a process and all below it, s. One that has ended is counted by its parent."""
    parents, times = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        times[pid] = sum(int(field) for field in fields[11:15])

    def is_below(pid):
        while pid not in (0, process.pid):
            pid = parents.get(pid, 0)
        return pid == process.pid

    return sum(time for pid, time in times.items() if is_below(pid)) / TICK


def peak_memory(process):
    """Returns the largest resident memory of a process, MiB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


# The targets: each returns the lines of its sink, and the process whose CPU time counts.


def program(name):
    found = shutil.which(name) or (SERVERS / name if (SERVERS / name).exists() else None)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def file(processes):
    return f'type = "file"\npath = "{processes.directory()}/out"', None


def file_line(processes):
    return f'type = "file"\npath = "{processes.directory()}/out"\nformat = "line"', None


def http_stub(_processes):
    """A server of this script, which reads bodies and answers 204."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            left = int(self.headers["content-length"])
            while left > 0:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'type = "http"\nurl = "http://127.0.0.1:{server.server_port}/"', None


def influxdb(processes):
    influxd = program("influxd")
    directory, port, backup = processes.directory(), free_port(), free_port()
    config = directory / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{backup}"\n'
        f'[meta]\ndir = "{directory}/meta"\n[data]\ndir = "{directory}/data"\nwal-dir = "{directory}/wal"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
    )
    process = processes.start(influxd, "run", "-config", config)
    answers(port, process)
    url = f"http://127.0.0.1:{port}"
    subprocess.run(["curl", "-sf", f"{url}/query", "--data", "q=CREATE DATABASE grid"], check=True, capture_output=True)
    return f'type = "influxdb"\nurl = "{url}"\ndatabase = "grid"', process


def victoria_metrics(processes):
    port = free_port()
    options = [
        f"-storageDataPath={processes.directory()}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
    ]
    process = processes.start(program("victoria-metrics"), *options)
    answers(port, process)
    return port, process


def influxdb_victoria(processes):
    port, process = victoria_metrics(processes)
    return f'type = "influxdb"\nurl = "http://127.0.0.1:{port}"\ndatabase = "grid"', process


def mongodb(processes):
    port = free_port()
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--storage-path",
        "data",
        "--cache-size",
        "64M",
        "--sync-on-commit",
    ]
    process = processes.start(program("secantusd").resolve(), *options, cwd=processes.directory())
    answers(port, process)
    return f'type = "mongodb"\nuri = "mongodb://127.0.0.1:{port}"\ndatabase = "grid"', process


def redis_stream(processes):
    port, process = processes.redis("--appendonly", "yes", "--appendfsync", "everysec")
    return f'type = "redis-stream"\nuri = "redis://127.0.0.1:{port}"', process


def redis_stream_repeats(processes):
    sink, process = redis_stream(processes)
    return f"{sink}\ndeduplicate = 0", process


def kafka(processes):
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    process = processes.start(program("tansu"), *options)
    answers(port, process)
    return f'type = "kafka"\nuri = "kafka://127.0.0.1:{port}"\ncreate-topics = true', process


def opensearch(processes):
    port = free_port()
    process = processes.start(program("osmem"), "-no-ja", "-no-stdin-watch", "-addr", f"127.0.0.1:{port}")
    answers(port, process)
    # osmem takes about a millisecond of CPU time for each document.
    return f'type = "opensearch"\nurl = "http://127.0.0.1:{port}"\ntimeout = "60s"', process


def postgresql(processes):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise Unavailable("postgresql is not installed")
    programs, directory, port = found[-1].parent, processes.directory(), free_port()
    options = {"env": {**os.environ, "LC_ALL": "C"}, "cwd": directory}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        os.chmod(processes.scratch, 0o755)
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = directory / "data"
    initdb = [programs / "initdb", "-U", "agg", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", data]
    subprocess.run(initdb, check=True, capture_output=True, **options)
    settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_wal_size=4GB"]
    words = [word for setting in settings for word in ("-c", setting)]
    process = processes.start(programs / "postgres", "-D", data, "-p", port, *words, **options)
    answers(port, process)
    psql = [
        programs / "psql",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-U",
        "agg",
        "-c",
        "CREATE DATABASE grid",
        "postgres",
    ]
    for _ in range(50):
        if subprocess.run(psql, check=False, capture_output=True, **options).returncode == 0:
            break
        time.sleep(0.1)
    return f'type = "postgresql"\nuri = "postgresql://127.0.0.1:{port}/grid"\nuser = "agg"', process


def prometheus(processes):
    directory, port = processes.directory(), free_port()
    config = directory / "prometheus.yml"
    config.write_text("storage:\n  tsdb:\n    out_of_order_time_window: 10000d\n")
    process = processes.start(
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    )
    answers(port, process)
    return f'type = "prometheus"\nurl = "http://127.0.0.1:{port}/api/v1/write"', process


def prometheus_victoria(processes):
    port, process = victoria_metrics(processes)
    return f'type = "prometheus"\nurl = "http://127.0.0.1:{port}/api/v1/write"', process


def otlp(processes):
    """agg listen, which reports to another server."""
    server, _ = processes.redis(
        "--loadmodule", BINARIES / "libaggregator.so", "max-series", "1000000", "max-memory", "4gb"
    )
    port = free_port()
    config = processes.directory() / "listen.toml"
    config.write_text(f'[otlp]\nlisten = "127.0.0.1:{port}"\ngrpc = []\n')
    process = processes.start(BINARIES / "agg", "--redis", f"redis://127.0.0.1:{server}", "listen", "--config", config)
    answers(port, process)
    return f'type = "otlp"\nurl = "http://127.0.0.1:{port}"', process


SINKS = {
    "file": ("file, JSON", file),
    "file-line": ("file, line protocol", file_line),
    "http": ("http, a stub", http_stub),
    "influxdb": ("influxdb", influxdb),
    "influxdb-victoria": ("influxdb, VictoriaMetrics", influxdb_victoria),
    "mongodb": ("mongodb, SecantusDB", mongodb),
    "postgresql": ("postgresql", postgresql),
    "prometheus": ("prometheus", prometheus),
    "prometheus-victoria": ("prometheus, VictoriaMetrics", prometheus_victoria),
    "otlp": ("otlp, agg listen", otlp),
    "opensearch": ("opensearch, osmem", opensearch),
    "kafka": ("kafka, Tansu in memory", kafka),
    "redis-stream": ("redis-stream", redis_stream),
    "redis-stream-repeats": ("redis-stream, deduplicate = 0", redis_stream_repeats),
}


# A run.


class Source:
    """A server with records to drain."""

    def __init__(self, processes, records):
        settings = "max-memory 8gb max-series 100000 queue-min 6gb min-history 0 hour-history 0 flush-delay-ms 900000"
        self.port, _ = processes.redis("--loadmodule", BINARIES / "libaggregator.so", *settings.split())
        self.connection = Connection(self.port)
        # Six windows, so that the records of a series follow each other as in operation.
        self.windows = 6
        self.metrics = max(1, records // (NODES * self.windows))
        self.rounds = 0

    def fill(self):
        """Closes the windows of another half hour, and returns the number of records."""
        self.rounds += 1
        self.connection.call("FLUSHALL")
        start = (int(time.time() * 1000) // HOUR_MS - 100 + self.rounds) * HOUR_MS
        tags = "dim:iops location:berlin"
        # The last window closes the others.
        for window in range(self.windows + 1):
            commands = []
            for node in range(NODES):
                for first in range(0, self.metrics, 500):
                    values = []
                    for metric in range(first, min(first + 500, self.metrics)):
                        values += [f"disk.iops@sd{metric}", f"{(metric * 37 + window * 11) % 1000}.{window}"]
                    at = start + window * WINDOW_MS
                    commands.append(["AGG.MSTAT", f"n{node}", "TAGS", tags, "AT", at, "VALUES", *values])
            self.connection.pipeline(commands)
        return self.length()

    def length(self):
        total = 0
        for node in range(NODES):
            queues = pairs(pairs(self.connection.call("AGG.INFO", f"n{node}"))[b"queues"])
            total += int(pairs(queues[b"MIN"])[b"length"])
        return total


def run(processes, source, name):
    """Drains the records of a round into a new target, and returns the cells of its row."""
    label, start = SINKS[name]
    sink, target = start(processes)
    count = source.fill()
    directory = processes.directory()
    dead = directory / "dead"
    config = directory / "poll.toml"
    config.write_text(
        f'max-in-flight = "32mb"\ndead-letters = "{dead}"\n[[source]]\nurls = ["redis://127.0.0.1:{source.port}"]\n'
        f'[[route]]\nqueues = ["MIN"]\nsinks = ["out"]\n[sink.out]\n{sink}\n'
    )
    before = cpu(target) if target else 0
    begun = time.monotonic()
    poller = processes.start(BINARIES / "agg", "poll", "--config", config)
    while (left := source.length()) > 0:
        if poller.poll() is not None or time.monotonic() - begun > LIMIT:
            raise RuntimeError(f"{label}: {left} of {count} records are left:\n{text_of(poller)[-2000:]}")
        time.sleep(0.02)
    took = time.monotonic() - begun
    memory, used = peak_memory(poller), cpu(poller)
    of_target = f"{(cpu(target) - before) / count * 1e6:.1f}" if target else "–"
    poller.send_signal(signal.SIGTERM)
    poller.wait()
    if dead.exists() and any(path.stat().st_size for path in [dead, *dead.glob("*")] if path.is_file()):
        raise RuntimeError(f"{label}: records were rejected:\n{text_of(poller)[-2000:]}")
    if target:
        os.killpg(target.pid, signal.SIGKILL)
        target.wait()
    return [label, f"{count / took:,.0f}", f"{used / count * 1e6:.1f}", of_target, f"{memory:.0f}"]


def main():
    global BINARIES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sinks", nargs="*", metavar="SINK", help=f"one of {', '.join(SINKS)}")
    parser.add_argument("--records", type=int, default=300_000, help="records of a round (300000)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each sink (1)")
    parser.add_argument("--binaries", type=pathlib.Path, default=BINARIES, help="where the build is (target/release)")
    arguments = parser.parse_args()
    BINARIES = arguments.binaries
    if unknown := [name for name in arguments.sinks if name not in SINKS]:
        parser.error(f"unknown sink: {unknown[0]}; expected one of {', '.join(SINKS)}")
    for binary in ["agg", "libaggregator.so"]:
        if not (BINARIES / binary).exists():
            parser.error(f"{BINARIES / binary} is missing: cargo build --release -p agg -p aggregator")
    failed = False
    print("| sink | records/s | poller, µs of CPU per record | target, µs of CPU per record | poller's memory, MiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        processes = Processes(scratch)
        try:
            source = Source(processes, arguments.records)
            for _ in range(arguments.rounds):
                for name in arguments.sinks or SINKS:
                    try:
                        print(f"| {' | '.join(run(processes, source, name))} |", flush=True)
                    except Unavailable as reason:
                        print(f"{SINKS[name][0]}: {reason}", file=sys.stderr)
                    except (RuntimeError, subprocess.CalledProcessError) as reason:
                        failed = True
                        print(reason, file=sys.stderr)
        finally:
            processes.end()
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
