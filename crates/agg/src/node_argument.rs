//! The argument `--node` of commands that report.

use std::ffi::OsString;

use aggregator_protocol::NodeName;

/// Returns the name in the argument, or the host name.
///
/// # Errors
/// The argument is missing, and the machine has no host name.
pub fn node_or_host_name(argument: Option<&OsString>) -> Result<NodeName, String> {
    let name = match argument {
        Some(name) => NodeName::from(name.clone()),
        None => NodeName(
            sysinfo::System::host_name()
                .unwrap_or_default()
                .into_bytes(),
        ),
    };
    if name.0.is_empty() {
        return Err("the host name is not set: use --node".into());
    }
    Ok(name)
}
