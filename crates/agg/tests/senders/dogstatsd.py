"""Sends by the client of Datadog to the UDP port or the Unix socket in the first argument."""

import sys

from datadog.dogstatsd import DogStatsd

target = sys.argv[1]
where = {"socket_path": target} if target.startswith("/") else {"host": "127.0.0.1", "port": int(target)}
client = DogStatsd(constant_tags=["env:test"], disable_telemetry=True, socket_timeout=10, **where)
for i in range(100):
    client.increment("page.views", tags=["route:/pay"])
    client.histogram("page.ms", i + 1)
    client.distribution("page.bytes", 1000 + i)
client.decrement("jobs")
client.gauge("queue", 17)
client.gauge("queue", 12.5)
client.timing("query.ms", 320, sample_rate=1)
for user in ["a", "b", "a", "c"]:
    client.set("users", user)
client.event("deploy", "version 1.2\nby ann", alert_type="error", tags=["team:shop"])
client.service_check("db", client.CRITICAL, message="no answer", hostname="db1")
client.flush()
