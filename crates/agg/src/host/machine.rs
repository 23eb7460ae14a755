//! The machine that the program runs on, as it was last read.

use sysinfo::{Networks, ProcessRefreshKind, ProcessesToUpdate, System};

use super::file_systems::{FileSystems, Timeouts};
use super::probe::Process;

/// The machine. CPU load is measured from one refresh to the next.
pub struct Machine {
    pub system: System,
    pub file_systems: FileSystems,
    pub networks: Networks,
}

impl Machine {
    /// Reads the machine for the first time, except its file systems.
    ///
    /// # Errors
    /// The system does not report about itself.
    pub fn open(timeouts: Timeouts) -> Result<Machine, String> {
        Machine::with(FileSystems::new(timeouts, Process::start))
    }

    fn with(file_systems: FileSystems) -> Result<Machine, String> {
        let failed =
            |error: sysinfo::Error| format!("cannot read statistics of this machine: {error}");
        let mut system = System::new().map_err(failed)?;
        system.refresh_cpu_all();
        let networks = Networks::new().map_err(failed)?;
        Ok(Machine {
            system,
            file_systems,
            networks,
        })
    }

    /// Reads everything again.
    pub fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.file_systems.refresh();
        self.networks.refresh(true);
    }

    /// Counts the processes by reading each of them.
    pub fn count_processes(&mut self) -> u64 {
        let kind = ProcessRefreshKind::nothing().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        self.system.processes().len() as u64
    }
}

/// Returns `0` for `cpu0`, as documented for names such as `cpu.load@0`; other names unchanged, and the index for an
/// empty name.
pub fn core_name(name: &str, index: usize) -> String {
    match name.strip_prefix("cpu").unwrap_or(name) {
        "" => index.to_string(),
        core => core.to_owned(),
    }
}

#[cfg(test)]
pub mod fixtures {
    use std::time::Duration;

    use super::super::mounts::Mount;
    use super::super::probe::{Helper, NoAnswer, Probe, probe};
    use super::*;

    /// Probes in the test's own process, as no file system hangs here.
    #[derive(Default)]
    struct InProcess(Option<Probe>);

    impl Helper for InProcess {
        fn ask(&mut self, mount: &Mount) -> std::io::Result<()> {
            self.0 = Some(probe(mount));
            Ok(())
        }

        fn answer(&mut self, _: Duration) -> Result<Probe, NoAnswer> {
            self.0.take().ok_or(NoAnswer::Exited)
        }

        fn end(self: Box<Self>) -> Option<std::process::Child> {
            None
        }
    }

    /// Returns this machine, read without helper processes: those are the program, which a test is not.
    pub fn machine() -> Machine {
        let start = || Ok(Box::new(InProcess::default()) as Box<dyn Helper>);
        Machine::with(FileSystems::new(Timeouts::single_report(), start)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_named_by_their_number() {
        assert_eq!(core_name("cpu0", 7), "0");
        assert_eq!(core_name("", 7), "7");
        assert_eq!(core_name("Core A", 7), "Core A");
    }
}
