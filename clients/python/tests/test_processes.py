"""A recorder survives forks and sends its reports before its process ends."""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial

import pytest
from support import PRELUDE, free_port, run_program

import agg

HEAVY = os.environ.get("AGG_HEAVY") == "1"


@pytest.mark.parametrize("server_kind", ["url", "function", "connection"])
def test_fork_does_not_deadlock_while_the_connection_pool_is_locked(
    url: str, client: agg.Client, server_kind: str
) -> None:
    output = run_program(
        """
        url, server_kind = sys.argv[1:]
        servers = {
            "url": lambda: url,
            "function": lambda: lambda: redis.Redis.from_url(url),
            "connection": lambda: redis.Redis.from_url(url),
        }
        recorder = agg.Recorder("n", servers[server_kind](), interval=0.05)
        print(fork_while_locked(recorder, lambda client: [client.connection_pool._lock]))
        recorder.stat("parent", 1)
        print(recorder.flush(60), recorder.counts.sent)
        """,
        url,
        server_kind,
    )
    assert output.split() == ["0", "True", "2"]
    assert set(client.names("n", "METRIC")) == {"before", "child", "parent"}


def test_many_forks_of_a_busy_process_do_not_deadlock(url: str) -> None:
    forks = 20_000 if HEAVY else 300
    output = run_program(
        """
        url, forks = sys.argv[1], int(sys.argv[2])
        busy = True

        def report():
            while busy:
                recorder.stat("m", 1)
                recorder.log("l")
                time.sleep(0.0005)

        recorder = agg.Recorder("n", url, interval=0.0001, batch=1)
        threading.Thread(target=report, daemon=True).start()
        statuses = set()
        for i in range(forks):
            if i % 3 == 0:
                # Another recorder, which opens its first connection.
                other = agg.Recorder("n", url, interval=0.0001)
                other.stat("other", 1)
            pid = os.fork()
            if pid == 0:
                recorder.stat("child", 1)
                os._exit(0 if i % 10 or recorder.flush(60) else 3)
            statuses.add(exit_status(pid))
            if i % 3 == 2:
                assert other.close(60)
        busy = False
        print(statuses, recorder.flush(60), recorder.counts.dropped)
        """,
        url,
        str(forks),
        timeout=3600 if HEAVY else 300,
    )
    assert output == "{0} True {}\n"


def test_child_does_not_keep_the_parents_connection_open(url: str) -> None:
    output = run_program(
        """
        def sockets():
            links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
            return {os.readlink(link) for link in links if os.path.islink(link)}

        before = sockets()
        recorder = agg.Recorder("n", sys.argv[1], interval=0.05)
        recorder.stat("m", 1)
        assert recorder.flush(60)
        opened = {link for link in sockets() - before if link.startswith("socket:")}
        assert len(opened) == 1
        pid = os.fork()
        if pid == 0:
            os._exit(len(opened & sockets()))
        print(exit_status(pid))
        recorder.stat("m", 1)
        print(recorder.flush(60), recorder.counts.failures)
        """,
        url,
    )
    assert output.split() == ["0", "True", "0"]


def test_sender_thread_imports_nothing(url: str) -> None:
    """A child forked during an import could never finish it: the import lock has no owner there."""
    output = run_program(
        """
        recorder = agg.Recorder("n", sys.argv[1].replace("127.0.0.1", "localhost"), interval=0.05)
        before = set(sys.modules)
        recorder.stat("m", 1)
        recorder.log("l")
        recorder.error("e")
        recorder.reality("k", "m", {"a": 1})
        assert recorder.flush(60)
        print(sorted(set(sys.modules) - before))
        """,
        url,
    )
    assert output == "[]\n"


def test_fork_waits_for_an_import_in_another_thread(url: str) -> None:
    output = run_program(
        """
        import importlib.abc, os, sys, threading, time

        class SlowFinder(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "agg.drain":
                    import_started.set()
                    time.sleep(0.5)

        import_started = threading.Event()
        sys.meta_path.insert(0, SlowFinder())
        thread = threading.Thread(target=__import__, args=("agg",))
        thread.start()
        import_started.wait()
        pid = os.fork()
        if pid == 0:
            import agg
            recorder = agg.Recorder("n", sys.argv[1])
            recorder.stat("m", 1)
            os._exit(0 if recorder.flush(60) else 3)
        thread.join()
        exec(PRELUDE)
        print(exit_status(pid))
        """,
        url,
        prelude=f"PRELUDE = {PRELUDE!r}\n",
    )
    assert output == "0\n"


def task(number: int) -> int:
    agg.recorder().stat("task", number)
    agg.recorder().log("done")
    if number == 7:
        raise ValueError("task 7 failed")
    return number


@agg.flushed
def flushed_task(number: int) -> int:
    """Runs a task and flushes the recorder."""
    return task(number)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_terminated_pool_has_sent_the_reports_of_flushed_tasks(
    url: str, client: agg.Client, method: str
) -> None:
    context = multiprocessing.get_context(method)
    configure = partial(agg.configure, interval=60, at_exit=60)
    with context.Pool(2, initializer=configure, initargs=("n", url)) as pool:
        assert sum(pool.map(flushed_task, range(6), chunksize=1)) == 15
        with pytest.raises(ValueError, match="task 7"):
            pool.apply(flushed_task, (7,))
    metric = client.get_metric("n", "task")
    assert metric is not None and metric.samples == 7
    assert len(client.pop("n", "LOG")) == 7


def test_closed_pool_has_sent_all_reports(url: str, client: agg.Client) -> None:
    context = multiprocessing.get_context("fork")
    configure = partial(agg.configure, interval=60, at_exit=60)
    with context.Pool(2, initializer=configure, initargs=("n", url)) as pool:
        assert sum(pool.map(task, range(6), chunksize=1)) == 15
        pool.close()
        pool.join()
    metric = client.get_metric("n", "task")
    assert metric is not None and metric.samples == 6


def test_flushed_tasks_wait_only_once_for_a_server_that_is_down() -> None:
    agg.configure("n", f"redis://127.0.0.1:{free_port()}", interval=0.01, at_exit=1)
    try:
        start = time.monotonic()
        for _ in range(30):
            assert flushed_task(1) == 1
        assert time.monotonic() - start < 20
        assert flushed_task.__doc__ == "Runs a task and flushes the recorder."
        assert agg.recorder().counts.waiting == 60
    finally:
        agg.recorder().close(0)
