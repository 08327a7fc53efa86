//! What the moves choose from: addresses, options, settings.

use std::net::IpAddr;
use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{FastOpenKey, SocketAddress, SocketOption};

use super::input::Input;

pub(super) fn version(input: &mut Input<'_>) -> IpVersion {
    match input.byte() & 3 {
        0 => IpVersion::V6,
        _ => IpVersion::V4,
    }
}

pub(super) fn address(input: &mut Input<'_>) -> SocketAddress {
    let text = input.one_of(&[
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.1",
        "10.0.0.2",
        "fd00::1",
        "fd00::2",
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "::1",
        "10.0.0.255",
        "255.255.255.255",
        "10.1.0.1",
        "10.1.0.2",
        "10.0.0.77",
        "10.2.0.1",
        "10.3.0.1",
        "224.0.0.1",
        "ff02::1",
        "fd01::2",
        "8.8.8.8",
        "2001:db8::1",
        "::ffff:10.0.0.2",
    ]);
    let address: IpAddr = text.and_then(|text| text.parse().ok()).unwrap();
    let port = input.one_of(&[
        80, 80, 80, 81, 53, 8080, 8081, 0, 40_000, 82, 83, 54, 5353, 22,
    ]);
    SocketAddress::new(address, port.unwrap_or(0))
}

pub(super) fn option(input: &mut Input<'_>) -> SocketOption {
    let number = u32::from(input.word());
    let on = number & 1 != 0;
    let byte = number.to_be_bytes()[3];
    match input.byte() % 28 {
        0 => SocketOption::ReceiveBuffer(number),
        1 => SocketOption::SendBuffer(number),
        2 => SocketOption::ReuseAddress(on),
        3 => SocketOption::KeepAlive(on),
        4 => SocketOption::Linger(on.then(|| Duration::from_secs(u64::from(number % 5)))),
        5 => SocketOption::BindToDevice(if on { "eth0" } else { "" }.to_owned()),
        6 => SocketOption::Mark(number),
        7 => SocketOption::Priority(number),
        8 => SocketOption::Filter(on),
        9 => SocketOption::Ttl(byte),
        10 => SocketOption::Tos(byte),
        11 => SocketOption::MinTtl(byte),
        12 => SocketOption::MtuDiscover(byte % 6),
        13 => SocketOption::NoDelay(on),
        14 => SocketOption::Cork(on),
        15 => SocketOption::MaxSegment(number as u16),
        16 => SocketOption::KeepIdle(number),
        17 => SocketOption::KeepInterval(number),
        18 => SocketOption::KeepCount(number % 200),
        19 => SocketOption::SynCount(number % 200),
        20 => SocketOption::Linger2(number as i32 - 30_000),
        21 => SocketOption::DeferAccept(number),
        22 => SocketOption::WindowClamp(number),
        23 => SocketOption::QuickAck(on),
        24 => SocketOption::Congestion(if on { "reno" } else { "cubic" }.to_owned()),
        25 => SocketOption::UserTimeout(number),
        26 => SocketOption::NotSentLowWatermark(number),
        _ => match number >> 13 {
            0 => SocketOption::FastOpen(number % 6),
            1 => SocketOption::FastOpenConnect(on),
            2 => SocketOption::FastOpenNoCookie(on),
            3 => SocketOption::FastOpenKeys(vec![FastOpenKey([7, u64::from(number)])]),
            _ => SocketOption::Broadcast(on),
        },
    }
}

/// Settings with values at their edges.
pub(super) const SETTINGS: [(&str, &[&str]); 18] = [
    ("net.ipv4.tcp_syncookies", &["0", "1", "2"]),
    ("net.ipv4.tcp_max_syn_backlog", &["1", "128"]),
    ("net.ipv4.tcp_abort_on_overflow", &["0", "1"]),
    ("net.ipv4.tcp_mtu_probing", &["0", "1", "2"]),
    ("net.ipv4.tcp_ecn", &["0", "1", "2"]),
    ("net.ipv4.tcp_timestamps", &["0", "1"]),
    ("net.ipv4.tcp_window_scaling", &["0", "1"]),
    ("net.ipv4.tcp_sack", &["0", "1"]),
    ("net.ipv4.tcp_recovery", &["0", "1"]),
    (
        "net.ipv4.tcp_rmem",
        &["1 1 1", "4096 131072 33554432", "4096 5000 6000"],
    ),
    ("net.ipv4.tcp_wmem", &["1 1 1", "4096 16384 4194304"]),
    ("net.ipv4.tcp_max_tw_buckets", &["0", "1", "131072"]),
    ("net.ipv4.tcp_fin_timeout", &["0", "60"]),
    ("net.ipv4.conf.all.rp_filter", &["0", "1", "2"]),
    ("net.ipv4.ip_default_ttl", &["1", "64", "255"]),
    ("net.ipv4.ipfrag_high_thresh", &["0", "4194304"]),
    ("net.netfilter.nf_conntrack_max", &["1", "262144"]),
    ("net.netfilter.nf_conntrack_tcp_loose", &["0", "1"]),
];
