"""The panels of the dashboard of errors: what programs report as errors, and what is lost or rejected before it is stored."""

from model import Expression, Panel


def total(title: str, about: str, promql: str) -> Panel:
    """Returns a panel with one number, of the chosen time if the expression says so."""
    return Panel(title, about, "short", (Expression(promql),), "stat", 4, 5)


def rate(title: str, about: str, *series: tuple[str, str]) -> Panel:
    """Returns a panel of events per second, whose title differs from that of their total."""
    return Panel(f"{title} per second", about, "cps", tuple(Expression(promql, legend) for promql, legend in series))


def of_listener(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(agg_listener_{metric}_total{{INSTANCE}}[$__rate_interval]))"


ERRORS = [
    total(
        "Errors pending",
        "Distinct errors that no poller has drained yet.",
        'sum(max by (server) (agg_poller_queue_entries{INSTANCE,queue="ERROR"})) or vector(0)',
    ),
    total(
        "Dropped by servers",
        "Records that servers dropped at a limit, in the chosen time: they are lost.",
        "sum(max by (server, queue) (increase(agg_poller_dropped_total{INSTANCE}[$__range]))) or vector(0)",
    ),
    total(
        "Dead letters",
        "Records that a sink rejected permanently, in the chosen time.",
        'sum(increase(agg_poller_sink_records_total{INSTANCE,outcome="dead"}[$__range])) or vector(0)',
    ),
    total(
        "Lost by listeners",
        "Datagrams that the kernel dropped, and reports that did not fit into the buffer, in the chosen time.",
        "(sum(increase(agg_listener_kernel_dropped_total{INSTANCE}[$__range])) or vector(0))"
        " + (sum(increase(agg_listener_dropped_total{INSTANCE}[$__range])) or vector(0))",
    ),
    total(
        "Invalid input",
        "Input of listeners that cannot be used, in the chosen time.",
        "sum(increase(agg_listener_invalid_total{INSTANCE}[$__range])) or vector(0)",
    ),
    total(
        "Late or rejected",
        "Samples that came after their windows had closed, and reports that servers rejected, in the chosen time.",
        "(sum(increase(agg_listener_late_total{INSTANCE}[$__range])) or vector(0))"
        " + (sum(increase(agg_listener_rejected_total{INSTANCE}[$__range])) or vector(0))",
    ),
    Panel("Errors and logs"),
    Panel(
        "Errors and log entries pending",
        "By queue, in all servers.",
        series=(
            Expression(
                'sum by (queue) (max by (server, queue) (agg_poller_queue_entries{INSTANCE,queue=~"ERROR|LOG"}))',
                "{{queue}}",
            ),
        ),
    ),
    Panel(
        "Age of the oldest error",
        "How long an error waits for a poller.",
        "s",
        (Expression('max by (server) (agg_poller_lag_seconds{INSTANCE,queue="ERROR"})', "{{server}}"),),
    ),
    Panel("Listeners"),
    rate(
        "Invalid input",
        "By protocol and reason. The status page of the listener shows examples.",
        (of_listener("invalid", "protocol, reason"), "{{protocol}}: {{reason}}"),
    ),
    rate(
        "Lost",
        "Dropped by the kernel, because they came faster than they were read, or from a full buffer.",
        (of_listener("kernel_dropped", "protocol"), "{{protocol}} by the kernel"),
        (of_listener("dropped", "protocol"), "{{protocol}} from the buffer"),
    ),
    rate(
        "Late or rejected",
        "By protocol.",
        (of_listener("late", "protocol"), "{{protocol}} late"),
        (of_listener("rejected", "protocol"), "{{protocol}} rejected"),
    ),
    rate(
        "Not used as they were sent",
        "Wrong times, values that are no samples, metrics beyond max-instances, histograms that were forgotten.",
        (of_listener("wrong_times", "protocol"), "{{protocol}} wrong times"),
        (of_listener("skipped", "protocol"), "{{protocol}} skipped"),
        (of_listener("other", "protocol"), "{{protocol}} other"),
        (of_listener("evicted", "protocol"), "{{protocol}} evicted"),
    ),
    Panel(
        "Buffers of listeners",
        "Reports without a reply: they grow while a server is down.",
        "bytes",
        (Expression("agg_listener_buffered_bytes{INSTANCE}", "{{instance}}"),),
    ),
    Panel(
        "Targets that fail",
        "Targets of Prometheus whose last scrape failed.",
        series=(Expression("agg_listener_targets_failed{INSTANCE}", "{{instance}}"),),
    ),
    Panel("Servers and sinks"),
    rate(
        "Dropped by servers",
        "Records that servers dropped at a limit, by queue.",
        (
            "sum by (queue) (max by (server, queue) (rate(agg_poller_dropped_total{INSTANCE}[$__rate_interval])))",
            "{{queue}}",
        ),
    ),
    rate(
        "Dead letters and retries",
        "Records that a sink rejected permanently, and writes that it repeated.",
        (
            'sum by (sink) (rate(agg_poller_sink_records_total{INSTANCE,outcome="dead"}[$__rate_interval]))',
            "{{sink}} dead letters",
        ),
        ("sum by (sink) (rate(agg_poller_sink_retries_total{INSTANCE}[$__rate_interval]))", "{{sink}} retries"),
    ),
]
