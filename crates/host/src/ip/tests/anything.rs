//! Whatever comes in: nothing panics, nothing is held without a bound, and the same input gives the same output.

use proptest::prelude::*;

use super::*;

/// A frame for the router: an Ethernet header, and behind it something that may look like IP.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        Just(vec![0x45, 0]),
        Just(vec![0x60, 0]),
        Just(vec![0x4f, 0]),
        proptest::collection::vec(any::<u8>(), 2),
    ];
    let protocol = prop_oneof![
        Just(1u8),
        Just(6),
        Just(17),
        Just(44),
        Just(43),
        Just(0),
        Just(60),
        Just(58),
        any::<u8>()
    ];
    let body = proptest::collection::vec(any::<u8>(), 0..120);
    (head, protocol, body, any::<u16>(), any::<bool>()).prop_map(
        |(head, protocol, body, field, sane)| {
            let v6 = head[0] >> 4 == 6;
            let mut packet = head;
            if v6 {
                packet.extend([0, 0]);
                packet.extend((body.len() as u16).to_be_bytes());
                packet.extend([protocol, 64]);
                for address in ["fd77::1", "fd77::2"] {
                    let address: std::net::Ipv6Addr = address.parse().unwrap();
                    packet.extend(address.octets());
                }
            } else {
                packet.extend(((20 + body.len()) as u16).to_be_bytes());
                packet.extend(field.to_be_bytes());
                packet.extend((field & 0x3007).to_be_bytes());
                packet.extend([64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
                if sane {
                    crate::ip::bytes::finish_ipv4_header(&mut packet);
                }
            }
            packet.extend(body);
            let mut frame = vec![2, 0, 0, 0, 2, 2, 2, 0, 0, 0, 1, 2];
            frame.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
            frame.extend(packet);
            frame
        },
    )
}

/// Everything that can be seen of a world from outside.
fn shown(world: &World) -> String {
    let hosts = world.hosts.iter().map(|host| {
        let counters = host.counters();
        counters.snmp(false, 64)
            + &counters.netstat()
            + &counters.snmp6()
            + &host.sockets_text()
            + &host.rt_cache_text()
            + &host.sockstat_text(IpVersion::V4)
    });
    hosts.collect()
}

/// Feeds frames to the router; what can be seen behind it.
fn fed(frames: &[Vec<u8>]) -> String {
    let mut world = world();
    world.udp(ROUTER, "::", 5000);
    for frame in frames {
        let now = world.now;
        let packet = crate::Packet::from_frame(frame.clone());
        world.hosts[ROUTER].handle_frame(now, DeviceId(1), packet);
        world.run(0.001);
    }
    world.run(70.0);
    // Every fragment has gone by now.
    for version in [IpVersion::V4, IpVersion::V6] {
        assert_eq!(
            world.hosts[ROUTER].stack.ip.reassembly.usage(version),
            (0, 0)
        );
    }
    shown(&world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_frames_are_survived_alike(frames in proptest::collection::vec(frame(), 1..20)) {
        prop_assert_eq!(fed(&frames), fed(&frames));
    }

    #[test]
    fn any_order_of_calls_is_survived(
        calls in proptest::collection::vec((0u8..7, 0u64..6, any::<u16>(), 0usize..3000), 1..60)
    ) {
        let mut world = world();
        let addresses = ["10.78.0.2", "fd78::2", "0.0.0.0", "::", "10.77.0.1", "10.9.9.9", "224.0.0.9"];
        for (call, socket, number, size) in calls {
            let id = SocketId(socket + 2);
            let address = at(addresses[usize::from(number) % addresses.len()], number);
            let now = world.now;
            let host = &mut world.hosts[SERVER];
            match call {
                0 => {
                    let kinds = [
                        SocketKind::Udp,
                        SocketKind::Icmp,
                        SocketKind::Raw { protocol: number as u8, header_included: number > 999 },
                        SocketKind::Packet { bypass: false },
                    ];
                    let version = if number % 2 == 0 { IpVersion::V4 } else { IpVersion::V6 };
                    host.socket(kinds[size % kinds.len()], version).unwrap();
                }
                1 => drop(host.bind(id, address)),
                2 => drop(host.connect(now, id, address)),
                3 => drop(host.send_to(now, id, &vec![8; size], Some(address))),
                4 => drop(host.receive_from(now, id, &mut vec![0; size])),
                5 => host.close(now, id),
                _ => drop(host.set_option(id, SocketOption::MtuDiscover(number as u8 % 6))),
            }
            world.run(0.0001);
        }
        world.run(10.0);
        // What was sent is given back.
        for line in world.hosts[SERVER].sockets_text().lines() {
            prop_assert_eq!(line.split(' ').nth(3), Some("0"), "{}", line);
        }
    }
}
