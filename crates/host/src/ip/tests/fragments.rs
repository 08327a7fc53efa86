//! Fragments: made, put together, lost.

use super::*;

#[test]
fn a_large_ping_goes_and_comes_in_fragments() {
    let mut world = world();
    let ping = world.ping_socket(CLIENT, "10.77.0.2");
    world.ping(CLIENT, ping, "10.77.0.2", 4000).unwrap();
    world.run(0.1);
    assert_eq!(world.receive(CLIENT, ping).unwrap().0.len(), 4008);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+3 IpInDelivers+1 IpOutRequests+1 IpReasmReqds+3 IpReasmOKs+1 IpFragOKs+1 IpFragCreates+3 IpOutTransmits+3 IcmpInMsgs+1 IcmpInEchos+1 IcmpOutMsgs+1 IcmpOutEchoReps+1 IcmpMsgInType8+1 IcmpMsgOutType0+1 IpExtInOctets+4068 IpExtOutOctets+4068 IpExtInNoECTPkts+3"
    );
    world.forget();
    let ping = world.ping_socket(CLIENT, "fd77::2");
    world.ping(CLIENT, ping, "fd77::2", 4000).unwrap();
    world.run(0.1);
    assert_eq!(world.receive(CLIENT, ping).unwrap().0.len(), 4008);
    assert_eq!(
        world.moved(ROUTER),
        "Ip6InReceives+3 Ip6InDelivers+1 Ip6OutRequests+1 Ip6ReasmReqds+3 Ip6ReasmOKs+1 Ip6FragOKs+1 Ip6FragCreates+3 Ip6InOctets+4152 Ip6OutOctets+4152 Ip6InNoECTPkts+3 Ip6OutTransmits+3 Icmp6InMsgs+1 Icmp6OutMsgs+1 Icmp6InEchos+1 Icmp6OutEchoReplies+1 Icmp6InType128+1 Icmp6OutType129+1"
    );
}

/// Sends one fragment of UDP to the router.
fn fragment(world: &mut World, identification: u8, field: u16, length: usize) {
    let socket = world.raw_socket(CLIENT, IpVersion::V4);
    let mut packet = vec![0x45, 0, 0, 0, 0, identification];
    packet.extend(field.to_be_bytes());
    packet.extend([64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
    packet.resize(20 + length, b'x');
    world
        .send(CLIENT, socket, &packet, Some(at("10.77.0.2", 0)))
        .unwrap();
    world.close(CLIENT, socket);
    world.run(0.001);
}

#[test]
fn duplicates_are_dropped_alone_overlaps_with_everything() {
    let mut world = world();
    fragment(&mut world, 1, 0x2000, 16);
    fragment(&mut world, 1, 0x2000, 16);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+2 IpReasmReqds+2 IpExtInOctets+72 IpExtInNoECTPkts+2"
    );
    assert_eq!(world.deaths(ROUTER), ["ip_input DUP_FRAG"]);
    world.forget();
    fragment(&mut world, 5, 0x2000, 16);
    fragment(&mut world, 5, 0x2001, 16);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+2 IpReasmReqds+2 IpReasmFails+1 IpExtInOctets+72 IpExtInNoECTPkts+2 IpExtReasmOverlaps+1"
    );
    // Inside of what two neighbours cover together: a duplicate.
    world.forget();
    fragment(&mut world, 6, 0x2000, 16);
    fragment(&mut world, 6, 0x2002, 16);
    fragment(&mut world, 6, 0x2001, 16);
    assert_eq!(world.deaths(ROUTER), ["ip_input DUP_FRAG"]);
}

#[test]
fn a_fragment_that_stays_alone_is_told_after_thirty_seconds() {
    let mut world = world();
    fragment(&mut world, 9, 0x2000, 1480);
    world.run(29.0);
    assert_eq!(world.moved(CLIENT), "IpOutTransmits+1 IpExtOutOctets+1500");
    world.run(4.0);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+1 IpOutRequests+1 IpReasmTimeout+1 IpReasmReqds+1 IpReasmFails+1 IpOutTransmits+1 IcmpOutMsgs+1 IcmpOutTimeExcds+1 IcmpMsgOutType11+1 IpExtInOctets+1500 IpExtOutOctets+576 IpExtInNoECTPkts+1"
    );
    assert_eq!(world.deaths(ROUTER), ["ip_input FRAG_REASM_TIMEOUT"]);
    assert_eq!(
        world.hosts[ROUTER].stack.ip.reassembly.usage(IpVersion::V4),
        (0, 0)
    );
    // Without the first fragment nobody is told.
    world.forget();
    fragment(&mut world, 10, 0x2002, 16);
    world.run(40.0);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+1 IpReasmTimeout+1 IpReasmReqds+1 IpReasmFails+1 IpExtInOctets+36 IpExtInNoECTPkts+1"
    );
}

#[test]
fn memory_for_fragments_is_bounded() {
    let mut world = world();
    world.hosts[ROUTER]
        .set_sysctl("net.ipv4.ipfrag_high_thresh", "20000")
        .unwrap();
    for identification in 0..20 {
        fragment(&mut world, identification, 0x2000, 1480);
    }
    // Eight times 2304 bytes and the queues; the ninth is the first beyond the limit.
    let deaths = world.deaths(ROUTER);
    assert_eq!(deaths.len(), 12);
    assert!(deaths.iter().all(|death| death == "ip_input NOT_SPECIFIED"));
    let counters = world.hosts[ROUTER].counters();
    assert_eq!(counters.ip4.named("ReasmFails"), Some(12));
    assert_eq!(counters.ip4.named("ReasmTimeout"), Some(0));
    assert!(
        world.hosts[ROUTER]
            .sockstat_text(IpVersion::V4)
            .contains("FRAG: inuse 8 memory ")
    );
}

#[test]
fn a_router_fragments_what_may_be_fragmented() {
    let mut world = world();
    let ping = world.ping_socket(CLIENT, "10.78.0.2");
    world.option(CLIENT, ping, SocketOption::MtuDiscover(0));
    world.ping(CLIENT, ping, "10.78.0.2", 1450).unwrap();
    world.run(0.1);
    assert_eq!(world.receive(CLIENT, ping).unwrap().0.len(), 1458);
    let moved = world.moved(ROUTER);
    assert!(moved.contains("IpFragOKs+1 IpFragCreates+2"), "{moved}");
}

/// The router tracks connections, and so puts together what passes it.
fn tracking(world: &mut World) {
    for program in ["iptables", "ip6tables"] {
        let words: Vec<String> = [program, "-A", "FORWARD", "-m", "conntrack"]
            .iter()
            .chain(&["--ctstate", "ESTABLISHED", "-j", "ACCEPT"])
            .map(|word| (*word).to_owned())
            .collect();
        let now = world.now;
        world.hosts[ROUTER]
            .change_rules(now, |rules| {
                transect_config::rules::apply_command(rules, &words)
            })
            .unwrap();
    }
    world.forget();
}

#[test]
fn a_router_that_tracks_puts_fragments_together_and_cuts_them_again() {
    let mut world = world();
    tracking(&mut world);
    let ping = world.ping_socket(CLIENT, "10.78.0.2");
    world.option(CLIENT, ping, SocketOption::MtuDiscover(0));
    world.ping(CLIENT, ping, "10.78.0.2", 4000).unwrap();
    world.run(0.1);
    assert_eq!(world.receive(CLIENT, ping).unwrap().0.len(), 4008);
    assert_eq!(
        world.moved(ROUTER),
        "IpForwDatagrams+2 IpInReceives+6 IpReasmReqds+6 IpReasmOKs+2 IpFragOKs+2 IpFragCreates+6 IpOutTransmits+6 IpExtInOctets+8136 IpExtOutOctets+8136 IpExtInNoECTPkts+6"
            .replace("IpForwDatagrams+2 IpInReceives+6", "IpInReceives+6 IpForwDatagrams+2")
    );
    // IPv6: fragments that were too large for the next link are refused, smaller ones pass; nothing of it counts as reassembly.
    world.forget();
    let ping = world.ping_socket(CLIENT, "fd78::2");
    world.ping(CLIENT, ping, "fd78::2", 2600).unwrap();
    world.run(0.1);
    assert_eq!(
        world.moved(ROUTER),
        "Ip6InReceives+2 Ip6InTooBigErrors+1 Ip6OutForwDatagrams+1 Ip6OutRequests+1 Ip6FragFails+1 Ip6InOctets+2704 Ip6OutOctets+1280 Ip6InNoECTPkts+2 Ip6OutTransmits+1 Icmp6OutMsgs+1 Icmp6OutPktTooBigs+1 Icmp6OutType2+1"
    );
    world.forget();
    world.ping(CLIENT, ping, "fd78::2", 2600).unwrap();
    world.run(0.1);
    assert_eq!(world.receive(CLIENT, ping).unwrap().0.len(), 2608);
    assert_eq!(
        world.moved(ROUTER),
        "Ip6InReceives+4 Ip6OutForwDatagrams+2 Ip6FragOKs+2 Ip6FragCreates+4 Ip6InOctets+5408 Ip6OutOctets+5408 Ip6InNoECTPkts+4 Ip6OutTransmits+4"
    );
}
