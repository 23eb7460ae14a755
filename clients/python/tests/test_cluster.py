"""A cluster's client reports, drains and finds the nodes: every command names its one key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from kit import CALM, Server, free_port, until

import agg


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    server = Server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), settings=CALM)
    with redis.Redis(port=server.port, decode_responses=True) as plain:
        plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until("the cluster is whole", lambda: plain.cluster("INFO")["cluster_state"] == "ok")
    yield server
    server.end()


def test_a_cluster(cluster: Server) -> None:
    with agg.Client(redis.RedisCluster(host="127.0.0.1", port=cluster.port)) as client:
        for node in ("a", "b", "c"):
            assert client.stat(node, "m", 1)
            client.log(node, "line")
        assert client.nodes() == ["a", "b", "c"]
        with client.pipeline() as pipe:
            first, refused = pipe.log("a", "x").stat("b", "m", "x").execute(raise_on_error=False)
            assert first > 0 and isinstance(refused, agg.ArgumentError)
        with pytest.raises(agg.ArgumentError):
            client.stat("a", "m", "x")
        assert [e.record.message for e in client.pop("a", "LOG")] == ["line", "x"]  # type: ignore[union-attr]


def test_a_cluster_with_asyncio(cluster: Server) -> None:
    async def main() -> None:
        nodes = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port)
        async with agg.AsyncClient(nodes) as client:
            assert await client.stat("d", "m", 1)
            assert "d" in await client.nodes()
            pipe = client.pipeline()
            assert (await pipe.stat("d", "m", 1).stat("a", "m", 1).execute()) == [True, True]

    asyncio.run(main())
