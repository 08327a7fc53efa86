//! Whatever arrives, and whatever is cut or merged.

use proptest::prelude::*;

use super::*;
use crate::{XdpAction, XdpProgram, XdpRule};

/// A host that takes part in everything: tapped, merging, filtering.
fn busy_host() -> Host {
    let features = Features {
        gro: true,
        ..Features::VETH
    };
    let mut host = host_of(config(), features);
    host.set_tapped(ETH0, true);
    host.drop_at_tc(ETH0, false, 7);
    let rule = XdpRule {
        filter: "udp port 8 or tcp port 8".to_owned(),
        action: XdpAction::Drop,
    };
    let program = XdpProgram {
        mode: transect_config::XdpMode::Native,
        name: "drop".to_owned(),
        rules: vec![rule],
    };
    host.set_xdp(Timestamp(0), ETH0, Some(program)).unwrap();
    host
}

/// Bytes behind an Ethernet header for this host, of a type that it looks into.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let types = prop_oneof![
        Just([0x08, 0x00]),
        Just([0x08, 0x06]),
        Just([0x86, 0xdd]),
        Just([0x81, 0x00]),
        any::<[u8; 2]>(),
    ];
    let destination = prop_oneof![Just(OWN.0), Just([0xff; 6]), any::<[u8; 6]>()];
    let payload = proptest::collection::vec(any::<u8>(), 0..120);
    (destination, types, payload)
        .prop_map(|(to, ethertype, payload)| [&to[..], &PEER.0, &ethertype, &payload].concat())
}

/// Neighbour discovery with a checksum that holds, so that it gets to its options.
fn discovery(kind: u8, flags: u8, options: &[u8]) -> Vec<u8> {
    use crate::ip::bytes::{fold, ones_sum};
    let source: std::net::Ipv6Addr = "fd00::2".parse().unwrap();
    let own: std::net::Ipv6Addr = "fd00::1".parse().unwrap();
    let target = if kind == 135 { own } else { source };
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend(options);
    let length = u16::try_from(message.len()).unwrap();
    let sum = ones_sum(58 + u32::from(length), &source.octets());
    let sum = ones_sum(ones_sum(sum, &own.octets()), &message);
    message[2..4].copy_from_slice(&(!fold(sum)).to_be_bytes());
    let mut frame = [&OWN.0[..], &PEER.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(length.to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(source.octets());
    frame.extend(own.octets());
    frame.extend(message);
    frame
}

proptest! {
    #[test]
    fn any_frame_is_survived(frames in proptest::collection::vec(frames(), 1..8)) {
        let mut host = busy_host();
        let packets = frames.into_iter().map(Packet::from_frame);
        host.handle_frames(Timestamp(0), ETH0, packets);
        run_until(&mut host, 20.0);
        prop_assert!(host.stack.link.backlog.is_empty());
    }

    #[test]
    fn any_options_of_neighbour_discovery_are_survived(
        advertisement in any::<bool>(),
        flags in any::<u8>(),
        options in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut host = busy_host();
        let frame = discovery(135 + u8::from(advertisement), flags, &options);
        host.handle_frame(Timestamp(0), ETH0, Packet::from_frame(frame));
        run_until(&mut host, 20.0);
    }

    #[test]
    fn what_is_cut_is_merged_again(
        payload in 1usize..20_000,
        size in 100u16..=1_448,
        sequence in any::<u32>(),
        last in prop_oneof![Just(0x10u8), Just(0x18), Just(0x11)],
    ) {
        let mut sender = host_of(config(), Features::NONE);
        know_peer(&mut sender);
        let mut whole = segment(sequence, last, payload);
        let segments = u16::try_from(payload.div_ceil(usize::from(size))).unwrap();
        whole.segmentation = (segments > 1).then_some(Segmentation { size, segments });
        let bytes = whole.network().to_vec();
        send(&mut sender, 0.0, [10, 0, 0, 2], whole).unwrap();
        let frames: Vec<Packet> = std::iter::from_fn(|| sender.poll_transmit())
            .map(|(_, packet)| packet)
            .collect();
        prop_assert_eq!(frames.len(), usize::from(segments));
        let mut receiver = busy_host();
        for frame in &frames {
            let layout = crate::link::offload::Layout::of(frame).unwrap();
            prop_assert!(crate::link::offload::checksum_holds(frame, layout));
        }
        for mut frame in frames {
            crate::link::neighbor::write_header(&mut frame, OWN, PEER);
            receiver.stack.receive_frame(ETH0, frame);
        }
        let mut merged = receiver.stack.next_received().unwrap();
        prop_assert!(receiver.stack.next_received().is_none());
        let cut = (segments > 1).then_some(Segmentation { size, segments });
        prop_assert_eq!(merged.segmentation(), cut);
        // The original's checksum was never more than begun.
        crate::link::finish_checksum(&mut merged);
        let mut original = Packet::from_network(&bytes);
        original.checksum = ChecksumState::Partial;
        crate::link::finish_checksum(&mut original);
        prop_assert_eq!(merged.network(), original.network());
    }

    #[test]
    fn any_options_of_a_discipline_are_answered(
        kind in prop_oneof![Just("tbf"), Just("pfifo"), Just("bfifo"), Just("fq")],
        options in "(\\{.{0,40}\\}|(rate|burst|limit|lat|1|9999999999|8kbit|-3|[a-z]{1,4}| ){0,12})",
    ) {
        let qdisc = transect_config::Qdisc {
            kind: kind.to_owned(),
            options,
            ..transect_config::Qdisc::default()
        };
        let mut host = host();
        know_peer(&mut host);
        let _ = host.replace_qdisc(Timestamp(0), ETH0, qdisc);
        let _ = send(&mut host, 0.0, [10, 0, 0, 2], datagram([10, 0, 0, 2], 100));
        prop_assert_eq!(transect_config::read_qdiscs(&host.qdisc_json()).problems, []);
    }
}
