// Sends by the SDK of OpenTelemetry: protocol, endpoint and temporality are arguments.

const { SeverityNumber } = require('@opentelemetry/api-logs');
const { CompressionAlgorithm } = require('@opentelemetry/otlp-exporter-base');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
const { AggregationTemporality, AggregationType, MeterProvider, PeriodicExportingMetricReader } =
    require('@opentelemetry/sdk-metrics');

// json, proto or grpc.
const [protocol, endpoint, temporality] = process.argv.slice(2);
const suffix = { json: 'http', proto: 'proto', grpc: 'grpc' }[protocol];
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${suffix}`);

const options = (path) => ({
    url: protocol === 'grpc' ? endpoint : endpoint + path,
    compression: protocol === 'json' ? CompressionAlgorithm.NONE : CompressionAlgorithm.GZIP,
});

async function main() {
    const resource = resourceFromAttributes({ 'service.name': 'shop', 'host.cpus': 4 });
    const exporter = new OTLPMetricExporter({
        ...options('/v1/metrics'),
        temporalityPreference: AggregationTemporality[temporality],
    });
    const provider = new MeterProvider({
        resource,
        readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
        views: [
            {
                instrumentName: 'size',
                aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { recordMinMax: true } },
            },
        ],
    });
    const meter = provider.getMeter('test');
    const orders = meter.createCounter('orders');
    const open = meter.createUpDownCounter('open');
    const latency = meter.createHistogram('latency', { unit: 'ms', advice: { explicitBucketBoundaries: [100, 200] } });
    const size = meter.createHistogram('size', { unit: 'By' });
    const temperature = meter.createGauge('temperature');
    let round = 0;
    meter.createObservableCounter('uptime').addCallback((result) => result.observe(100 * round));
    for (round = 1; round <= 3; round++) {
        for (let i = 0; i < 10; i++) {
            orders.add(2, { route: '/pay', retry: true });
            latency.record(150);
            size.record(1024);
        }
        open.add(round < 3 ? 5 : -3);
        temperature.record(19.5 + round);
        // The clock of the SDK has milliseconds: a total whose start is its time has no known start.
        await new Promise((done) => setTimeout(done, 20));
        await provider.forceFlush();
    }
    const logs = new LoggerProvider({
        resource,
        processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(options('/v1/logs')) })],
    });
    const logger = logs.getLogger('test');
    logger.emit({ severityNumber: SeverityNumber.INFO, body: 'started', attributes: { part: 'cart' } });
    logger.emit({ severityNumber: SeverityNumber.ERROR, severityText: 'ERROR', body: 'order 17 was lost' });
    logger.emit({ severityNumber: SeverityNumber.FATAL, body: 'order 18 was lost' });
    await logs.forceFlush();
    await logs.shutdown();
    // The end of the provider would be another export.
}

main().then(() => process.exit(0));
