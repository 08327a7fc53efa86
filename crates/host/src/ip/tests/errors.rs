//! What is refused on the way: which counters move, and what the sender is told.

use super::*;

/// Pings something that is refused; the counters of the router.
fn refused(world: &mut World, to: &str) -> String {
    world.forget();
    let ping = world.ping_socket(CLIENT, to);
    world.ping(CLIENT, ping, to, 56).unwrap();
    world.run(0.1);
    world.close(CLIENT, ping);
    let moved = world.moved(ROUTER);
    if to.contains('.') {
        // The limit on errors fills up again.
        world.run(6.0);
    }
    moved
}

#[test]
fn routes_that_refuse_ipv4() {
    let routes = "prohibit 10.99.0.0/16\nunreachable 10.98.0.0/16\nblackhole 10.97.0.0/16";
    let mut world = world_with(routes, "");
    let told = "IpInReceives+1 IpOutRequests+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutDestUnreachs+1 IcmpMsgOutType3+1";
    let octets = "IpExtInOctets+84 IpExtOutOctets+112 IpExtInNoECTPkts+1";
    let expected = format!("{told} {octets}");
    assert_eq!(refused(&mut world, "10.99.0.1"), expected);
    assert_eq!(world.deaths(ROUTER), ["route_input NOT_SPECIFIED"]);
    assert_eq!(refused(&mut world, "10.98.0.1"), expected);
    assert_eq!(
        refused(&mut world, "10.97.0.1"),
        "IpInReceives+1 IpExtInOctets+84 IpExtInNoECTPkts+1"
    );
    assert_eq!(
        refused(&mut world, "10.96.0.1"),
        format!("{told} IpExtInNoRoutes+1 {octets}")
    );
    assert_eq!(world.deaths(ROUTER), ["route_input IP_INNOROUTES"]);
}

#[test]
fn routes_that_refuse_ipv6() {
    let routes = "prohibit fd99::/64 dev lo metric 1024\nunreachable fd98::/64 dev lo metric 1024\nblackhole fd97::/64 dev lo metric 1024";
    let mut world = world_with("", routes);
    let told = "Ip6InReceives+1 Ip6InNoRoutes+1 Ip6OutRequests+1 Ip6InOctets+104 Ip6OutOctets+152 Ip6InNoECTPkts+1 Ip6OutTransmits+1 Icmp6OutMsgs+1 Icmp6OutDestUnreachs+1 Icmp6OutType1+1";
    for to in ["fd99::1", "fd98::1", "fd96::1"] {
        assert_eq!(refused(&mut world, to), told, "{to}");
    }
    assert_eq!(
        refused(&mut world, "fd97::1"),
        "Ip6InReceives+1 Ip6InOctets+104 Ip6InNoECTPkts+1"
    );
}

#[test]
fn a_ttl_that_runs_out() {
    let mut world = world();
    let ping = world.ping_socket(CLIENT, "10.78.0.2");
    world.option(CLIENT, ping, SocketOption::Ttl(1));
    world.ping(CLIENT, ping, "10.78.0.2", 56).unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+1 IpInHdrErrors+1 IpOutRequests+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutTimeExcds+1 IcmpMsgOutType11+1 IpExtInOctets+84 IpExtOutOctets+112 IpExtInNoECTPkts+1"
    );
    assert_eq!(world.deaths(ROUTER), ["forward IP_INHDR"]);
    world.forget();
    let ping = world.ping_socket(CLIENT, "fd78::2");
    world.option(CLIENT, ping, SocketOption::Ttl(1));
    world.ping(CLIENT, ping, "fd78::2", 56).unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "Ip6InReceives+1 Ip6InHdrErrors+1 Ip6OutRequests+1 Ip6InOctets+104 Ip6OutOctets+152 Ip6InNoECTPkts+1 Ip6OutTransmits+1 Icmp6OutMsgs+1 Icmp6OutTimeExcds+1 Icmp6OutType3+1"
    );
}

#[test]
fn too_big_for_the_router_s_link() {
    let mut world = world();
    let ping = world.ping_socket(CLIENT, "10.78.0.2");
    world.option(CLIENT, ping, SocketOption::MtuDiscover(2));
    world.ping(CLIENT, ping, "10.78.0.2", 1450).unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "IpForwDatagrams+1 IpInReceives+1 IpOutRequests+1 IpFragFails+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutDestUnreachs+1 IcmpMsgOutType3+1 IpExtInOctets+1478 IpExtOutOctets+576 IpExtInNoECTPkts+1"
            .replace("IpForwDatagrams+1 IpInReceives+1", "IpInReceives+1 IpForwDatagrams+1")
    );
    assert_eq!(world.deaths(ROUTER), ["forward PKT_TOO_BIG"]);
    // The path MTU is known now: the same does not leave any more.
    assert_eq!(
        world.ping(CLIENT, ping, "10.78.0.2", 1450),
        Err(Errno::Emsgsize)
    );
    world.run(601.0);
    assert_eq!(world.ping(CLIENT, ping, "10.78.0.2", 1450), Ok(1458));
    world.run(0.1);
    world.forget();
    let ping = world.ping_socket(CLIENT, "fd78::2");
    world.option(CLIENT, ping, SocketOption::MtuDiscover(2));
    world.ping(CLIENT, ping, "fd78::2", 1450).unwrap();
    world.run(0.1);
    let moved = world.moved(ROUTER);
    for part in [
        "Ip6InTooBigErrors+1",
        "Ip6OutForwDatagrams+1",
        "Ip6FragFails+1",
        "Ip6OutOctets+1280",
        "Icmp6OutPktTooBigs+1",
    ] {
        assert!(moved.contains(part), "{part} is missing: {moved}");
    }
}

#[test]
fn a_port_without_a_listener() {
    let mut world = world();
    for (local, to) in [("10.77.0.1", "10.78.0.2"), ("fd77::1", "fd78::2")] {
        let client = world.udp(CLIENT, local, 5001);
        let now = world.now;
        world.hosts[CLIENT].connect(now, client, at(to, 9)).unwrap();
        world.send(CLIENT, client, b"hello", None).unwrap();
        world.run(0.1);
        assert_eq!(world.receive(CLIENT, client), Err(Errno::Econnrefused));
        assert_eq!(world.receive(CLIENT, client), Err(Errno::Eagain));
    }
    assert_eq!(
        world.deaths(SERVER),
        ["socket_lookup NO_SOCKET", "socket_lookup NO_SOCKET"]
    );
    let counters = world.hosts[SERVER].counters();
    assert_eq!(counters.udp4.named("NoPorts"), Some(1));
    assert_eq!(counters.udp6.named("NoPorts"), Some(1));
}

#[test]
fn errors_are_limited_by_target() {
    let mut world = world();
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    for _ in 0..20 {
        world
            .send(CLIENT, client, b"hello", Some(at("10.78.0.2", 9)))
            .unwrap();
    }
    world.run(0.01);
    let icmp = |world: &World, name| world.hosts[SERVER].counters().icmp.named(name);
    assert_eq!(icmp(&world, "OutDestUnreachs"), Some(6), "a burst of six");
    assert_eq!(icmp(&world, "OutRateLimitHost"), Some(14));
    world.run(1.1);
    world
        .send(CLIENT, client, b"hello", Some(at("10.78.0.2", 9)))
        .unwrap();
    world.run(0.01);
    assert_eq!(
        icmp(&world, "OutDestUnreachs"),
        Some(7),
        "then one a second"
    );
}

#[test]
fn errors_about_routes_are_limited_twice() {
    // `ip_error` takes from the target's bucket, and ICMP takes again: of ten, two are told and one is counted as limited.
    let mut world = world();
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    for _ in 0..10 {
        world
            .send(CLIENT, client, b"hello", Some(at("10.96.0.1", 9)))
            .unwrap();
    }
    world.run(0.01);
    let icmp = &world.hosts[ROUTER].counters().icmp;
    assert_eq!(icmp.named("OutDestUnreachs"), Some(2));
    assert_eq!(icmp.named("OutRateLimitHost"), Some(1));
}

#[test]
fn a_neighbor_that_does_not_answer() {
    let mut world = world();
    let raw = world.socket(
        CLIENT,
        SocketKind::Raw {
            protocol: 1,
            header_included: false,
        },
        IpVersion::V4,
    );
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    world
        .send(CLIENT, client, b"hello", Some(at("10.77.0.99", 9)))
        .unwrap();
    world.run(4.0);
    assert_eq!(world.deaths(CLIENT), ["neighbor NEIGH_FAILED"]);
    // The host tells itself, by lo: "host unreachable".
    let (error, from) = world.receive(CLIENT, raw).unwrap();
    assert_eq!(from, at("10.77.0.1", 0));
    assert_eq!(error[20..22], [3, 1]);
}

/// Sends one IPv4 packet with a header of its own; the counters of the router, to which it goes.
fn raw(world: &mut World, protocol: u8, options: &[u8], body: &[u8]) -> String {
    world.forget();
    let socket = world.raw_socket(CLIENT, IpVersion::V4);
    let mut packet = vec![
        0x45 + (options.len() / 4) as u8,
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        64,
        protocol,
        0,
        0,
    ];
    packet.extend([10, 77, 0, 1, 10, 77, 0, 2]);
    packet.extend(options);
    packet.extend(body);
    world
        .send(CLIENT, socket, &packet, Some(at("10.77.0.2", 0)))
        .unwrap();
    world.close(CLIENT, socket);
    world.run(2.0);
    world.moved(ROUTER)
}

#[test]
fn what_nobody_can_use() {
    let mut world = world();
    assert_eq!(
        raw(&mut world, 200, &[], &[b'x'; 20]),
        "IpInReceives+1 IpInUnknownProtos+1 IpOutRequests+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutDestUnreachs+1 IcmpMsgOutType3+1 IpExtInOctets+40 IpExtOutOctets+68 IpExtInNoECTPkts+1"
    );
    // A raw packet with its own header is no request of IP's.
    assert!(
        world
            .moved(CLIENT)
            .starts_with("IpInReceives+1 IpInDelivers+1 IpOutTransmits+1")
    );
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    assert_eq!(
        raw(&mut world, 1, &[0x44, 9, 0, 0], &echo),
        "IpInReceives+1 IpInHdrErrors+1 IpOutRequests+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutParmProbs+1 IcmpMsgOutType12+1 IpExtInOctets+32 IpExtOutOctets+60 IpExtInNoECTPkts+1"
    );
    assert_eq!(
        raw(&mut world, 1, &[0x83, 7, 4, 10, 78, 0, 2, 0], &echo),
        "IpInReceives+1 IpExtInOctets+36 IpExtInNoECTPkts+1"
    );
    let silent = "IpInReceives+1 IpInDelivers+1";
    let octets = |length: usize| format!("IpExtInOctets+{length} IpExtInNoECTPkts+1");
    assert_eq!(
        raw(&mut world, 1, &[], &[8, 0, 0x11, 0x11, 0, 0, 0, 0]),
        format!(
            "{silent} IcmpInMsgs+1 IcmpInErrors+1 IcmpInCsumErrors+1 {}",
            octets(28)
        )
    );
    assert_eq!(
        raw(&mut world, 1, &[], &[40, 0, 0xd7, 0xff, 0, 0, 0, 0]),
        format!(
            "{silent} IcmpInMsgs+1 IcmpInErrors+1 IcmpMsgInType40+1 {}",
            octets(28)
        )
    );
    assert_eq!(
        raw(&mut world, 1, &[], &[8, 0, 0xf7, 0xff]),
        format!("{silent} IcmpInMsgs+1 IcmpInErrors+1 {}", octets(24))
    );
    assert_eq!(
        raw(&mut world, 17, &[], &[0, 1, 0x13, 0x88, 0, 20, 0, 0]),
        format!("{silent} UdpInErrors+1 {}", octets(28))
    );
    assert_eq!(
        raw(&mut world, 17, &[], b"1234"),
        format!("{silent} UdpInErrors+1 {}", octets(24))
    );
    assert_eq!(
        raw(&mut world, 2, &[], &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]),
        format!("{silent} {}", octets(28))
    );
    // The timestamp's reply is counted as an echo reply: so does Linux 6.18.
    let mut timestamp = vec![13, 0, 0xf2, 0xff];
    timestamp.resize(20, 0);
    assert_eq!(
        raw(&mut world, 1, &[], &timestamp),
        "IpInReceives+1 IpInDelivers+1 IpOutRequests+1 IpOutTransmits+1 IcmpInMsgs+1 IcmpInTimestamps+1 IcmpOutMsgs+1 IcmpOutEchoReps+1 IcmpMsgInType13+1 IcmpMsgOutType0+1 IpExtInOctets+40 IpExtOutOctets+40 IpExtInNoECTPkts+1"
    );
}

#[test]
fn an_unknown_next_header_of_ipv6() {
    let mut world = world();
    let socket = world.raw_socket(CLIENT, IpVersion::V6);
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, 200, 64];
    for address in ["fd77::1", "fd77::2"] {
        packet.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    packet.extend([b'x'; 8]);
    world
        .send(CLIENT, socket, &packet, Some(at("fd77::2", 0)))
        .unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "Ip6InReceives+1 Ip6InUnknownProtos+1 Ip6OutRequests+1 Ip6InOctets+48 Ip6OutOctets+96 Ip6InNoECTPkts+1 Ip6OutTransmits+1 Icmp6OutMsgs+1 Icmp6OutParmProblems+1 Icmp6OutType4+1"
    );
    assert_eq!(
        world.moved(CLIENT),
        "Ip6InReceives+1 Ip6InDelivers+1 Ip6OutRequests+1 Ip6InOctets+96 Ip6OutOctets+48 Ip6InNoECTPkts+1 Ip6OutTransmits+1 Icmp6InMsgs+1 Icmp6InParmProblems+1 Icmp6InType4+1"
    );
}

#[test]
fn a_broadcast_ping_is_heard_and_not_answered() {
    let mut world = world();
    let ping = world.ping_socket(CLIENT, "10.77.0.255");
    assert_eq!(
        world.ping(CLIENT, ping, "10.77.0.255", 56),
        Err(Errno::Eacces)
    );
    world.option(CLIENT, ping, SocketOption::Broadcast(true));
    world.ping(CLIENT, ping, "10.77.0.255", 56).unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+1 IpInDelivers+1 IcmpInMsgs+1 IcmpInErrors+1 IcmpInEchos+1 IcmpMsgInType8+1 IpExtInBcastPkts+1 IpExtInOctets+84 IpExtInBcastOctets+84 IpExtInNoECTPkts+1"
    );
}

#[test]
fn damage_in_the_header_kills_where_linux_kills() {
    let mut world = world();
    let cases: [(&[u8], &str, &str); 4] = [
        (
            &[0x45, 0, 0, 20],
            "ip_input IP_CSUM",
            "IpInReceives+1 IpInHdrErrors+1 IpExtInOctets+20 IpExtInCsumErrors+1 IpExtInNoECTPkts+1",
        ),
        (
            &[0x44, 0, 0, 20],
            "ip_input IP_INHDR",
            "IpInReceives+1 IpInHdrErrors+1 IpExtInOctets+20",
        ),
        (
            &[0x46, 0, 0, 20],
            "ip_input IP_INHDR",
            "IpInReceives+1 IpInHdrErrors+1 IpExtInOctets+20 IpExtInNoECTPkts+1",
        ),
        (
            &[0x55, 0, 0, 20],
            "ip_input IP_INHDR",
            "IpInReceives+1 IpInHdrErrors+1 IpExtInOctets+20",
        ),
    ];
    for (start, death, moved) in cases {
        world.forget();
        let mut frame = vec![2, 0, 0, 0, 2, 2, 2, 0, 0, 0, 1, 2, 8, 0];
        frame.extend(start);
        frame.resize(34, 0);
        let now = world.now;
        world.hosts[ROUTER].handle_frame(now, DeviceId(1), crate::Packet::from_frame(frame));
        assert_eq!(world.deaths(ROUTER), [death]);
        assert_eq!(world.moved(ROUTER), moved);
    }
}

#[test]
fn a_datagram_too_long_is_told_of_with_the_port_it_was_for() {
    // Over IPv4 with that of the peer, and there is none (ip_local_error, ipv6_local_error).
    for (own, to, port) in [("0.0.0.0", "10.78.0.2", 0), ("::", "fd78::2", 9)] {
        let mut world = world();
        let socket = world.udp(CLIENT, own, 4000);
        world.option(CLIENT, socket, SocketOption::ReceiveErrors(true));
        world.option(CLIENT, socket, SocketOption::MtuDiscover(2));
        let sent = world.send(CLIENT, socket, &[0; 2000], Some(at(to, 9)));
        assert_eq!(sent, Err(crate::socket::Errno::Emsgsize));
        let told = world.hosts[CLIENT].take_queued_error(socket).unwrap();
        assert_eq!(told.destination, Some(at(to, port)));
    }
}
