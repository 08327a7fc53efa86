//! Malformed packets die in the model as they do in this kernel: the same bytes go into a TUN device of a new namespace and into a
//! model host, and the same counters move.
//!
//! Needs the right to make network namespaces; skipped without it, and then a failure in CI.

#![cfg(feature = "live")]
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests are tests, too"
)]

#[path = "malformed_packets/bytes.rs"]
mod bytes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, default_policy_rules};
use transect_evidence::counters;
use transect_host::{DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup, Packet};
use transect_path::Timestamp;

type Moved = BTreeMap<String, i128>;

/// Both ends' settings: no errors are held back.
const SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv6.icmp.ratelimit", "0"),
];
/// The kernel's: it says nothing by itself.
const SILENT: [(&str, &str); 3] = [
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
];

#[test]
fn malformed_packets_move_the_kernels_counters_in_the_model() {
    let output = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip tuntap add dev t0 mode tun && ip tuntap del dev t0 mode tun && exec \"$0\" \"$@\"",
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "inside_of_a_namespace",
            "--ignored",
            "--nocapture",
        ])
        .stdin(Stdio::null())
        .output();
    let said = output.map(|output| {
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    });
    match said {
        Ok((true, text)) => assert!(text.contains("1 passed"), "{text}"),
        Ok((false, text)) if text.contains("inside_of_a_namespace") => panic!("{text}"),
        other => {
            let reason = format!(
                "skipped: malformed packets: TUN devices in namespaces are not permitted: {other:?}"
            );
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
            eprintln!("{reason}");
        }
    }
}

/// Not a test by itself: runs in the namespace that the other one makes.
#[test]
#[ignore = "is started by another test"]
fn inside_of_a_namespace() {
    for (name, value) in SYSCTLS.into_iter().chain(SILENT) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for command in [
        "ip link set lo up",
        "ip tuntap add dev t0 mode tun",
        "ip address add 10.9.0.2/24 dev t0",
        "ip address add fd09::2/64 dev t0",
        "ip link set t0 up",
    ] {
        let status = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
    let mut device = transect_sys::open_tun("t0", false).unwrap();
    transect_sys::await_carrier("t0", Duration::from_secs(1)).unwrap();
    // Multicast reports of a device that has just come up.
    std::thread::sleep(Duration::from_secs(2));
    let differences: Vec<String> = bytes::packets()
        .into_iter()
        .filter_map(|(name, packets)| {
            let expected = model(&packets);
            // Something else may have moved a counter of the kernel's meanwhile.
            let mut seen = Moved::new();
            for _ in 0..3 {
                seen = kernel(&mut device, &packets);
                if seen == expected {
                    return None;
                }
            }
            Some(format!("{name}:\n  kernel {seen:?}\n  model  {expected:?}"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What moved; counts of bytes, and of what is not about packets, aside.
fn moved(before: &Moved, after: &Moved) -> Moved {
    let differences = after.iter().map(|(name, value)| {
        let before = before.get(name).copied().unwrap_or(0);
        (name.clone(), value - before)
    });
    differences.filter(|(_, moved)| *moved != 0).collect()
}

fn read(snmp: &str, netstat: &str, snmp6: &str) -> Moved {
    let mut counted = counters::snmp(snmp).value;
    counted.merge(counters::snmp(netstat).value);
    counted.merge(counters::snmp6(snmp6).value);
    counted
        .iter()
        .map(|(name, value)| (name.to_owned(), i128::from(value)))
        .collect()
}

fn kernel(device: &mut File, packets: &[Vec<u8>]) -> Moved {
    let look = || {
        let [snmp, netstat, snmp6] = ["snmp", "netstat", "snmp6"]
            .map(|name| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap());
        read(&snmp, &netstat, &snmp6)
    };
    let before = look();
    for packet in packets {
        // What the device itself refuses moves nothing behind it.
        let _ = device.write(packet);
    }
    std::thread::sleep(Duration::from_millis(20));
    moved(&before, &look())
}

fn model(packets: &[Vec<u8>]) -> Moved {
    let mut host = host();
    let look = |host: &Host| {
        let counters = host.counters();
        read(
            &counters.snmp(false, 64),
            &counters.netstat(),
            &counters.snmp6(),
        )
    };
    let device = host.device("t0").unwrap();
    // What it does by itself at its beginning is not the packets' affair.
    let start = Timestamp(1_000_000_000_000);
    host.handle_timeout(start);
    let before = look(&host);
    for packet in packets {
        host.handle_frame(start, device, Packet::from_network(packet));
    }
    while host.poll_transmit().is_some() {}
    moved(&before, &look(&host))
}

fn host() -> Host {
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(
            r#"[{"ifindex":2,"ifname":"t0","flags":["POINTOPOINT","MULTICAST","NOARP","UP","LOWER_UP"],"mtu":1500,
            "link_type":"none","linkinfo":{"info_kind":"tun"}}]"#,
        ),
        ConfigText::Ip(
            r#"[{"ifindex":2,"ifname":"t0","addr_info":[
            {"family":"inet","local":"10.9.0.2","prefixlen":24,"scope":"global"},
            {"family":"inet6","local":"fd09::2","prefixlen":64,"scope":"global"}]}]"#,
        ),
        ConfigText::Routes(
            IpVersion::V4,
            "10.9.0.0/24 dev t0 proto kernel scope link src 10.9.0.2
local 10.9.0.2 dev t0 table local proto kernel scope host src 10.9.0.2
broadcast 10.9.0.255 dev t0 table local proto kernel scope link src 10.9.0.2
local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1",
        ),
        ConfigText::Routes(
            IpVersion::V6,
            "fd09::/64 dev t0 proto kernel metric 256 pref medium
local ::1 dev lo table local proto kernel metric 0 pref medium
local fd09::2 dev t0 table local proto kernel metric 0 pref medium
multicast ff00::/8 dev t0 table local proto kernel metric 256 pref medium",
        ),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    config.policy_rules4 = Some(default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(default_policy_rules(IpVersion::V6));
    for (name, value) in SYSCTLS {
        let values = &mut config.sysctls.values;
        values.insert(name.to_owned(), value.to_owned());
    }
    let host = Host::new(HostSetup {
        number: 0,
        config,
        rules: RuleSet::default(),
        devices: vec![DeviceSetup {
            name: "t0".to_owned(),
            kind: DeviceKind::Tun,
            features: Features::NONE,
        }],
        seed: 1,
        hz: 250,
        boot: Timestamp(0),
        journeys: true,
    });
    let host = host.unwrap();
    assert_eq!(host.device("t0"), Some(DeviceId(1)));
    host
}
