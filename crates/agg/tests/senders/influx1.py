"""Writes by the client of InfluxDB 1 to the port in the first argument."""

import sys

from influxdb import InfluxDBClient

client = InfluxDBClient(host="127.0.0.1", port=int(sys.argv[1]), database="shop", gzip=len(sys.argv) > 2)
assert client.ping()
points = [
    {
        "measurement": "cpu",
        "tags": {"host": f"web {i % 2}", "rack": "a=b,c"},
        "fields": {"usage": 1.5 * i, "n": i, "is_idle": i % 2 == 0, "name": "x"},
    }
    for i in range(10)
]
assert client.write_points(points, time_precision="ms", tags={"dc": "north"})
assert client.write_points([{"measurement": "mem", "fields": {"used": 1, "free": 2.25}}], batch_size=1)
assert client.write(["disk,path=/ free=7i,used=9i"], params={"db": "shop"}, protocol="line")
client.close()
