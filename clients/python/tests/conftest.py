"""Fixtures: a server, emptied before each test, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from support import LONG_WINDOWS, Server

import agg


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server(settings=LONG_WINDOWS)
    yield server
    server.close()


@pytest.fixture
def url(server: Server) -> str:
    with redis.Redis.from_url(server.url) as plain:
        plain.flushall()
    return server.url


@pytest.fixture(params=[(2, False), (2, True), (3, False), (3, True)], ids="{0[0]}-{0[1]}".format)
def any_client(url: str, request: pytest.FixtureRequest) -> Iterator[agg.Client]:
    """Clients in RESP2 and RESP3, on connections that decode and that do not."""
    protocol, decode = request.param
    with agg.Client(url, protocol=protocol, decode_responses=decode) as client:
        yield client


@pytest.fixture
def client(url: str) -> Iterator[agg.Client]:
    with agg.Client(url) as client:
        yield client
