//! Kernel settings, as `sysctl -a` shows them, with the rules by which the kernel combines them.

use std::collections::BTreeMap;

/// Settings by name (`net.ipv4.ip_forward`). What is not in the map was not read.
///
/// Interface names that hold a dot appear with a slash in its place, as `sysctl` writes them (`net.ipv4.conf.eth0/5.…`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sysctls {
    /// Name to value, spaces inside a value kept.
    pub values: BTreeMap<String, String>,
}
