//! The tracker beside the kernel's: the same segments, one after another, through both.
//!
//! kernel-6.18.txt holds what a router's `conntrack -L` and the counters of four rules (`ct state …`) showed after each segment
//! that was sent through it: direction (1: an answer), flags, sequence number, acknowledgment, window, payload | state of the
//! packet (New, Established, Related, Invalid) | the entry's state, seconds left, A: assured, U: unreplied.

use transect_config::Sysctls;
use transect_config::rules::CtStates;
use transect_packet::{LinkType, dissect};

use super::*;

const KERNEL: &str = include_str!("kernel-6.18.txt");
const HZ: u64 = 250;

/// MSS 1460, SACK permitted, NOP, window scale 7.
const SYN_OPTIONS: [u8; 12] = [2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 1, 1];

fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
        None => text.parse::<i64>().unwrap() as u32,
    }
}

/// One segment, from its IP header on.
fn packet(words: &[&str]) -> Vec<u8> {
    let [reply, flags, seq, ack, window, length] = words else {
        panic!("{words:?}");
    };
    let flags = number(flags) as u8;
    let options = if flags & 2 != 0 {
        &SYN_OPTIONS[..]
    } else {
        &[]
    };
    let (a, b) = ([10, 71, 0, 1], [10, 72, 0, 1]);
    let (from, to, ports) = match *reply {
        "0" => (a, b, [4000u16, 80]),
        _ => (b, a, [80, 4000]),
    };
    let total = 40 + options.len() + number(length) as usize;
    let mut bytes = vec![0x45, 0];
    bytes.extend((total as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(from.into_iter().chain(to));
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.extend(number(seq).to_be_bytes());
    bytes.extend(number(ack).to_be_bytes());
    bytes.extend([(((20 + options.len()) / 4) << 4) as u8, flags]);
    bytes.extend((number(window) as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.resize(total, 0);
    bytes
}

/// What the tracker says of a packet and of its entry, as the file has it.
fn through(
    connections: &mut Connections,
    settings: &Settings,
    bytes: &[u8],
    jiffies: u64,
) -> String {
    let mut random = fastrand::Rng::with_seed(1);
    let mut around = Around {
        settings,
        jiffies,
        hz: HZ,
        random: &mut random,
        checksum_holds: true,
    };
    let dissection = dissect(LinkType::RAW, bytes, bytes.len() as u32);
    let Network::Ip(ip) = &dissection.network else {
        panic!("no IP");
    };
    let tracking = match connections.track(ip, bytes, &mut around) {
        Tracked::As(tracking) => tracking,
        _ => Tracking::None,
    };
    let state = match tracking.states() {
        CtStates::NEW => "N",
        CtStates::ESTABLISHED => "E",
        CtStates::RELATED => "R",
        _ => "I",
    };
    if let Tracking::Apart { connection, .. } = tracking
        && !connection.status.has(Status::CONFIRMED)
    {
        let mut confirmed = connection;
        confirmed.timeout += jiffies;
        confirmed.status.set(Status::CONFIRMED);
        connections.insert(confirmed, jiffies).unwrap();
    }
    let entry = connections.entries().next().map(|(_, connection)| {
        let ProtocolState::Tcp(track) = &connection.state else {
            panic!("no TCP");
        };
        let left = (connection.timeout - jiffies).div_ceil(HZ);
        let flag = |status, text, otherwise| match connection.status.has(status) {
            true => text,
            false => otherwise,
        };
        format!(
            "{} {left}{}{}",
            track.state.name(),
            flag(Status::ASSURED, " A", ""),
            flag(Status::SEEN_REPLY, "", " U")
        )
    });
    format!("{state} | {}", entry.unwrap_or("-".to_owned()))
}

#[test]
fn the_tracker_says_what_the_kernel_says() {
    let settings = Settings::new(std::iter::empty(), &Sysctls::default()).unwrap();
    let mut connections = Connections::default();
    let (mut name, mut compared) = ("", 0);
    let mut jiffies = 1000;
    for line in KERNEL.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            name = title;
            connections.clear();
            continue;
        }
        jiffies += 5;
        let (segment, expected) = line.split_once(" | ").unwrap();
        let words: Vec<&str> = segment.split_whitespace().collect();
        let own = through(&mut connections, &settings, &packet(&words), jiffies);
        assert_eq!(own, expected, "{name}: {segment}");
        compared += 1;
    }
    assert!(compared > 70, "{compared}");
}

/// Nothing that arrives can hurt the table: random segments, in any order.
#[test]
fn any_segments_leave_the_table_whole() {
    let settings = Settings::new(std::iter::empty(), &Sysctls::default()).unwrap();
    let mut connections = Connections::default();
    let mut random = fastrand::Rng::with_seed(3);
    for step in 0..20_000u64 {
        let numbers: Vec<String> = vec![
            random.u8(..2).to_string(),
            random.u8(..).to_string(),
            random.u32(..).to_string(),
            random.u32(..).to_string(),
            random.u16(..).to_string(),
            random.u16(..1400).to_string(),
        ];
        let words: Vec<&str> = numbers.iter().map(String::as_str).collect();
        through(&mut connections, &settings, &packet(&words), step * 3);
        let held = connections.entries().count();
        assert!(held <= 1 && connections.count as usize == held);
        assert_eq!(connections.by_tuple.len(), 2 * held);
    }
}
