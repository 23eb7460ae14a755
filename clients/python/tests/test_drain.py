"""Loops over queues: what is done is gone, what is not comes again."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from kit import CALM, Server, until

import agg


def fill(client: agg.Client, node: str = "n", lines: int = 5) -> list[int]:
    return [client.log(node, f"{node} {i}") for i in range(lines)]


def left(client: agg.Client, node: str = "n") -> list[str]:
    """What can be had now, leased entries not."""
    return [e.record.message for e in client.fetch(node, "LOG")]  # type: ignore[union-attr]


def length(client: agg.Client, node: str = "n") -> int:
    info = client.info(node)
    assert info is not None
    return info.queues["LOG"].length


def test_what_is_done_is_gone(client: agg.Client) -> None:
    fill(client, lines=25)
    client.error("n", "e")
    client.stat("n", "m", 1)
    with agg.Drain(client, "n", count=10, follow=False) as entries:
        got = [entry for entry in entries]  # noqa: C416
    assert [e.queue for e in got] == ["LOG"] * 25 + ["ERROR"]
    assert length(client) == 0 and not list(agg.Drain(client, "n", follow=False))


def test_a_break_gives_back_what_was_not_done(client: agg.Client) -> None:
    fill(client)
    with agg.Drain(client, "n", "LOG") as entries:
        for entry in entries:
            if entry.record.message == "n 2":  # type: ignore[union-attr]
                break
    assert left(client) == ["n 2", "n 3", "n 4"] and length(client) == 3


def test_a_loop_without_with(client: agg.Client) -> None:
    fill(client)
    with pytest.raises(RuntimeError):
        for i, _ in enumerate(agg.Drain(client, "n", "LOG")):
            if i == 1:
                raise RuntimeError
    assert left(client) == ["n 1", "n 2", "n 3", "n 4"] and length(client) == 4


def test_batches(client: agg.Client) -> None:
    fill(client)
    with pytest.raises(RuntimeError), agg.Drain(client, "n", "LOG", count=3) as drain:
        for i, batch in enumerate(drain.batches()):
            if i == 1:
                assert len(batch) == 2
                raise RuntimeError
    assert left(client) == ["n 3", "n 4"]


def test_several_nodes_and_all(client: agg.Client) -> None:
    for node in ("a", "b", "c"):
        fill(client, node, 3)
    client.redis.set("other", "no node")
    some = agg.Drain(client, ["a", "c", "nowhere"], "LOG", follow=False, count=2)
    assert {e.node for e in some} == {"a", "c"}
    assert {e.node for e in agg.Drain(client, follow=False)} == {"b"}
    assert [length(client, node) for node in ("a", "b", "c")] == [0, 0, 0]


def test_leases_of_slow_bodies_are_extended_and_slow_ones_acknowledged(client: agg.Client) -> None:
    fill(client, lines=3)
    with agg.Drain(client, "n", "LOG", lease=1.5, follow=False) as entries:
        for i, _ in enumerate(entries):
            time.sleep(2 if i == 0 else 0)
            assert left(client) == []
            if i == 2:
                # The first was acknowledged meanwhile, not only at the end.
                assert length(client) == 2
    assert length(client) == 0


def test_hold_ends_the_extensions(client: agg.Client) -> None:
    fill(client, lines=1)
    with agg.Drain(client, "n", "LOG", lease=0.3, hold=0.2, follow=False) as entries:
        for _ in entries:
            until("the lease has ended", lambda: left(client))


@pytest.mark.parametrize("nodes", ["n", ["n", "m"], None])
def test_following_waits_for_news_and_stops(client: agg.Client, nodes: Any) -> None:
    got: list[str] = []
    drain = agg.Drain(client, nodes, "LOG", idle=0.1)

    def loop() -> None:
        with drain as entries:
            for entry in entries:
                got.append(entry.record.message)  # type: ignore[union-attr]

    thread = threading.Thread(target=loop)
    thread.start()
    fill(client, lines=1)
    until("it came", lambda: got == ["n 0"])
    fill(client, lines=2)
    until("they came", lambda: len(got) == 3)
    drain.stop()
    thread.join(5)
    assert not thread.is_alive() and length(client) == 0


def test_following_outlives_a_restart() -> None:
    own = Server("--appendonly", "yes", "--appendfsync", "always", settings=CALM)
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
        until("it came", lambda: got == ["n 0"])
        own.stop()
        own.start()
        client.log("n", "news")
        until("it goes on", lambda: got[-1] == "news")
    finally:
        drain.stop()
        thread.join(15)
        client.close()
        own.end()
    assert not thread.is_alive()


def test_asyncio(url: str, client: agg.Client) -> None:
    async def main() -> None:
        async with agg.AsyncClient(url) as own:
            fill(client)
            async with agg.AsyncDrain(own, "n", "LOG", count=2) as entries:
                async for entry in entries:
                    if entry.record.message == "n 3":  # type: ignore[union-attr]
                        break
            assert left(client) == ["n 3", "n 4"]
            client.nack("n", "LOG", [e.id for e in client.peek("n", "LOG")])
            with pytest.raises(RuntimeError):
                async with agg.AsyncDrain(own, queues="LOG", count=1) as drain:
                    async for batch in drain.batches():
                        if batch[0].record.message == "n 4":  # type: ignore[union-attr]
                            raise RuntimeError
            assert left(client) == ["n 4"]
            client.nack("n", "LOG", [e.id for e in client.peek("n", "LOG")])

            async with agg.AsyncDrain(own, "n", "LOG", lease=1.5, follow=False) as entries:
                async for _ in entries:
                    await asyncio.sleep(2)
                    assert left(client) == []
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
