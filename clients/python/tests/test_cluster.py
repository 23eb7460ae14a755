"""A cluster's client reports, drains and finds the nodes: every command names its one key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from kit import CALM, Server, free_port, program, until

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


def test_a_recorder_of_a_cluster_asks_the_right_server_for_its_time(cluster: Server) -> None:
    def connect() -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=cluster.port)

    with agg.Client(connect()) as client, agg.Recorder("e", connect) as recorder:
        calls = client.redis.info("commandstats").get("cmdstat_time", {}).get("calls", 0)
        recorder.stat("m", 1)
        recorder.log("line")
        assert recorder.flush(60) and recorder.counts == agg.Counts(sent=2)
        assert client.redis.info("commandstats")["cmdstat_time"]["calls"] > calls
        assert not recorder._timeless


def test_a_fork_with_a_clusters_locks_taken_holds_nobody_up(cluster: Server) -> None:
    said = program(
        """
        def connect():
            return redis.RedisCluster(host="127.0.0.1", port=int(sys.argv[1]))

        recorder = agg.Recorder("f", connect, interval=0.05)
        recorder.stat("before", 1)
        assert recorder.flush(60)
        locked, done = threading.Event(), threading.Event()

        def hold():
            client = recorder._client.redis
            (node,) = client.get_nodes()
            with client._lock, node.redis_connection.connection_pool._lock:
                locked.set()
                done.wait()

        threading.Thread(target=hold, daemon=True).start()
        locked.wait()
        pid = os.fork()
        if pid == 0:
            recorder.stat("child", 1)
            sys.exit(0 if recorder.flush(60) else 3)
        done.set()
        print(status(pid))
        """,
        str(cluster.port),
    )
    assert said == "0\n"


def test_a_cluster_with_asyncio(cluster: Server) -> None:
    async def main() -> None:
        nodes = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port)
        async with agg.AsyncClient(nodes) as client:
            assert await client.stat("d", "m", 1)
            assert "d" in await client.nodes()
            pipe = client.pipeline()
            assert (await pipe.stat("d", "m", 1).stat("a", "m", 1).execute()) == [True, True]

    asyncio.run(main())
