//! Asks the machine for its figures. The figures alone: what they are called is the table's, where they go is the
//! report's.

use std::collections::BTreeSet;

use sysinfo::{Networks, ProcessRefreshKind, ProcessesToUpdate, System};

use super::disks::{FileSystems, Patience};
use super::facts;
use super::metrics::{self as m, Metric, Sample};
use super::probe::Process;
use super::proc::{self, DeviceIo};

/// What is told of a file system.
static OF_A_DISK: [&Metric; 4] = [
    &m::DISK_TOTAL,
    &m::DISK_USED,
    &m::DISK_AVAILABLE,
    &m::DISK_PERCENT,
];

/// The machine this runs on. The load of its CPUs is that since the look before.
pub struct Machine {
    pub(super) system: System,
    pub(super) disks: FileSystems,
    pub(super) networks: Networks,
}

impl Machine {
    /// Takes the first look; waits so long for file systems.
    ///
    /// Returns an error where the system tells nothing about itself.
    pub fn open(patience: Patience) -> Result<Machine, String> {
        Machine::with(FileSystems::new(patience, Process::start))
    }

    fn with(disks: FileSystems) -> Result<Machine, String> {
        let no = |error: sysinfo::Error| format!("this machine's figures cannot be read: {error}");
        let mut system = System::new().map_err(no)?;
        system.refresh_cpu_all();
        let networks = Networks::new().map_err(no)?;
        Ok(Machine {
            system,
            disks,
            networks,
        })
    }

    /// Looks at everything anew.
    pub fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh();
        self.networks.refresh(true);
    }

    /// The figures of the last look.
    pub fn samples(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.cpu(&mut samples);
        self.memory(&mut samples);
        self.file_systems(&mut samples);
        device_io(&proc::devices(), &mut samples);
        self.interfaces(&mut samples);
        samples.push(m::PROCESSES.one(proc::processes().unwrap_or_else(|| self.processes())));
        samples.extend(System::uptime().ok().map(|seconds| m::UPTIME.one(seconds)));
        samples
    }

    /// The names of metrics and objects that this look could not tell, though what they are of is there: file systems
    /// that did not answer.
    pub fn untold(&self) -> BTreeSet<String> {
        let silent = self.disks.iter().filter(|disk| !disk.answered);
        let names = silent.flat_map(|disk| {
            let mount = disk.mount.point.to_string_lossy().into_owned();
            let mut names: Vec<_> = OF_A_DISK
                .iter()
                .map(|metric| metric.name_of(&mount))
                .collect();
            names.push(facts::disk_key(&mount));
            names
        });
        names.collect()
    }

    fn cpu(&self, samples: &mut Vec<Sample>) {
        samples.extend(m::CPU_LOAD.real(None, f64::from(self.system.global_cpu_usage())));
        for (index, cpu) in self.system.cpus().iter().enumerate() {
            let core = core_name(cpu.name(), index);
            samples.extend(m::CORE_LOAD.real(Some(&core), f64::from(cpu.usage())));
        }
        if let Ok(load) = System::load_average() {
            samples.extend(m::LOAD_1M.real(None, load.one));
            samples.extend(m::LOAD_5M.real(None, load.five));
            samples.extend(m::LOAD_15M.real(None, load.fifteen));
        }
    }

    fn memory(&self, samples: &mut Vec<Sample>) {
        let system = &self.system;
        samples.extend([
            m::MEM_TOTAL.one(system.total_memory()),
            m::MEM_USED.one(system.used_memory()),
            m::MEM_AVAILABLE.one(system.available_memory()),
            m::MEM_FREE.one(system.free_memory()),
            m::SWAP_TOTAL.one(system.total_swap()),
            m::SWAP_USED.one(system.used_swap()),
            m::SWAP_FREE.one(system.free_swap()),
        ]);
        let percent = percent(system.used_memory(), system.total_memory());
        samples.extend(m::MEM_PERCENT.real(None, percent));
    }

    fn file_systems(&self, samples: &mut Vec<Sample>) {
        for disk in self.disks.iter().filter(|disk| disk.answered) {
            let Some(space) = &disk.space else { continue };
            let mount = disk.mount.point.to_string_lossy();
            let used = space.total.saturating_sub(space.available);
            samples.extend([
                m::DISK_TOTAL.of(&mount, space.total),
                m::DISK_USED.of(&mount, used),
                m::DISK_AVAILABLE.of(&mount, space.available),
            ]);
            samples.extend(m::DISK_PERCENT.real(Some(&mount), percent(used, space.total)));
        }
    }

    fn interfaces(&self, samples: &mut Vec<Sample>) {
        for (nic, data) in &self.networks {
            let nic = &nic.to_string_lossy();
            samples.extend([
                m::NET_RX_BYTES.of(nic, data.total_received()),
                m::NET_TX_BYTES.of(nic, data.total_transmitted()),
                m::NET_RX_PACKETS.of(nic, data.total_packets_received()),
                m::NET_TX_PACKETS.of(nic, data.total_packets_transmitted()),
                m::NET_RX_ERRORS.of(nic, data.total_errors_on_received()),
                m::NET_TX_ERRORS.of(nic, data.total_errors_on_transmitted()),
            ]);
        }
    }

    fn processes(&mut self) -> u64 {
        let kind = ProcessRefreshKind::nothing().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        self.system.processes().len() as u64
    }
}

fn device_io(devices: &[DeviceIo], samples: &mut Vec<Sample>) {
    for device in devices {
        samples.push(m::DISK_READ_BYTES.of(&device.name, device.read_bytes));
        samples.push(m::DISK_WRITE_BYTES.of(&device.name, device.write_bytes));
        if let Some(operations) = device.operations {
            samples.push(m::DISK_READ_OPS.of(&device.name, operations.reads));
            samples.push(m::DISK_WRITE_OPS.of(&device.name, operations.writes));
            samples.push(m::DISK_BUSY.of(&device.name, operations.busy_ms));
        }
    }
}

/// `0` for `cpu0`, as the example of a name is `cpu.load@0`; elsewhere the system's own name or the number.
pub(super) fn core_name(name: &str, index: usize) -> String {
    match name.strip_prefix("cpu").unwrap_or(name) {
        "" => index.to_string(),
        core => core.to_owned(),
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::mounts::Mount;
    use super::super::probe::{Helper, Look, Silent, look};
    use super::*;

    /// It looks itself, as nothing hangs here.
    #[derive(Default)]
    struct Eye(Option<Look>);

    impl Helper for Eye {
        fn ask(&mut self, mount: &Mount) -> std::io::Result<()> {
            self.0 = Some(look(mount));
            Ok(())
        }

        fn answer(&mut self, _: Duration) -> Result<Look, Silent> {
            self.0.take().ok_or(Silent::Ended)
        }

        fn end(self: Box<Self>) -> Option<std::process::Child> {
            None
        }
    }

    /// This machine, looked at without processes of the program, which a test is not.
    pub fn machine() -> Machine {
        let eye = || Ok(Box::new(Eye::default()) as Box<dyn Helper>);
        Machine::with(FileSystems::new(Patience::once(), eye)).unwrap()
    }

    #[test]
    fn cores_are_named_by_their_number() {
        assert_eq!(core_name("cpu0", 7), "0");
        assert_eq!(core_name("", 7), "7");
        assert_eq!(core_name("Core A", 7), "Core A");
    }

    #[test]
    fn nothing_of_nothing_is_zero_percent() {
        assert_eq!(percent(0, 0), 0.0);
        assert_eq!(percent(1, 4), 25.0);
    }

    #[test]
    fn this_machine_has_figures() {
        let mut machine = machine();
        machine.refresh();
        let samples = machine.samples();
        let value = |name: &str| -> f64 {
            samples
                .iter()
                .find(|s| s.name == name)
                .expect(name)
                .value
                .parse()
                .unwrap()
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
