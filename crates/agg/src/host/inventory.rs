//! The machine and its parts as objects. They hold only facts that change when something was changed, no measurements:
//! an unchanged object must have an unchanged text, as the server queues every change.

use serde_json::{Value, json};
use sysinfo::{Motherboard, Product, System};

use super::machine::{Machine, core_name};

/// The model of the machine itself. Its key has no instance.
const MACHINE: &str = "system.Machine";
const CPU: &str = "system.Cpu";
const DISK: &str = "system.Disk";
const NIC: &str = "system.Nic";

/// An object. Its key is the model and, after an `@`, the instance, so that it differs from the keys of other
/// reporters.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub key: String,
    pub model: &'static str,
    pub json: Value,
}

/// Returns whether this program reports objects with such a key, other than the machine itself.
pub fn is_part(key: &str) -> bool {
    key.split_once('@')
        .is_some_and(|(model, _)| [CPU, DISK, NIC].contains(&model))
}

/// Returns the key of a file system.
pub fn disk_key(mount: &str) -> String {
    format!("{DISK}@{mount}")
}

/// Returns the machine and its parts as of the last refresh.
pub fn objects(machine: &Machine) -> Vec<Object> {
    let mut objects = vec![Object {
        key: MACHINE.into(),
        model: MACHINE,
        json: itself(machine),
    }];
    objects.extend(cpus(machine));
    objects.extend(disks(machine));
    objects.extend(nics(machine));
    objects
}

fn itself(machine: &Machine) -> Value {
    json!({
        "hostname": System::host_name().ok(),
        "os": System::name().ok(),
        "os_version": System::os_version().ok(),
        "kernel": System::kernel_version().ok(),
        "arch": System::cpu_arch(),
        "vendor": Product::vendor_name().ok(),
        "product": Product::name().ok(),
        "board": Motherboard::new().ok().and_then(|board| board.name()),
        "cores": machine.system.cpus().len(),
        "physical_cores": System::physical_core_count().ok(),
        "memory": machine.system.total_memory(),
        "swap": machine.system.total_swap(),
    })
}

fn cpus(machine: &Machine) -> impl Iterator<Item = Object> {
    let cpus = machine.system.cpus().iter().enumerate();
    cpus.map(|(index, cpu)| {
        // Without the frequency, which changes all the time.
        let json = json!({ "vendor": cpu.vendor_id(), "brand": cpu.brand() });
        part(CPU, &core_name(cpu.name(), index), json)
    })
}

fn disks(machine: &Machine) -> impl Iterator<Item = Object> {
    // A file system that does not answer keeps its last values.
    machine.file_systems.iter().filter_map(|file_system| {
        let space = file_system.space.as_ref()?;
        let mount = file_system.mount.point.to_string_lossy();
        let json = json!({
            "mount": mount,
            "device": file_system.mount.source.to_string_lossy(),
            "file_system": file_system.mount.kind,
            "kind": space.kind,
            "total": space.total,
            "removable": space.removable,
            "read_only": space.read_only,
        });
        Some(part(DISK, &mount, json))
    })
}

fn nics(machine: &Machine) -> impl Iterator<Item = Object> {
    machine.networks.iter().map(|(name, data)| {
        let name = name.to_string_lossy();
        let mut addresses: Vec<_> = data.ip_networks().iter().map(ToString::to_string).collect();
        // The system lists them in no particular order.
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
        part(NIC, &name, json)
    })
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
    fn only_keys_of_reported_models_are_parts() {
        assert!(is_part("system.Disk@/") && is_part("system.Nic@eth0") && is_part("system.Cpu@0"));
        for other in [
            "system.Machine",
            "system.Disk",
            "system.Vm@1",
            "disk@/",
            "asystem.Disk@/",
        ] {
            assert!(!is_part(other), "{other}");
        }
    }

    #[test]
    fn objects_are_equal_after_a_refresh() {
        let mut machine = super::super::machine::fixtures::machine();
        machine.refresh();
        let mut before = objects(&machine);
        machine.refresh();
        let mut after = objects(&machine);
        before.sort_by(|a, b| a.key.cmp(&b.key));
        after.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(before, after);
        assert!(before.iter().any(|object| object.model == MACHINE));
        assert!(before.iter().any(|object| object.model == CPU));
    }
}
