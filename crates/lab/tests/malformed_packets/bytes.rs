//! Packets with one thing wrong each.

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const OWN4: [u8; 4] = [10, 9, 0, 2];
const PEER4: [u8; 4] = [10, 9, 0, 1];

fn address6(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfd, 0x09]);
    address[15] = last;
    address
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An IPv4 packet; `change` comes before the header's checksum is made.
fn ipv4_with(protocol: u8, options: &[u8], payload: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(PEER4);
    packet.extend(OWN4);
    packet.extend(options);
    change(&mut packet);
    let made = checksum(sum(&packet));
    packet[10..12].copy_from_slice(&made);
    packet.extend(payload);
    packet
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, &[], payload, |_| {})
}

fn ipv6_with(next: u8, payload: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(address6(1));
    packet.extend(address6(2));
    packet.extend(payload);
    change(&mut packet);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_with(next, payload, |_| {})
}

/// The transport's checksum, with the pseudo header.
fn sealed(six: bool, protocol: u8, mut bytes: Vec<u8>, place: usize) -> Vec<u8> {
    let addresses = match six {
        false => sum(&PEER4) + sum(&OWN4),
        true => sum(&address6(1)) + sum(&address6(2)),
    };
    let made = checksum(addresses + u32::from(protocol) + bytes.len() as u32 + sum(&bytes));
    bytes[place..place + 2].copy_from_slice(&made);
    bytes
}

fn tcp(six: bool, flags: u8, words: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0x9c,
        0x40,
        0,
        80,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        words << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ];
    bytes.extend(options);
    sealed(six, TCP, bytes, 16)
}

fn udp(six: bool, port: u8, length: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40, 0, port];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    sealed(six, UDP, bytes, 6)
}

fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest);
    let made = checksum(sum(&bytes));
    bytes[2..4].copy_from_slice(&made);
    bytes
}

fn icmpv6(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest);
    sealed(true, ICMPV6, bytes, 2)
}

/// An IPv4 fragment: its place in units of eight bytes, and whether more follow.
fn fragment(id: u8, place: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    ipv4_with(UDP, &[], payload, |header| {
        header[5] = id;
        let field = place | if more { 0x2000 } else { 0 };
        header[6..8].copy_from_slice(&field.to_be_bytes());
    })
}

fn fragment6(id: u8, place: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let field = place << 3 | u16::from(more);
    let mut bytes = vec![UDP, 0];
    bytes.extend(field.to_be_bytes());
    bytes.extend([0, 0, 0, id]);
    bytes.extend(payload);
    ipv6(44, &bytes)
}

/// Each with what is wrong with it.
pub(crate) fn packets() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut all = of_ipv4();
    all.extend(of_transports());
    all.extend(of_icmp());
    all.extend(of_fragments());
    all.extend(of_ipv6());
    all
}

fn of_ipv4() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let syn = tcp(false, 2, 5, &[]);
    let changed = |change: fn(&mut [u8])| vec![ipv4_with(TCP, &[], &syn, change)];
    let damaged = {
        let mut packet = ipv4(TCP, &syn);
        packet[10] ^= 1;
        packet
    };
    let options = |options: &[u8]| vec![ipv4_with(TCP, options, &syn, |_| {})];
    vec![
        (
            "a header of ten bytes",
            vec![ipv4(TCP, &syn)[..10].to_vec()],
        ),
        (
            "a header length of four words",
            changed(|header| header[0] = 0x44),
        ),
        (
            "a header length beyond the packet",
            vec![ipv4_with(TCP, &[], &[], |header| header[0] = 0x4f)],
        ),
        ("a bad header checksum", vec![damaged]),
        (
            "a total length beyond the packet",
            changed(|header| header[2] = 2),
        ),
        (
            "a total length below the header",
            changed(|header| header[2..4].copy_from_slice(&[0, 12])),
        ),
        (
            "bytes behind the total length",
            vec![[ipv4(TCP, &syn), vec![0; 7]].concat()],
        ),
        ("another host's address", changed(|header| header[19] = 77)),
        (
            "nobody's address",
            changed(|header| header[16..20].copy_from_slice(&[9, 9, 9, 9])),
        ),
        (
            "a loopback source",
            changed(|header| header[12..16].copy_from_slice(&[127, 0, 0, 1])),
        ),
        (
            "a loopback destination",
            changed(|header| header[16..20].copy_from_slice(&[127, 0, 0, 1])),
        ),
        (
            "a broadcast source",
            changed(|header| header[12..16].copy_from_slice(&[255; 4])),
        ),
        (
            "a multicast source",
            changed(|header| header[12..16].copy_from_slice(&[224, 0, 0, 1])),
        ),
        (
            "a zero source",
            changed(|header| header[12..16].copy_from_slice(&[0; 4])),
        ),
        (
            "a zero destination",
            changed(|header| header[16..20].copy_from_slice(&[0; 4])),
        ),
        (
            "its own address as source",
            changed(|header| header[15] = 2),
        ),
        (
            "a broadcast destination",
            changed(|header| header[19] = 255),
        ),
        (
            "a reserved destination",
            changed(|header| header[16..20].copy_from_slice(&[240, 0, 0, 1])),
        ),
        ("an unknown protocol", vec![ipv4(200, &[1, 2, 3, 4])]),
        ("an option longer than the header", options(&[7, 39, 4, 0])),
        ("an option of length one", options(&[7, 1, 0, 0])),
        (
            "a record route whose pointer is too small",
            options(&[7, 3, 1, 0]),
        ),
        (
            "a loose source route",
            options(&[131, 7, 4, 10, 9, 0, 7, 0]),
        ),
        ("padding and an end", options(&[1, 1, 1, 0])),
    ]
}

fn of_transports() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let syn = tcp(false, 2, 5, &[]);
    let bent = |mut bytes: Vec<u8>, place: usize| {
        bytes[place] ^= 0x10;
        bytes
    };
    let nothing = udp(false, 53, 8, &[]);
    let unchecked = {
        let mut bytes = udp(false, 53, 12, &[1, 2, 3, 4]);
        bytes[6..8].fill(0);
        bytes
    };
    let to_all = |protocol, payload: &[u8]| {
        ipv4_with(protocol, &[], payload, |header| {
            header[16..20].copy_from_slice(&[10, 9, 0, 255])
        })
    };
    vec![
        ("TCP: ten bytes", vec![ipv4(TCP, &syn[..10])]),
        (
            "TCP: a header of four words",
            vec![ipv4(TCP, &tcp(false, 2, 4, &[]))],
        ),
        (
            "TCP: a header beyond the segment",
            vec![ipv4(TCP, &tcp(false, 2, 15, &[]))],
        ),
        (
            "TCP: a bad checksum",
            vec![ipv4(TCP, &bent(syn.clone(), 4))],
        ),
        ("TCP: a SYN to nobody", vec![ipv4(TCP, &syn)]),
        (
            "TCP: an acknowledgement to nobody",
            vec![ipv4(TCP, &tcp(false, 0x10, 5, &[]))],
        ),
        (
            "TCP: a reset to nobody",
            vec![ipv4(TCP, &tcp(false, 4, 5, &[]))],
        ),
        (
            "TCP: a FIN to nobody",
            vec![ipv4(TCP, &tcp(false, 1, 5, &[]))],
        ),
        (
            "TCP: no flags at all",
            vec![ipv4(TCP, &tcp(false, 0, 5, &[]))],
        ),
        ("TCP: to all", vec![to_all(TCP, &syn)]),
        ("TCP over IPv6: ten bytes", vec![ipv6(TCP, &syn[..10])]),
        (
            "TCP over IPv6: a bad checksum",
            vec![ipv6(TCP, &bent(tcp(true, 2, 5, &[]), 4))],
        ),
        (
            "TCP over IPv6: a SYN to nobody",
            vec![ipv6(TCP, &tcp(true, 2, 5, &[]))],
        ),
        ("UDP: four bytes", vec![ipv4(UDP, &nothing[..4])]),
        (
            "UDP: a length beyond the packet",
            vec![ipv4(UDP, &udp(false, 53, 20, &[1, 2, 3, 4]))],
        ),
        (
            "UDP: a length below the header",
            vec![ipv4(UDP, &udp(false, 53, 4, &[1, 2, 3, 4]))],
        ),
        (
            "UDP: a bad checksum",
            vec![ipv4(UDP, &bent(udp(false, 53, 12, &[1, 2, 3, 4]), 9))],
        ),
        ("UDP: to nobody", vec![ipv4(UDP, &nothing)]),
        (
            "UDP: to nobody, without a checksum",
            vec![ipv4(UDP, &unchecked)],
        ),
        ("UDP: to all, to nobody", vec![to_all(UDP, &unchecked)]),
        ("UDP over IPv6: four bytes", vec![ipv6(UDP, &nothing[..4])]),
        ("UDP over IPv6: no checksum", vec![ipv6(UDP, &unchecked)]),
        (
            "UDP over IPv6: a bad checksum",
            vec![ipv6(UDP, &bent(udp(true, 53, 12, &[1, 2, 3, 4]), 9))],
        ),
        (
            "UDP over IPv6: to nobody",
            vec![ipv6(UDP, &udp(true, 53, 8, &[]))],
        ),
    ]
}

fn of_icmp() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let echo = icmp(8, 0, &[0, 1, 0, 1, 5, 5]);
    let bent = |mut bytes: Vec<u8>| {
        bytes[4] ^= 0x10;
        bytes
    };
    // What the error speaks of: a SYN that this host has never sent.
    let spoken = ipv4_with(TCP, &[], &tcp(false, 2, 5, &[]), |header| {
        header[12..16].copy_from_slice(&OWN4);
        header[16..20].copy_from_slice(&PEER4);
    });
    let error =
        |kind, code, inner: &[u8]| vec![ipv4(ICMP, &icmp(kind, code, &[&[0; 4], inner].concat()))];
    let error6 = |kind, code, inner: &[u8]| {
        vec![ipv6(
            ICMPV6,
            &icmpv6(kind, code, &[&[0; 4], inner].concat()),
        )]
    };
    let spoken6 = ipv6_with(TCP, &tcp(true, 2, 5, &[]), |header| {
        header[8..24].copy_from_slice(&address6(2));
        header[24..40].copy_from_slice(&address6(1));
    });
    vec![
        ("ICMP: echo", vec![ipv4(ICMP, &echo)]),
        ("ICMP: three bytes", vec![ipv4(ICMP, &echo[..3])]),
        ("ICMP: a bad checksum", vec![ipv4(ICMP, &bent(echo))]),
        (
            "ICMP: an unknown type",
            vec![ipv4(ICMP, &icmp(77, 0, &[0; 4]))],
        ),
        (
            "ICMP: a type that is nobody's business",
            vec![ipv4(ICMP, &icmp(10, 0, &[0; 4]))],
        ),
        (
            "ICMP: an answer that nobody waits for",
            vec![ipv4(ICMP, &icmp(0, 0, &[0, 9, 0, 9]))],
        ),
        (
            "ICMP: a time stamp",
            vec![ipv4(ICMP, &icmp(13, 0, &[0; 16]))],
        ),
        (
            "ICMP: a time stamp that is too short",
            vec![ipv4(ICMP, &icmp(13, 0, &[0; 4]))],
        ),
        ("ICMP: unreachable, of nothing", error(3, 1, &[])),
        (
            "ICMP: unreachable, of ten bytes",
            error(3, 1, &spoken[..10]),
        ),
        (
            "ICMP: unreachable, of nobody's connection",
            error(3, 1, &spoken),
        ),
        ("ICMP: unreachable, an unknown code", error(3, 77, &spoken)),
        (
            "ICMP: fragmentation needed, an MTU of zero",
            error(3, 4, &spoken),
        ),
        (
            "ICMP: time exceeded, of nobody's connection",
            error(11, 0, &spoken),
        ),
        ("ICMP: a redirect, of ten bytes", error(5, 1, &spoken[..10])),
        (
            "ICMP: a parameter problem, of nobody's connection",
            error(12, 0, &spoken),
        ),
        (
            "ICMPv6: echo",
            vec![ipv6(ICMPV6, &icmpv6(128, 0, &[0, 1, 0, 1]))],
        ),
        ("ICMPv6: three bytes", vec![ipv6(ICMPV6, &[128, 0, 0])]),
        (
            "ICMPv6: a bad checksum",
            vec![ipv6(ICMPV6, &bent(icmpv6(128, 0, &[0, 1, 0, 1])))],
        ),
        (
            "ICMPv6: an unknown error",
            vec![ipv6(ICMPV6, &icmpv6(77, 0, &[0; 4]))],
        ),
        (
            "ICMPv6: an unknown question",
            vec![ipv6(ICMPV6, &icmpv6(200, 0, &[0; 4]))],
        ),
        ("ICMPv6: unreachable, of nothing", error6(1, 1, &[])),
        (
            "ICMPv6: unreachable, of ten bytes",
            error6(1, 1, &spoken6[..10]),
        ),
        (
            "ICMPv6: unreachable, of nobody's connection",
            error6(1, 1, &spoken6),
        ),
        (
            "ICMPv6: too big, of nobody's connection",
            error6(2, 0, &spoken6),
        ),
        (
            "ICMPv6: a neighbour's question with a hop limit of 64",
            vec![ipv6(
                ICMPV6,
                &icmpv6(135, 0, &[&[0; 4][..], &address6(2)].concat()),
            )],
        ),
        (
            "ICMPv6: a router's advertisement that is too short",
            vec![ipv6(ICMPV6, &icmpv6(134, 0, &[0; 4]))],
        ),
    ]
}

fn of_fragments() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let whole = udp(false, 53, 24, &[7; 16]);
    let whole6 = udp(true, 53, 24, &[7; 16]);
    vec![
        (
            "two fragments, to nobody",
            vec![
                fragment(1, 0, true, &whole[..16]),
                fragment(1, 2, false, &whole[16..]),
            ],
        ),
        (
            "two fragments the other way round",
            vec![
                fragment(2, 2, false, &whole[16..]),
                fragment(2, 0, true, &whole[..16]),
            ],
        ),
        (
            "a fragment twice",
            vec![
                fragment(3, 0, true, &whole[..16]),
                fragment(3, 0, true, &whole[..16]),
            ],
        ),
        (
            "fragments that overlap",
            vec![
                fragment(4, 0, true, &whole[..16]),
                fragment(4, 1, false, &whole[8..]),
            ],
        ),
        (
            "a fragment beyond 64 KiB",
            vec![fragment(5, 8191, false, &[0; 64])],
        ),
        (
            "a first fragment of ten bytes",
            vec![fragment(6, 0, true, &whole[..10])],
        ),
        ("a fragment of nothing", vec![fragment(7, 0, true, &[])]),
        (
            "two ends",
            vec![
                fragment(8, 2, false, &whole[16..]),
                fragment(8, 4, false, &whole[16..]),
            ],
        ),
        (
            "IPv6: two fragments, to nobody",
            vec![
                fragment6(1, 0, true, &whole6[..16]),
                fragment6(1, 2, false, &whole6[16..]),
            ],
        ),
        (
            "IPv6: fragments that overlap",
            vec![
                fragment6(4, 0, true, &whole6[..16]),
                fragment6(4, 1, false, &whole6[8..]),
            ],
        ),
        (
            "IPv6: a fragment beyond 64 KiB",
            vec![fragment6(5, 8191, false, &[0; 64])],
        ),
        (
            "IPv6: a first fragment of ten bytes",
            vec![fragment6(6, 0, true, &whole6[..10])],
        ),
        (
            "IPv6: the only fragment",
            vec![fragment6(9, 0, false, &whole6)],
        ),
        (
            "IPv6: a fragment header of four bytes",
            vec![ipv6(44, &[UDP, 0, 0, 1])],
        ),
    ]
}

fn of_ipv6() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let syn = tcp(true, 2, 5, &[]);
    let changed = |change: fn(&mut [u8])| vec![ipv6_with(TCP, &syn, change)];
    // Next header, length in units of eight bytes less one, six bytes of options.
    let options = |next: u8, six: [u8; 6], payload: &[u8]| {
        vec![ipv6(next, &[&[TCP, 0], &six[..], payload].concat())]
    };
    vec![
        (
            "IPv6: a header of twenty bytes",
            vec![ipv6(TCP, &syn)[..20].to_vec()],
        ),
        (
            "IPv6: a length beyond the packet",
            changed(|packet| packet[4] = 2),
        ),
        (
            "IPv6: bytes behind the length",
            vec![[ipv6(TCP, &syn), vec![0; 7]].concat()],
        ),
        (
            "IPv6: another host's address",
            changed(|packet| packet[39] = 77),
        ),
        (
            "IPv6: nobody's address",
            changed(|packet| packet[24] = 0x20),
        ),
        (
            "IPv6: a loopback source",
            changed(|packet| {
                packet[8..24].fill(0);
                packet[23] = 1;
            }),
        ),
        (
            "IPv6: a loopback destination",
            changed(|packet| {
                packet[24..40].fill(0);
                packet[39] = 1;
            }),
        ),
        (
            "IPv6: a multicast source",
            changed(|packet| packet[8] = 0xff),
        ),
        (
            "IPv6: an interface-local group",
            changed(|packet| packet[24..26].copy_from_slice(&[0xff, 1])),
        ),
        ("IPv6: nothing behind the header", vec![ipv6(59, &[])]),
        (
            "IPv6: an unknown next header",
            vec![ipv6(200, &[1, 2, 3, 4])],
        ),
        (
            "IPv6: hop-by-hop options of padding",
            options(0, [1, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a hop-by-hop option to be skipped",
            options(0, [0x1e, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a hop-by-hop option to be dropped",
            options(0, [0x5e, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a hop-by-hop option to be told of",
            options(0, [0x9e, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a hop-by-hop option beyond its header",
            options(0, [0x1e, 9, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: hop-by-hop options beyond the packet",
            vec![ipv6(0, &[TCP, 9, 1, 4, 0, 0, 0, 0])],
        ),
        (
            "IPv6: destination options of padding",
            options(60, [1, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a destination option to be told of",
            options(60, [0x9e, 4, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a routing header that is used up",
            options(43, [2, 0, 0, 0, 0, 0], &syn),
        ),
        (
            "IPv6: a routing header of type 0 with a way to go",
            vec![ipv6(
                43,
                &[&[TCP, 2, 0, 1], &[0; 4][..], &address6(7), &syn].concat(),
            )],
        ),
        (
            "IPv6: a routing header of an unknown type",
            vec![ipv6(
                43,
                &[&[TCP, 2, 77, 1], &[0; 4][..], &address6(7), &syn].concat(),
            )],
        ),
    ]
}
