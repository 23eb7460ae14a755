//! The machine and its parts as objects of reality. Facts only that change when something was changed, no figures:
//! an object that is the same must stay the same text.

use serde_json::{Value, json};
use sysinfo::{Motherboard, Product, System};

use super::collect::{Machine, core_name};

/// The model of the machine itself, whose key has no instance.
const MACHINE: &str = "system.Machine";
/// The models of its parts.
const PARTS: [&str; 3] = ["system.Cpu", "system.Disk", "system.Nic"];

/// One object. Its key is the model's name and the instance behind `@`, so that no other reporter's is like it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The key.
    pub key: String,
    /// The model.
    pub model: &'static str,
    /// The facts.
    pub json: Value,
}

/// Whether a key is one of a part that this program reports.
pub fn is_ours(key: &str) -> bool {
    key.split_once('@')
        .is_some_and(|(model, _)| PARTS.contains(&model))
}

/// The key of a file system.
pub fn disk_key(mount: &str) -> String {
    format!("{}@{mount}", PARTS[1])
}

impl Machine {
    /// The machine and its parts as the last look found them.
    pub fn objects(&self) -> Vec<Object> {
        let mut objects = vec![Object {
            key: MACHINE.into(),
            model: MACHINE,
            json: self.itself(),
        }];
        objects.extend(self.cpus());
        objects.extend(self.file_system_objects());
        objects.extend(self.nics());
        objects
    }

    fn itself(&self) -> Value {
        json!({
            "hostname": System::host_name().ok(),
            "os": System::name().ok(),
            "os_version": System::os_version().ok(),
            "kernel": System::kernel_version().ok(),
            "arch": System::cpu_arch(),
            "vendor": Product::vendor_name().ok(),
            "product": Product::name().ok(),
            "board": Motherboard::new().ok().and_then(|board| board.name()),
            "cores": self.system.cpus().len(),
            "physical_cores": System::physical_core_count().ok(),
            "memory": self.system.total_memory(),
            "swap": self.system.total_swap(),
        })
    }

    fn cpus(&self) -> impl Iterator<Item = Object> {
        self.system.cpus().iter().enumerate().map(|(index, cpu)| {
            // The frequency is a figure: it changes all the time.
            let json = json!({ "vendor": cpu.vendor_id(), "brand": cpu.brand() });
            part(PARTS[0], &core_name(cpu.name(), index), json)
        })
    }

    fn file_system_objects(&self) -> impl Iterator<Item = Object> {
        // One that does not answer is what it was.
        self.disks.iter().filter_map(|disk| {
            let space = disk.space.as_ref()?;
            let mount = disk.mount.point.to_string_lossy();
            let json = json!({
                "mount": mount,
                "device": disk.mount.source.to_string_lossy(),
                "file_system": disk.mount.kind,
                "kind": space.kind,
                "total": space.total,
                "removable": space.removable,
                "read_only": space.read_only,
            });
            Some(part(PARTS[1], &mount, json))
        })
    }

    fn nics(&self) -> impl Iterator<Item = Object> {
        self.networks.iter().map(|(name, data)| {
            let name = name.to_string_lossy();
            let mut addresses: Vec<_> =
                data.ip_networks().iter().map(ToString::to_string).collect();
            // The system lists them in no order that it promises.
            addresses.sort_unstable();
            addresses.dedup();
            let mac = data.mac_address();
            let json = json!({
                "name": name,
                "mac": (!mac.is_unspecified()).then(|| mac.to_string()),
                "mtu": data.mtu(),
                "state": data.operational_state().to_string().to_lowercase(),
                "bits_per_second": data.transmit_link_speed(),
                "addresses": addresses,
            });
            part(PARTS[2], &name, json)
        })
    }
}

fn part(model: &'static str, instance: &str, json: Value) -> Object {
    Object {
        key: format!("{model}@{instance}"),
        model,
        json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_we_report_are_ours() {
        assert!(is_ours("system.Disk@/") && is_ours("system.Nic@eth0") && is_ours("system.Cpu@0"));
        for other in [
            "system.Machine",
            "system.Disk",
            "system.Vm@1",
            "disk@/",
            "asystem.Disk@/",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn objects_stay_the_same_from_look_to_look() {
        let mut machine = super::super::collect::tests::machine();
        machine.refresh();
        let mut before = machine.objects();
        machine.refresh();
        let mut after = machine.objects();
        before.sort_by(|a, b| a.key.cmp(&b.key));
        after.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(before, after);
        assert!(before.iter().any(|object| object.model == MACHINE));
        assert!(before.iter().any(|object| object.model == "system.Cpu"));
    }
}
