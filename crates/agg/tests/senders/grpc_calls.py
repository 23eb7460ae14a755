"""Calls OTLP/gRPC: address, and the number of bytes of a compressed message or `metric`. Prints the status of the call."""

import sys

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

address, what = sys.argv[1:]
if what == "metric":
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="new")
    metric.gauge.data_points.add(as_int=1)
    body = request.SerializeToString()
else:
    body = bytes(int(what))
with grpc.insecure_channel(address) as channel:
    export = channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
    try:
        export(body, compression=grpc.Compression.Gzip, timeout=60)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name, error.details())
