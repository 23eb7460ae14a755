"""Sends by graphyte to the port in the first argument."""

import sys

import graphyte

for protocol in ("tcp", "udp"):
    sender = graphyte.Sender("127.0.0.1", port=int(sys.argv[1]), protocol=protocol)
    for i in range(50):
        sender.send(f"servers.a.{protocol}", i)
    sender.send("tagged", 1.5, tags={"dc": "a-b", "rack": "1"})
    sender.stop()
