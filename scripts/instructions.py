#!/usr/bin/env python3
"""Counts the instructions that commands take in the module's own functions, and compares them with committed counts.

Each row of the table sends a fixed series of commands to a server that runs under callgrind, with the same data each
time. What the module's functions execute while a command runs is counted; the functions of the server and of libc are
not. So a count depends neither on the load of the machine, nor on its CPU, nor on the server's version. It differs by
about 1 % from run to run, because hash tables have random seeds. It does depend on the compiler: after an update
of Rust, --update is due.

Needs valgrind, which scripts/deps.sh test installs, and a module: `make module`.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "benches/instructions.txt"
# A count that is higher than the committed one by more than this many percent fails.
TOLERANCE = 5.0
# The functions within which instructions are counted: those that the server calls to run commands. The timer is not among
# them, as its work depends on the clock.
ENTRY = "aggregator::ffi::command::run"

METRICS = 10_000
SAMPLES = 100  # in one AGG.MSTAT
OBJECTS = 1_000
PIPELINE = 64
HOUR_MS = 3_600_000
TAGS = "dim:iops location:elgouna"
# Windows of a week, the longest, so that the clock closes none during a run. The queue of log entries is full while
# it is measured, as in a server that runs for long.
SETTINGS = "max-series 100000 max-memory 1gb queue-log 1mb min-window 604800 hour-window 604800 inc-slot 604800"


class Failure(Exception):
    """An error with a text for the user."""


class Random:
    """A generator with a fixed seed (splitmix64), the same in every version of Python."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def order(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.next() % (i + 1)
            order[i], order[j] = order[j], order[i]
        return order

    def text(self, length):
        return "".join(chr(ord("a") + (self.next() >> 32) % 26) for _ in range(length))


def metric(i):
    return f"cpu:{i:012}"


def value(i):
    n = Random(i).next() % 100_000
    return f"{n // 100}.{n % 100:02}"


def an_object(i):
    """An object of 480 bytes, as benches/server has them."""
    random = Random(i)
    text = (
        f'{{"name":"sd{i}","model":"{random.text(20)}","size":480103981056,"rotational":false,"mounted":true,'
        f'"partitions":[{{"number":1,"size":1073741824,"type":"ef00"}},{{"number":2,"size":479030239232,"type":"8300"}}],'
        f'"temperature":31.5,"firmware":"{random.text(8)}","serial":"'
    )
    return text + random.text(480 - len(text) - 2) + '"}'


class Row:
    """A row of the table: commands that prepare, commands that are counted, and the number of operations in these."""

    def __init__(self, key, name, prepare, counted, operations, expected):
        self.key, self.name, self.expected = key, name, expected
        self.prepare, self.counted, self.operations = prepare, counted, operations


def stat(key, name, node, rest):
    def command(i, a_pass):
        return ["AGG.STAT", node, metric(i), *rest(i, a_pass)]

    order = Random(1).order(METRICS)
    return Row(
        key,
        name,
        [command(i, 0) for i in range(METRICS)],
        [command(i, a_pass) for a_pass in (1, 2) for i in order],
        2 * METRICS,
        b":1\r\n",
    )


def mstat(key, name, node, words, a_value):
    def commands(order, a_pass):
        for first in range(0, METRICS, SAMPLES):
            pairs = [[metric(i), a_value(i, a_pass)] for i in order[first : first + SAMPLES]]
            yield ["AGG.MSTAT", node, *words, "VALUES", *sum(pairs, [])]

    order = Random(2).order(METRICS)
    return Row(
        key,
        name,
        list(commands(range(METRICS), 0)),
        [command for a_pass in (1, 2) for command in commands(order, a_pass)],
        2 * METRICS,
        b"*3\r\n:100\r\n:0\r\n*0\r\n",
    )


def total(_, a_pass):
    return str(1_000_000_000 + 137 * a_pass)


def windows(node, first_ms, count):
    """Samples of a thousand metrics, three in each of so many MIN windows of five minutes."""
    for window in range(count):
        for sample in range(3):
            at = first_ms + window * 300_000 + (2 * sample + 1) * 50_000
            for first in range(0, OBJECTS, SAMPLES):
                pairs = [
                    [f"disk.iops@{i:05}", value(3 * (window * OBJECTS + i) + sample)]
                    for i in range(first, first + SAMPLES)
                ]
                yield ["AGG.MSTAT", node, "AT", str(at), "TAGS", TAGS, "VALUES", *sum(pairs, [])]


def rows():
    """All rows, in the order of the table. Later rows may use what earlier ones have left in the server."""
    random = Random(3)
    lines = [random.text(100) for _ in range(OBJECTS)]
    messages = [random.text(60) for _ in range(OBJECTS)]
    objects = [an_object(i) for i in range(OBJECTS)]

    def log(i):
        return ["AGG.LOG", "logs", lines[i % OBJECTS]]

    def error(i):
        return ["AGG.ERROR", "state", messages[i], "FUNC", "read_sector", "FILE", "disk.c"]

    def reality(i):
        return ["AGG.REALITY", "state", f"disk{i:04}", "system.Disk", objects[i]]

    order = Random(4).order(OBJECTS)
    short_windows = [["CONFIG", "SET", f"agg.{name}", number] for name, number in (
        ("inc-slot", "60"), ("min-window", "300"), ("hour-window", "3600"))]  # fmt: skip
    # At the beginning of an hour, far in the past: the clock would not count them otherwise.
    past = (int(time.time() * 1000) // HOUR_MS - 24 * 365) * HOUR_MS
    closing = list(windows("closing", past, 13))
    # The samples that close the windows of an hour: the first ones after it.
    last_window = len(closing) - 3 * OBJECTS // SAMPLES
    first_of_next = last_window + OBJECTS // SAMPLES
    return [
        stat("stat", "AGG.STAT ABS", "abs", lambda i, a_pass: [value(i + a_pass)]),
        stat(
            "stat-diff-tags",
            "AGG.STAT DIFF with TAGS",
            "diff",
            lambda i, a_pass: [total(i, a_pass), "DIFF", "TAGS", TAGS],
        ),
        mstat("mstat", f"AGG.MSTAT of {SAMPLES} ABS, per sample", "mabs", [], lambda i, a_pass: value(i + a_pass)),
        mstat("mstat-diff", f"AGG.MSTAT of {SAMPLES} DIFF, per sample", "mdiff", ["DIFF"], total),
        # 1 MB holds some 8,000 of them.
        Row("log", "AGG.LOG of 100 bytes", [log(i) for i in range(10_000)], [log(i) for i in range(10_000)], 10_000, b":"),
        Row("error", "AGG.ERROR known", [error(i) for i in range(OBJECTS)], [error(i) for i in order * 5], 5 * OBJECTS, b"*2"),
        Row(
            "reality",
            "AGG.REALITY unchanged, 480 bytes",
            [reality(i) for i in range(OBJECTS)],
            [reality(i) for i in order * 5],
            5 * OBJECTS,
            b":0\r\n",
        ),
        Row(
            "closing",
            "closing MIN and HOUR, with the sample that closes them",
            short_windows + closing[:last_window],
            closing[last_window:first_of_next],
            OBJECTS,
            b"*3\r\n:100\r\n:0\r\n*0\r\n",
        ),
        Row("drain", "AGG.FETCH + AGG.ACK of MIN as JSON, per record", [], ("closing", "MIN"), 0, b""),
        Row("drain-log", "AGG.FETCH + AGG.ACK of LOG as JSON, per record", [], ("logs", "LOG"), 0, b""),
    ]


class Connection:
    """A connection that sends commands in batches and reads the replies."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.replies = self.socket.makefile("rb")

    def send(self, commands, expected=b""):
        for first in range(0, len(commands), PIPELINE):
            batch = commands[first : first + PIPELINE]
            self.socket.sendall(b"".join(map(encode, batch)))
            for command in batch:
                reply = self.reply()
                if reply.startswith(b"-") or not reply.startswith(expected):
                    raise Failure(f"unexpected reply to {command[0]}: {reply[:100]!r}")

    def ask(self, *command):
        self.socket.sendall(encode(command))
        return self.reply()

    def reply(self):
        """The bytes of a RESP2 reply."""
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise Failure("the server closed the connection")
        if line[:1] == b"$" and int(line[1:]) >= 0:
            return line + self.replies.read(int(line[1:]) + 2)
        if line[:1] == b"*":
            return line + b"".join(self.reply() for _ in range(int(line[1:])))
        return line

    def drain(self, node, queue):
        """Fetches and acknowledges all records of a queue, a thousand at a time. Returns their number."""
        drained = 0
        while True:
            reply = self.ask("AGG.FETCH", node, queue, "FORMAT", "JSON", "COUNT", "1000")
            ids = re.findall(rb"\$%d\r\n%b\r\n:(\d+)\r\n" % (len(queue), queue.encode()), reply)
            if not ids:
                return drained
            acknowledged = self.ask("AGG.ACK", node, queue, *ids)
            if acknowledged != b":%d\r\n" % len(ids):
                raise Failure(f"{len(ids)} records were fetched, AGG.ACK returned {acknowledged!r}")
            drained += len(ids)


def encode(command):
    words = [word if isinstance(word, bytes) else word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Server:
    """A server with the module under callgrind."""

    def __init__(self, program, module, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["valgrind", "--tool=callgrind", f"--toggle-collect={ENTRY}", f"--callgrind-out-file={folder}/out"]
                + [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
                + ["--loadmodule", str(module), *SETTINGS.split()],
                stdout=log,
                stderr=log,
            )
        self.dumps = 0

    def connect(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                connection = Connection(self.port)
                if connection.ask("PING") == b"+PONG\r\n":
                    return connection
            except OSError:
                pass
            time.sleep(0.1)
        raise Failure("the server did not start:\n" + (self.folder / "log").read_text(errors="replace")[-2000:])

    def control(self, option):
        done = subprocess.run(["callgrind_control", option, str(self.process.pid)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"callgrind_control {option} failed: {done.stdout}{done.stderr}")

    def zero(self):
        self.control("--zero")

    def dump(self):
        """Returns the counts since the last call of zero, by object, function and source file."""
        self.control("--dump")
        self.dumps += 1
        path = self.folder / f"out.{self.dumps}"
        if not path.exists():
            raise Failure("callgrind wrote no counts: --server must be the server itself, not a script that starts it")
        return read_counts(path)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def read_counts(path):
    """Reads the instructions of a file of callgrind, each function's own: {(object, function, source file): count}.

    The source file is that of the line, which for inlined code is not the function's. Format: "Callgrind Format
    Specification" of Valgrind's manual.
    """
    names, counts = {}, {}
    position = {"ob": "", "fn": "", "fl": ""}
    is_call = False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            spec = re.match(r"(c?)(ob|fn|f[lie])=\((\d+)\)(?: (.*))?$", line.rstrip("\n"))
            if spec:
                callee, kind, number, name = spec.groups()
                # fl, fi and fe name a file: a function's own, that of inlined code, and the return from there.
                kind = "fl" if kind in ("fi", "fe") else kind
                if name is not None:
                    names[kind, number] = name
                if not callee:
                    position[kind] = names[kind, number]
            elif line.startswith("calls="):
                # The next line is the cost of the call, which its callee counts as its own.
                is_call = True
            elif line[0] in "+-*0123456789":
                if not is_call:
                    at = (position["ob"], position["fn"], position["fl"])
                    fields = line.split()
                    counts[at] = counts.get(at, 0) + (int(fields[1]) if len(fields) > 1 else 0)
                is_call = False
    return counts


def measure(program, module, only):
    """Counts all rows, or one.

    Returns {key: (count of an operation, {function: its share}, {source file: its share})}.
    """
    with tempfile.TemporaryDirectory(prefix="aggregator-instructions-") as name:
        server = Server(program, module, Path(name))
        try:
            connection = server.connect()
            return dict(measure_rows(server, connection, module.name, only))
        finally:
            server.stop()


def measure_rows(server, connection, module, only):
    for row in rows():
        connection.send(row.prepare)
        if only and not row.key.startswith(only) and not (only.startswith("drain") and row.key in ("log", "closing")):
            continue
        operations = row.operations
        server.zero()
        if isinstance(row.counted, tuple):
            operations = connection.drain(*row.counted)
        else:
            connection.send(row.counted, row.expected)
        by_function, by_file = {}, {}
        for (mapped, function, file), count in server.dump().items():
            if mapped.endswith("/" + module):
                # A recursive function has a number behind its name.
                function = re.sub(r"'\d+$", "", function)
                by_function[function] = by_function.get(function, 0) + count / operations
                by_file[file] = by_file.get(file, 0) + count / operations
        counted = sum(by_function.values())
        if counted == 0:
            raise Failure(f"nothing was counted for {row.name}: the module has no function {ENTRY}, or no symbols")
        yield row.key, (counted, by_function, by_file)


def print_functions(count, by_function):
    for function, share in sorted(by_function.items(), key=lambda item: -item[1]):
        if share >= 0.5:
            print(f"{share:8.1f}  {function}")
    print(f"{count:8.1f}  in all functions of the module")


def print_files(count, by_file):
    own = {file: share for file, share in by_file.items() if (ROOT / file).is_relative_to(ROOT)}
    if not own or "???" in own:
        raise Failure(
            "the module has no line tables: cargo build --profile lines -p aggregator, then "
            "--module target/lines/libaggregator.so"
        )
    for file, share in sorted(own.items(), key=lambda item: -item[1]):
        if share >= 0.5:
            print(f"{share:8.1f}  {(ROOT / file).relative_to(ROOT)}")
    print(f"{sum(own.values()):8.1f}  in lines of the project's sources")
    print(f"{count - sum(own.values()):8.1f}  in lines of the standard library and of dependencies")


def compiler():
    """The version of the compiler that built the module, which cargo takes."""
    cargo = os.environ.get("RUSTC", "rustc")
    return subprocess.run([cargo, "--version"], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()


def read_committed(path):
    """Returns the compiler of the committed counts, and the counts."""
    rustc, counts = "", {}
    for line in path.read_text().splitlines():
        if line.startswith("# compiler: "):
            rustc = line.removeprefix("# compiler: ")
        elif line and not line.startswith("#"):
            key, count = line.split()[:2]
            counts[key] = float(count)
    return rustc, counts


def write_committed(path, counts):
    lines = [
        "# Instructions that commands take in the module's own functions, by scripts/instructions.py. `make test` fails",
        f"# where a count is more than {TOLERANCE:.0f} % above these; `make instructions ARGS=--update` updates them.",
        f"# compiler: {compiler()}",
    ]
    names = {row.key: row.name for row in rows()}
    lines += [f"{key:<15} {count:>8.1f}  {names[key]}" for key, count in counts.items()]
    path.write_text("\n".join(lines) + "\n")


def compare(counts, rustc, committed_rustc, committed):
    """Prints the table. Returns whether no count is too high."""
    names = {row.key: row.name for row in rows()}
    risen, fallen = [], []
    for key, count in counts.items():
        before = committed.get(key)
        if before is None:
            change, verdict = "", "not committed"
            risen.append(f"{names.get(key, key)} has no committed count")
        else:
            percent = 100 * (count / before - 1)
            change, verdict = f"{percent:+.1f} %", "" if percent <= TOLERANCE else "too many"
            if percent > TOLERANCE:
                risen.append(f"{names[key]} rose from {before:.0f} to {count:.0f} instructions ({percent:+.1f} %)")
                risen.append(f"  by function: make instructions ARGS='--functions {key}'")
            elif percent < -TOLERANCE:
                fallen.append(names[key])
        print(f"{key:<15} {count:>8.1f} {change:>9}  {names.get(key, key)} {verdict}".rstrip())
    for key in committed.keys() - counts.keys():
        risen.append(f"{key} is committed but was not counted")
    if fallen:
        print(f"fallen by more than {TOLERANCE:.0f} %: {', '.join(fallen)}; commit it: make instructions ARGS=--update")
    if risen:
        print("\n".join(["", *risen]), file=sys.stderr)
        if rustc != committed_rustc:
            print(
                f"The committed counts are those of {committed_rustc}, this is {rustc}: if only the compiler changed, "
                "update them.",
                file=sys.stderr,
            )
        print(
            f"More than {TOLERANCE:.0f} % is an error. If the change is worth it, say so in its commit, with the counts "
            "of `make instructions ARGS=--update`.",
            file=sys.stderr,
        )
    elif rustc != committed_rustc:
        print(f"note: the committed counts are those of {committed_rustc}, this is {rustc}")
    return not risen


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="scripts/instructions.py"
    )
    parser.add_argument("--update", action="store_true", help="write the counts to benches/instructions.txt")
    parser.add_argument("--functions", metavar="ROW", help="print the count of each function of one row instead")
    parser.add_argument(
        "--files",
        metavar="ROW",
        help="print the count of each source file of one row instead; needs --module with line tables, which "
        "`cargo build --profile lines -p aggregator` builds in target/lines",
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON instead; compare nothing")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the counts to a file, too")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="compare the counts of a file; measure nothing")
    parser.add_argument(
        "--committed", type=Path, default=COMMITTED, metavar="FILE", help="compare with these counts"
    )
    parser.add_argument(
        "--module", type=Path, default=ROOT / "target/release/libaggregator.so", help="the module to measure"
    )
    parser.add_argument("--server", default="redis-server", help="the server's program")
    return parser.parse_args()


def main():
    given = arguments()
    one_row = given.functions or given.files
    if given.counts and (one_row or given.update):
        raise Failure("--counts measures nothing: it excludes --functions, --files and --update")
    if given.functions and given.files:
        raise Failure("--functions and --files exclude each other")
    if given.counts:
        rustc, counts = read_committed(given.counts)
    else:
        missing = [name for name in ("valgrind", "callgrind_control", given.server) if not shutil.which(name)]
        if missing:
            print(f"skipped: instruction counts need {', '.join(missing)}, which scripts/deps.sh test installs")
            return 0
        if not given.module.exists():
            raise Failure(f"{given.module} is missing: `make module` builds it")
        measured = measure(given.server, given.module.resolve(), one_row)
        rustc, counts = compiler(), {key: count for key, (count, _, _) in measured.items()}
    if one_row:
        if one_row not in measured:
            raise Failure(f"there is no row {one_row}; rows: {', '.join(row.key for row in rows())}")
        count, by_function, by_file = measured[one_row]
        if given.functions:
            print_functions(count, by_function)
        else:
            print_files(count, by_file)
        return 0
    if given.save:
        write_committed(given.save, counts)
    if given.update:
        write_committed(given.committed, counts)
    if given.json:
        print(json.dumps(counts))
        return 0
    return 0 if compare(counts, rustc, *read_committed(given.committed)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(f"instructions: {error}")
