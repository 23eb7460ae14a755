"""The panels of the dashboards of the data: change them here, not in the JSON."""

from model import Panel, Series

INSTANCE = ("node", "instance")

HOSTS = [
    Panel(
        "Nodes",
        "Nodes that have reported their uptime in the chosen time.",
        series=(Series("uptime", "uptime_seconds", "last", (), merge="count"),),
        kind="stat",
        width=4,
        height=5,
    ),
    Panel(
        "Highest CPU load",
        "The node whose latest window has the highest average.",
        "percent",
        (Series("cpu.load", "cpu_load", "avg", (), where="", merge="max"),),
        "stat",
        5,
        5,
        max=100,
    ),
    Panel(
        "Highest memory use",
        "The node whose latest window has the highest average.",
        "percent",
        (Series("mem.used.percent", "mem_used_percent", "avg", (), merge="max"),),
        "stat",
        5,
        5,
        max=100,
    ),
    Panel(
        "Fullest file system",
        "Of all nodes, in the latest window.",
        "percent",
        (Series("disk.used.percent", "disk_used_percent", "max", (), merge="max"),),
        "stat",
        5,
        5,
        max=100,
    ),
    Panel(
        "Shortest uptime",
        "Shows a restart of a node.",
        "s",
        (Series("uptime", "uptime_seconds", "last", (), merge="min"),),
        "stat",
        5,
        5,
    ),
    Panel("CPU"),
    Panel(
        "CPU load",
        "Busy time of all cores, the average of each window.",
        "percent",
        (Series("cpu.load", "cpu_load", where=""),),
        max=100,
    ),
    Panel(
        "CPU load, peak",
        "The highest sample of each window: short bursts that the average hides.",
        "percent",
        (Series("cpu.load", "cpu_load", "max", where="", merge="max"),),
        max=100,
    ),
    Panel(
        "Busiest cores",
        "The average of each core.",
        "percent",
        (Series("cpu.load", "cpu_load", by=INSTANCE, where="$instance"),),
        max=100,
    ),
    Panel(
        "Load average",
        "Tasks that run or wait, over 1 and 15 minutes.",
        series=(
            Series("load.1m", "load_1m", name="1 min"),
            Series("load.15m", "load_15m", name="15 min"),
        ),
    ),
    Panel("Memory"),
    Panel(
        "Memory in use",
        "Percent of the total.",
        "percent",
        (Series("mem.used.percent", "mem_used_percent"),),
        max=100,
    ),
    Panel(
        "Memory available, swap in use",
        "The lowest available memory of each window, and the highest use of swap.",
        "bytes",
        (
            Series("mem.available", "mem_available_bytes", "min", name="available", merge="min"),
            Series("swap.used", "swap_used_bytes", "max", name="swap", merge="max"),
        ),
    ),
    Panel("File systems and disks"),
    Panel(
        "File systems in use",
        "Percent of the total, by mount point.",
        "percent",
        (Series("disk.used.percent", "disk_used_percent", "max", INSTANCE, where="$instance", merge="max"),),
        max=100,
    ),
    Panel(
        "Space available",
        "To users without privileges, the lowest of each window.",
        "bytes",
        (Series("disk.available", "disk_available_bytes", "min", INSTANCE, where="$instance", merge="min"),),
    ),
    Panel(
        "Bytes read and written",
        "By device.",
        "Bps",
        (
            Series("disk.read.bytes", "disk_read_bytes", by=INSTANCE, name="read", where="$instance"),
            Series("disk.write.bytes", "disk_write_bytes", by=INSTANCE, name="write", where="$instance"),
        ),
    ),
    Panel(
        "Reads and writes",
        "Operations by device (Linux).",
        "iops",
        (
            Series("disk.read.ops", "disk_read_ops", by=INSTANCE, name="read", where="$instance"),
            Series("disk.write.ops", "disk_write_ops", by=INSTANCE, name="write", where="$instance"),
        ),
    ),
    Panel(
        "Disk busy",
        "Share of the time with I/O in progress, by device (Linux).",
        "percentunit",
        (Series("disk.busy", "disk_busy", by=INSTANCE, where="$instance", factor=" / 1000"),),
        max=1,
    ),
    Panel("Network"),
    Panel(
        "Bytes received and sent",
        "By interface.",
        "Bps",
        (
            Series("net.rx.bytes", "net_rx_bytes", by=INSTANCE, name="received", where="$instance"),
            Series("net.tx.bytes", "net_tx_bytes", by=INSTANCE, name="sent", where="$instance"),
        ),
    ),
    Panel(
        "Packets received and sent",
        "By interface.",
        "pps",
        (
            Series("net.rx.packets", "net_rx_packets", by=INSTANCE, name="received", where="$instance"),
            Series("net.tx.packets", "net_tx_packets", by=INSTANCE, name="sent", where="$instance"),
        ),
    ),
    Panel(
        "Network errors",
        "Errors per second, by interface.",
        "cps",
        (
            Series("net.rx.errors", "net_rx_errors", by=INSTANCE, name="receive", where="$instance"),
            Series("net.tx.errors", "net_tx_errors", by=INSTANCE, name="send", where="$instance"),
        ),
    ),
    Panel(
        "Processes",
        "The number of processes.",
        series=(Series("proc.count", "proc_count", "max", merge="max"),),
    ),
]

STATISTICS = [
    Panel(
        "Average",
        "The average of each window; of counters and increments the rate per second.",
        series=(Series("", "", by=INSTANCE, where="$instance"),),
        width=24,
    ),
    Panel(
        "Minimum and maximum",
        "The extremes of each window, over the chosen nodes and instances.",
        series=(
            Series("", "", "min", (), "min", "$instance", "min"),
            Series("", "", "avg", (), "avg", "$instance", "mean"),
            Series("", "", "max", (), "max", "$instance", "max"),
        ),
    ),
    Panel(
        "Last value",
        "The last sample of each window.",
        series=(Series("", "", "last", INSTANCE, where="$instance", merge="last"),),
    ),
    Panel(
        "Sum",
        "Of counters and increments the increase in each window, of gauges the sum of the samples.",
        series=(Series("", "", "sum", INSTANCE, where="$instance", merge="sum"),),
    ),
    Panel(
        "Samples",
        "The number of samples in each window. None is a gap: nothing was reported.",
        series=(Series("", "", "count", INSTANCE, where="$instance", merge="sum"),),
    ),
]
