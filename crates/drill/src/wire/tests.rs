use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::script::{Action, Script};

fn ends(v6: bool) -> Ends {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    match v6 {
        false => Ends {
            source: address("192.0.2.1:4000"),
            destination: address("192.168.0.1:8080"),
        },
        true => Ends {
            source: address("[2001:db8::1]:4000"),
            destination: address("[2001:db8::2]:8080"),
        },
    }
}

fn packet(text: &str) -> crate::script::Packet {
    let script = Script::parse(&format!("0 {text}")).unwrap();
    match script.events.into_iter().next().unwrap().action {
        Action::Packet(packet) => packet,
        _ => panic!("{text}"),
    }
}

/// Builds and reads again; the printed form.
fn round(text: &str, v6: bool) -> String {
    let bytes = build(&packet(text), ends(v6), &[]).unwrap();
    let live = read(&bytes).unwrap();
    assert_eq!(live.ends.source, ends(v6).source, "{text}");
    live.packet.to_string()
}

#[test]
fn what_is_built_can_be_read() {
    let text = "> [tos 0x02, ttl 64] SEWA 7:12(5) win 100 <mss 1460,sackOK,TS val 1 ecr 2,nop,wscale 7,FO 0102>";
    assert_eq!(round(text, false), text);
    insta::assert_snapshot!(round("< P. 1:3(2) ack 9 win 5 urg 1 <sack 1:2 3:4,nop,nop>", true), @"> [tos 0x00, ttl 255, flowlabel 0x0] P. 1:3(2) ack 9 win 5 urg 1 <sack 1:2 3:4,nop,nop>");
    insta::assert_snapshot!(round("< . 1:1(0) ack 9 win 5 <ECN e1b 1 ceb 2 e0b 3,nop,md5>", false), @"> [tos 0x00, ttl 255] . 1:1(0) ack 9 win 5 <ECN e1b 1 ceb 2 e0b 3,nop,md5 00000000000000000000000000000000,eol>");
}

#[test]
fn bytes_of_a_syn() {
    let bytes = build(&packet("< S 0:0(0) win 1000 <mss 1460>"), ends(false), &[]).unwrap();
    let expected = [
        0x45, 0, 0, 44, 0, 0, 0x40, 0, 255, 6, 0x78, 0x78, 192, 0, 2, 1, 192, 168, 0, 1, 0x0f,
        0xa0, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 3, 0xe8, 0, 0, 0, 0, 2, 4, 5, 0xb4,
    ];
    for (index, (byte, expected)) in bytes.iter().zip(expected).enumerate() {
        // The checksums are checked below.
        if ![10, 11, 36, 37].contains(&index) {
            assert_eq!(*byte, expected, "byte {index}");
        }
    }
    assert_eq!(checksum(&[&bytes[..20]]), 0);
    let pseudo = pseudo_header(
        ends(false).source.ip(),
        ends(false).destination.ip(),
        TCP,
        24,
    );
    assert_eq!(checksum(&[&pseudo, &bytes[20..]]), 0);
}

#[test]
fn datagrams_and_errors() {
    assert_eq!(
        round("> udp (100)", false),
        "> [tos 0x00, ttl 255] udp (100)"
    );
    let inner = build(&packet("< . 1:1461(1460) ack 1 win 1"), ends(true), &[]).unwrap();
    let outer = packet("< icmp packet_too_big mtu 1300");
    let bytes = build(&outer, ends(true).reversed(), &inner).unwrap();
    let live = read(&bytes).unwrap();
    assert_eq!(live.quoted, Some(ends(true)));
    insta::assert_snapshot!(live.packet, @"> [tos 0x00, ttl 255, flowlabel 0x0] icmp packet_too_big mtu 1300 [1:1173(1172)]");
    let error = build(&packet("< icmp foo"), ends(false), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`foo` is no type of ICMP message; these are: echo_reply, unreachable")
    );
}

#[test]
fn what_cannot_be_sent_says_so() {
    let error = |text: &str| {
        build(&packet(text), ends(false), &[])
            .unwrap_err()
            .to_string()
    };
    assert!(error("< . 1:1(0) <...>").contains("`<...>`"));
    assert!(error("< [ect01] . 1:1(0)").contains("`ect01`"));
    let sacks = "sack 1:2 3:4 5:6 7:8 9:10";
    assert!(error(&format!("< . 1:1(0) <{sacks}>")).contains("room for 40"));
}

proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), version in 4..8_u8, protocol in prop_oneof![Just(6_u8), Just(17), Just(1), Just(58)]) {
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | *first & 0xf;
        }
        let place = if version == 4 { 9 } else { 6 };
        if let Some(byte) = bytes.get_mut(place) {
            *byte = protocol;
        }
        let _ = read(&bytes);
    }
}
