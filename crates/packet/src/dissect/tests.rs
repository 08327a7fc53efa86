//! Packets made by etherparse, an independent implementation, and by hand where it makes none.

use etherparse::{PacketBuilder, TcpOptionElement};
use proptest::prelude::*;

use super::*;
use crate::{protocol, transport_checksum};

fn of(link: LinkType, data: &[u8]) -> Dissection<'_> {
    dissect(link, data, data.len() as u32)
}

fn ip<'a>(dissection: &'a Dissection<'_>) -> &'a IpHeader<'a> {
    match &dissection.network {
        Network::Ip(ip) => ip,
        other => panic!("expected IP, found {other:?}"),
    }
}

fn tcp<'a>(dissection: &'a Dissection<'_>) -> &'a TcpHeader<'a> {
    match &ip(dissection).transport {
        Transport::Tcp(tcp) => tcp,
        other => panic!("expected TCP, found {other:?}"),
    }
}

fn icmp<'a>(dissection: &'a Dissection<'_>) -> &'a IcmpMessage {
    match &ip(dissection).transport {
        Transport::Icmp(icmp) => icmp,
        other => panic!("expected ICMP, found {other:?}"),
    }
}

fn syn() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 63)
        .tcp(40000, 80, 0xffff_fff0, 64240)
        .syn()
        .options(&[
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(7, 9),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ])
        .unwrap();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).unwrap();
    bytes
}

#[test]
fn a_syn_with_its_options() {
    let bytes = syn();
    let dissection = of(LinkType::ETHERNET, &bytes);
    assert_eq!(
        dissection.link,
        LinkHeader {
            source: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            destination: Some(MacAddress([2, 0, 0, 0, 0, 2])),
            ..LinkHeader::default()
        }
    );
    let header = ip(&dissection);
    assert_eq!(header.source.to_string(), "192.0.2.1");
    assert_eq!(header.destination.to_string(), "192.0.2.2");
    assert_eq!((header.ttl, header.total_length), (63, 60));
    assert_eq!((header.offset, header.transport_offset), (14, 34));
    assert!(header.dont_fragment && header.fragment.is_none());
    assert_eq!(header.header_checksum_ok, Some(true));
    let segment = tcp(&dissection);
    assert_eq!((segment.source_port, segment.destination_port), (40000, 80));
    assert_eq!(segment.sequence, SequenceNumber(0xffff_fff0));
    assert_eq!(segment.flags.to_string(), "S");
    assert_eq!((segment.window, segment.payload_length), (64240, 0));
    assert_eq!(segment.sequence_length(), 1);
    let options = segment.options();
    assert_eq!((options.mss, options.window_scale), (Some(1460), Some(7)));
    assert!(options.sack_permitted && options.sacks().is_empty());
    assert_eq!(
        options.timestamps,
        Some(TcpTimestamps { value: 7, echo: 9 })
    );
    assert_eq!(transport_checksum(&bytes, &dissection), Some(true));
}

#[test]
fn lengths_come_from_the_ip_header() {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(1, 2, 3, 4)
        .ack(5)
        .write(&mut bytes, &[0; 1000])
        .unwrap();
    // A short snap, and the padding of a short frame.
    let whole = of(LinkType::ETHERNET, &bytes);
    assert_eq!(tcp(&whole).payload_length, 1000);
    assert_eq!(transport_checksum(&bytes, &whole), Some(true));
    let snap = dissect(LinkType::ETHERNET, &bytes[..54], bytes.len() as u32);
    assert_eq!(tcp(&snap).payload_length, 1000);
    assert_eq!(transport_checksum(&bytes[..54], &snap), None);
    // A super-packet that does not know its length: what the frame had on the wire.
    bytes[16..18].fill(0);
    let offload = dissect(LinkType::ETHERNET, &bytes[..54], 54 + 60_000);
    assert_eq!(tcp(&offload).payload_length, 60_000);
    let cut = of(LinkType::ETHERNET, &bytes[..53]);
    assert_eq!(ip(&cut).transport, Transport::Truncated);
    assert_eq!(
        of(LinkType::ETHERNET, &bytes[..30]).network,
        Network::Truncated
    );
}

#[test]
fn damaged_checksums_are_told() {
    let mut bytes = syn();
    bytes[40] ^= 1;
    let dissection = of(LinkType::ETHERNET, &bytes);
    assert_eq!(transport_checksum(&bytes, &dissection), Some(false));
    assert_eq!(ip(&dissection).header_checksum_ok, Some(true));
    bytes[22] ^= 1;
    assert_eq!(
        ip(&of(LinkType::ETHERNET, &bytes)).header_checksum_ok,
        Some(false)
    );
}

#[test]
fn vlan_tags_are_passed_over() {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .double_vlan(100.try_into().unwrap(), 200.try_into().unwrap())
        .ipv6([1; 16], [2; 16], 5)
        .udp(53, 5353)
        .write(&mut bytes, b"answer")
        .unwrap();
    let dissection = of(LinkType::ETHERNET, &bytes);
    assert_eq!(dissection.link.vlan, Some(100));
    let Transport::Udp(udp) = ip(&dissection).transport else {
        panic!("{dissection:?}");
    };
    assert_eq!(
        (udp.source_port, udp.destination_port, udp.payload_length()),
        (53, 5353, 6)
    );
    assert_eq!(ip(&dissection).ttl, 5);
    assert_eq!(transport_checksum(&bytes, &dissection), Some(true));
}

#[test]
fn every_link_type_leads_to_the_same_packet() {
    let frame = syn();
    let packet = &frame[14..];
    let address = [2, 0, 0, 0, 0, 1, 0, 0];
    let cooked = [[0, 4, 0, 1, 0, 6].as_slice(), &address, &[8, 0], packet].concat();
    let cooked2 = [
        [8, 0, 0, 0, 0, 0, 0, 9, 0, 1, 4, 6].as_slice(),
        &address,
        packet,
    ]
    .concat();
    let null = [[2, 0, 0, 0].as_slice(), packet].concat();
    let ethernet = of(LinkType::ETHERNET, &frame);
    let expected = *tcp(&ethernet);
    for (link, bytes) in [
        (LinkType::RAW, packet),
        (LinkType::RAW_BSD, packet),
        (LinkType::RAW_OPENBSD, packet),
        (LinkType::IPV4, packet),
        (LinkType::LINUX_SLL, &cooked),
        (LinkType::LINUX_SLL2, &cooked2),
        (LinkType::NULL, &null),
        (LinkType::LOOP, &null),
    ] {
        assert_eq!(tcp(&of(link, bytes)), &expected, "{link}");
    }
    let link = of(LinkType::LINUX_SLL2, &cooked2).link;
    assert_eq!(link.packet_type, Some(PacketType::Outgoing));
    assert_eq!(link.interface_index, Some(9));
    assert_eq!(link.source, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!(of(LinkType(147), packet).network, Network::Other(147));
}

#[test]
fn fragments_of_both_versions() {
    let mut v4 = syn();
    v4[20] = 0x20;
    let first = of(LinkType::ETHERNET, &v4);
    assert_eq!(
        ip(&first).fragment,
        Some(Fragment {
            offset: 0,
            more: true
        })
    );
    assert_eq!(tcp(&first).destination_port, 80);
    v4[20..22].copy_from_slice(&[0x00, 0xb9]);
    let last = of(LinkType::ETHERNET, &v4);
    assert_eq!(
        ip(&last).fragment,
        Some(Fragment {
            offset: 1480,
            more: false
        })
    );
    assert_eq!(ip(&last).transport, Transport::Fragment);

    let header = |length: u16, next| {
        let start = [0x60, 0, 0, 0, (length >> 8) as u8, length as u8, next, 64];
        [start.as_slice(), &[1; 16], &[2; 16]].concat()
    };
    // Hop-by-hop options, then a fragment header, then UDP.
    let hop_by_hop = [44, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |field: u16| {
        [
            17,
            0,
            (field >> 8) as u8,
            field as u8,
            0xde,
            0xad,
            0xbe,
            0xef,
        ]
    };
    let udp = [0, 53, 0, 99, 0, 8, 0, 0];
    let packet = |field| {
        [
            header(24, 0).as_slice(),
            &hop_by_hop,
            &fragment(field),
            &udp,
        ]
        .concat()
    };
    let first = packet(1);
    let first = of(LinkType::RAW, &first);
    assert_eq!(ip(&first).protocol, protocol::UDP);
    assert_eq!(ip(&first).identification, 0xdead_beef);
    assert_eq!(ip(&first).payload_length(), 8);
    assert!(matches!(ip(&first).transport, Transport::Udp(udp) if udp.destination_port == 99));
    let later = packet(1480);
    assert_eq!(
        ip(&of(LinkType::RAW, &later)).fragment,
        Some(Fragment {
            offset: 1480,
            more: false
        })
    );
    assert_eq!(
        ip(&of(LinkType::RAW, &later)).transport,
        Transport::Fragment
    );
    // An atomic fragment is a whole packet.
    let atomic = packet(0);
    assert_eq!(ip(&of(LinkType::RAW, &atomic)).fragment, None);
}

#[test]
fn selective_acknowledgements_in_order() {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([1; 4], [2; 4], 64)
        .tcp(1, 2, 3, 4)
        .ack(100)
        .options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::SelectiveAcknowledgement((200, 300), [Some((400, 500)), None, None]),
        ])
        .unwrap()
        .write(&mut bytes, &[])
        .unwrap();
    let dissection = of(LinkType::RAW, &bytes);
    let sacks: Vec<_> = tcp(&dissection)
        .options()
        .sacks()
        .iter()
        .map(|sack| (sack.start.0, sack.end.0))
        .collect();
    assert_eq!(sacks, [(200, 300), (400, 500)]);
    // Cut in the middle of the second block: the option is lost, the header is not.
    let cut = dissect(LinkType::RAW, &bytes[..52], bytes.len() as u32);
    assert!(tcp(&cut).options().sacks().is_empty());
    assert_eq!(tcp(&cut).acknowledgment, SequenceNumber(100));
}

#[test]
fn echoes_and_errors_of_icmp() {
    let mut echo = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .icmpv4_echo_request(77, 3)
        .write(&mut echo, b"ping")
        .unwrap();
    let dissection = of(LinkType::RAW, &echo);
    assert!(icmp(&dissection).is_echo_request() && !icmp(&dissection).is_error());
    assert_eq!(icmp(&dissection).echo, Some((77, 3)));
    assert_eq!(transport_checksum(&echo, &dissection), Some(true));

    // Fragmentation needed, next hop's MTU 1400, about the SYN; quoted are its IP header and eight bytes.
    let quote = &syn()[14..14 + 28];
    let body = [&[3, 4, 0, 0, 0, 0, 0x05, 0x78], quote].concat();
    let mut error = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 9], [192, 0, 2, 1], 64)
        .icmpv4_raw(3, 4, body[4..8].try_into().unwrap())
        .write(&mut error, quote)
        .unwrap();
    let dissection = of(LinkType::RAW, &error);
    assert!(icmp(&dissection).is_error());
    assert_eq!(icmp(&dissection).mtu, Some(1400));
    let quoted = icmp(&dissection).quoted.unwrap();
    assert_eq!(
        quoted.tuple().unwrap().to_string(),
        "tcp 192.0.2.1:40000 > 192.0.2.2:80"
    );
    assert_eq!(quoted.sequence, Some(SequenceNumber(0xffff_fff0)));
    // Only the addresses are quoted.
    let short = of(LinkType::RAW, &error[..48]);
    assert_eq!(icmp(&short).quoted.unwrap().tuple(), None);
}

#[test]
fn icmpv6_errors_and_neighbor_discovery() {
    let mut quote = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .udp(1000, 53)
        .write(&mut quote, b"query")
        .unwrap();
    let mut error = Vec::new();
    PacketBuilder::ipv6([9; 16], [1; 16], 64)
        .icmpv6(etherparse::Icmpv6Type::PacketTooBig { mtu: 1280 })
        .write(&mut error, &quote)
        .unwrap();
    let dissection = of(LinkType::RAW, &error);
    assert!(icmp(&dissection).is_error());
    assert_eq!(icmp(&dissection).mtu, Some(1280));
    assert_eq!(
        icmp(&dissection)
            .quoted
            .unwrap()
            .tuple()
            .unwrap()
            .destination
            .port,
        53
    );

    let mut solicitation = Vec::new();
    let body = [[3; 16].as_slice(), &[1, 1, 2, 0, 0, 0, 0, 7]].concat();
    PacketBuilder::ipv6([1; 16], [2; 16], 255)
        .icmpv6_raw(135, 0, [0; 4])
        .write(&mut solicitation, &body)
        .unwrap();
    let dissection = of(LinkType::RAW, &solicitation);
    assert_eq!(
        icmp(&dissection).neighbor,
        Some(NeighborDiscovery {
            solicitation: true,
            target: [3; 16].into(),
            mac: Some(MacAddress([2, 0, 0, 0, 0, 7])),
        })
    );
}

#[test]
fn arp_requests_and_replies() {
    let mut bytes = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let Network::Arp(arp) = of(LinkType::ETHERNET, &bytes).network else {
        panic!("ARP");
    };
    assert_eq!(arp.operation, ArpOperation::Request);
    assert_eq!(
        (arp.sender.to_string(), arp.target.to_string()),
        ("10.0.0.1".into(), "10.0.0.2".into())
    );
    assert_eq!(arp.sender_mac, MacAddress([2, 0, 0, 0, 0, 1]));
    bytes[21] = 2;
    assert!(
        matches!(of(LinkType::ETHERNET, &bytes).network, Network::Arp(arp) if arp.operation == ArpOperation::Reply)
    );
    assert_eq!(
        of(LinkType::ETHERNET, &bytes[..40]).network,
        Network::Truncated
    );
}

#[test]
fn sequence_numbers_wrap_around() {
    let before = SequenceNumber(0xffff_fff0);
    let behind = before + 0x20;
    assert_eq!(behind.0, 0x10);
    assert!(before.is_before(behind) && !behind.is_before(before));
    assert_eq!(behind.offset_from(before), 0x20);
    assert_eq!(before.offset_from(behind), -0x20);
    assert_eq!(TcpFlags(0x12).to_string(), "S.");
    assert_eq!(TcpFlags(0).to_string(), "none");
}

proptest! {
    #[test]
    fn no_bytes_make_dissection_panic(
        link in prop::sample::select(vec![0u16, 1, 12, 14, 101, 108, 113, 228, 229, 276, 7]),
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        length in any::<u32>(),
    ) {
        let dissection = dissect(LinkType(link), &bytes, length);
        transport_checksum(&bytes, &dissection);
    }

    #[test]
    fn no_change_of_a_real_packet_makes_dissection_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = syn();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let dissection = dissect(LinkType::ETHERNET, &bytes, bytes.len() as u32);
        transport_checksum(&bytes, &dissection);
    }

    #[test]
    fn agrees_with_etherparse(
        addresses in (any::<[u8; 4]>(), any::<[u8; 4]>()),
        ports in (any::<u16>(), any::<u16>()),
        numbers in (any::<u32>(), any::<u32>(), any::<u16>()),
        ttl in any::<u8>(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        flags in any::<(bool, bool, bool, bool)>(),
    ) {
        let mut builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4(addresses.0, addresses.1, ttl)
            .tcp(ports.0, ports.1, numbers.0, numbers.2);
        if flags.0 { builder = builder.syn(); }
        if flags.1 { builder = builder.fin(); }
        if flags.2 { builder = builder.rst(); }
        if flags.3 { builder = builder.ack(numbers.1); }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &payload).unwrap();
        let dissection = of(LinkType::ETHERNET, &bytes);
        let (ip, tcp) = (ip(&dissection), tcp(&dissection));
        prop_assert_eq!(ip.source, IpAddr::from(addresses.0));
        prop_assert_eq!(ip.destination, IpAddr::from(addresses.1));
        prop_assert_eq!((ip.ttl, ip.protocol), (ttl, 6));
        prop_assert_eq!((tcp.source_port, tcp.destination_port), ports);
        prop_assert_eq!((tcp.sequence.0, tcp.window), (numbers.0, numbers.2));
        prop_assert_eq!((tcp.flags.syn(), tcp.flags.fin(), tcp.flags.rst(), tcp.flags.ack()), flags);
        prop_assert_eq!(tcp.payload_length as usize, payload.len());
        prop_assert_eq!(transport_checksum(&bytes, &dissection), Some(true));
    }
}
