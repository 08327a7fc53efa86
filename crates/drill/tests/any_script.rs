//! Scripts that nobody would write: whatever stands in them, a run in the model world ends, and says what went wrong.

// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use transect_drill::{DrillOptions, ScriptResult, run_script};

/// Calls and packets that make sense somewhere, if seldom behind each other.
const EVENTS: &[&str] = &[
    "socket(..., SOCK_STREAM, IPPROTO_TCP) = 3",
    "socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 4",
    "socket(..., SOCK_DGRAM, IPPROTO_UDP) = 5",
    "bind(3, ..., ...) = 0",
    "bind(5, ..., ...) = 0",
    "listen(3, 1) = 0",
    "accept(3, ..., ...) = 4",
    "fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0",
    "connect(4, ..., ...) = -1 EINPROGRESS (Operation now in progress)",
    "connect(4, AF_UNSPEC, ...) = 0",
    "write(4, ..., 20000) = 20000",
    "send(4, ..., 100, MSG_MORE) = 100",
    "read(4, ..., 5000) = 1000",
    "recv(4, ..., 100, MSG_PEEK) = 100",
    "shutdown(4, SHUT_WR) = 0",
    "shutdown(3, SHUT_RDWR) = 0",
    "close(3) = 0",
    "close(4) = 0",
    "sendto(5, ..., 100, 0, ..., ...) = 100",
    "recvfrom(5, ..., 100, 0, ..., ...) = 100",
    "setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0",
    "setsockopt(3, SOL_SOCKET, SO_RCVBUF, [2000], 4) = 0",
    "setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0",
    "setsockopt(4, SOL_TCP, TCP_MAXSEG, [100], 4) = 0",
    "epoll_create(1) = 6",
    "epoll_ctl(6, EPOLL_CTL_ADD, 4, {events=EPOLLIN|EPOLLET, fd=4}) = 0",
    "epoll_wait(6, {events=EPOLLIN, fd=4}, 1, 0) = 1",
    "poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 0) = 1",
    "ioctl(4, SIOCINQ, [0]) = 0",
    "ioctl(4, SIOCOUTQ, [0]) = 0",
    "< S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>",
    "< S 7:107(100) win 1 <mss 1,TS val 4294967295 ecr 0>",
    "< S. 5:5(0) ack 1 win 0 <mss 40>",
    "< . 1:1(0) ack 1 win 257",
    "< . 1:1(0) ack 4294967295 win 0",
    "< P. 1:1001(1000) ack 1 win 257",
    "< P. 2001:60001(58000) ack 1 win 257",
    "< . 1:1(0) ack 1001 win 257 <nop,nop,sack 3001:4001 1:1001>",
    "< . 1:1(0) ack 1 win 1 <nop,nop,sack 4294967290:5 10:1>",
    "< F. 1:1(0) ack 1 win 257",
    "< FPU. 1001:1011(10) ack 1 win 257 urg 5",
    "< R 1:1(0) win 0",
    "< R. 0:0(0) ack 1 win 0",
    "< - 1:2(1) win 9",
    "< FSRPU.EW 1:1(0) ack 1 win 9 <eol,opt 99 0102>",
    "< [ce] EWA. 1:11(10) ack 1 win 9",
    "< udp (100)",
    "< udp (0)",
    "< icmp unreachable frag_needed mtu 0 [1:1001(1000)]",
    "< icmp unreachable frag_needed mtu 68 [1:1001(1000)]",
    "< icmp unreachable host_unreachable",
    "< icmp time_exceeded [udp (100)]",
    "> S. 0:0(0) ack 1 <...>",
    "> . 1:1001(1000) ack 1",
    "> R 1:1(0)",
    "%{ assert tcpi_snd_cwnd > 0 }%",
    "%{ a = tcpi_rtt; print(a) }%",
    "`sysctl -q net.ipv4.tcp_sack=0`",
    "`sysctl -q net.ipv4.tcp_rmem=\"1 2 3\"`",
    "`sysctl -q net.ipv4.tcp_mtu_probing=2 net.ipv4.tcp_syncookies=2`",
    "`ip route change default dev tun0 mtu 600`",
];

const OPTIONS: &[&str] = &[
    "",
    "--ip_version=ipv6\n",
    "--ip_version=ipv4-mapped-ipv6\n",
    "--mtu=68\n",
    "--mtu=1280\n--mss=500\n",
    "--strict_segments\n",
];

/// What a script begins with: mostly a connection, over which things can go wrong.
const BEGINNINGS: &[&str] = &[
    "",
    "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 2) = 0\n\
     +0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>\n+0 > S. 0:0(0) ack 1 <...>\n\
     +.01 < . 1:1(0) ack 1 win 257\n+0 accept(3, ..., ...) = 4\n+0 write(4, ..., 10000) = 10000\n",
    "0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 4\n\
     +0 connect(4, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n+0 > S 0:0(0) <...>\n\
     +.01 < S. 0:0(0) ack 1 win 5792 <mss 1460,sackOK>\n+0 > . 1:1(0) ack 1\n",
];

/// Runs a text, going on behind whatever is not as it says.
fn run(text: &str) -> ScriptResult {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.pkt");
    let text = format!("--non_fatal=packet,syscall\n{text}");
    std::fs::write(&path, text).unwrap();
    run_script(&path, &DrillOptions::default())
}

fn script() -> impl Strategy<Value = String> {
    let event = (0..EVENTS.len(), 0..4_usize);
    let events = prop::collection::vec(event, 1..25);
    let all = (0..OPTIONS.len(), 0..BEGINNINGS.len(), events);
    all.prop_map(|(options, beginning, events)| {
        let mut text = [OPTIONS[options], BEGINNINGS[beginning]].concat();
        for (event, time) in events {
            let time = ["+0", "+.01", "+1", "+0...0.5"][time];
            let event = EVENTS[event];
            // Only calls block.
            let time = match event.starts_with(|first: char| first.is_ascii_lowercase()) {
                true => time,
                false => time.split("...").next().unwrap_or(time),
            };
            text.push_str(&format!("{time} {event}\n"));
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_script_ends(text in script()) {
        let begun = Instant::now();
        let result = run(&text);
        let failure = result.failure.map_or(String::new(), |failure| failure.message);
        prop_assert!(!failure.contains("panicked"), "{failure}");
        prop_assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    }

    #[test]
    fn a_script_does_the_same_twice(text in script()) {
        prop_assert_eq!(run(&text).notes, run(&text).notes);
    }
}
