"""Clients and recorders on a cluster: every command names its one key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from support import LONG_WINDOWS, Server, free_port, run_program, wait_until

import agg


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    server = Server(
        "--cluster-enabled", "yes", "--cluster-port", str(free_port()), settings=LONG_WINDOWS
    )
    with redis.Redis(port=server.port, decode_responses=True) as plain:
        plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until("the cluster is up", lambda: plain.cluster("INFO")["cluster_state"] == "ok")
    yield server
    server.close()


def test_client_works_on_a_cluster(cluster: Server) -> None:
    with agg.Client(redis.RedisCluster(host="127.0.0.1", port=cluster.port)) as client:
        for node in ("a", "b", "c"):
            assert client.stat(node, "m", 1)
            client.log(node, "line")
        assert client.nodes() == ["a", "b", "c"]
        with client.pipeline() as pipe:
            first, rejected = pipe.log("a", "x").stat("b", "m", "x").execute(raise_on_error=False)
            assert first > 0 and isinstance(rejected, agg.ArgumentError)
        with pytest.raises(agg.ArgumentError):
            client.stat("a", "m", "x")
        assert [e.record.message for e in client.pop("a", "LOG")] == ["line", "x"]  # type: ignore[union-attr]


def test_recorder_asks_the_nodes_own_server_for_the_time(cluster: Server) -> None:
    def connect() -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=cluster.port)

    with agg.Client(connect()) as client, agg.Recorder("e", connect) as recorder:
        calls = client.redis.info("commandstats").get("cmdstat_time", {}).get("calls", 0)
        recorder.stat("m", 1)
        recorder.log("line")
        assert recorder.flush(60) and recorder.counts == agg.Counts(sent=2)
        assert client.redis.info("commandstats")["cmdstat_time"]["calls"] > calls
        assert not recorder._connection.uses_local_time


def test_fork_does_not_deadlock_while_the_cluster_locks_are_held(cluster: Server) -> None:
    output = run_program(
        """
        def connect():
            return redis.RedisCluster(host="127.0.0.1", port=int(sys.argv[1]))

        recorder = agg.Recorder("f", connect, interval=0.05)

        def locks_of(client):
            (node,) = client.get_nodes()
            return client._lock, node.redis_connection.connection_pool._lock

        print(fork_while_locked(recorder, locks_of))
        """,
        str(cluster.port),
    )
    assert output == "0\n"


def test_async_client_works_on_a_cluster(cluster: Server) -> None:
    async def main() -> None:
        nodes = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port)
        async with agg.AsyncClient(nodes) as client:
            assert await client.stat("d", "m", 1)
            assert "d" in await client.nodes()
            pipe = client.pipeline()
            assert (await pipe.stat("d", "m", 1).stat("a", "m", 1).execute()) == [True, True]

    asyncio.run(main())
