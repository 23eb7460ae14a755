//! The samples of the machine. Their names are those of the table in metrics.rs.

use std::collections::BTreeSet;

use sysinfo::System;

use super::inventory::disk_key;
use super::machine::{Machine, core_name};
use super::metrics::{self as m, Metric, Sample};
use super::proc::{self, DeviceIo};

/// The metrics of a file system.
static FILE_SYSTEM_METRICS: [&Metric; 4] = [
    &m::DISK_TOTAL,
    &m::DISK_USED,
    &m::DISK_AVAILABLE,
    &m::DISK_PERCENT,
];

/// Returns the samples of the last refresh.
pub fn samples(machine: &mut Machine) -> Vec<Sample> {
    let mut samples = Vec::new();
    cpu(machine, &mut samples);
    memory(machine, &mut samples);
    file_systems(machine, &mut samples);
    device_io(&proc::devices(), &mut samples);
    interfaces(machine, &mut samples);
    let processes = proc::processes().unwrap_or_else(|| machine.count_processes());
    samples.push(m::PROCESSES.sample(processes));
    let uptime = System::uptime().ok();
    samples.extend(uptime.map(|seconds| m::UPTIME.sample(seconds)));
    samples
}

/// Returns the names of the metrics and objects of the file systems that did not answer: they exist, although this
/// report lacks them.
pub fn unread_names(machine: &Machine) -> BTreeSet<String> {
    let file_systems = machine.file_systems.iter();
    let unread = file_systems.filter(|file_system| !file_system.answered);
    let names = unread.flat_map(|file_system| {
        let mount = file_system.mount.point.to_string_lossy().into_owned();
        let mut names: Vec<_> = FILE_SYSTEM_METRICS
            .iter()
            .map(|metric| metric.name_of(&mount))
            .collect();
        names.push(disk_key(&mount));
        names
    });
    names.collect()
}

fn cpu(machine: &Machine, samples: &mut Vec<Sample>) {
    let load = f64::from(machine.system.global_cpu_usage());
    samples.extend(m::CPU_LOAD.decimal_sample(None, load));
    for (index, cpu) in machine.system.cpus().iter().enumerate() {
        let core = core_name(cpu.name(), index);
        let load = f64::from(cpu.usage());
        samples.extend(m::CORE_LOAD.decimal_sample(Some(&core), load));
    }
    if let Ok(load) = System::load_average() {
        samples.extend(m::LOAD_1M.decimal_sample(None, load.one));
        samples.extend(m::LOAD_5M.decimal_sample(None, load.five));
        samples.extend(m::LOAD_15M.decimal_sample(None, load.fifteen));
    }
}

fn memory(machine: &Machine, samples: &mut Vec<Sample>) {
    let system = &machine.system;
    samples.extend([
        m::MEM_TOTAL.sample(system.total_memory()),
        m::MEM_USED.sample(system.used_memory()),
        m::MEM_AVAILABLE.sample(system.available_memory()),
        m::MEM_FREE.sample(system.free_memory()),
        m::SWAP_TOTAL.sample(system.total_swap()),
        m::SWAP_USED.sample(system.used_swap()),
        m::SWAP_FREE.sample(system.free_swap()),
    ]);
    let percent = percent(system.used_memory(), system.total_memory());
    samples.extend(m::MEM_PERCENT.decimal_sample(None, percent));
}

fn file_systems(machine: &Machine, samples: &mut Vec<Sample>) {
    let file_systems = machine.file_systems.iter();
    for file_system in file_systems.filter(|file_system| file_system.answered) {
        let Some(space) = &file_system.space else {
            continue;
        };
        let mount = file_system.mount.point.to_string_lossy();
        let used = space.total.saturating_sub(space.available);
        samples.extend([
            m::DISK_TOTAL.instance_sample(&mount, space.total),
            m::DISK_USED.instance_sample(&mount, used),
            m::DISK_AVAILABLE.instance_sample(&mount, space.available),
        ]);
        let percent = percent(used, space.total);
        samples.extend(m::DISK_PERCENT.decimal_sample(Some(&mount), percent));
    }
}

fn interfaces(machine: &Machine, samples: &mut Vec<Sample>) {
    for (nic, data) in &machine.networks {
        let nic = &nic.to_string_lossy();
        samples.extend([
            m::NET_RX_BYTES.instance_sample(nic, data.total_received()),
            m::NET_TX_BYTES.instance_sample(nic, data.total_transmitted()),
            m::NET_RX_PACKETS.instance_sample(nic, data.total_packets_received()),
            m::NET_TX_PACKETS.instance_sample(nic, data.total_packets_transmitted()),
            m::NET_RX_ERRORS.instance_sample(nic, data.total_errors_on_received()),
            m::NET_TX_ERRORS.instance_sample(nic, data.total_errors_on_transmitted()),
        ]);
    }
}

fn device_io(devices: &[DeviceIo], samples: &mut Vec<Sample>) {
    for device in devices {
        let name = &device.name;
        samples.push(m::DISK_READ_BYTES.instance_sample(name, device.read_bytes));
        samples.push(m::DISK_WRITE_BYTES.instance_sample(name, device.write_bytes));
        if let Some(operations) = device.operations {
            samples.push(m::DISK_READ_OPS.instance_sample(name, operations.reads));
            samples.push(m::DISK_WRITE_OPS.instance_sample(name, operations.writes));
            samples.push(m::DISK_BUSY.instance_sample(name, operations.busy_ms));
        }
    }
}

fn percent(part: u64, total: u64) -> f64 {
    match total {
        0 => 0.0,
        _ => part as f64 * 100.0 / total as f64,
    }
}

#[cfg(test)]
mod tests {
    use agg_client::command::Number;

    use super::super::machine::fixtures::machine;
    use super::*;

    #[test]
    fn percentage_of_nothing_is_zero() {
        assert_eq!(percent(0, 0), 0.0);
        assert_eq!(percent(1, 4), 25.0);
    }

    #[test]
    fn this_machine_has_plausible_samples() {
        let mut machine = machine();
        machine.refresh();
        let samples = samples(&mut machine);
        let value = |name: &str| -> f64 {
            let sample = samples.iter().find(|s| s.name == name).expect(name);
            match sample.value {
                Number::Int(value) => value as f64,
                Number::Unsigned(value) => value as f64,
                Number::Float(value) => value,
            }
        };
        assert!(value("mem.total") > 0.0);
        assert!(value("mem.used") <= value("mem.total"));
        assert!(value("disk.used@/") <= value("disk.total@/"));
        assert!(value("proc.count") >= 1.0);
        assert!((0.0..=100.0).contains(&value("cpu.load")));
        let mut names: Vec<_> = samples.iter().map(|s| &s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), samples.len(), "a name twice");
    }
}
