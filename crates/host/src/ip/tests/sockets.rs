//! Datagram sockets: who gets what, what finds no room, who is listed.

use transect_config::read_sockets;

use super::*;

#[test]
fn a_receive_buffer_holds_what_linux_s_holds() {
    // SO_RCVBUF, bytes of each datagram, how many of 200 are queued, and what they hold: measured.
    for (asked, size, queued, held) in [
        (1, 10, 2, 1664),
        (1, 1000, 1, 2304),
        (2304, 100, 5, 4160),
        (2304, 1000, 2, 4608),
        (4096, 10, 9, 7488),
        (4096, 1372, 3, 6912),
        (10_000, 100, 24, 19_968),
    ] {
        let mut world = world();
        let server = world.udp(SERVER, "10.78.0.2", 5000);
        world.option(SERVER, server, SocketOption::ReceiveBuffer(asked));
        let client = world.udp(CLIENT, "0.0.0.0", 5001);
        for _ in 0..200 {
            let payload = vec![0; size];
            world
                .send(CLIENT, client, &payload, Some(at("10.78.0.2", 5000)))
                .unwrap();
            world.run(0.0001);
        }
        let listed = read_sockets(&world.hosts[SERVER].sockets_text());
        assert_eq!(listed.problems, []);
        let memory = listed.value[0].memory.unwrap();
        assert_eq!((memory.rmem, memory.drops), (held, 200 - queued));
        let counters = world.hosts[SERVER].counters();
        assert_eq!(counters.udp4.named("RcvbufErrors"), Some(200 - queued));
        assert_eq!(counters.udp4.named("InErrors"), Some(200 - queued));
        assert_eq!(counters.udp4.named("InDatagrams"), Some(0));
        let mut read = 0;
        while world.receive(SERVER, server).is_ok() {
            read += 1;
        }
        assert_eq!(read, queued);
        assert_eq!(
            world.hosts[SERVER].counters().udp4.named("InDatagrams"),
            Some(queued)
        );
    }
}

#[test]
fn the_best_fitting_socket_gets_the_datagram() {
    let mut world = world();
    let any = world.udp(ROUTER, "0.0.0.0", 5000);
    let same = at("10.77.0.2", 5000);
    let specific = world.socket(ROUTER, SocketKind::Udp, IpVersion::V4);
    assert_eq!(
        world.hosts[ROUTER].bind(specific, same),
        Err(Errno::Eaddrinuse)
    );
    world.option(ROUTER, any, SocketOption::ReuseAddress(true));
    world.option(ROUTER, specific, SocketOption::ReuseAddress(true));
    world.hosts[ROUTER].bind(specific, same).unwrap();
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    for to in ["10.77.0.2", "10.78.0.1"] {
        world
            .send(CLIENT, client, to.as_bytes(), Some(at(to, 5000)))
            .unwrap();
    }
    world.run(0.1);
    assert_eq!(
        world.receive(ROUTER, specific),
        Ok((b"10.77.0.2".to_vec(), at("10.77.0.1", 5001)))
    );
    assert_eq!(world.receive(ROUTER, any).unwrap().0, b"10.78.0.1");
    assert_eq!(world.receive(ROUTER, specific), Err(Errno::Eagain));
}

#[test]
fn an_ipv6_socket_hears_ipv4_by_mapped_addresses() {
    let mut world = world();
    let both = world.udp(SERVER, "::", 5000);
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    world
        .send(CLIENT, client, b"over IPv4", Some(at("10.78.0.2", 5000)))
        .unwrap();
    world.run(0.1);
    let (bytes, from) = world.receive(SERVER, both).unwrap();
    assert_eq!(
        (bytes.as_slice(), from),
        (&b"over IPv4"[..], at("::ffff:10.77.0.1", 5001))
    );
    // And answers.
    world.send(SERVER, both, b"answer", Some(from)).unwrap();
    world.run(0.1);
    assert_eq!(
        world.receive(CLIENT, client),
        Ok((b"answer".to_vec(), at("10.78.0.2", 5000)))
    );
}

#[test]
fn sockets_are_listed_as_ss_lists_them() {
    let mut world = world();
    world.udp(SERVER, "0.0.0.0", 5000);
    let connected = world.udp(SERVER, "10.78.0.2", 5001);
    let now = world.now;
    world.hosts[SERVER]
        .connect(now, connected, at("10.77.0.1", 53))
        .unwrap();
    world.udp(SERVER, "::", 5002);
    let raw = world.socket(
        SERVER,
        SocketKind::Raw {
            protocol: 200,
            header_included: false,
        },
        IpVersion::V4,
    );
    world.option(SERVER, raw, SocketOption::BindToDevice("w2".to_owned()));
    let text = world.hosts[SERVER].sockets_text();
    let shown: Vec<String> = text
        .lines()
        .map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            words.retain(|word| !word.starts_with("ino:") && !word.starts_with("sk:"));
            words.join(" ")
        })
        .collect();
    let skmem = "skmem:(r0,rb212992,t0,tb212992,f0,w0,o0,bl0,d0)";
    assert_eq!(
        shown,
        [
            format!("raw UNCONN 0 0 0.0.0.0%w2:200 0.0.0.0:* {skmem}"),
            format!("udp UNCONN 0 0 0.0.0.0:5000 0.0.0.0:* {skmem}"),
            format!("udp ESTAB 0 0 10.78.0.2:5001 10.77.0.1:53 {skmem}"),
            format!("udp UNCONN 0 0 *:5002 *:* v6only:0 {skmem}"),
        ]
    );
    let read = read_sockets(&text);
    assert_eq!(read.problems, []);
    assert_eq!(read.value.len(), 4);
}

#[test]
fn a_filter_and_a_bad_checksum_drop_with_their_counters() {
    let mut world = world();
    let server = world.udp(SERVER, "10.78.0.2", 5000);
    world.option(SERVER, server, SocketOption::Filter(false));
    let client = world.udp(CLIENT, "10.77.0.1", 5001);
    world
        .send(CLIENT, client, b"hello", Some(at("10.78.0.2", 5000)))
        .unwrap();
    world.run(0.1);
    assert_eq!(world.deaths(SERVER), ["socket_input SOCKET_FILTER"]);
    let udp = |world: &World, name| world.hosts[SERVER].counters().udp4.named(name);
    assert_eq!(udp(&world, "InErrors"), Some(1));
    world.close(SERVER, server);
    // A large datagram's checksum is verified when it is read.
    let server = world.udp(SERVER, "10.78.0.2", 5000);
    let raw = world.raw_socket(CLIENT, IpVersion::V4);
    for length in [8usize, 200] {
        let mut packet = vec![
            0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 78, 0, 2,
        ];
        packet.extend([0, 9, 0x13, 0x88, 0, (8 + length) as u8, 0xba, 0xad]);
        packet.resize(28 + length, 0);
        world
            .send(CLIENT, raw, &packet, Some(at("10.78.0.2", 0)))
            .unwrap();
    }
    world.run(0.1);
    assert_eq!(udp(&world, "InCsumErrors"), Some(1));
    assert_eq!(world.deaths(SERVER), ["transport_input UDP_CSUM"]);
    assert_eq!(world.receive(SERVER, server), Err(Errno::Eagain));
    assert_eq!(udp(&world, "InCsumErrors"), Some(2));
    assert_eq!(udp(&world, "InErrors"), Some(3));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut world = world();
    let socket = world.socket(SERVER, SocketKind::Udp, IpVersion::V4);
    let bind = |world: &mut World, address| world.hosts[SERVER].bind(socket, address);
    assert_eq!(
        bind(&mut world, at("10.1.2.3", 5000)),
        Err(Errno::Eaddrnotavail)
    );
    assert_eq!(
        world.send(SERVER, socket, b"", None),
        Err(Errno::Edestaddrreq)
    );
    assert_eq!(
        world.send(SERVER, socket, b"", Some(at("10.77.0.1", 0))),
        Err(Errno::Einval)
    );
    assert_eq!(
        world.send(SERVER, socket, b"", Some(at("fd77::1", 9))),
        Err(Errno::Eafnosupport)
    );
    assert_eq!(
        world.send(SERVER, socket, &[0; 65_508], Some(at("10.77.0.1", 9))),
        Err(Errno::Emsgsize)
    );
    world.option(SERVER, socket, SocketOption::MtuDiscover(2));
    assert_eq!(
        world.send(SERVER, socket, &[0; 1400], Some(at("10.77.0.1", 9))),
        Err(Errno::Emsgsize)
    );
    let now = world.now;
    world.hosts[SERVER].reconfigure(now, |config| config.routes4 = Some(Vec::new()));
    assert_eq!(
        world.send(SERVER, socket, b"", Some(at("10.77.0.1", 9))),
        Err(Errno::Enetunreach)
    );
    let counters = world.hosts[SERVER].counters();
    assert_eq!(counters.ip4.named("OutNoRoutes"), Some(1));
    assert_eq!(counters.ip4.named("OutRequests"), Some(0));
}

#[test]
fn a_broadcast_is_heard_by_its_sender_too() {
    let mut world = world();
    let client = world.udp(CLIENT, "0.0.0.0", 7777);
    let router = world.udp(ROUTER, "0.0.0.0", 7777);
    world.option(CLIENT, client, SocketOption::Broadcast(true));
    for to in ["10.77.0.255", "255.255.255.255"] {
        world
            .send(CLIENT, client, b"hello", Some(at(to, 7777)))
            .unwrap();
    }
    world.run(0.1);
    assert_eq!(
        world.receive(CLIENT, client),
        Ok((b"hello".to_vec(), at("10.77.0.1", 7777)))
    );
    assert_eq!(world.receive(ROUTER, router).unwrap().0, b"hello");
    assert_eq!(
        world.moved(CLIENT),
        "IpInReceives+2 IpInDelivers+2 IpOutRequests+2 IpOutTransmits+2 UdpInDatagrams+1 UdpOutDatagrams+2 IpExtInBcastPkts+2 IpExtOutBcastPkts+2 IpExtInOctets+66 IpExtOutOctets+66 IpExtInBcastOctets+66 IpExtOutBcastOctets+66 IpExtInNoECTPkts+2"
    );
}

#[test]
fn the_longest_datagrams_go_and_come() {
    let mut world = world();
    for (to, longest) in [("10.78.0.2", 65_507), ("fd78::2", 65_527)] {
        let any = if to.contains(':') { "::" } else { "0.0.0.0" };
        let server = world.udp(SERVER, any, 5000);
        let client = world.udp(CLIENT, any, 5001);
        let payload: Vec<u8> = (0..longest).map(|at| (at % 251) as u8).collect();
        let to = Some(at(to, 5000));
        assert_eq!(world.send(CLIENT, client, &payload, to), Ok(longest));
        world.run(0.1);
        if let Err(error) = world
            .receive(SERVER, server)
            .map(|(bytes, _)| assert!(bytes == payload))
        {
            // The first ones were too big for the router's link.
            assert_eq!(error, Errno::Eagain);
            assert_eq!(world.send(CLIENT, client, &payload, to), Ok(longest));
            world.run(0.1);
            assert!(world.receive(SERVER, server).unwrap().0 == payload);
        }
        assert_eq!(
            world.send(CLIENT, client, &vec![0; longest + 1], to),
            Err(Errno::Emsgsize)
        );
        world.close(SERVER, server);
        world.close(CLIENT, client);
    }
}

#[test]
fn this_host_is_reached_by_lo() {
    let mut world = world();
    for (address, from) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.5", "127.0.0.1"),
        ("10.78.0.2", "10.78.0.2"),
        ("::1", "::1"),
        ("fd78::2", "fd78::2"),
    ] {
        let any = if address.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        let server = world.udp(SERVER, any, 5000);
        let client = world.udp(SERVER, any, 5001);
        world
            .send(SERVER, client, b"me", Some(at(address, 5000)))
            .unwrap();
        world.run(0.01);
        assert_eq!(
            world.receive(SERVER, server),
            Ok((b"me".to_vec(), at(from, 5001))),
            "{address}"
        );
        world.close(SERVER, server);
        world.close(SERVER, client);
    }
}
