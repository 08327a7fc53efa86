//! Kernel settings, as `sysctl -a` shows them, with the rules by which the kernel combines them.

use std::collections::BTreeMap;

use crate::parse::Parsed;
use crate::prefix::IpVersion;

/// Reads `sysctl -a` (`name = value` lines), and `name=value` as configuration files have it.
pub fn read_sysctls(text: &str) -> Parsed<Sysctls> {
    let mut parsed: Parsed<Sysctls> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        // What could not be read stands between the values: `sysctl: permission denied on key …`.
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || trimmed.starts_with("sysctl: ")
        {
            continue;
        }
        match trimmed.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                parsed
                    .value
                    .values
                    .insert(name.trim().to_owned(), value.trim().to_owned());
            }
            _ => parsed.problem(
                number + 1,
                "a setting, such as \"net.ipv4.ip_forward = 0\"",
                line,
            ),
        }
    }
    parsed
}

/// Settings by name (`net.ipv4.ip_forward`). What is not in the map was not read.
///
/// Interface names that hold a dot appear with a slash in its place, as `sysctl` writes them (`net.ipv4.conf.eth0/5.…`).
///
/// The combining helpers follow Documentation/networking/ip-sysctl.rst and `include/linux/inetdevice.h`; each is None when the values it
/// needs were not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sysctls {
    /// Name to value, blanks inside a value kept.
    pub values: BTreeMap<String, String>,
}

impl Sysctls {
    /// The value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// All numbers of a value (`tcp_rmem`, `ip_local_port_range`).
    pub fn numbers(&self, name: &str) -> Option<Vec<i64>> {
        self.text(name)?
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    }

    /// A TCP setting by its last part: `tcp("tcp_synack_retries")`; they are IPv6's as well.
    pub fn tcp(&self, name: &str) -> Option<i64> {
        self.number(&format!("net.ipv4.{name}"))
    }

    /// The name of an interface's setting, `net.ipv4.conf.eth0.rp_filter`.
    pub fn interface_name(version: IpVersion, interface: &str, setting: &str) -> String {
        let family = match version {
            IpVersion::V4 => "ipv4",
            IpVersion::V6 => "ipv6",
        };
        format!(
            "net.{family}.conf.{}.{setting}",
            interface.replace('.', "/")
        )
    }

    /// One interface's value (or that of `all`, `default`), not combined.
    pub fn of_interface(&self, version: IpVersion, interface: &str, setting: &str) -> Option<i64> {
        self.number(&Self::interface_name(version, interface, setting))
    }

    /// The reverse path filter in force on an interface, 0 off, 1 strict, 2 loose: the greater of `all` and the interface's
    /// (`IN_DEV_RPFILTER`, MAXCONF). IPv4 only.
    pub fn rp_filter(&self, interface: &str) -> Option<i64> {
        self.max_v4(interface, "rp_filter")
    }

    /// Whether IPv4 packets that arrive on an interface are forwarded (`IN_DEV_FORWARD`): its own value. `ip_forward`, which
    /// writing sets for all interfaces, stands in where the interface's was not read.
    pub fn forwarding_v4(&self, interface: &str) -> Option<bool> {
        self.of_interface(IpVersion::V4, interface, "forwarding")
            .or_else(|| self.number("net.ipv4.ip_forward"))
            .map(|value| value != 0)
    }

    /// Whether IPv6 packets that arrive on an interface are forwarded (`ip6_forward`): `all`, or since Linux 6.17 the
    /// interface's `force_forwarding`. The interface's own `forwarding` only chooses between host and router behaviour.
    pub fn forwarding_v6(&self, interface: &str) -> Option<bool> {
        let all = self.of_interface(IpVersion::V6, "all", "forwarding")?;
        let forced = self
            .of_interface(IpVersion::V6, interface, "force_forwarding")
            .unwrap_or(0);
        Some(all != 0 || forced != 0)
    }

    /// Whether IPv4 packets from the host's own addresses are accepted on an interface (`IN_DEV_ACCEPT_LOCAL`, ORCONF).
    pub fn accept_local(&self, interface: &str) -> Option<bool> {
        self.any_v4(interface, "accept_local")
    }

    /// Whether 127/8 may be routed on an interface (`IN_DEV_ROUTE_LOCALNET`, ORCONF).
    pub fn route_localnet(&self, interface: &str) -> Option<bool> {
        self.any_v4(interface, "route_localnet")
    }

    /// Whether martian packets are logged (`IN_DEV_LOG_MARTIANS`, ORCONF).
    pub fn log_martians(&self, interface: &str) -> Option<bool> {
        self.any_v4(interface, "log_martians")
    }

    /// Whether source validation uses the packet's mark (`IN_DEV_SRC_VMARK`, ORCONF).
    pub fn src_valid_mark(&self, interface: &str) -> Option<bool> {
        self.any_v4(interface, "src_valid_mark")
    }

    /// Which ARP requests are answered on an interface (`IN_DEV_ARP_IGNORE`, MAXCONF).
    pub fn arp_ignore(&self, interface: &str) -> Option<i64> {
        self.max_v4(interface, "arp_ignore")
    }

    /// Which source address ARP requests carry (`IN_DEV_ARP_ANNOUNCE`, MAXCONF).
    pub fn arp_announce(&self, interface: &str) -> Option<i64> {
        self.max_v4(interface, "arp_announce")
    }

    /// Whether ARP is answered only on the interface that routes to the asker (`IN_DEV_ARPFILTER`, ORCONF).
    pub fn arp_filter(&self, interface: &str) -> Option<bool> {
        self.any_v4(interface, "arp_filter")
    }

    /// Whether routes over an interface without carrier are skipped (`IN_DEV_IGNORE_ROUTES_WITH_LINKDOWN`, ORCONF; IPv6: the same
    /// rule, `ip6_ignore_linkdown`).
    pub fn ignore_routes_with_linkdown(&self, version: IpVersion, interface: &str) -> Option<bool> {
        self.any(version, interface, "ignore_routes_with_linkdown")
    }

    /// Whether directed broadcasts are forwarded (`IN_DEV_BFORWARD`, ANDCONF).
    pub fn bc_forwarding(&self, interface: &str) -> Option<bool> {
        let all = self.of_interface(IpVersion::V4, "all", "bc_forwarding");
        let own = self.of_interface(IpVersion::V4, interface, "bc_forwarding");
        match (all, own) {
            (Some(0), _) | (_, Some(0)) => Some(false),
            (Some(_), Some(_)) => Some(true),
            _ => None,
        }
    }

    /// Whether IPv6 is switched off on an interface (`disable_ipv6`: its own value).
    pub fn disable_ipv6(&self, interface: &str) -> Option<bool> {
        self.of_interface(IpVersion::V6, interface, "disable_ipv6")
            .map(|value| value != 0)
    }

    fn max_v4(&self, interface: &str, setting: &str) -> Option<i64> {
        let all = self.of_interface(IpVersion::V4, "all", setting)?;
        let own = self.of_interface(IpVersion::V4, interface, setting)?;
        Some(all.max(own))
    }

    fn any_v4(&self, interface: &str, setting: &str) -> Option<bool> {
        self.any(IpVersion::V4, interface, setting)
    }

    fn any(&self, version: IpVersion, interface: &str, setting: &str) -> Option<bool> {
        let all = self.of_interface(version, "all", setting);
        let own = self.of_interface(version, interface, setting);
        match (all, own) {
            (Some(0), Some(0)) => Some(false),
            (Some(0) | None, Some(0) | None) => None,
            _ => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[&str]) -> Sysctls {
        let parsed = read_sysctls(&lines.join("\n"));
        assert_eq!(parsed.problems, []);
        parsed.value
    }

    #[test]
    fn rp_filter_is_the_greater() {
        let of = |all: &str, own: &str| {
            let mut lines = vec![format!("net.ipv4.conf.all.rp_filter = {all}")];
            if !own.is_empty() {
                lines.push(format!("net.ipv4.conf.eth0.rp_filter = {own}"));
            }
            settings(&lines.iter().map(String::as_str).collect::<Vec<_>>()).rp_filter("eth0")
        };
        assert_eq!(of("0", "1"), Some(1));
        assert_eq!(of("2", "1"), Some(2));
        assert_eq!(of("0", "0"), Some(0));
        assert_eq!(of("1", ""), None);
    }

    #[test]
    fn either_is_enough() {
        let own = settings(&[
            "net.ipv4.conf.all.accept_local = 0",
            "net.ipv4.conf.eth0.accept_local = 1",
        ]);
        assert_eq!(own.accept_local("eth0"), Some(true));
        assert_eq!(own.accept_local("eth1"), None);
        let all = settings(&["net.ipv4.conf.all.accept_local = 1"]);
        assert_eq!(all.accept_local("eth0"), Some(true));
        assert_eq!(Sysctls::default().accept_local("eth0"), None);
    }

    #[test]
    fn forwarding_differs_between_the_families() {
        let settings = settings(&[
            "net.ipv4.conf.all.forwarding = 1",
            "net.ipv4.conf.eth0.forwarding = 0",
            "net.ipv4.ip_forward = 1",
            "net.ipv6.conf.all.forwarding = 0",
            "net.ipv6.conf.eth0.forwarding = 1",
            "net.ipv6.conf.eth1.force_forwarding = 1",
        ]);
        assert_eq!(settings.forwarding_v4("eth0"), Some(false));
        assert_eq!(settings.forwarding_v4("eth1"), Some(true));
        assert_eq!(settings.forwarding_v6("eth0"), Some(false));
        assert_eq!(settings.forwarding_v6("eth1"), Some(true));
    }

    #[test]
    fn names_with_dots_and_lists() {
        let settings = settings(&[
            "net.ipv4.conf.eth0/5.rp_filter = 2",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.tcp_rmem = 4096\t131072\t6291456",
            "net.ipv4.tcp_synack_retries = 5",
        ]);
        assert_eq!(settings.rp_filter("eth0.5"), Some(2));
        assert_eq!(
            settings.numbers("net.ipv4.tcp_rmem"),
            Some(vec![4096, 131_072, 6_291_456])
        );
        assert_eq!(settings.tcp("tcp_synack_retries"), Some(5));
        assert_eq!(read_sysctls("nonsense").problems.len(), 1);
    }
}
