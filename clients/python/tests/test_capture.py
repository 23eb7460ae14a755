"""Exceptions, ``logging`` and timers are reported, and reporting never raises."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.handlers
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from support import ROOT, free_port, skip_without

import agg
from agg.grouping import message_key, normalize_message


@pytest.fixture
def recorder(url: str) -> Iterator[agg.Recorder]:
    recorder = agg.configure("n", url, interval=0.05)
    yield recorder
    recorder.close()


def errors(recorder: agg.Recorder, client: agg.Client) -> list[agg.ErrorRecord]:
    assert recorder.flush()
    return [e.record for e in client.pop("n", "ERROR")]  # type: ignore[misc]


def fail(subject: object) -> None:
    raise ValueError(f"{subject} failed")


def test_exception_is_reported_with_file_function_and_traceback(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    try:
        try:
            int("x")
        except ValueError as cause:
            raise LookupError("unknown price") from cause
    except LookupError as error:
        agg.report_exception(error, tags={"a": "b"}, public="Sorry.", level=3)
    (record,) = errors(recorder, client)
    assert record.message == "LookupError: unknown price" and record.code == "LookupError"
    assert (record.public, record.level, record.type) == ("Sorry.", 3, "BUG")
    assert record.tags == {"a": "b"}
    assert record.file == Path(__file__).name and "test_exception_is_reported" in record.func
    assert "invalid literal for int()" in record.backtrace
    assert 'raise LookupError("unknown price")' in record.backtrace


def test_occurrences_of_the_same_error_are_grouped(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    for subject in ("order 1", "order 22", "order 3.5"):
        with agg.capture_exceptions(swallow=True):
            fail(subject)
    with agg.capture_exceptions(swallow=True):
        fail("payment")
    with agg.capture_exceptions(swallow=True):
        # Raised in a library: the location is where the program called it.
        Path("/does/not/exist").read_text()
    orders, payment, missing = errors(recorder, client)
    assert [e.occurrences for e in (orders, payment, missing)] == [3, 1, 1]
    assert orders.message == "ValueError: order 3.5 failed" and orders.func == "fail"
    assert (missing.type, missing.file) == ("OPS", Path(__file__).name)
    assert missing.func == "test_occurrences_of_the_same_error_are_grouped"


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("at 0x7ffe12", "at 0xdeadbeef", True),
        ("pid 17", "pid 4711", True),
        ("10.0.0.1:80 refused", "10.22.0.13:8080 refused", True),
        ("took 1.5s", "took 23s", True),
        ("job a1b2c3d4e5", "job 0123456789", True),
        ("worker-1", "worker-22", True),
        ("disk sda1", "disk sda2", True),
        ("disk sda1", "disk hda1", False),
        ("no beef", "no deed", False),
        ("no defaced", "no effaced", False),
        ("key 'a'", 'key "b c"', True),
        ("utf8", "ascii8", False),
        ("order 9999999 lost", "order 10000000 lost", True),
        ("order 7", "order 123456789012345678901", True),
        ("9999999kB free", "10000000kB free", True),
        ("9999999ms", "10000000ms", True),
        ("batch_9999999", "batch_10000000", True),
        ("code -5", "code 5", True),
        ("code=-5, x", "code=17, x", True),
        ("[-5, +3.5]", "[7, -1]", True),
        ("range 3-5", "range 14-15", True),
        ("worker-5", "worker 5", False),
        ("at 1.5e-07", "at 0.25", True),
        ("disk sda12", "disk sda", False),
        ("node container100", "node container99", True),
        ("user bob is locked", "user alice is locked", True),
        ("POST /pay failed", "POST /login failed", False),
        ("GET /orders/17 failed", "GET /orders/18 failed", True),
        ("cannot open /etc/a", "cannot open /var/b/c", True),
        ("1920x1080", "640x480", True),
        ("at 2026-12-01T15:04:01Z", "at 2026-12-02T09:14:59Z", True),
        (
            "5f2c9a1e-0b1d-4c3e-9f00-aabbccddeeff_del",
            "00000000-1111-2222-3333-444444444444_del",
            True,
        ),
        (
            "tmp_5F2C9A1E-0B1D-4C3E-9F00-AABBCCDDEEFF.x",
            "tmp_5f2c9a1e-0b1d-4c3e-9f00-aabbccddeefe.x",
            True,
        ),
        ("deadbeef0123_del", "0123456789ab_del", True),
        ("at_0x7ffe12", "at_0xdeadbeef", True),
        ("request Zk81q0p2Lm9x", "request 8k1q0p2Lm9xZ", True),
    ],
)
def test_messages_that_differ_in_variable_parts_are_the_same(
    first: str, second: str, is_same: bool
) -> None:
    assert (normalize_message(first) == normalize_message(second)) is is_same


def test_messages_have_the_keys_of_the_crate() -> None:
    vectors = ROOT / "crates/protocol/tests/data/grouping.tsv"
    if not vectors.exists():
        skip_without(str(vectors))
    lines = vectors.read_text("utf-8").split("\n")
    pairs = [line.split("\t") for line in lines if "\t" in line and not line.startswith("# ")]
    assert len(pairs) >= 150
    for message, key in pairs:
        assert message_key(message) == key, message


def test_spaces_and_long_messages_have_the_keys_of_the_crate() -> None:
    assert message_key(" a\t\r\n b\0\x7fc ") == "a b c"
    assert message_key(" \n") == message_key("") == "<empty>"
    assert message_key("é " * 2048) == message_key("é " * 2048 + "x")


def test_normalization_is_fast_for_any_message() -> None:
    pieces: tuple[str, ...] = (
        "1a",
        "1" * 2000 + "a",
        "a" * 2000 + "1",
        "1.",
        "-",
        "0x",
        "ab12-",
        "1e-",
        "_1",
    )
    pieces += (" 'a", '\\"', "`a`b", "a@", "a://", "user ", "for a from ", "Jan  ", "/a", "{'a':")
    pieces += ("a.com:1", "1 s ", "a.a.1", "." * 2000, "aA1" * 700)
    for piece in pieces:
        start = time.perf_counter()
        normalize_message(piece * 5000)
        assert time.perf_counter() - start < 1


def test_decorators_work_on_functions_and_coroutines(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    @agg.capture_exceptions()
    async def broken() -> None:
        raise KeyError("a")

    @agg.capture_exceptions(swallow=True)
    def quiet() -> int:
        raise KeyError("b")

    @agg.timer("slept")
    async def sleep() -> int:
        await asyncio.sleep(0.02)
        return 5

    async def main() -> None:
        with pytest.raises(KeyError):
            await broken()
        async with agg.timer("block"), agg.capture_exceptions(swallow=True):
            await sleep()
            raise KeyError("c")

    asyncio.run(main())
    assert quiet() is None
    assert {r.message for r in errors(recorder, client)} == {f"KeyError: '{c}'" for c in "abc"}
    slept, block = client.get_metric("n", "slept"), client.get_metric("n", "block")
    assert slept is not None and block is not None
    assert 19 < slept.last <= block.last < 5000 and slept.tags == {"unit": "ms"}


def test_exceptions_that_are_not_errors_are_not_reported(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    for error in (KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit):
        with pytest.raises(error), agg.capture_exceptions(swallow=True):
            raise error
    assert errors(recorder, client) == []


def test_exceptions_that_cannot_be_printed_are_reported(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        else:
            raise ValueError("x" * 1_000_000)

    def endless() -> None:
        endless()

    circular = ValueError("its own cause")
    circular.__cause__ = circular
    with agg.capture_exceptions(swallow=True):
        raise Unprintable
    with agg.capture_exceptions(swallow=True):
        deep(200)
    with agg.capture_exceptions(swallow=True):
        endless()
    agg.report_exception(circular)
    agg.report_exception(None)  # type: ignore[arg-type]
    agg.report_exception(ValueError("\ud800\x00"))
    found = errors(recorder, client)
    assert len(found) >= 5
    assert all(len(r.backtrace) < 40_000 and len(r.message) < 5000 for r in found)


def test_hooks_report_uncaught_exceptions(
    recorder: agg.Recorder, client: agg.Client, capsys: Any
) -> None:
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    sys.unraisablehook = lambda args: None
    threading.excepthook = lambda args: None
    uninstall = agg.install_hooks()
    try:
        thread = threading.Thread(target=fail, args=("thread",))
        thread.start()
        thread.join()

        class Fragile:
            def __del__(self) -> None:
                fail("finalizer")

        Fragile()
        gc.collect()
        sys.excepthook(ValueError, ValueError("program failed"), None)
        assert "program failed" in capsys.readouterr().err

        async def main() -> None:
            agg.watch_loop()
            asyncio.get_running_loop().set_debug(False)

            async def broken() -> None:
                fail("task")

            task = asyncio.ensure_future(broken())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
            gc.collect()

        asyncio.run(main())
    finally:
        uninstall()
        sys.excepthook, threading.excepthook, sys.unraisablehook = before
    levels = {r.message: r.level for r in errors(recorder, client)}
    assert levels == {
        "ValueError: thread failed": 8,
        "ValueError: finalizer failed": 6,
        "ValueError: program failed": 9,
        "ValueError: task failed": 7,
    }


def test_crashing_program_reports_its_exception(url: str, client: agg.Client) -> None:
    text = "import sys, agg; agg.configure('n', sys.argv[1]); agg.install_hooks(); 1 / 0"
    done = subprocess.run(
        [sys.executable, "-c", text, url], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    (entry,) = client.pop("n", "ERROR")
    assert isinstance(entry.record, agg.ErrorRecord)
    assert entry.record.code == "ZeroDivisionError" and entry.record.level == 9


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    # Not created by getLogger, because pytest adds a handler there that raises.
    yield logging.Logger("test.shop", logging.DEBUG)


def test_log_handler_reports_log_entries_and_errors(
    recorder: agg.Recorder, client: agg.Client, log: logging.Logger
) -> None:
    log.addHandler(agg.LogHandler(tags={"a": 1}))
    log.debug("d %s", 1)
    log.critical("c", extra={"x": 1})
    for i in range(3):
        log.error(f"order {i} lost")
    try:
        fail(1)
    except ValueError:
        log.exception("with %s", "traceback")
    assert recorder.flush()
    log_entries: list[Any] = [e.record for e in client.pop("n", "LOG")]
    assert [(r.level, r.message) for r in log_entries] == [
        (1, "d 1"),
        (9, "c"),
        (7, "order 0 lost"),
        (7, "order 1 lost"),
        (7, "order 2 lost"),
        (7, "with traceback"),
    ]
    assert log_entries[0].tags == {"logger": "test.shop", "a": "1"}
    found = {r.message: r for r in errors(recorder, client)}
    assert {m: r.occurrences for m, r in found.items()} == {
        "c": 1,
        "order 2 lost": 3,
        "with traceback": 1,
    }
    traced = found["with traceback"]
    assert (traced.code, traced.func, traced.type) == (
        "ValueError",
        "test_log_handler_reports_log_entries_and_errors",
        "BUG",
    )
    assert "1 failed" in traced.backtrace and traced.file == Path(__file__).name


def log_errors(log: logging.Logger) -> None:
    """Logs errors with and without tracebacks."""
    for i in range(3):
        try:
            try:
                fail(i)
            except ValueError as error:
                raise LookupError("no\nprice") from error
        except LookupError:
            log.exception("order %d lost", i)
    try:
        try:
            fail("group")
        except ValueError as error:
            if sys.version_info >= (3, 11):
                raise ExceptionGroup("many", [error])  # noqa: B904, F821
            raise
    except Exception:
        log.error("with the stack", exc_info=True, stack_info=True)
    log.error("order %d gone", 4)
    log.error("order %d gone", 5)


def through_a_queue(log: logging.Logger, handler: logging.Handler) -> None:
    records: queue.Queue[Any] = queue.Queue()
    log.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    log_errors(log)
    listener.stop()


def through_a_socket(log: logging.Logger, handler: logging.Handler) -> None:
    """Handles records as the receiver of a SocketHandler does."""

    class LoopbackHandler(logging.handlers.SocketHandler):
        def send(self, s: Any) -> None:
            handler.handle(logging.makeLogRecord(pickle.loads(s[4:])))

    log.addHandler(LoopbackHandler("127.0.0.1", 1))
    log_errors(log)


@pytest.mark.parametrize("route", [through_a_queue, through_a_socket])
@pytest.mark.parametrize("formatted", [False, True])
def test_forwarded_log_records_are_reported_as_the_same_errors(
    recorder: agg.Recorder,
    client: agg.Client,
    log: logging.Logger,
    route: Callable[[logging.Logger, logging.Handler], None],
    formatted: bool,
) -> None:
    def reported(route: Callable[[logging.Logger, logging.Handler], None]) -> list[Any]:
        handler = agg.LogHandler()
        if formatted:
            handler.setFormatter(logging.Formatter("shop: %(message)s"))
        route(log, handler)
        log.handlers.clear()
        assert recorder.flush()
        messages = [e.record.message for e in client.pop("n", "LOG")]  # type: ignore[union-attr]
        found: list[Any] = [e.record for e in client.pop("n", "ERROR")]
        client.redis.flushall()
        compared = ("message", "code", "func", "file", "type", "occurrences", "level")
        errors = [{name: getattr(each, name) for name in compared} for each in found]
        for each, error in zip(found, errors):
            # A formatter adds the stack, which differs between the routes.
            error["message"] = each.message.partition("\n")[0]
            error["trace"] = [
                text
                for text in ("ValueError: 2 failed", "LookupError: no\nprice", "ValueError: group")
                if text in each.backtrace
            ]
        return errors if formatted else [messages, errors]

    def directly(log: logging.Logger, handler: logging.Handler) -> None:
        log.addHandler(handler)
        log_errors(log)

    direct = reported(directly)
    assert reported(route) == direct
    errors = direct if formatted else direct[1]
    assert [(e["code"], e["occurrences"], e["trace"]) for e in errors] == [
        ("LookupError", 3, ["ValueError: 2 failed", "LookupError: no\nprice"]),
        (
            "ExceptionGroup" if sys.version_info >= (3, 11) else "ValueError",
            1,
            ["ValueError: group"],
        ),
        ("", 2, []),
    ]


def test_traceback_logged_as_message_is_recognized(
    recorder: agg.Recorder, client: agg.Client, log: logging.Logger
) -> None:
    log.addHandler(agg.LogHandler())
    for i in range(2):
        try:
            fail(i)
        except ValueError:
            log.error(traceback.format_exc())
    log.error("no Traceback (most recent call last): here")
    (record, other) = errors(recorder, client)
    assert (record.message, record.code, record.occurrences) == (
        "ValueError: 1 failed",
        "ValueError",
        2,
    )
    assert other.message.startswith("no Traceback") and not other.backtrace


def test_log_handler_never_raises_and_never_reports_its_own_warnings(
    client: agg.Client, log: logging.Logger, capsys: Any
) -> None:
    unreachable = agg.Recorder("n", f"redis://127.0.0.1:{free_port()}", interval=0.01)
    handler = agg.LogHandler(unreachable)
    log.addHandler(handler)
    log.error("%d", "no number")
    assert "TypeError" in capsys.readouterr().err  # Printed, as the handlers of logging do.
    own = logging.getLogger("agg")
    own.addHandler(handler)  # The recorder's thread logs warnings to it.
    try:
        log.info("x")
        while not unreachable.counts.failures:
            pass
        assert unreachable.counts.waiting == 1  # The warning about the failure is not reported.
    finally:
        own.removeHandler(handler)
        unreachable.close(0)
