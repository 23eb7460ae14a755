"""Commands of pollers: they deliver, acknowledge and queue records."""

from __future__ import annotations

from functools import partial
from typing import Optional

from .. import arguments, records
from ..arguments import Format, Ids, Ms, Queue, Queues, RequeueType, Text
from ..command import Command
from ..records import Entry
from .words import node_name, option


def fetch(
    node: Text,
    queues: Queues,
    *,
    count: Optional[int] = None,
    lease: Optional[Ms] = None,
    block: Optional[Ms] = None,
    format: Optional[Format] = None,
) -> Command[list[Entry]]:
    """AGG.FETCH node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE]

    Delivers records and leases them for ``lease`` ms (30,000 by default); other consumers do not
    receive them meanwhile. `ack` removes them. Unacknowledged records are redelivered, with
    ``deliveries`` incremented. ``block`` waits up to that many ms for records (0: no limit); keep
    it below the connection's ``socket_timeout``. With the format ``LINE``, records of MIN and HOUR
    are InfluxDB line protocol. `agg.Drain` does all of this in a loop.

    >>> id = client.log("node1", "going down")
    >>> # AGG.FETCH node1 LOG ERROR LEASE 60000 BLOCK 1000
    >>> entries = client.fetch("node1", ["LOG", "ERROR"], lease=60_000, block=1000)
    >>> entries[0].record.message, entries[0].id == id
    ('going down', True)
    >>> client.fetch("node1", "LOG")
    []
    """
    words = [b"AGG.FETCH", arguments.text(node), *arguments.queues(queues)]
    option(words, b"COUNT", count, arguments.integer)
    option(words, b"LEASE", lease, arguments.ms)
    option(words, b"BLOCK", block, arguments.ms)
    option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, node_name(node)))


def ack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.ACK node queue id [id ...]

    Removes up to 10,000 records, leased or not. Returns the number removed. An error or object that
    has changed since delivery has a new id, so a late acknowledgement cannot remove the change.

    >>> id = client.log("node1", "going down")
    >>> entries = client.fetch("node1", "LOG")
    >>> client.ack("node1", "LOG", [entry.id for entry in entries])
    1
    >>> # AGG.ACK node1 LOG 17 18
    >>> client.ack("node1", "LOG", [17, 18])
    0
    """
    return Command([b"AGG.ACK", arguments.text(node), queue.encode(), *arguments.ids(ids)], int)


def nack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.NACK node queue id [id ...]

    Releases leases, so that the records are available again at once. Returns the number released.

    >>> # AGG.NACK node1 LOG 17
    >>> client.nack("node1", "LOG", 17)
    0
    """
    return Command([b"AGG.NACK", arguments.text(node), queue.encode(), *arguments.ids(ids)], int)


def extend(node: Text, queue: Queue, lease: Ms, ids: Ids) -> Command[int]:
    """AGG.EXTEND node queue ms id [id ...]

    Extends leases to ``lease`` ms from now. Returns the number extended.

    >>> # AGG.EXTEND node1 LOG 60000 17
    >>> client.extend("node1", "LOG", 60_000, 17)
    0
    """
    words = [b"AGG.EXTEND", arguments.text(node), queue.encode(), arguments.ms(lease)]
    return Command([*words, *arguments.ids(ids)], int)


def pop(
    node: Text, queues: Queues, *, count: Optional[int] = None, format: Optional[Format] = None
) -> Command[list[Entry]]:
    """AGG.POP node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]

    Delivers records and removes them at once, so a lost reply loses records. Use `fetch` for
    delivery at least once. Queues are read in the given order, the oldest records first. ``count``
    defaults to 100 and is at most 10,000. A reply ends at about 1 MiB, so fewer records do not mean
    that the queue is empty.

    >>> id = client.log("node1", "going down")
    >>> # AGG.POP node1 LOG COUNT 10
    >>> for entry in client.pop("node1", "LOG", count=10):
    ...     print(entry.queue, entry.deliveries, entry.record.message)
    LOG 1 going down
    """
    words = [b"AGG.POP", arguments.text(node), *arguments.queues(queues)]
    option(words, b"COUNT", count, arguments.integer)
    option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, node_name(node)))


def requeue(node: Text, thing: RequeueType, *, match: Optional[Text] = None) -> Command[int]:
    """AGG.REQUEUE node ERROR|REALITY [MATCH glob]

    Queues stored errors or objects again, for example after a database has lost them. Returns the
    number of records queued.

    >>> # AGG.REQUEUE node1 REALITY MATCH sd*
    >>> client.requeue("node1", "REALITY", match="sd*")
    0
    """
    words = [b"AGG.REQUEUE", arguments.text(node), thing.encode()]
    option(words, b"MATCH", match, arguments.text)
    return Command(words, int)
