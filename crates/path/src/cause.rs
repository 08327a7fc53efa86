//! The causes of packet death, by stable id.

use crate::{Point, named_enum};

named_enum! {
    /// What can kill a packet. The ids are stable; the entries are those of `docs/causes.md`.
    pub enum CauseId {
        /// The NIC had no receive descriptor left.
        NicRingOverrun => "nic_ring_overrun",
        /// The NIC dropped damaged frames.
        LinkErrors => "link_errors",
        /// The frame was larger than the receiving device takes.
        OversizeFrame => "oversize_frame",
        /// The frame carried another host's MAC address.
        WrongDestinationMac => "wrong_destination_mac",
        /// The next hop did not answer ARP or neighbour discovery.
        NeighborUnresolved => "neighbor_unresolved",
        /// The neighbour table was full.
        NeighborTableFull => "neighbor_table_full",
        /// Too many packets waited for the next hop's MAC address.
        NeighborQueueFull => "neighbor_queue_full",
        /// The device was down or without carrier.
        LinkDown => "link_down",
        /// The bridge port was not forwarding.
        BridgePortBlocked => "bridge_port_blocked",
        /// A device between the hosts says that it dropped the packet.
        NetworkDevice => "network_device",
        /// The per-CPU backlog was full.
        SoftnetBacklogFull => "softnet_backlog_full",
        /// An XDP program dropped the packet.
        XdpDrop => "xdp_drop",
        /// A tc filter dropped the packet on the way in.
        TcIngressDrop => "tc_ingress_drop",
        /// A tc filter dropped the packet on the way out.
        TcEgressDrop => "tc_egress_drop",
        /// The queueing discipline dropped the packet.
        QdiscDrop => "qdisc_drop",
        /// The route back to the source uses another interface (rp_filter).
        ReversePathFilter => "reverse_path_filter",
        /// The source address cannot come from outside.
        MartianSource => "martian_source",
        /// The destination is not an address of this host, which does not forward.
        NotLocal => "not_local",
        /// The host is used as a router and forwarding is off.
        ForwardingDisabled => "forwarding_disabled",
        /// There is no route to the destination.
        NoRoute => "no_route",
        /// A blackhole route matches the destination.
        BlackholeRoute => "blackhole_route",
        /// A prohibit or unreachable route matches the destination.
        ProhibitRoute => "prohibit_route",
        /// The host has no route back to the client.
        NoReturnRoute => "no_return_route",
        /// The answer left by another interface and was lost behind it.
        AsymmetricReturn => "asymmetric_return",
        /// The TTL or hop limit ran out.
        TtlExpired => "ttl_expired",
        /// The IP header is damaged.
        IpHeaderError => "ip_header_error",
        /// The host does not speak this IP protocol.
        UnknownProtocol => "unknown_protocol",
        /// Packets are larger than the path's MTU and the sender is not told.
        PmtuBlackHole => "pmtu_black_hole",
        /// A fragment did not arrive in time.
        FragmentLost => "fragment_lost",
        /// There was no memory left for reassembly.
        FragmentMemoryFull => "fragment_memory_full",
        /// A firewall rule or policy dropped the packet.
        NetfilterDrop => "netfilter_drop",
        /// A firewall rule rejected the packet.
        NetfilterReject => "netfilter_reject",
        /// A firewall rule dropped what connection tracking calls INVALID.
        ConntrackInvalid => "conntrack_invalid",
        /// The firewall on the way has forgotten the connection.
        ConntrackStateLost => "conntrack_state_lost",
        /// The translation of the connection's addresses was forgotten.
        NatStateLost => "nat_state_lost",
        /// No port was left for source NAT.
        NatPortsExhausted => "nat_ports_exhausted",
        /// Two packets raced to create one connection tracking entry.
        ConntrackInsertRace => "conntrack_insert_race",
        /// The connection tracking table was full.
        ConntrackTableFull => "conntrack_table_full",
        /// A rule hands the packet to a queue that no program reads.
        QueueWithoutReader => "queue_without_reader",
        /// An old connection tracking entry sends the packet to a dead end.
        ConntrackStale => "conntrack_stale",
        /// The listener's accept queue was full.
        AcceptQueueFull => "accept_queue_full",
        /// The listener's queue of half-open connections was full.
        SynQueueFull => "syn_queue_full",
        /// No socket listens at this address and port.
        NoListener => "no_listener",
        /// The listener waits for data before it accepts (TCP_DEFER_ACCEPT).
        DeferredAccept => "deferred_accept",
        /// A filter on the socket dropped the packet.
        SocketFilter => "socket_filter",
        /// The TCP MD5 or AO signature does not match.
        TcpSignatureMismatch => "tcp_signature_mismatch",
        /// The TTL is below the socket's minimum (GTSM).
        MinTtl => "min_ttl",
        /// The segment's timestamp is older than the last one (PAWS).
        OldTimestamp => "old_timestamp",
        /// The peer still holds an older connection with the same addresses and ports.
        StaleConnection => "stale_connection",
        /// No local port was free.
        EphemeralPortsExhausted => "ephemeral_ports_exhausted",
        /// The TIME_WAIT table was full.
        TimeWaitTableFull => "time_wait_table_full",
        /// The TCP flags make no sense in this state.
        BadTcpFlags => "bad_tcp_flags",
        /// The packet was lost between the hosts.
        NetworkLoss => "network_loss",
        /// The receiving application does not read, so that its window is closed.
        ReceiverWindowClosed => "receiver_window_closed",
        /// The receiving socket or TCP as a whole ran out of memory.
        ReceiveMemoryFull => "receive_memory_full",
        /// The socket's backlog was full while the application held it.
        SocketBacklogFull => "socket_backlog_full",
        /// The segment is outside of the receiver's window.
        OutOfWindow => "out_of_window",
        /// The TCP or UDP checksum is wrong.
        TransportChecksum => "transport_checksum",
        /// The request arrived and the application did not answer.
        ApplicationSilent => "application_silent",
        /// Keepalive or the user time-out gave the connection up.
        KeepaliveTimeout => "keepalive_timeout",
        /// The UDP socket's receive buffer was full.
        UdpReceiveBufferFull => "udp_receive_buffer_full",
        /// UDP as a whole ran out of memory.
        UdpMemoryFull => "udp_memory_full",
        /// The tunnel does not know this identifier.
        TunnelUnknown => "tunnel_unknown",
        /// IPsec policy or state refused the packet.
        IpsecPolicy => "ipsec_policy",
        /// A BPF program of the cgroup dropped the packet.
        CgroupBpfDrop => "cgroup_bpf_drop",
        /// A security module dropped the packet.
        SecurityHook => "security_hook",
    }
}

/// What is fixed about a cause, whatever the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CauseFacts {
    /// The entries of the catalogue (`docs/causes.md`) that this id covers.
    pub entries: &'static [&'static str],
    /// The points at which it kills.
    pub points: &'static [Point],
    /// What happened, as the end of the sentence "The packets were lost because …".
    pub summary: &'static str,
}

impl CauseId {
    /// The fixed facts of this cause.
    pub const fn facts(self) -> CauseFacts {
        use Point::*;
        match self {
            CauseId::NicRingOverrun => CauseFacts {
                entries: &["A1"],
                points: &[NicIn],
                summary: "the NIC had no receive descriptor left",
            },
            CauseId::LinkErrors => CauseFacts {
                entries: &["A2"],
                points: &[NicIn],
                summary: "the NIC dropped damaged frames",
            },
            CauseId::OversizeFrame => CauseFacts {
                entries: &["A3"],
                points: &[NicIn],
                summary: "the frame was larger than the receiving device takes",
            },
            CauseId::WrongDestinationMac => CauseFacts {
                entries: &["A4"],
                points: &[LinkInput],
                summary: "the frame carried another host's MAC address",
            },
            CauseId::NeighborUnresolved => CauseFacts {
                entries: &["A5"],
                points: &[Neighbor],
                summary: "the next hop did not answer ARP or neighbour discovery",
            },
            CauseId::NeighborTableFull => CauseFacts {
                entries: &["A6"],
                points: &[Neighbor],
                summary: "the neighbour table was full",
            },
            CauseId::NeighborQueueFull => CauseFacts {
                entries: &["A7"],
                points: &[Neighbor],
                summary: "too many packets waited for the next hop's MAC address",
            },
            CauseId::LinkDown => CauseFacts {
                entries: &["A8"],
                points: &[Neighbor, Qdisc, DriverOut],
                summary: "the device was down or without carrier",
            },
            CauseId::BridgePortBlocked => CauseFacts {
                entries: &["A9"],
                points: &[LinkInput],
                summary: "the bridge port was not forwarding",
            },
            CauseId::NetworkDevice => CauseFacts {
                entries: &["A10"],
                points: &[Network],
                summary: "a device between the hosts says that it dropped the packet",
            },
            CauseId::SoftnetBacklogFull => CauseFacts {
                entries: &["A11"],
                points: &[Backlog],
                summary: "the per-CPU backlog was full",
            },
            CauseId::XdpDrop => CauseFacts {
                entries: &["B1"],
                points: &[Xdp],
                summary: "an XDP program dropped the packet",
            },
            CauseId::TcIngressDrop => CauseFacts {
                entries: &["B2"],
                points: &[TcIngress],
                summary: "a tc filter dropped the packet on the way in",
            },
            CauseId::TcEgressDrop => CauseFacts {
                entries: &["B3"],
                points: &[TcEgress],
                summary: "a tc filter dropped the packet on the way out",
            },
            CauseId::QdiscDrop => CauseFacts {
                entries: &["B4"],
                points: &[Qdisc],
                summary: "the queueing discipline dropped the packet",
            },
            CauseId::ReversePathFilter => CauseFacts {
                entries: &["C1"],
                points: &[RouteInput],
                summary: "the route back to the source uses another interface (rp_filter)",
            },
            CauseId::MartianSource => CauseFacts {
                entries: &["C2"],
                points: &[RouteInput],
                summary: "the source address cannot come from outside",
            },
            CauseId::NotLocal => CauseFacts {
                entries: &["C3"],
                points: &[RouteInput],
                summary: "the destination is not an address of this host, which does not forward",
            },
            CauseId::ForwardingDisabled => CauseFacts {
                entries: &["C3"],
                points: &[RouteInput],
                summary: "the host is used as a router and forwarding is off",
            },
            CauseId::NoRoute => CauseFacts {
                entries: &["C4", "C12"],
                points: &[RouteInput, RouteOutput],
                summary: "there is no route to the destination",
            },
            CauseId::BlackholeRoute => CauseFacts {
                entries: &["C5"],
                points: &[RouteInput, RouteOutput],
                summary: "a blackhole route matches the destination",
            },
            CauseId::ProhibitRoute => CauseFacts {
                entries: &["C6"],
                points: &[RouteInput, RouteOutput],
                summary: "a prohibit or unreachable route matches the destination",
            },
            CauseId::NoReturnRoute => CauseFacts {
                entries: &["C7"],
                points: &[RouteOutput],
                summary: "the host has no route back to the client",
            },
            CauseId::AsymmetricReturn => CauseFacts {
                entries: &["C8"],
                points: &[Network],
                summary: "the answer left by another interface and was lost behind it",
            },
            CauseId::TtlExpired => CauseFacts {
                entries: &["C9"],
                points: &[Forward],
                summary: "the TTL or hop limit ran out",
            },
            CauseId::IpHeaderError => CauseFacts {
                entries: &["C10"],
                points: &[IpInput],
                summary: "the IP header is damaged",
            },
            CauseId::UnknownProtocol => CauseFacts {
                entries: &["C11"],
                points: &[TransportInput],
                summary: "the host does not speak this IP protocol",
            },
            CauseId::PmtuBlackHole => CauseFacts {
                entries: &["D1", "D3"],
                points: &[Forward, Network],
                summary: "packets are larger than the path's MTU and the sender is not told",
            },
            CauseId::FragmentLost => CauseFacts {
                entries: &["D4"],
                points: &[IpInput],
                summary: "a fragment did not arrive in time",
            },
            CauseId::FragmentMemoryFull => CauseFacts {
                entries: &["D5"],
                points: &[IpInput],
                summary: "there was no memory left for reassembly",
            },
            CauseId::NetfilterDrop => CauseFacts {
                entries: &["B5", "E1", "E2", "E5", "E6", "E7"],
                points: &[
                    TcIngress,
                    LinkInput,
                    PreRouting,
                    LocalIn,
                    Forward,
                    LocalOut,
                    PostRouting,
                    DriverOut,
                ],
                summary: "a firewall rule or policy dropped the packet",
            },
            CauseId::NetfilterReject => CauseFacts {
                entries: &["E3", "E4"],
                points: &[PreRouting, LocalIn, Forward, LocalOut],
                summary: "a firewall rule rejected the packet",
            },
            CauseId::ConntrackInvalid => CauseFacts {
                entries: &["E8", "E9", "E15"],
                points: &[PreRouting, LocalIn, Forward, LocalOut, PostRouting],
                summary: "a firewall rule dropped what connection tracking calls INVALID",
            },
            CauseId::ConntrackStateLost => CauseFacts {
                entries: &["E10"],
                points: &[Forward],
                summary: "the firewall on the way has forgotten the connection",
            },
            CauseId::NatStateLost => CauseFacts {
                entries: &["E11"],
                points: &[SocketLookup],
                summary: "the translation of the connection's addresses was forgotten",
            },
            CauseId::NatPortsExhausted => CauseFacts {
                entries: &["E12"],
                points: &[PostRouting],
                summary: "no port was left for source NAT",
            },
            CauseId::ConntrackInsertRace => CauseFacts {
                entries: &["E13"],
                points: &[PostRouting],
                summary: "two packets raced to create one connection tracking entry",
            },
            CauseId::ConntrackTableFull => CauseFacts {
                entries: &["E14"],
                points: &[PreRouting, LocalOut],
                summary: "the connection tracking table was full",
            },
            CauseId::QueueWithoutReader => CauseFacts {
                entries: &["E16"],
                points: &[PreRouting, LocalIn, Forward, LocalOut, PostRouting],
                summary: "a rule hands the packet to a queue that no program reads",
            },
            CauseId::ConntrackStale => CauseFacts {
                entries: &["E17"],
                points: &[Network],
                summary: "an old connection tracking entry sends the packet to a dead end",
            },
            CauseId::AcceptQueueFull => CauseFacts {
                entries: &["F1", "F2", "F3"],
                points: &[SocketInput],
                summary: "the listener's accept queue was full",
            },
            CauseId::SynQueueFull => CauseFacts {
                entries: &["F4", "F6"],
                points: &[SocketInput],
                summary: "the listener's queue of half-open connections was full",
            },
            CauseId::NoListener => CauseFacts {
                entries: &["F7", "H3"],
                points: &[SocketLookup],
                summary: "no socket listens at this address and port",
            },
            CauseId::DeferredAccept => CauseFacts {
                entries: &["F8"],
                points: &[SocketInput],
                summary: "the listener waits for data before it accepts (TCP_DEFER_ACCEPT)",
            },
            CauseId::SocketFilter => CauseFacts {
                entries: &["F9"],
                points: &[SocketInput],
                summary: "a filter on the socket dropped the packet",
            },
            CauseId::TcpSignatureMismatch => CauseFacts {
                entries: &["F10"],
                points: &[SocketInput],
                summary: "the TCP MD5 or AO signature does not match",
            },
            CauseId::MinTtl => CauseFacts {
                entries: &["F11"],
                points: &[SocketInput],
                summary: "the TTL is below the socket's minimum (GTSM)",
            },
            CauseId::OldTimestamp => CauseFacts {
                entries: &["F12", "F13", "G6"],
                points: &[SocketInput],
                summary: "the segment's timestamp is older than the last one (PAWS)",
            },
            CauseId::StaleConnection => CauseFacts {
                entries: &["F14"],
                points: &[SocketInput],
                summary: "the peer still holds an older connection with the same addresses and ports",
            },
            CauseId::EphemeralPortsExhausted => CauseFacts {
                entries: &["F15"],
                points: &[AppSend],
                summary: "no local port was free",
            },
            CauseId::TimeWaitTableFull => CauseFacts {
                entries: &["F16"],
                points: &[TransportInput],
                summary: "the TIME_WAIT table was full",
            },
            CauseId::BadTcpFlags => CauseFacts {
                entries: &["F17"],
                points: &[SocketInput],
                summary: "the TCP flags make no sense in this state",
            },
            CauseId::NetworkLoss => CauseFacts {
                entries: &["G1", "G2"],
                points: &[Network],
                summary: "the packet was lost between the hosts",
            },
            CauseId::ReceiverWindowClosed => CauseFacts {
                entries: &["G3"],
                points: &[AppReceive],
                summary: "the receiving application does not read, so that its window is closed",
            },
            CauseId::ReceiveMemoryFull => CauseFacts {
                entries: &["G4"],
                points: &[ReceiveBuffer],
                summary: "the receiving socket or TCP as a whole ran out of memory",
            },
            CauseId::SocketBacklogFull => CauseFacts {
                entries: &["G5"],
                points: &[SocketInput],
                summary: "the socket's backlog was full while the application held it",
            },
            CauseId::OutOfWindow => CauseFacts {
                entries: &["G7"],
                points: &[SocketInput],
                summary: "the segment is outside of the receiver's window",
            },
            CauseId::TransportChecksum => CauseFacts {
                entries: &["G8"],
                points: &[TransportInput],
                summary: "the TCP or UDP checksum is wrong",
            },
            CauseId::ApplicationSilent => CauseFacts {
                entries: &["G9"],
                points: &[AppReceive],
                summary: "the request arrived and the application did not answer",
            },
            CauseId::KeepaliveTimeout => CauseFacts {
                entries: &["G10"],
                points: &[TransportOutput],
                summary: "keepalive or the user time-out gave the connection up",
            },
            CauseId::UdpReceiveBufferFull => CauseFacts {
                entries: &["H1"],
                points: &[ReceiveBuffer],
                summary: "the UDP socket's receive buffer was full",
            },
            CauseId::UdpMemoryFull => CauseFacts {
                entries: &["H2"],
                points: &[ReceiveBuffer],
                summary: "UDP as a whole ran out of memory",
            },
            CauseId::TunnelUnknown => CauseFacts {
                entries: &["H4"],
                points: &[SocketInput],
                summary: "the tunnel does not know this identifier",
            },
            CauseId::IpsecPolicy => CauseFacts {
                entries: &["H6"],
                points: &[IpInput, IpFinish],
                summary: "IPsec policy or state refused the packet",
            },
            CauseId::CgroupBpfDrop => CauseFacts {
                entries: &["H8"],
                points: &[IpFinish, SocketInput],
                summary: "a BPF program of the cgroup dropped the packet",
            },
            CauseId::SecurityHook => CauseFacts {
                entries: &["H8"],
                points: &[IpFinish, SocketInput],
                summary: "a security module dropped the packet",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_kills_somewhere_and_no_entry_belongs_to_two_unrelated_causes() {
        let mut seen = std::collections::BTreeMap::new();
        for &cause in CauseId::ALL {
            let facts = cause.facts();
            assert!(
                !facts.points.is_empty() && !facts.entries.is_empty(),
                "{cause}"
            );
            for entry in facts.entries {
                seen.entry(*entry).or_insert_with(Vec::new).push(cause.id());
            }
        }
        seen.retain(|_, causes| causes.len() > 1);
        // C3 is one signature with two readings; H8 is one entry with two mechanisms.
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["C3", "H8"]);
    }
}
