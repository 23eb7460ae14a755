"""What a poller written in an afternoon does, for comparison: fetches lines, writes them to a file, acknowledges.

drain.py PORT NODE FILE COUNT ends when COUNT records were written; it has only the redis package.
"""

import os
import sys

import redis

port, node, path, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
server = redis.Redis(port=port)
done = 0
with open(path, "wb") as file:
    while done < count:
        entries = server.execute_command("AGG.FETCH", node, "MIN", "COUNT", 2000, "FORMAT", "LINE")
        if not entries:
            continue
        for _queue, _id, _deliveries, record in entries:
            file.write(record + b"\n")
        file.flush()
        os.fsync(file.fileno())
        server.execute_command("AGG.ACK", node, "MIN", *[entry[1] for entry in entries])
        done += len(entries)
