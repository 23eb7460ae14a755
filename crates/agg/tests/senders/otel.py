"""Sends by the SDK of OpenTelemetry: protocol, endpoint and temporality are arguments."""

import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

protocol, endpoint, temporality = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    options = {"insecure": True}
    metrics_endpoint = logs_endpoint = endpoint
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    options = {"compression": Compression.Gzip}
    metrics_endpoint, logs_endpoint = endpoint + "/v1/metrics", endpoint + "/v1/logs"

chosen = getattr(AggregationTemporality, temporality.upper())
kinds = {kind: chosen for kind in (Counter, Histogram, ObservableCounter, UpDownCounter)}
resource = Resource({"service.name": "shop"})
exporter = OTLPMetricExporter(endpoint=metrics_endpoint, preferred_temporality=kinds, **options)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
provider = MeterProvider([reader], resource=resource, views=views)
meter = provider.get_meter("test")
counter = meter.create_counter("orders", unit="1")
open_orders = meter.create_up_down_counter("open")
latency = meter.create_histogram("latency", unit="ms")
size = meter.create_histogram("size", unit="By")
gauge = meter.create_gauge("temperature")
for round_ in range(3):
    for i in range(10):
        counter.add(2, {"route": "/pay"})
        latency.record(100 + i)
        size.record(1000 * (i + 1))
    open_orders.add(5 if round_ < 2 else -3)
    gauge.set(20.5 + round_)
    assert provider.force_flush()
logger_provider = LoggerProvider(resource=resource)
exporter = OTLPLogExporter(endpoint=logs_endpoint, **options)
logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
log = logging.getLogger("shop")
log.addHandler(LoggingHandler(logger_provider=logger_provider))
log.setLevel(logging.INFO)
log.info("started")
log.error("order %s was lost", 17, extra={"order": 17})
assert logger_provider.force_flush()
provider.shutdown()
logger_provider.shutdown()
