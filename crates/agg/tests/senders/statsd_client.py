"""Sends by the library statsd to the port in the first argument, over UDP or TCP."""

import sys

import statsd

kind, port = sys.argv[1], int(sys.argv[2])
client = (statsd.TCPStatsClient if kind == "tcp" else statsd.StatsClient)("127.0.0.1", port)
with client.pipeline() as pipe:
    for i in range(200):
        pipe.incr("hits")
        pipe.timing("ms", i)
    pipe.incr("hits", 10)
    pipe.gauge("temp", 20)
    pipe.gauge("temp", 3, delta=True)
    pipe.set("users", "x")
