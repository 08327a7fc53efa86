//! Rules, connection tracking and translation at work on a client, a router and a server.

use super::*;
use transect_config::rules::{Counter, apply_command};
use transect_config::{ConntrackEntry, read_conntrack};

impl World {
    /// Runs a command that changes a host's rules.
    fn command(&mut self, host: usize, line: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let now = self.now;
        let changed = self.hosts[host].change_rules(now, |rules| apply_command(rules, &words));
        assert_eq!(changed, Ok(()), "{line}");
    }

    /// What the rules have counted, in order.
    fn counted(&self, host: usize) -> Vec<(u64, u64)> {
        let rules = self.hosts[host].rules();
        let counters = rules.rules().filter_map(|(_, _, rule)| rule.counter);
        counters
            .map(|Counter { packets, bytes }| (packets, bytes))
            .collect()
    }

    /// The connections that a host tracks, as the reader of `conntrack -L` takes them.
    fn connections(&mut self, host: usize) -> Vec<ConntrackEntry> {
        let text = self.connections_text(host);
        let parsed = read_conntrack(&text);
        assert_eq!(parsed.problems, [], "{text}");
        parsed.value
    }

    fn connections_text(&mut self, host: usize) -> String {
        self.hosts[host].handle_timeout(self.now);
        self.hosts[host].conntrack_entries_text()
    }

    /// Sends a datagram and lets it arrive.
    fn datagram(
        &mut self,
        from: usize,
        socket: SocketId,
        to: &str,
        port: u16,
    ) -> Result<usize, Errno> {
        let sent = self.send(from, socket, b"hello", Some(at(to, port)));
        self.run(0.01);
        sent
    }

    fn sysctl(&mut self, host: usize, name: &str, value: &str) {
        self.hosts[host].set_sysctl(name, value).unwrap();
    }
}

#[test]
fn a_rule_that_drops_on_the_way() {
    let mut world = world();
    world.command(
        ROUTER,
        "iptables-legacy -A FORWARD -p udp --dport 7000 -j DROP",
    );
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.receive(SERVER, server), Err(Errno::Eagain));
    assert_eq!(world.deaths(ROUTER), ["forward NETFILTER_DROP"]);
    assert_eq!(world.counted(ROUTER), [(1, 33)]);
    // The rule goes, and what it had counted with it; the next datagram passes.
    world.command(ROUTER, "iptables-legacy -D FORWARD 1");
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.receive(SERVER, server).unwrap().0, b"hello");
    assert_eq!(
        world.connections_text(ROUTER),
        "",
        "nothing asks for tracking"
    );
}

#[test]
fn the_sender_is_told_of_a_drop_and_not_of_a_queue_that_nobody_reads() {
    let mut world = world();
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.command(
        CLIENT,
        "iptables-legacy -A OUTPUT -p udp --dport 7000 -j DROP",
    );
    world.command(
        CLIENT,
        "iptables-legacy -A OUTPUT -p udp --dport 7001 -j QUEUE",
    );
    world.command(
        CLIENT,
        "iptables-legacy -A OUTPUT -p udp --dport 7002 -j NFQUEUE --queue-bypass",
    );
    world.forget();
    assert_eq!(
        world.datagram(CLIENT, client, "10.78.0.2", 7000),
        Err(Errno::Eperm)
    );
    assert_eq!(world.datagram(CLIENT, client, "10.78.0.2", 7001), Ok(5));
    assert_eq!(
        world.deaths(CLIENT),
        ["local_out NETFILTER_DROP", "local_out NOT_SPECIFIED"]
    );
    let counters = world.hosts[CLIENT].counters().ip4.clone();
    assert_eq!(counters.of(crate::counters::IpCounter::OutRequests), 2);
    assert_eq!(counters.of(crate::counters::IpCounter::OutTransmits), 0);
    assert_eq!(world.datagram(CLIENT, client, "10.78.0.2", 7002), Ok(5));
    assert_eq!(world.counted(CLIENT), [(1, 33), (1, 33), (1, 33)]);
}

#[test]
fn a_policy_counts_what_no_rule_decided() {
    let mut world = world();
    world.command(SERVER, "iptables-legacy -A INPUT -p icmp -j ACCEPT");
    world.command(SERVER, "iptables-legacy -P INPUT DROP");
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.deaths(SERVER), ["local_in NETFILTER_DROP"]);
    let rules = world.hosts[SERVER].rules();
    let input = rules.tables[0].chain("INPUT").unwrap();
    assert_eq!(
        input.policy_counter,
        Some(Counter {
            packets: 1,
            bytes: 33
        })
    );
}

#[test]
fn a_rejected_datagram_is_answered() {
    let mut world = world();
    for (to, command) in [
        (
            "10.78.0.2",
            "iptables-legacy -A INPUT -p udp --dport 7000 -j REJECT",
        ),
        (
            "fd78::2",
            "ip6tables-legacy -A INPUT -p udp --dport 7000 -j REJECT",
        ),
    ] {
        world.command(SERVER, command);
        let local = if to.contains(':') {
            "fd77::1"
        } else {
            "10.77.0.1"
        };
        let client = world.udp(CLIENT, local, 40000);
        world.hosts[CLIENT]
            .connect(world.now, client, at(to, 7000))
            .unwrap();
        world.send(CLIENT, client, b"hello", None).unwrap();
        world.run(0.01);
        assert_eq!(
            world.receive(CLIENT, client),
            Err(Errno::Econnrefused),
            "{to}"
        );
        assert_eq!(world.deaths(SERVER), ["local_in NETFILTER_DROP"]);
        world.close(CLIENT, client);
    }
}

#[test]
fn answers_pass_where_only_answers_may() {
    let mut world = world();
    for command in [
        "iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "iptables-legacy -P INPUT DROP",
    ] {
        world.command(CLIENT, command);
    }
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(SERVER, server, "10.77.0.1", 40000).unwrap();
    assert_eq!(world.deaths(CLIENT), ["local_in NETFILTER_DROP"]);
    assert_eq!(
        world.connections_text(CLIENT),
        "",
        "what was dropped is not confirmed"
    );
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(
        world.connections_text(CLIENT),
        "ipv4     2 udp      17 29 src=10.77.0.1 dst=10.78.0.2 sport=40000 dport=7000 [UNREPLIED] \
         src=10.78.0.2 dst=10.77.0.1 sport=7000 dport=40000 mark=0 use=1\n"
    );
    world.datagram(SERVER, server, "10.77.0.1", 40000).unwrap();
    assert_eq!(world.receive(CLIENT, client).unwrap().0, b"hello");
    let entry = &world.connections(CLIENT)[0];
    assert!(!entry.has_flag("UNREPLIED") && !entry.has_flag("ASSURED"));
    // Two-way traffic after two seconds makes a stream of it.
    world.run(3.0);
    world.datagram(SERVER, server, "10.77.0.1", 40000).unwrap();
    let entry = &world.connections(CLIENT)[0];
    assert_eq!(
        (entry.timeout, entry.has_flag("ASSURED")),
        (Some(119), true)
    );
    world.run(121.0);
    assert_eq!(world.connections(CLIENT), []);
    world.datagram(SERVER, server, "10.77.0.1", 40000).unwrap();
    assert_eq!(world.deaths(CLIENT), ["local_in NETFILTER_DROP"]);
}

#[test]
fn an_error_is_related_to_what_it_quotes() {
    let mut world = world();
    for command in [
        "iptables-legacy -A INPUT -m conntrack --ctstate RELATED -j ACCEPT",
        "iptables-legacy -A INPUT -m conntrack --ctstate INVALID",
        "iptables-legacy -P INPUT DROP",
    ] {
        world.command(CLIENT, command);
    }
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.hosts[CLIENT]
        .connect(world.now, client, at("10.78.0.2", 9))
        .unwrap();
    world.send(CLIENT, client, b"hello", None).unwrap();
    world.run(0.01);
    assert_eq!(world.receive(CLIENT, client), Err(Errno::Econnrefused));
    // Port unreachable: 20 + 8 + 33 bytes.
    assert_eq!(world.counted(CLIENT), [(1, 61), (0, 0)]);
}

#[test]
fn a_rejection_of_the_first_packet_is_related_too() {
    let mut world = world();
    for command in [
        "iptables-legacy -A INPUT -p udp -m conntrack --ctstate NEW -j REJECT",
        "iptables-legacy -A OUTPUT -p icmp -m conntrack --ctstate RELATED -j ACCEPT",
        "iptables-legacy -A OUTPUT -p icmp -j DROP",
    ] {
        world.command(SERVER, command);
    }
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.counted(SERVER), [(1, 33), (1, 61), (0, 0)]);
    assert_eq!(world.connections(SERVER), []);
}

#[test]
fn a_masqueraded_flow_goes_both_ways_and_its_errors_too() {
    let mut world = world();
    for (command, local, outside, to) in [
        (
            "iptables-legacy -t nat -A POSTROUTING -o w1 -j MASQUERADE",
            "10.77.0.1",
            "10.78.0.1",
            "10.78.0.2",
        ),
        (
            "ip6tables-legacy -t nat -A POSTROUTING -o w1 -j MASQUERADE",
            "fd77::1",
            "fd78::1",
            "fd78::2",
        ),
    ] {
        world.command(ROUTER, command);
        let server = world.udp(SERVER, to, 7000);
        let client = world.udp(CLIENT, local, 40000);
        world.datagram(CLIENT, client, to, 7000).unwrap();
        let (_, from) = world.receive(SERVER, server).unwrap();
        assert_eq!(from, at(outside, 40000), "the port is kept");
        world.datagram(SERVER, server, outside, 40000).unwrap();
        assert_eq!(world.receive(CLIENT, client).unwrap().1, at(to, 7000));
        let entry = world.connections(ROUTER).swap_remove(0);
        assert!(entry.is_source_translated() && !entry.is_destination_translated());
        // The rule was asked once for each connection: three of IPv4 were there before.
        let packets: u64 = world
            .counted(ROUTER)
            .iter()
            .map(|(packets, _)| packets)
            .sum();
        assert_eq!(packets, if to.contains(':') { 4 } else { 1 });
        // Nobody listens at port 9: the error comes back to the client's own address and port.
        let refused = world.udp(CLIENT, local, 40001);
        world.hosts[CLIENT]
            .connect(world.now, refused, at(to, 9))
            .unwrap();
        world.send(CLIENT, refused, b"hello", None).unwrap();
        world.run(0.01);
        assert_eq!(
            world.receive(CLIENT, refused),
            Err(Errno::Econnrefused),
            "{to}"
        );
        assert_eq!(world.deaths(CLIENT), Vec::<String>::new());
        // A ping goes through as well.
        let ping = world.ping_socket(CLIENT, to);
        world.ping(CLIENT, ping, to, 56).unwrap();
        world.run(0.01);
        assert_eq!(world.receive(CLIENT, ping).unwrap().1, at(to, 0));
    }
}

#[test]
fn a_port_that_is_taken_is_changed() {
    let mut world = world();
    world.command(
        ROUTER,
        "iptables-legacy -t nat -A POSTROUTING -o w1 -j MASQUERADE",
    );
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let own = world.udp(ROUTER, "10.78.0.1", 40000);
    world.datagram(ROUTER, own, "10.78.0.2", 7000).unwrap();
    assert_eq!(
        world.receive(SERVER, server).unwrap().1,
        at("10.78.0.1", 40000)
    );
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    let (_, from) = world.receive(SERVER, server).unwrap();
    assert_ne!(from.port, 40000);
    assert!(from.port >= 1024);
    world
        .datagram(SERVER, server, "10.78.0.1", from.port)
        .unwrap();
    assert_eq!(
        world.receive(CLIENT, client).unwrap().1,
        at("10.78.0.2", 7000)
    );
    assert_eq!(world.receive(ROUTER, own), Err(Errno::Eagain));
}

#[test]
fn where_no_port_is_left_the_packet_dies() {
    let mut world = world();
    world.command(
        ROUTER,
        "iptables-legacy -t nat -A POSTROUTING -p udp -o w1 -j MASQUERADE --to-ports 50000-50000",
    );
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let first = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, first, "10.78.0.2", 7000).unwrap();
    assert_eq!(
        world.receive(SERVER, server).unwrap().1,
        at("10.78.0.1", 50000)
    );
    let second = world.udp(CLIENT, "10.77.0.1", 40001);
    world.datagram(CLIENT, second, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.deaths(ROUTER), ["post_routing NETFILTER_DROP"]);
    let statistics = world.hosts[ROUTER].conntrack_stats_text();
    assert!(
        statistics.contains("insert_failed=1 drop=1"),
        "{statistics}"
    );
}

#[test]
fn a_destination_is_translated_before_the_route() {
    let mut world = world();
    for command in [
        "iptables-legacy -t nat -A PREROUTING -p udp --dport 80 -j DNAT --to-destination 10.78.0.2:7000",
        "nft add table ip t; add chain ip t c { type filter hook forward priority 0; }; add rule ip t c ip daddr 10.78.0.2 udp dport 7000 counter",
    ] {
        world.command(ROUTER, command);
    }
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.77.0.2", 80).unwrap();
    assert_eq!(
        world.receive(SERVER, server).unwrap().1,
        at("10.77.0.1", 40000)
    );
    world.datagram(SERVER, server, "10.77.0.1", 40000).unwrap();
    assert_eq!(
        world.receive(CLIENT, client).unwrap().1,
        at("10.77.0.2", 80)
    );
    assert_eq!(world.counted(ROUTER), [(1, 33), (1, 33)]);
    assert!(world.connections(ROUTER)[0].is_destination_translated());
}

#[test]
fn a_redirected_datagram_stays_on_the_host() {
    let mut world = world();
    world.command(
        CLIENT,
        "iptables-legacy -t nat -A OUTPUT -p udp --dport 80 -j REDIRECT --to-ports 7000",
    );
    let local = world.udp(CLIENT, "127.0.0.1", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 80).unwrap();
    assert_eq!(
        world.receive(CLIENT, local).unwrap().1,
        at("10.77.0.1", 40000)
    );
    world.datagram(CLIENT, local, "10.77.0.1", 40000).unwrap();
    assert_eq!(
        world.receive(CLIENT, client).unwrap().1,
        at("10.78.0.2", 80)
    );
}

#[test]
fn a_full_table_refuses_new_connections_only() {
    let mut world = world();
    world.command(ROUTER, "nft add table ip t; add chain ip t c { type filter hook forward priority 0; }; add rule ip t c ct state new counter");
    world.sysctl(ROUTER, "net.netfilter.nf_conntrack_max", "1");
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    let other = world.udp(CLIENT, "10.77.0.1", 40001);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    world.datagram(CLIENT, other, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.deaths(ROUTER), ["pre_routing NETFILTER_DROP"]);
    let statistics = world.hosts[ROUTER].conntrack_stats_text();
    assert!(statistics.contains(" drop=1 early_drop=0"), "{statistics}");
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.receive(SERVER, server).unwrap().1.port, 40000);
    // The first one ends, and there is room again.
    world.run(31.0);
    world.datagram(CLIENT, other, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.counted(ROUTER), [(3, 99)]);
}

#[test]
fn fragments_are_put_together_before_tracking() {
    let mut world = world();
    world.command(ROUTER, "nft add table ip t; add chain ip t c { type filter hook prerouting priority 0; }; add rule ip t c ct state new counter");
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    let long = vec![7; 3000];
    world
        .send(CLIENT, client, &long, Some(at("10.78.0.2", 7000)))
        .unwrap();
    world.run(0.01);
    assert_eq!(world.receive(SERVER, server).unwrap().0.len(), 3000);
    assert_eq!(world.counted(ROUTER), [(1, 3028)]);
}

#[test]
fn what_is_not_tracked_is_not_translated() {
    let mut world = world();
    world.command(
        ROUTER,
        "iptables-legacy -t raw -A PREROUTING -p udp --dport 7000 -j NOTRACK",
    );
    world.command(
        ROUTER,
        "iptables-legacy -t nat -A POSTROUTING -o w1 -j MASQUERADE",
    );
    world.command(
        ROUTER,
        "iptables-legacy -A FORWARD -m conntrack --ctstate UNTRACKED",
    );
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(
        world.receive(SERVER, server).unwrap().1,
        at("10.77.0.1", 40000)
    );
    assert_eq!(world.connections(ROUTER), []);
    let counted: u64 = world
        .counted(ROUTER)
        .iter()
        .map(|(packets, _)| packets)
        .sum();
    assert_eq!(counted, 2, "NOTRACK and UNTRACKED");
}

#[test]
fn a_device_has_chains_of_its_own() {
    let mut world = world();
    world.command(SERVER, "nft add table netdev t; add chain netdev t c { type filter hook ingress device w2 priority 0; }; add rule netdev t c udp dport 7000 counter drop");
    let server = world.udp(SERVER, "10.78.0.2", 7000);
    let client = world.udp(CLIENT, "10.77.0.1", 40000);
    world.datagram(CLIENT, client, "10.78.0.2", 7000).unwrap();
    assert_eq!(world.receive(SERVER, server), Err(Errno::Eagain));
    assert_eq!(world.deaths(SERVER), ["tc_ingress NETFILTER_DROP"]);
    assert_eq!(world.counted(SERVER), [(1, 33)]);
}

#[test]
fn rules_that_cannot_be_run_change_nothing() {
    let mut world = world();
    let words: Vec<String> = "iptables-legacy -A INPUT -m owner --uid-owner 0 -j DROP"
        .split(' ')
        .map(str::to_owned)
        .collect();
    let now = world.now;
    let refused = world.hosts[SERVER].change_rules(now, |rules| apply_command(rules, &words));
    assert_eq!(
        refused,
        Err("table ip filter, chain INPUT, rule 1 (\"-A INPUT -m owner --uid-owner 0 -j DROP\"): the model cannot run \"-m owner --uid-owner 0\"".to_owned())
    );
    assert_eq!(world.hosts[SERVER].rules().tables, []);
}

/// A SYN as a raw socket sends it, without options.
fn syn(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    bytes.extend(from.into_iter().chain(to));
    bytes.extend([
        0x9c, 0x40, 0, 80, 0, 0, 3, 232, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0,
    ]);
    let pseudo = crate::ip::bytes::pseudo_header(
        std::net::IpAddr::from(from),
        std::net::IpAddr::from(to),
        6,
        20,
    );
    let sum = crate::ip::bytes::ones_sum(pseudo, &bytes[20..]);
    bytes[36..38].copy_from_slice(&(!crate::ip::bytes::fold(sum)).to_be_bytes());
    bytes
}

#[test]
fn a_reset_in_the_peers_name_counts_as_sent_and_not_as_a_reset() {
    let mut world = world();
    for command in [
        "iptables-legacy -A FORWARD -p tcp --dport 80 -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset",
        "iptables-legacy -A OUTPUT -p tcp -m conntrack --ctstate RELATED",
    ] {
        world.command(ROUTER, command);
    }
    let raw = world.raw_socket(CLIENT, IpVersion::V4);
    let to = Some(at("10.78.0.2", 0));
    world
        .send(CLIENT, raw, &syn([10, 77, 0, 1], [10, 78, 0, 2]), to)
        .unwrap();
    world.run(0.01);
    assert_eq!(world.deaths(ROUTER), ["forward NETFILTER_DROP"]);
    // The reset goes out in the server's name, and belongs to the connection that never came to be.
    assert_eq!(world.counted(ROUTER), [(1, 40), (1, 40)]);
    assert_eq!(
        world.moved(ROUTER),
        "IpInReceives+1 IpForwDatagrams+1 IpOutRequests+1 IpOutTransmits+1 IpExtInOctets+40 IpExtOutOctets+40 IpExtInNoECTPkts+1"
    );
    assert_eq!(world.connections(ROUTER), []);
    assert!(
        world.moved(CLIENT).contains("TcpInSegs+1"),
        "{}",
        world.moved(CLIENT)
    );
}
