"""Writes by the client of InfluxDB 2 to the URL in the first argument."""

import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

with InfluxDBClient(url=sys.argv[1], token="t", org="o", enable_gzip=True) as client:
    assert client.ping()
    with client.write_api(write_options=SYNCHRONOUS) as api:
        points = [
            Point("cpu").tag("host", f"web {i % 2}").field("usage", 1.5 * i).field("name", "x").field("n", i)
            for i in range(10)
        ]
        api.write("bucket", record=points, write_precision=WritePrecision.S)
        api.write("bucket", record="mem,host=a used=1i,free=2i")
