//! What scripts and the command line set: addresses, MTU, tolerances.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::script::ScriptOption;

/// Which IP goes over the wire, and which the program's sockets speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4 and AF_INET.
    V4,
    /// IPv4 by AF_INET6 sockets, with mapped addresses.
    V4Mapped,
    /// IPv6 and AF_INET6.
    V6,
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `ip_version`
    pub ip_version: IpVersion,
    /// The host's address.
    pub local_ip: IpAddr,
    /// The remote side's address.
    pub remote_ip: IpAddr,
    /// The next hop, where it is not the host itself.
    pub gateway_ip: IpAddr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// The device's MTU.
    pub mtu: u32,
    /// Injected TCP packets with more payload than this arrive as one that was put together from segments of this size (GRO);
    /// nothing where they arrive as they are.
    pub mss: Option<u16>,
    /// How much an event may be off.
    pub tolerance: Duration,
    /// And in percent of the time since the event before.
    pub tolerance_percent: f64,
    /// Length of a tick of the TCP timestamps; zero where they are not looked at.
    pub timestamp_tick: Duration,
    /// The port that `bind(…, ..., …)` takes.
    pub bind_port: u16,
    /// The port that `connect(…, ..., …)` goes to.
    pub connect_port: u16,
    /// Commands to be run before the script.
    pub init_scripts: Vec<String>,
    /// Each packet of the host must be one of the script's. Else several in a row, without a gap, may make up one of the script's:
    /// how a host cuts what it sends at once is seldom what a script is about.
    pub strict_segments: bool,
    /// Packets that are not as expected are told, and the script goes on.
    pub non_fatal_packets: bool,
    /// So are results of system calls.
    pub non_fatal_calls: bool,
    /// Only read the script.
    pub dry_run: bool,
}

/// Options that have no meaning here: a word says so, and the script runs.
const IGNORED: &[&str] = &[
    "speed",
    "wire_client",
    "wire_client_dev",
    "wire_server",
    "wire_server_dev",
    "wire_server_ip",
    "wire_server_port",
    "wire_client_ip",
    "is_anyip",
    "wire_server_at",
    "tcp_ts_ecr_scaled",
    "send_omit_free",
    "persistent_tun_dev",
    "so_filename",
    "so_flags",
    "fm_filename",
    "fm_flags",
    "code_command",
    "code_format",
    "code_sockopt",
    "live_local_ip",
    "debug",
    "verbose",
];

/// What the options come to, with what there is to say about them.
pub(crate) fn resolve(options: &[ScriptOption]) -> Result<(Options, Vec<String>), (u32, String)> {
    let mut notes = Vec::new();
    let last = |name: &str| options.iter().rev().find(|option| option.name == name);
    let version = match last("ip_version").map(|option| (option.line, option.value.as_str())) {
        None | Some((_, "ipv4")) => IpVersion::V4,
        Some((_, "ipv4-mapped-ipv6" | "ipv4_mapped_ipv6")) => IpVersion::V4Mapped,
        Some((_, "ipv6")) => IpVersion::V6,
        Some((line, other)) => {
            return Err((
                line,
                format!("ip_version is ipv4, ipv4-mapped-ipv6 or ipv6, not `{other}`"),
            ));
        }
    };
    let mut resolved = defaults(version);
    for option in options {
        let known = apply(&mut resolved, option).map_err(|message| (option.line, message))?;
        if !known && IGNORED.contains(&option.name.as_str()) {
            notes.push(format!("--{}: has no meaning here, ignored", option.name));
        } else if !known {
            notes.push(format!("--{}: not known, ignored", option.name));
        }
    }
    let wire_v6 = version == IpVersion::V6;
    for (name, address) in [
        ("local_ip", resolved.local_ip),
        ("remote_ip", resolved.remote_ip),
    ] {
        if address.is_ipv6() != wire_v6 {
            let line = last(name).map_or(0, |option| option.line);
            let wanted = if wire_v6 { "IPv6" } else { "IPv4" };
            return Err((line, format!("{name}: {address} is no {wanted} address")));
        }
    }
    Ok((resolved, notes))
}

fn defaults(version: IpVersion) -> Options {
    let address = |text: &str| text.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let (local, remote, gateway, prefix) = match version {
        IpVersion::V6 => (
            "fd3d:a0b:17d6::1",
            "fd3d:fa7b:d17d::1",
            "fd3d:a0b:17d6:8888::1",
            64,
        ),
        _ => ("192.168.0.1", "192.0.2.1", "192.168.0.2", 16),
    };
    Options {
        ip_version: version,
        local_ip: address(local),
        remote_ip: address(remote),
        gateway_ip: address(gateway),
        prefix,
        mtu: 1500,
        mss: None,
        tolerance: Duration::from_millis(4),
        tolerance_percent: 12.5,
        timestamp_tick: Duration::ZERO,
        bind_port: 8080,
        connect_port: 8080,
        init_scripts: Vec::new(),
        strict_segments: false,
        non_fatal_packets: false,
        non_fatal_calls: false,
        dry_run: false,
    }
}

fn number<T: std::str::FromStr>(option: &ScriptOption, what: &str) -> Result<T, String> {
    option
        .value
        .parse()
        .map_err(|_| format!("{}: expected {what}, found `{}`", option.name, option.value))
}

/// Sets an option; whether it is known.
fn apply(resolved: &mut Options, option: &ScriptOption) -> Result<bool, String> {
    match option.name.as_str() {
        // Both are seen to before.
        "ip_version" | "define" | "D" => {}
        "local_ip" => resolved.local_ip = number(option, "an IP address")?,
        "remote_ip" => {
            let address = option
                .value
                .split_once('/')
                .map_or(option.value.as_str(), |(ip, _)| ip);
            resolved.remote_ip = address.parse().map_err(|_| {
                format!(
                    "remote_ip: expected an IP address, found `{}`",
                    option.value
                )
            })?;
        }
        "gateway_ip" => resolved.gateway_ip = number(option, "an IP address")?,
        "netmask_ip" => resolved.prefix = prefix(option)?,
        "mtu" => {
            resolved.mtu = number(option, "bytes")?;
            if !(68..=65_535).contains(&resolved.mtu) {
                return Err("mtu: expected 68 to 65535 bytes".to_owned());
            }
        }
        "mss" => {
            let mss: std::num::NonZero<u16> = number(option, "bytes")?;
            resolved.mss = Some(mss.get());
        }
        "tolerance_usecs" => {
            resolved.tolerance = Duration::from_micros(number(option, "microseconds")?);
        }
        "tolerance_percent" => {
            let percent: f64 = number(option, "percent")?;
            if !(0.0..=1000.0).contains(&percent) {
                return Err("tolerance_percent: expected 0 to 1000".to_owned());
            }
            resolved.tolerance_percent = percent;
        }
        "tcp_ts_tick_usecs" => {
            resolved.timestamp_tick = Duration::from_micros(number(option, "microseconds")?);
        }
        "bind_port" => resolved.bind_port = number(option, "a port")?,
        "connect_port" => resolved.connect_port = number(option, "a port")?,
        "init_scripts" => {
            resolved.init_scripts = option.value.split(',').map(str::to_owned).collect();
        }
        "strict_segments" => resolved.strict_segments = true,
        "non_fatal" => {
            for what in option
                .value
                .split([',', ' '])
                .filter(|what| !what.is_empty())
            {
                match what {
                    "packet" => resolved.non_fatal_packets = true,
                    "syscall" => resolved.non_fatal_calls = true,
                    other => {
                        return Err(format!(
                            "non_fatal: expected packet or syscall, found `{other}`"
                        ));
                    }
                }
            }
        }
        "dry_run" => resolved.dry_run = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The bits of a mask such as 255.255.0.0.
fn prefix(option: &ScriptOption) -> Result<u8, String> {
    let mask: std::net::Ipv4Addr = number(option, "a mask such as 255.255.0.0")?;
    let bits = u32::from(mask);
    match bits.leading_ones() + bits.trailing_zeros().min(32) {
        32 => Ok(u8::try_from(bits.leading_ones()).unwrap_or(32)),
        _ => Err(format!("netmask_ip: {mask} is no mask")),
    }
}

impl Options {
    /// Where the host's sockets are bound to.
    pub(crate) fn bind_address(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip, self.bind_port)
    }

    /// Where they connect to.
    pub(crate) fn connect_address(&self) -> SocketAddr {
        SocketAddr::new(self.remote_ip, self.connect_port)
    }

    /// Whether IPv6 goes over the wire.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.ip_version == IpVersion::V6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(name: &str, value: &str) -> ScriptOption {
        ScriptOption {
            line: 3,
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn later_options_win_and_unknown_ones_are_told() {
        let (options, notes) = resolve(&[
            option("mtu", "1400"),
            option("netmask_ip", "255.255.255.0"),
            option("mtu", "1300"),
            option("speed", "10"),
            option("foo", ""),
        ])
        .unwrap();
        assert_eq!((options.mtu, options.prefix), (1300, 24));
        assert_eq!(
            notes,
            [
                "--speed: has no meaning here, ignored",
                "--foo: not known, ignored"
            ]
        );
    }

    #[test]
    fn mistakes_have_their_line() {
        let wrong = |name, value| resolve(&[option(name, value)]).unwrap_err();
        assert_eq!(
            wrong("ip_version", "ipv5").1,
            "ip_version is ipv4, ipv4-mapped-ipv6 or ipv6, not `ipv5`"
        );
        assert_eq!(wrong("mtu", "x").0, 3);
        assert!(wrong("netmask_ip", "255.0.255.0").1.contains("is no mask"));
        assert_eq!(
            wrong("local_ip", "::1").1,
            "local_ip: ::1 is no IPv4 address"
        );
    }
}
