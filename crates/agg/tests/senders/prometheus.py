"""Serves metrics of the client of Prometheus; each line of standard input is a round. Prints its port."""

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, start_http_server

registry = CollectorRegistry()
requests = Counter("requests", "Requests", ["route"], registry=registry)
depth = Gauge("depth", "Depth", registry=registry)
latency = Histogram("latency_seconds", "Latency", buckets=(0.1, 0.5, 1), registry=registry)
size = Summary("size_bytes", "Size", registry=registry)
server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
print(server.server_port, flush=True)
for _ in sys.stdin:
    requests.labels("/pay").inc(10)
    depth.set(17)
    for value in (0.05, 0.2, 0.2, 2):
        latency.observe(value)
    size.observe(100)
    print("done", flush=True)
