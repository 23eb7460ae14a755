#!/usr/bin/env python3
"""Draws docs/images/report.png: a page of `agg report` about a made-up day of a shop.

    scripts/report-picture.py [--dark] [--width PIXELS] [--height PIXELS] [--agg PROGRAM] [FILE]

Starts a server with the module, reports a day of samples, writes the page, and has Chromium draw it. Needs `make module`,
`make build`, redis-server and chromium. The samples are the same each time, but for the time at which the day ends.
"""

import argparse
import math
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WINDOW = 300
SETTINGS = ["min-window", str(WINDOW), "min-history", "300", "max-node-memory", "0"]


def connect(port):
    """Returns a connection to the server when it answers."""
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not start")


def send(stream, *words):
    """Sends a command and returns the first line of its reply."""
    packed = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in (str(word).encode() for word in words))
    stream.write(b"*%d\r\n%s" % (len(words), packed))
    stream.flush()
    reply = stream.readline()
    if reply.startswith(b"-"):
        raise SystemExit(f"{words[0]}: {reply.decode()}")
    if reply.startswith(b"*"):
        for _ in range(int(reply[1:])):
            stream.readline()
    elif reply.startswith(b"$"):
        stream.readline()
    return reply


def report_day(stream, now):
    """Reports the samples, errors, objects and log entries of the day that ends now."""
    chance = random.Random(7)
    first = now - 86400 + WINDOW - now % WINDOW
    for at in range(first, now, WINDOW // 5):
        # Most customers come in the evening; a backup runs for half an hour, and a payment provider fails for a quarter.
        busy = 0.55 - 0.45 * math.cos((at % 86400 / 3600 - 5) / 12 * math.pi)
        backup = 1 if 4 * 3600 < now - at < 4.5 * 3600 else 0
        failing = 1 if 9 * 3600 < now - at < 9.25 * 3600 else 0
        median = 18 + 24 * busy**2 + 8 * backup
        spread = 0.4 + 0.2 * busy + 0.1 * backup

        def latencies(count, factor, median=median, spread=spread):
            return [factor * median * math.exp(chance.gauss(0, spread)) for _ in range(count)]

        def stat(metric, values, *options, at=at):
            pairs = [word for value in values for word in (metric, f"{value:.3f}")]
            send(stream, "AGG.MSTAT", "web1", *options, "AT", at * 1000, "VALUES", *pairs)

        stat("http.latency", latencies(400, 1.0 + 0.8 * failing), "HIST", "TAGS", "unit:ms")
        for slot in range(0, WINDOW // 5, 10):
            requests = 10 * (30 + 220 * busy + 9 * chance.gauss(0, 1))
            stat("http.requests", [requests], "INC", "TAGS", "unit:requests", at=min(at + slot, now))
        for route, factor in (("/cart", 0.6), ("/pay", 2.2 + 3 * failing), ("/search", 1.0)):
            stat(f"http.route@{route}", latencies(100, factor), "HIST", "TAGS", "unit:ms")
        stat("http.sessions", [900 + 5200 * busy + 90 * chance.gauss(0, 1) for _ in range(6)], "TAGS", "unit:sessions")
    for n in range(17):
        at = now * 1000 - 9 * 3600_000 - n * 60_000
        tags = ("LEVEL", "ERROR", "FILE", "pay.py", "FUNC", "charge", "AT", at)
        send(stream, "AGG.ERROR", "web1", "payment provider: timeout after 5 s", "TYPE", "OPS", *tags)
    send(stream, "AGG.REALITY", "web1", "sda", "system.Disk", '{"size": 512110190592, "mounted": true}')
    send(stream, "AGG.LOG", "web1", "backup finished in 29 min", "LEVEL", "INFO", "TAGS", "job:nightly")


def draw(page, picture, options, home):
    """Has Chromium draw a page."""
    scheme = "0" if options.dark else "1"
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"),
        *("--hide-scrollbars", f"--user-data-dir={home}/user", f"--blink-settings=preferredColorScheme={scheme}"),
        *(f"--window-size={options.width},{options.height}", f"--screenshot={picture}", f"file://{page}"),
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env={"HOME": home, "PATH": "/usr/bin:/bin"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--agg", default=ROOT / "target/release/agg")
    parser.add_argument("picture", nargs="?", default=ROOT / "docs/images/report.png")
    options = parser.parse_args()
    home = tempfile.mkdtemp()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = [str(ROOT / "target/release/libaggregator.so"), *SETTINGS]
    command = ["redis-server", "--port", str(port), "--dir", home, "--save", "", "--loadmodule", *module]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        report_day(connect(port).makefile("rwb"), int(time.time()))
        page = f"{home}/report.html"
        subprocess.run([options.agg, "--redis", f"redis://127.0.0.1:{port}", "report", "-o", page], check=True)
        draw(page, pathlib.Path(options.picture).resolve(), options, home)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
