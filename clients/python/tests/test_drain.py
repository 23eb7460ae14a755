"""Loops over queues: processed records are removed, the others are delivered again."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from support import LONG_WINDOWS, Server, wait_until

import agg


def fill(client: agg.Client, node: str = "n", lines: int = 5) -> list[int]:
    return [client.log(node, f"{node} {i}") for i in range(lines)]


def available(client: agg.Client, node: str = "n") -> list[str]:
    """Fetches the records that are not leased."""
    return [e.record.message for e in client.fetch(node, "LOG")]  # type: ignore[union-attr]


def length(client: agg.Client, node: str = "n") -> int:
    info = client.info(node)
    assert info is not None
    return info.queues["LOG"].length


def test_processed_records_are_acknowledged(client: agg.Client) -> None:
    fill(client, lines=25)
    client.error("n", "e")
    client.stat("n", "m", 1)
    with agg.Drain(client, "n", count=10, follow=False) as entries:
        got = [entry for entry in entries]  # noqa: C416
    assert [e.queue for e in got] == ["LOG"] * 25 + ["ERROR"]
    assert length(client) == 0 and not list(agg.Drain(client, "n", follow=False))


def test_break_releases_unprocessed_records(client: agg.Client) -> None:
    fill(client)
    with agg.Drain(client, "n", "LOG") as entries:
        for entry in entries:
            if entry.record.message == "n 2":  # type: ignore[union-attr]
                break
    assert available(client) == ["n 2", "n 3", "n 4"] and length(client) == 3


def test_loop_without_with_releases_unprocessed_records(client: agg.Client) -> None:
    fill(client)
    with pytest.raises(RuntimeError):
        for i, _ in enumerate(agg.Drain(client, "n", "LOG")):
            if i == 1:
                raise RuntimeError
    assert available(client) == ["n 1", "n 2", "n 3", "n 4"] and length(client) == 4


def test_batches_are_acknowledged_as_a_whole(client: agg.Client) -> None:
    fill(client)
    with pytest.raises(RuntimeError), agg.Drain(client, "n", "LOG", count=3) as drain:
        for i, batch in enumerate(drain.batches()):
            if i == 1:
                assert len(batch) == 2
                raise RuntimeError
    assert available(client) == ["n 3", "n 4"]


def test_drain_iterates_over_several_or_all_nodes(client: agg.Client) -> None:
    for node in ("a", "b", "c"):
        fill(client, node, 3)
    client.redis.set("other", "no node")
    some = agg.Drain(client, ["a", "c", "nowhere"], "LOG", follow=False, count=2)
    assert {e.node for e in some} == {"a", "c"}
    assert {e.node for e in agg.Drain(client, follow=False)} == {"b"}
    assert [length(client, node) for node in ("a", "b", "c")] == [0, 0, 0]


def test_slow_body_gets_extended_leases_and_early_acknowledgements(client: agg.Client) -> None:
    fill(client, lines=3)
    with agg.Drain(client, "n", "LOG", lease=1.5, follow=False) as entries:
        for i, _ in enumerate(entries):
            time.sleep(2 if i == 0 else 0)
            assert available(client) == []
            if i == 2:
                # The first record was acknowledged before the end of the batch.
                assert length(client) == 2
    assert length(client) == 0


def test_leases_are_not_extended_beyond_hold(client: agg.Client) -> None:
    fill(client, lines=1)
    with agg.Drain(client, "n", "LOG", lease=0.3, hold=0.2, follow=False) as entries:
        for _ in entries:
            wait_until("the lease has expired", lambda: available(client))


@pytest.mark.parametrize("nodes", ["n", ["n", "m"], None])
def test_following_drain_waits_for_records_until_stopped(client: agg.Client, nodes: Any) -> None:
    got: list[str] = []
    drain = agg.Drain(client, nodes, "LOG", idle=0.1)

    def loop() -> None:
        with drain as entries:
            for entry in entries:
                got.append(entry.record.message)  # type: ignore[union-attr]

    thread = threading.Thread(target=loop)
    thread.start()
    fill(client, lines=1)
    wait_until("the first arrived", lambda: got == ["n 0"])
    fill(client, lines=2)
    wait_until("the others arrived", lambda: len(got) == 3)
    drain.stop()
    thread.join(5)
    assert not thread.is_alive() and length(client) == 0


def test_following_drain_survives_a_server_restart() -> None:
    own = Server("--appendonly", "yes", "--appendfsync", "always", settings=LONG_WINDOWS)
    got: list[str] = []
    client = agg.Client(own.url)
    drain = agg.Drain(client, "n", "LOG", idle=0.1)

    def loop() -> None:
        with drain as entries:
            for entry in entries:
                got.append(entry.record.message)  # type: ignore[union-attr]

    thread = threading.Thread(target=loop)
    try:
        fill(client, lines=1)
        thread.start()
        wait_until("the first arrived", lambda: got == ["n 0"])
        own.stop()
        own.start()
        client.log("n", "news")
        wait_until("draining resumed", lambda: got[-1] == "news")
    finally:
        drain.stop()
        thread.join(15)
        client.close()
        own.close()
    assert not thread.is_alive()


def test_async_drain_behaves_like_drain(url: str, client: agg.Client) -> None:
    async def main() -> None:
        async with agg.AsyncClient(url) as own:
            fill(client)
            async with agg.AsyncDrain(own, "n", "LOG", count=2) as entries:
                async for entry in entries:
                    if entry.record.message == "n 3":  # type: ignore[union-attr]
                        break
            assert available(client) == ["n 3", "n 4"]
            client.nack("n", "LOG", [e.id for e in client.peek("n", "LOG")])
            with pytest.raises(RuntimeError):
                async with agg.AsyncDrain(own, queues="LOG", count=1) as drain:
                    async for batch in drain.batches():
                        if batch[0].record.message == "n 4":  # type: ignore[union-attr]
                            raise RuntimeError
            assert available(client) == ["n 4"]
            client.nack("n", "LOG", [e.id for e in client.peek("n", "LOG")])

            async with agg.AsyncDrain(own, "n", "LOG", lease=1.5, follow=False) as entries:
                async for _ in entries:
                    await asyncio.sleep(2)
                    assert available(client) == []
            assert length(client) == 0

            got: list[Any] = []
            following = agg.AsyncDrain(own, idle=0.1)

            async def loop() -> None:
                async with following as entries:
                    async for entry in entries:
                        got.append(entry.record)

            task = asyncio.create_task(loop())
            fill(client, "other", 2)
            for _ in range(500):
                if len(got) == 2:
                    break
                await asyncio.sleep(0.01)
            following.stop()
            await asyncio.wait_for(task, 5)
            assert length(client, "other") == 0

    asyncio.run(main())
