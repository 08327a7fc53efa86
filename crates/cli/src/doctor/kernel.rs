//! What the kernel shows: files below /proc and /sys, clocks, netlink.

use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
use rustix::time::{ClockId, clock_getres};
use transect_report::Check;

use super::{System, missing, ok, partly};

/// Counters that every observation differences.
const COUNTERS: &[&str] = &[
    "snmp",
    "snmp6",
    "netstat",
    "dev",
    "softnet_stat",
    "sockstat",
];

/// Everything about the kernel.
pub(super) fn checks(system: &System) -> Vec<Check> {
    vec![
        counters(system),
        out_transmits(system),
        machine_counters(system),
        socket_diagnostics(),
        conntrack(system),
        legacy_tables(system),
        stamps(system),
        tracefs(system),
        btf(system),
    ]
}

fn counters(system: &System) -> Check {
    const NAME: &str = "proc.net";
    let unreadable: Vec<&str> = COUNTERS
        .iter()
        .copied()
        .filter(|file| system.read(&format!("/proc/net/{file}")).is_err())
        .collect();
    if unreadable.is_empty() {
        return ok(NAME, format!("{} can be read", COUNTERS.join(", ")));
    }
    let found = format!("cannot be read: {}", unreadable.join(", "));
    let without = "the counters in these files: losses that only they show are not found";
    if unreadable.len() == COUNTERS.len() {
        missing(NAME, found, without, "mount /proc")
    } else {
        // Without IPv6 there is no snmp6.
        partly(NAME, found, without, "")
    }
}

/// Since 6.12 the kernel counts what leaves IP, behind LOCAL_OUT and POST_ROUTING.
fn out_transmits(system: &System) -> Check {
    const NAME: &str = "kernel.out_transmits";
    let counted = system.read("/proc/net/snmp").is_ok_and(|text| {
        text.lines().any(|line| {
            line.starts_with("Ip:") && line.split(' ').any(|field| field == "OutTransmits")
        })
    });
    if counted {
        ok(
            NAME,
            "the kernel counts packets that leave IP (IpOutTransmits)",
        )
    } else {
        missing(
            NAME,
            "the kernel does not count packets that leave IP (IpOutTransmits, 6.12 and later)",
            "losses on the way out, in LOCAL_OUT and POST_ROUTING, rest on rule counters and TCP's own",
            "",
        )
    }
}

/// These exist in the first network namespace only.
fn machine_counters(system: &System) -> Check {
    const NAME: &str = "proc.stat";
    let files = ["arp_cache", "ndisc_cache", "rt_cache"];
    let there: Vec<&str> = files
        .into_iter()
        .filter(|file| system.read(&format!("/proc/net/stat/{file}")).is_ok())
        .collect();
    if there.len() == files.len() {
        ok(NAME, format!("{} can be read", there.join(", ")))
    } else {
        let found = if there.is_empty() {
            "stat/arp_cache, ndisc_cache and rt_cache are not there".to_owned()
        } else {
            format!("only {} can be read", there.join(", "))
        };
        partly(
            NAME,
            found,
            "neighbour table overflows, and martian sources on a host whose addresses do not tell",
            "observe from the machine's first network namespace",
        )
    }
}

/// Sockets are read by sock_diag(7), which needs no right for one's own namespace.
fn socket_diagnostics() -> Check {
    const NAME: &str = "kernel.sock_diag";
    match socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    ) {
        Ok(_) => ok(NAME, "sockets can be read"),
        Err(error) => missing(
            NAME,
            format!("the kernel refuses: {error}"),
            "no socket states, queues and drop counts: full accept queues and silent applications are not found",
            "modprobe inet_diag tcp_diag udp_diag, or allow NETLINK_SOCK_DIAG in the container",
        ),
    }
}

fn conntrack(system: &System) -> Check {
    const NAME: &str = "kernel.conntrack";
    let number = |file: &str| {
        system
            .read(&format!("/proc/sys/net/netfilter/{file}"))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    match (number("nf_conntrack_count"), number("nf_conntrack_max")) {
        (Some(count), Some(max)) => ok(NAME, format!("{count} of {max} entries in use")),
        _ if system.exists("/proc/sys/net") => {
            ok(NAME, "not in use: nothing tracks connections here")
        }
        _ => missing(
            NAME,
            "/proc/sys/net cannot be read",
            "sysctls, connection tracking among them",
            "mount /proc",
        ),
    }
}

/// Tables of the old x_tables. Only those that are there may be listed: listing another one makes it.
fn legacy_tables(system: &System) -> Check {
    const NAME: &str = "rules.legacy";
    let mut found = Vec::new();
    let mut refused = false;
    for (family, file) in [("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")] {
        match system.read(&format!("/proc/net/{file}")) {
            Ok(names) => found.extend(names.lines().map(|table| format!("{family} {table}"))),
            Err(error) => refused |= error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    let tools = ["iptables-legacy-save", "ip6tables-legacy-save"]
        .iter()
        .all(|tool| system.program(tool).is_some());
    if refused {
        missing(
            NAME,
            "the list of legacy iptables tables cannot be read",
            "rules of iptables-legacy: their drops are not named",
            "run as root: sudo transect …",
        )
    } else if found.is_empty() {
        ok(NAME, "no legacy iptables table is loaded")
    } else if tools {
        ok(
            NAME,
            format!("legacy iptables tables: {}", found.join(", ")),
        )
    } else {
        partly(
            NAME,
            format!(
                "legacy iptables tables are loaded ({}) and iptables-legacy-save is not installed",
                found.join(", ")
            ),
            "their rules and counters: their drops are not named",
            "apt-get install iptables",
        )
    }
}

fn stamps(system: &System) -> Check {
    const NAME: &str = "clock.stamps";
    let resolution = clock_getres(ClockId::Realtime);
    let source = system
        .read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned());
    if resolution.tv_sec == 0 && resolution.tv_nsec == 1 {
        ok(NAME, format!("nanosecond stamps, clock source {source}"))
    } else {
        partly(
            NAME,
            format!(
                "the clock ticks every {} ns, clock source {source}",
                resolution.tv_nsec
            ),
            "the order of packets within one tick",
            "",
        )
    }
}

/// Not used yet by this version; named because later ones will, and because people ask.
fn tracefs(system: &System) -> Check {
    const NAME: &str = "trace.tracefs";
    if system.exists("/sys/kernel/tracing/events/skb/kfree_skb/format") {
        ok(NAME, "drop reasons can be traced (this version does not)")
    } else {
        missing(
            NAME,
            "tracefs is not mounted or not readable",
            "nothing in this version, which reads no tracepoints",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        )
    }
}

fn btf(system: &System) -> Check {
    const NAME: &str = "trace.btf";
    if system.exists("/sys/kernel/btf/vmlinux") {
        ok(
            NAME,
            "the kernel describes its types (this version does not need it)",
        )
    } else {
        missing(
            NAME,
            "the kernel has no BTF",
            "nothing in this version, which loads no BPF programs",
            "",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::*;
    use transect_report::Standing;

    #[test]
    fn a_missing_counter_file_is_named() {
        let files: Vec<(String, &str)> = COUNTERS
            .iter()
            .filter(|file| **file != "snmp6")
            .map(|file| (format!("/proc/net/{file}"), ""))
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), *b)).collect();
        let (_folder, system) = host(&files);
        let check = counters(&system);
        assert_eq!(check.standing, Standing::Partly);
        assert_eq!(check.found, "cannot be read: snmp6");
    }

    #[test]
    fn old_kernels_do_not_count_what_leaves_ip() {
        let new = "Ip: Forwarding FragCreates OutTransmits\nIp: 1 0 5\nIcmp: InMsgs\n";
        let old = "Ip: Forwarding FragCreates\nIp: 1 0\nIcmp: OutTransmits\n";
        let (_folder, system) = host(&[("/proc/net/snmp", new)]);
        assert_eq!(out_transmits(&system).standing, Standing::Ok);
        let (_folder, system) = host(&[("/proc/net/snmp", old)]);
        assert_eq!(out_transmits(&system).standing, Standing::Missing);
    }

    #[test]
    fn legacy_tables_without_their_tool_are_a_gap() {
        let (_folder, system) = host(&[("/proc/net/ip_tables_names", "filter\nnat\n")]);
        let check = legacy_tables(&system);
        assert_eq!(check.standing, Standing::Partly);
        assert!(check.found.contains("ip filter, ip nat"), "{}", check.found);
        let (_folder, system) = host(&[("/proc/net/ip_tables_names", "")]);
        assert_eq!(legacy_tables(&system).standing, Standing::Ok);
    }

    #[test]
    fn conntrack_shows_how_full_it_is() {
        let (_folder, system) = host(&[
            ("/proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
            ("/proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
        ]);
        assert_eq!(conntrack(&system).found, "12 of 65536 entries in use");
    }
}
