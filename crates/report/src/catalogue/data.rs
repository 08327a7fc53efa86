//! What each cause leaves behind. Measured on kernel 6.18 in network namespaces where the kernel can make the fault there;
//! the rest is read from kernel source and public reports.

use transect_path::CauseId;

/// Traces, and what tells the cause from its look-alikes.
pub(super) const fn traces(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::NicRingOverrun
        | CauseId::LinkErrors
        | CauseId::OversizeFrame
        | CauseId::WrongDestinationMac
        | CauseId::NeighborUnresolved
        | CauseId::NeighborTableFull
        | CauseId::NeighborQueueFull
        | CauseId::LinkDown
        | CauseId::BridgePortBlocked
        | CauseId::NetworkDevice
        | CauseId::SoftnetBacklogFull
        | CauseId::XdpDrop
        | CauseId::TcIngressDrop
        | CauseId::TcEgressDrop
        | CauseId::QdiscDrop => link(cause),
        CauseId::ReversePathFilter
        | CauseId::MartianSource
        | CauseId::NotLocal
        | CauseId::ForwardingDisabled
        | CauseId::NoRoute
        | CauseId::BlackholeRoute
        | CauseId::ProhibitRoute
        | CauseId::NoReturnRoute
        | CauseId::AsymmetricReturn
        | CauseId::TtlExpired
        | CauseId::IpHeaderError
        | CauseId::UnknownProtocol
        | CauseId::PmtuBlackHole
        | CauseId::FragmentLost
        | CauseId::FragmentMemoryFull => routing(cause),
        CauseId::NetfilterDrop
        | CauseId::NetfilterReject
        | CauseId::ConntrackInvalid
        | CauseId::ConntrackStateLost
        | CauseId::NatStateLost
        | CauseId::NatPortsExhausted
        | CauseId::ConntrackInsertRace
        | CauseId::ConntrackTableFull
        | CauseId::QueueWithoutReader
        | CauseId::ConntrackStale => netfilter(cause),
        CauseId::AcceptQueueFull
        | CauseId::SynQueueFull
        | CauseId::NoListener
        | CauseId::DeferredAccept
        | CauseId::SocketFilter
        | CauseId::TcpSignatureMismatch
        | CauseId::MinTtl
        | CauseId::OldTimestamp
        | CauseId::StaleConnection
        | CauseId::EphemeralPortsExhausted
        | CauseId::TimeWaitTableFull
        | CauseId::BadTcpFlags => handshake(cause),
        _ => established(cause),
    }
}

const fn link(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::NicRingOverrun => (
            "absent from S's capture; `ethtool -S` rx_missed_errors, rx_no_buffer_count, rx_fifo_errors or rx_out_of_buffer rise; no IP or TCP counter moves",
            "only the NIC's own statistics show it",
        ),
        CauseId::LinkErrors => (
            "absent from S's capture; `ip -s -s link` crc, frame or length errors; `ethtool -S` rx_crc_errors",
            "error counters of the link rather than missed or fifo",
        ),
        CauseId::OversizeFrame => (
            "absent from S's capture; RX dropped or length errors on S, on veth also TX dropped at its peer; Ip* do not move",
            "only packets above a size die, and the link's drop counters rise by their number",
        ),
        CauseId::WrongDestinationMac => (
            "in S's capture when it is promiscuous; `ip -s -s -j link` rx.otherhost rises; IpInReceives does not",
            "the destination MAC in the capture is not the NIC's, or the otherhost counter",
        ),
        CauseId::NeighborUnresolved => (
            "C's capture has ARP requests or neighbour solicitations and no packet of the flow; the neighbour entry is INCOMPLETE or FAILED; on a router IcmpOutDestUnreachs",
            "questions without an answer in the capture; whether they arrive at the target says if its policy or the link is to blame",
        ),
        CauseId::NeighborTableFull => (
            "first packets to new peers fail with ENOBUFS; stat/arp_cache table_fulls; the kernel log says \"neighbor table overflow\"",
            "table_fulls or the kernel's log",
        ),
        CauseId::NeighborQueueFull => (
            "a burst to an unresolved next hop loses all but the last packets; stat/arp_cache unresolved_discards",
            "unresolved_discards while the neighbour entry was INCOMPLETE",
        ),
        CauseId::LinkDown => (
            "nothing in the sender's capture; TX dropped; neighbour entries FAILED",
            "the link's state: DOWN, or NO-CARRIER",
        ),
        CauseId::BridgePortBlocked => (
            "in the capture of the port it came in by, not of the one it should leave by; no port counter moves",
            "`bridge link` shows a state other than forwarding",
        ),
        CauseId::NetworkDevice => (
            "in C's capture, absent from S's; no counter of either host moves; the device says so itself: its counters, its log, or allowance-exceeded statistics of a cloud NIC",
            "evidence of the device itself; without it the answer is network_loss",
        ),
        CauseId::SoftnetBacklogFull => (
            "absent from S's capture; softnet_stat's second column rises (time_squeeze alone means little)",
            "softnet_stat dropped rises by the number lost",
        ),
        CauseId::XdpDrop => (
            "absent from S's capture although the link's rx_packets count it; rx_dropped 0; Ip* 0",
            "an XDP program is loaded, and the driver's xdp statistics rise where it has any",
        ),
        CauseId::TcIngressDrop => (
            "in S's capture; IpInReceives does not move; `tc -s` shows drops at clsact or ingress",
            "the drops of the qdisc or filter",
        ),
        CauseId::TcEgressDrop => (
            "not in the sender's own capture; TcpExtTCPRetransFail rises; retries come fast",
            "the drops of clsact's egress filter",
        ),
        _ => (
            "not in the sender's own capture; TcpExtTCPRetransFail; for UDP UdpSndbufErrors and IpOutDiscards, while sendto reports success",
            "`tc -s qdisc` dropped or overlimits rise by the number lost",
        ),
    }
}

const fn routing(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::ReversePathFilter => (
            "in S's capture; TcpExtIPReversePathFilter rises (for UDP and ICMP too); IpInDelivers does not. IPv4 only",
            "its own counter; the effective mode is the larger of conf.all and conf.IFACE",
        ),
        CauseId::MartianSource => (
            "in S's capture; IpInReceives rises and no other MIB counter; stat/rt_cache in_martian_src (machine-wide)",
            "the source address itself: the host's own, 0.0.0.0, 127/8",
        ),
        CauseId::NotLocal => (
            "in S's capture; IpInAddrErrors rises; no ICMP error is sent",
            "the destination is no address of this host, and nothing uses it as a router",
        ),
        CauseId::ForwardingDisabled => (
            "in the capture of its incoming interface only; IpInAddrErrors rises; no ICMP error is sent",
            "another host's route names this one as next hop, and ip_forward is 0",
        ),
        CauseId::NoRoute => (
            "locally: connect fails with ENETUNREACH, IpOutNoRoutes rises, no packet; on a router: IpExtInNoRoutes, ICMP net unreachable",
            "the look-up in the dumped routes finds none",
        ),
        CauseId::BlackholeRoute => (
            "no counter and no ICMP error; locally connect fails with EINVAL and nothing is sent",
            "a route of type blackhole is the one that matches",
        ),
        CauseId::ProhibitRoute => (
            "an ICMP error comes back (IcmpOutDestUnreachs); the client sees EHOSTUNREACH or EACCES",
            "a route of type prohibit or unreachable is the one that matches",
        ),
        CauseId::NoReturnRoute => (
            "S's capture has the SYN and no SYN-ACK on any interface; IpOutNoRoutes and TcpExtListenDrops rise together, TcpExtListenOverflows does not",
            "looks like a full backlog; IpOutNoRoutes beside ListenDrops tells",
        ),
        CauseId::AsymmetricReturn => (
            "S holds SYN_RECV and TcpExtTCPSynRetrans rises; the SYN-ACK is in the capture of another interface",
            "captures on all interfaces of S",
        ),
        CauseId::TtlExpired => (
            "a router's IpInHdrErrors and IcmpOutTimeExcds; the sender gets ICMP time exceeded",
            "the ICMP error, or a TTL of 1 in the router's capture",
        ),
        CauseId::IpHeaderError => (
            "in the capture; IpInHdrErrors, for a bad checksum IpExtInCsumErrors too; dies at the first router",
            "the header in the capture is wrong (IP header checksums are not offloaded like TCP's)",
        ),
        CauseId::UnknownProtocol => (
            "IpInUnknownProtos; ICMP protocol unreachable goes back",
            "the ICMP error names the protocol",
        ),
        CauseId::PmtuBlackHole => (
            "the handshake is fine; full-size segments with DF are sent again and again and small ones pass; on a Linux router IpFragFails rises",
            "only packets above a size die; the router's IpFragFails, or no ICMP \"too big\" where one was due",
        ),
        CauseId::FragmentLost => (
            "IpReasmReqds, IpReasmTimeout and IpReasmFails rise; ICMP time exceeded code 1 goes back",
            "IpReasmTimeout; only the first fragment carries ports, so port rules miss the others",
        ),
        _ => (
            "IpReasmFails without IpReasmTimeout; sockstat FRAG memory at its limit",
            "FRAG memory near ipfrag_high_thresh",
        ),
    }
}

const fn netfilter(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::NetfilterDrop => (
            "on the way in: in S's capture, IpInReceives rises and IpInDelivers does not. On the way out: in no capture of the sender, IpOutRequests less IpOutTransmits; TCP: TcpExtTCPRetransFail or SYN-ACKs that time out without TcpRetransSegs; UDP: EPERM and IpOutDiscards",
            "the counter of the rule that evaluation names rises by the number lost",
        ),
        CauseId::NetfilterReject => (
            "a reset or ICMP error at once; TcpOutRsts does not count the reset of a rule; IcmpOutDestUnreachs counts the ICMP error",
            "a reset on the wire that TcpOutRsts did not count, and the rule's counter",
        ),
        CauseId::ConntrackInvalid => (
            "`conntrack -S` invalid rises and the rule's counter with it; often one direction of the flow takes another way",
            "the deciding rule matches state INVALID",
        ),
        CauseId::ConntrackStateLost => (
            "both ends are ESTABLISHED and the client sends again; in the middle the packet comes in and does not go out; conntrack has no entry",
            "no conntrack entry for a live connection, while nf_conntrack_tcp_loose is 0 or a rule wants ESTABLISHED",
        ),
        CauseId::NatStateLost => (
            "packets reach S with the addresses from before the translation; S answers with resets that the client never sees",
            "the two captures show different addresses before and after",
        ),
        CauseId::NatPortsExhausted => (
            "`conntrack -S` insert_failed and drop rise; the NAT rule's counter shows a match",
            "insert_failed together with drop",
        ),
        CauseId::ConntrackInsertRace => (
            "one of two simultaneous packets of one flow dies, typically one of a resolver's two questions; 5 s delay",
            "insert_failed alone, by one for each loss",
        ),
        CauseId::ConntrackTableFull => (
            "only new flows die; `conntrack -S` drop or early_drop; the kernel log says \"table full, dropping packet\"",
            "nf_conntrack_count at nf_conntrack_max",
        ),
        CauseId::QueueWithoutReader => (
            "like a drop at the same hook; the rule's counter rises by the number lost",
            "the deciding rule's target is QUEUE or NFQUEUE without bypass, and no program has bound the queue",
        ),
        _ => (
            "UDP after a backend changed: packets go to an address that is no more; the entry is UNREPLIED",
            "`conntrack -L` shows a translation that today's rules would not make",
        ),
    }
}

const fn handshake(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::AcceptQueueFull => (
            "TcpExtListenOverflows and TcpExtListenDrops rise together; `ss -ltn` Recv-Q above Send-Q; at the last ACK the client is ESTABLISHED and the server SYN_RECV",
            "the listener's own drop count (`ss -lm`, d) names the port; the host-wide counters do not",
        ),
        CauseId::SynQueueFull => (
            "TcpExtTCPReqQFullDrop and ListenDrops rise, ListenOverflows does not; many sockets in SYN_RECV; SYN cookies off",
            "TCPReqQFullDrop, or ListenDrops alone while SYN_RECV is near three quarters of tcp_max_syn_backlog",
        ),
        CauseId::NoListener => (
            "TCP: a reset, TcpOutRsts, the client's TcpAttemptFails; UDP: UdpNoPorts and ICMP port unreachable",
            "`ss -l` shows no socket for this address, port and device; often it listens on 127.0.0.1 only",
        ),
        CauseId::DeferredAccept => (
            "the client is ESTABLISHED, the server SYN_RECV; TcpExtTCPDeferAcceptDrop",
            "TCPDeferAcceptDrop, and the client has sent no data",
        ),
        CauseId::SocketFilter => (
            "IpInDelivers and TcpInSegs rise and nothing else",
            "the socket has a filter attached (drop reason SOCKET_FILTER where it is traced)",
        ),
        CauseId::TcpSignatureMismatch => (
            "TcpExtTCPMD5NotFound, TCPMD5Unexpected or TCPMD5Failure, TCPAO*",
            "its own counters, and the option in the capture",
        ),
        CauseId::MinTtl => (
            "TcpExtTCPMinTTLDrop",
            "its own counter, and a TTL in the capture below the socket's minimum",
        ),
        CauseId::OldTimestamp => (
            "TcpExtPAWSEstab, PAWSTimewait, or (old kernels) PAWSPassive; often several clients behind one NAT",
            "TSval in the capture is lower than one that went before",
        ),
        CauseId::StaleConnection => (
            "a SYN is answered by an ACK of an old connection; TcpExtTCPSYNChallenge, TCPChallengeACK",
            "the challenge ACK's numbers belong to a connection that the client does not know",
        ),
        CauseId::EphemeralPortsExhausted => (
            "connect fails with EADDRNOTAVAIL; no packet, and no counter moves",
            "the error itself, and the sockets to this target fill ip_local_port_range",
        ),
        CauseId::TimeWaitTableFull => (
            "TcpExtTCPTimeWaitOverflow",
            "its own counter, and sockstat tw at tcp_max_tw_buckets",
        ),
        _ => (
            "no answer; drop reason TCP_FLAGS where it is traced",
            "the flags in the capture: none, or ones that contradict each other",
        ),
    }
}

const fn established(cause: CauseId) -> (&'static str, &'static str) {
    match cause {
        CauseId::NetworkLoss => (
            "in one end's capture on the way out and absent from the other's on the way in; TcpRetransSegs, SACKs; lost ACKs show as DSACKs",
            "captures and device counters of both ends exclude the hosts",
        ),
        CauseId::ReceiverWindowClosed => (
            "nothing is lost: S advertises a window of 0 (TcpExtTCPToZeroWindowAdv), C probes (persist timer, rwnd_limited)",
            "S's Recv-Q stands at its buffer: the application does not read",
        ),
        CauseId::ReceiveMemoryFull => (
            "TcpExtPruneCalled, RcvPruned, OfoPruned, TCPRcvQDrop, TCPZeroWindowDrop, TCPMemoryPressures",
            "prune counters, or sockstat TCP mem at tcp_mem",
        ),
        CauseId::SocketBacklogFull => (
            "TcpExtTCPBacklogDrop",
            "its own counter; it is not the listen backlog",
        ),
        CauseId::OutOfWindow => (
            "TcpExtBeyondWindow (6.18), TCPChallengeACK, OutOfWindowIcmps",
            "the sequence number in the capture lies outside of the window that S advertised",
        ),
        CauseId::TransportChecksum => (
            "TcpInErrs and TcpInCsumErrors, or UdpInErrors and UdpInCsumErrors",
            "the counters; wrong checksums in a capture prove nothing, because of offload",
        ),
        CauseId::ApplicationSilent => (
            "handshake and data are acknowledged; no network counter moves; Recv-Q holds the request, or the accept queue the connection",
            "not a loss: the kernel has the request and the program does not answer",
        ),
        CauseId::KeepaliveTimeout => (
            "TcpExtTCPAbortOnTimeout; keepalive probes without an answer",
            "probes in the capture, a window's idle time before them",
        ),
        CauseId::UdpReceiveBufferFull => (
            "UdpRcvbufErrors and UdpInErrors rise together; /proc/net/udp drops",
            "the socket's own drop count names the program",
        ),
        CauseId::UdpMemoryFull => (
            "UdpMemErrors",
            "its own counter, and sockstat UDP mem at udp_mem",
        ),
        CauseId::TunnelUnknown => (
            "the outer UDP counts as delivered; the tunnel device's counters do not move",
            "the VNI in the capture is none of the host's",
        ),
        CauseId::IpsecPolicy => (
            "xfrm_stat: XfrmInNoStates, XfrmInNoPols, XfrmInTmplMismatch, XfrmOutNoStates, …",
            "xfrm_stat rises by the number lost",
        ),
        CauseId::CgroupBpfDrop => (
            "on sending, EPERM; no MIB counter moves",
            "a BPF program of type cgroup_skb is attached to the program's cgroup",
        ),
        _ => (
            "no counter moves; drop reason SECURITY_HOOK where it is traced",
            "the audit log of the security module",
        ),
    }
}
