//! Rights: capabilities of this process, and what they let it open.

use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use transect_report::Check;

use super::{System, missing, ok};

const AS_ROOT: &str = "run as root: sudo transect …";

/// A capability (capabilities(7)): its bit in CapEff, and what is lost without it.
struct Right {
    name: &'static str,
    capability: &'static str,
    bit: u32,
    without: &'static str,
}

const RIGHTS: &[Right] = &[
    Right {
        name: "right.net_raw",
        capability: "CAP_NET_RAW",
        bit: 13,
        without: "no captures: how far packets got is known from counters alone, and most places cannot be told apart",
    },
    Right {
        name: "right.net_admin",
        capability: "CAP_NET_ADMIN",
        bit: 12,
        without: "no firewall rules with their counters, no connection tracking entries: a drop by a rule is not named",
    },
    Right {
        name: "right.sys_admin",
        capability: "CAP_SYS_ADMIN",
        bit: 21,
        without: "other network namespaces cannot be entered (--netns), and experiments (lab run) not be made",
    },
    Right {
        name: "right.sys_ptrace",
        capability: "CAP_SYS_PTRACE",
        bit: 19,
        without: "--netns pid:N works for one's own processes only",
    },
];

/// Everything about rights.
pub(super) fn checks(system: &System) -> Vec<Check> {
    let effective = system
        .read("/proc/self/status")
        .ok()
        .and_then(|status| effective(&status));
    let mut checks: Vec<Check> = RIGHTS
        .iter()
        .map(|right| {
            let held =
                effective.is_some_and(|set| set.checked_shr(right.bit).unwrap_or(0) & 1 == 1);
            if held {
                ok(right.name, format!("{} is held", right.capability))
            } else {
                missing(
                    right.name,
                    format!("{} is not held", right.capability),
                    right.without,
                    AS_ROOT,
                )
            }
        })
        .collect();
    checks.push(packet_socket());
    checks.push(namespaces());
    checks
}

/// The effective set of /proc/PID/status (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether a packet socket can be opened: a right alone does not say so in every container. It gets no packets, since it is
/// for no protocol (packet(7)).
fn packet_socket() -> Check {
    const NAME: &str = "capture.packet_socket";
    match socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    ) {
        Ok(_) => ok(NAME, "packet sockets can be opened"),
        Err(error) => missing(
            NAME,
            format!("packet sockets cannot be opened: {error}"),
            "no captures",
            AS_ROOT,
        ),
    }
}

/// Whether network namespaces can be made, by making one that ends at once.
fn namespaces() -> Check {
    const NAME: &str = "kernel.namespaces";
    let without = "experiments (lab run, make demo) cannot run here";
    let made = Command::new("unshare")
        .args(["--net", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => ok(NAME, "network namespaces can be made"),
        Ok(_) => missing(
            NAME,
            "the kernel refuses to make a network namespace",
            without,
            "run as root, in a container with CAP_SYS_ADMIN",
        ),
        Err(error) => missing(
            NAME,
            format!("not tried: starting unshare: {error}"),
            without,
            "install util-linux",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::*;
    use transect_report::Standing;

    #[test]
    fn rights_are_read_from_the_effective_set() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000002000\n";
        assert_eq!(effective(status), Some(1 << 13));
        assert_eq!(effective("CapEff:\tzz\n"), None);
        assert_eq!(effective(""), None);

        let (_folder, system) = host(&[("/proc/self/status", status)]);
        let held: Vec<_> = checks(&system)
            .into_iter()
            .filter(|check| check.name.starts_with("right.") && check.standing == Standing::Ok)
            .map(|check| check.name)
            .collect();
        assert_eq!(held, ["right.net_raw"]);
    }
}
