//! What the map says of each point. The Netfilter priorities are those of `enum nf_ip_hook_priorities`
//! (include/uapi/linux/netfilter_ipv4.h) and of the bridge-independent parts of the kernel that register beside the tables.

use transect_path::Point;

use super::{Disturbance, JoinsAt, MapTool, Priority};

/// The fixed texts of one point.
pub(super) struct PointFacts {
    pub(super) number: Option<&'static str>,
    pub(super) happens: &'static str,
    pub(super) priorities: &'static [Priority],
    pub(super) meters: &'static [&'static str],
    pub(super) tools: &'static [MapTool],
    pub(super) disturbances: &'static [Disturbance],
}

// Macros rather than constant functions: what a struct literal makes lives as long as the program.
macro_rules! at {
    ($who:expr, $priority:expr $(,)?) => {
        Priority {
            who: $who,
            priority: $priority,
        }
    };
}

macro_rules! tool {
    ($name:expr, $does:expr $(,)?) => {
        MapTool {
            name: $name,
            does: $does,
        }
    };
}

macro_rules! disturbs {
    ($what:expr, $does:expr $(,)?) => {
        Disturbance {
            what: $what,
            does: $does,
        }
    };
}

const NAMELESS: PointFacts = PointFacts {
    number: None,
    happens: "",
    priorities: &[],
    meters: &[],
    tools: &[],
    disturbances: &[],
};

const FIREWALLS: MapTool = tool!(
    "iptables, nft",
    "rules that accept, drop, reject, queue or rewrite; their counters",
);

/// Who joins the path elsewhere than at its top.
pub(super) const JOINS: &[JoinsAt] = &[
    JoinsAt {
        who: "raw IP sockets (tcpcopy's injection, ping, nmap)",
        at: Point::RouteOutput,
        says: "they pass LOCAL_OUT and POST_ROUTING like everybody else (measured; the opposite is often said)",
    },
    JoinsAt {
        who: "AF_PACKET sockets (libpcap's injection, tcpreplay, DHCP clients)",
        at: Point::TcEgress,
        says: "they pass no hook of IP, so no iptables rule sees them; the queue and the tap do",
    },
    JoinsAt {
        who: "AF_PACKET sockets with PACKET_QDISC_BYPASS",
        at: Point::TcEgress,
        says: "from there straight to driver_out, past the queue and past the tap: no capture on this host shows them",
    },
    JoinsAt {
        who: "IPVS (LVS)",
        at: Point::LocalIn,
        says: "it sits in LOCAL_IN, LOCAL_OUT and FORWARD and redirects from there; what it takes never reaches the socket",
    },
    JoinsAt {
        who: "forwarded packets",
        at: Point::PostRouting,
        says: "they leave the receiving half at forward and go on in the sending half behind LOCAL_OUT",
    },
];

/// The texts of `point`.
pub(super) const fn facts(point: Point) -> PointFacts {
    match point {
        Point::AppSend
        | Point::SendBuffer
        | Point::TransportOutput
        | Point::RouteOutput
        | Point::LocalOut
        | Point::PostRouting
        | Point::IpFinish => sending_upper(point),
        Point::Neighbor
        | Point::TcEgress
        | Point::Qdisc
        | Point::TapOut
        | Point::DriverOut
        | Point::WireOut
        | Point::TxCompletion
        | Point::Network => sending_lower(point),
        Point::WireIn
        | Point::NicIn
        | Point::Xdp
        | Point::Backlog
        | Point::TapIn
        | Point::TcIngress
        | Point::LinkInput
        | Point::IpInput => receiving_lower(point),
        _ => receiving_upper(point),
    }
}

const fn sending_upper(point: Point) -> PointFacts {
    match point {
        Point::AppSend => PointFacts {
            number: Some("1"),
            happens: "write, send or sendmsg; it may fail before any packet exists (EADDRNOTAVAIL, ENETUNREACH, EPERM)",
            meters: &[
                "the system call's result",
                "the application's log",
                "sock:sock_send_length",
            ],
            tools: &[
                tool!(
                    "HTTP programs (curl, ab, nginx)",
                    "speak here, and see nothing of what is below",
                ),
                tool!("strace", "shows the call and its error"),
            ],
            ..NAMELESS
        },
        Point::SendBuffer => PointFacts {
            number: Some("2"),
            happens: "the bytes are copied to the end of the socket's send buffer",
            meters: &["ss: Send-Q, skmem t and tb"],
            tools: &[tool!(
                "ss",
                "Send-Q: bytes that the peer has not acknowledged",
            )],
            ..NAMELESS
        },
        Point::TransportOutput => PointFacts {
            number: Some("3"),
            happens: "the TCB decides: receiver's window, congestion window, segmentation (GSO), retransmission timer",
            meters: &[
                "TcpOutSegs, TcpRetransSegs, TcpExtTCPTimeouts, TcpExtTCPRetransFail",
                "ss -i: retrans, unacked, rto, timers",
                "tcp:tcp_retransmit_skb, tcp:tcp_retransmit_synack",
            ],
            tools: &[
                tool!("netstat -s, nstat", "TCP's counters"),
                tool!("ss -ti", "one connection's state and timers"),
            ],
            disturbances: &[disturbs!(
                "GSO and TSO",
                "one segment of up to 64 KiB goes down the path in place of many: IpOutRequests counts it once, TcpOutSegs by wire segments",
            )],
            ..NAMELESS
        },
        Point::RouteOutput => PointFacts {
            number: Some("4"),
            happens: "route look-up and source address; the IP header is built. Linux looks up the route before LOCAL_OUT, and once more after it if the hook changed mark, TOS or address",
            meters: &[
                "IpOutRequests, IpOutNoRoutes",
                "ip route get",
                "fib:fib_table_lookup",
            ],
            tools: &[
                tool!("ip route, ip rule", "the tables that decide"),
                tool!("tcpcopy", "its raw IP socket puts packets in here"),
            ],
            ..NAMELESS
        },
        Point::LocalOut => PointFacts {
            number: Some("5"),
            happens: "Netfilter LOCAL_OUT: iptables' OUTPUT. What dies here is in no capture of this host",
            priorities: &[
                at!("raw", -300),
                at!("conntrack", -200),
                at!("mangle", -150),
                at!("nat", -100),
                at!("filter", 0),
                at!("security", 50),
            ],
            meters: &[
                "rule counters",
                "IpOutRequests less IpOutTransmits (6.12 and later)",
                "TcpExtTCPRetransFail; UDP: sendto gives EPERM, IpOutDiscards",
                "nft trace",
            ],
            tools: &[
                FIREWALLS,
                tool!(
                    "LVS",
                    "redirects what the host itself sends to a virtual service",
                ),
            ],
            ..NAMELESS
        },
        Point::PostRouting => PointFacts {
            number: Some("6"),
            happens: "Netfilter POST_ROUTING: source NAT; connection tracking confirms the entry last",
            priorities: &[
                at!("mangle", -150),
                at!("nat", 100),
                at!("conntrack confirm", i32::MAX),
            ],
            meters: &[
                "rule counters",
                "conntrack -S: insert_failed, drop",
                "nft trace",
            ],
            tools: &[
                FIREWALLS,
                tool!("conntrack", "entries and their translations"),
            ],
            ..NAMELESS
        },
        _ => PointFacts {
            number: Some("7"),
            happens: "cgroup egress BPF, IPsec, MTU: the packet is fragmented, or found too big",
            meters: &[
                "IpFragOKs, IpFragFails, IpFragCreates",
                "IpOutTransmits (6.12 and later)",
                "xfrm_stat: XfrmOut*",
            ],
            tools: &[tool!("ping -M do -s, tracepath", "show the path's MTU")],
            ..NAMELESS
        },
    }
}

const fn sending_lower(point: Point) -> PointFacts {
    match point {
        Point::Neighbor => PointFacts {
            number: Some("8"),
            happens: "ARP or neighbour discovery turns the next hop into a MAC address; the packet waits meanwhile",
            meters: &[
                "ip -s neighbor: INCOMPLETE, FAILED",
                "captured ARP and neighbour solicitations",
                "stat/arp_cache: res_failed, unresolved_discards, table_fulls",
            ],
            tools: &[
                tool!("ip neighbor, arping", "the table, and a question by hand"),
                tool!(
                    "tcpdump arp",
                    "sees the question although the packet itself is not out yet",
                ),
            ],
            ..NAMELESS
        },
        Point::TcEgress => PointFacts {
            number: Some("9"),
            happens: "Netfilter egress and clsact egress. What dies here is in no capture of this host",
            meters: &[
                "tc -s filter, tc -s qdisc show clsact",
                "TcpExtTCPRetransFail",
                "rule counters (netdev egress)",
            ],
            tools: &[
                tool!("tc", "filters and BPF programs"),
                tool!("tcpreplay, libpcap's injection", "join here"),
            ],
            ..NAMELESS
        },
        Point::Qdisc => PointFacts {
            number: Some("10"),
            happens: "the queueing discipline; on leaving it, GSO and checksums in software. What it drops was never captured here",
            meters: &[
                "tc -s qdisc: dropped, overlimits, backlog",
                "TcpExtTCPRetransFail, UdpSndbufErrors, IpOutDiscards",
                "net:net_dev_queue (silent on noqueue and bypass: its absence proves nothing)",
            ],
            tools: &[tool!("tc", "shows, sets and limits the queue")],
            ..NAMELESS
        },
        Point::TapOut => PointFacts {
            number: Some("11"),
            happens: "a copy to every AF_PACKET socket: what tcpdump sees going out",
            meters: &["capture, less its own drops"],
            tools: &[tool!(
                "tcpdump, tshark, tcpcopy with pcap",
                "capture here: behind all of Netfilter and the queue",
            )],
            disturbances: &[
                disturbs!(
                    "checksum offload",
                    "the NIC fills checksums in later: nearly every outgoing TCP checksum looks wrong here, and none is",
                ),
                disturbs!(
                    "segmentation offload",
                    "frames of up to 64 KiB appear that never were on the wire",
                ),
                disturbs!(
                    "capture loss",
                    "a busy capture loses far more than the network does: read its drop count",
                ),
            ],
            ..NAMELESS
        },
        Point::DriverOut => PointFacts {
            number: Some("12"),
            happens: "the driver puts the packet into the transmit ring; the hardware segments and fills in checksums",
            meters: &[
                "ip -s link: TX packets, dropped, carrier",
                "ethtool -S",
                "net:net_dev_start_xmit",
            ],
            tools: &[
                tool!("ethtool", "statistics, ring sizes, offloads (-S, -g, -k)"),
                tool!("ip -s link", "the device's counters"),
            ],
            disturbances: &[disturbs!(
                "wrong offload",
                "a NIC or tunnel that computes a checksum wrongly loses packets at the far end",
            )],
            ..NAMELESS
        },
        Point::WireOut => PointFacts {
            number: Some("13"),
            happens: "the frame is on the wire",
            meters: &["the peer's or a switch's counters"],
            ..NAMELESS
        },
        Point::TxCompletion => PointFacts {
            number: Some("14"),
            happens: "the device interrupts: sent. The kernel frees the packet and releases the queue limits; the packet itself is on its way already",
            meters: &["skb:consume_skb", "ethtool -S"],
            ..NAMELESS
        },
        _ => PointFacts {
            number: None,
            happens: "every device that is not one of the observed hosts: switches, routers, firewalls, gateways, load balancers",
            meters: &[
                "captures on both sides",
                "the device's own counters and logs",
                "ICMP errors that it sends",
            ],
            tools: &[
                tool!("traceroute, mtr", "ask the routers on the way"),
                tool!("LVS, load balancers", "redirect and translate"),
            ],
            disturbances: &[disturbs!(
                "NAT and load balancers",
                "the two ends see different addresses and ports for one flow",
            )],
            ..NAMELESS
        },
    }
}

const fn receiving_lower(point: Point) -> PointFacts {
    match point {
        Point::WireIn => PointFacts {
            number: Some("1"),
            happens: "the frame arrives at the device",
            ..NAMELESS
        },
        Point::NicIn => PointFacts {
            number: Some("2"),
            happens: "frame check, address filter, receive ring, copy to memory",
            meters: &[
                "ethtool -S: rx_missed_errors, rx_crc_errors, …",
                "ip -s -s link: RX errors, dropped, missed, otherhost",
            ],
            tools: &[
                tool!("ethtool", "statistics, ring sizes, offloads (-S, -g, -k)"),
                tool!("ip -s -s link", "the device's counters"),
            ],
            disturbances: &[
                disturbs!(
                    "address filter",
                    "frames for other hosts do not come in; a promiscuous capture changes that",
                ),
                disturbs!(
                    "receive offload (LRO, checksum)",
                    "segments are merged and checksums checked before the kernel sees them",
                ),
            ],
            ..NAMELESS
        },
        Point::Xdp => PointFacts {
            number: Some("3"),
            happens: "native XDP runs in the driver, before the packet exists for the kernel; generic XDP runs behind the backlog, just before the tap. What dies here is in no capture of this host",
            meters: &[
                "ip link: prog/xdp id",
                "the driver's xdp statistics (ethtool -S)",
            ],
            tools: &[
                tool!("bpftool, ip link", "which program is loaded"),
                tool!("xdpdump", "captures at the program"),
            ],
            ..NAMELESS
        },
        Point::Backlog => PointFacts {
            number: Some("4"),
            happens: "interrupt, NAPI, GRO, and the per-CPU backlog",
            meters: &[
                "softnet_stat: dropped, flow_limit (time_squeeze is only a hint)",
                "net:napi_gro_receive_entry, net:netif_receive_skb",
            ],
            tools: &[tool!(
                "cat /proc/net/softnet_stat",
                "one line for each processor; machine-wide, also inside a namespace",
            )],
            disturbances: &[disturbs!(
                "GRO",
                "segments of one flow are merged: captures and IpInReceives count them once",
            )],
            ..NAMELESS
        },
        Point::TapIn => PointFacts {
            number: Some("5"),
            happens: "a copy to every AF_PACKET socket: what tcpdump sees coming in. A packet in this capture may still die at every point below",
            meters: &["capture, less its own drops"],
            tools: &[tool!(
                "tcpdump, tshark",
                "capture here: before all of IP and Netfilter",
            )],
            disturbances: &[
                disturbs!(
                    "capture loss",
                    "a busy capture loses far more than the network does: read its drop count",
                ),
                disturbs!(
                    "promiscuous mode",
                    "shows frames for other hosts, which link_input drops",
                ),
            ],
            ..NAMELESS
        },
        Point::TcIngress => PointFacts {
            number: Some("6"),
            happens: "clsact ingress and Netfilter ingress; IpInReceives has not counted yet",
            meters: &[
                "tc -s filter, tc -s qdisc show clsact",
                "rule counters (netdev ingress)",
            ],
            tools: &[tool!("tc", "filters and BPF programs"), FIREWALLS],
            ..NAMELESS
        },
        Point::LinkInput => PointFacts {
            number: Some("7"),
            happens: "VLAN, bridge, \"not my MAC\" (OTHERHOST), EtherType",
            meters: &[
                "ip -s -s -j link: rx.otherhost, rx.nohandler",
                "bridge link: state",
                "the destination MAC in the capture",
            ],
            tools: &[tool!("bridge, ip link", "ports, VLANs, addresses")],
            disturbances: &[disturbs!(
                "unknown EtherTypes",
                "LLDP, STP and the like count as RX dropped: no fault",
            )],
            ..NAMELESS
        },
        _ => PointFacts {
            number: Some("8"),
            happens: "version, length, header checksum; reassembly of fragments",
            meters: &[
                "IpInReceives, IpInHdrErrors, IpExtInTruncatedPkts",
                "IpReasmReqds, IpReasmTimeout, IpReasmFails",
                "sockstat: FRAG memory",
            ],
            tools: &[tool!("netstat -s, nstat", "IP's counters")],
            ..NAMELESS
        },
    }
}

const fn receiving_upper(point: Point) -> PointFacts {
    match point {
        Point::PreRouting => PointFacts {
            number: Some("9"),
            happens: "Netfilter PRE_ROUTING: connection tracking begins, destination NAT",
            priorities: &[
                at!("defrag", -400),
                at!("raw", -300),
                at!("conntrack", -200),
                at!("mangle", -150),
                at!("nat", -100),
            ],
            meters: &[
                "rule counters",
                "conntrack -S: invalid, drop",
                "nft trace",
                "IpInReceives less all that is accounted for",
            ],
            tools: &[
                FIREWALLS,
                tool!("conntrack", "entries and their translations"),
            ],
            ..NAMELESS
        },
        Point::RouteInput => PointFacts {
            number: Some("10"),
            happens: "source validation (rp_filter, martians), then: local, forward, or error",
            meters: &[
                "TcpExtIPReversePathFilter, IpInAddrErrors, IpExtInNoRoutes",
                "stat/rt_cache: in_martian_src, in_martian_dst (machine-wide)",
                "ip route get … from … iif …",
            ],
            tools: &[tool!(
                "ip route, ip rule, sysctl",
                "the tables and rp_filter",
            )],
            ..NAMELESS
        },
        Point::Forward => PointFacts {
            number: Some("11f"),
            happens: "a packet for another host: TTL, then MTU (\"too big\" dies here, before the hook), then Netfilter FORWARD; it goes on at post_routing",
            priorities: &[at!("mangle", -150), at!("filter", 0), at!("security", 50)],
            meters: &[
                "IpForwDatagrams (counted before the hook from 6.12 on, behind it in 6.1)",
                "rule counters",
                "IpFragFails, IcmpOutTimeExcds",
            ],
            tools: &[
                FIREWALLS,
                tool!(
                    "LVS",
                    "in FORWARD: answers of real servers on their way back",
                ),
            ],
            ..NAMELESS
        },
        Point::LocalIn => PointFacts {
            number: Some("11"),
            happens: "Netfilter LOCAL_IN: iptables' INPUT. The capture of this host has the packet, TCP has not",
            priorities: &[
                at!("mangle", -150),
                at!("filter", 0),
                at!("security", 50),
                at!("nat", 100),
                at!("conntrack confirm", i32::MAX),
            ],
            meters: &[
                "rule counters",
                "IpInReceives rises and IpInDelivers does not",
                "nft trace",
            ],
            tools: &[
                FIREWALLS,
                tool!(
                    "LVS",
                    "takes packets for a virtual service and sends them to a real server",
                ),
            ],
            ..NAMELESS
        },
        Point::RawTap => PointFacts {
            number: Some("12"),
            happens: "copies to raw IP sockets, behind all of Netfilter",
            meters: &["a capture taken here (LABEL@raw_tap=FILE)"],
            tools: &[tool!(
                "tcpcopy",
                "captures here by default: it sees only what the firewall let in",
            )],
            ..NAMELESS
        },
        Point::TransportInput => PointFacts {
            number: Some("13"),
            happens: "TCP's or UDP's handler; the checksum, unless the NIC has checked it",
            meters: &[
                "IpInDelivers, TcpInSegs, UdpInDatagrams",
                "TcpInCsumErrors, UdpInCsumErrors, IpInUnknownProtos",
            ],
            tools: &[tool!(
                "netstat -s, nstat",
                "the counters of TCP, UDP and ICMP",
            )],
            disturbances: &[disturbs!("GRO", "TcpInSegs counts merged segments once")],
            ..NAMELESS
        },
        Point::SocketLookup => PointFacts {
            number: Some("14"),
            happens: "by source address, source port, target address, target port: an established socket, else a listening one, else none (reset, port unreachable)",
            meters: &[
                "TcpOutRsts, UdpNoPorts, IcmpOutDestUnreachs",
                "ss -l: who listens on which address",
            ],
            tools: &[tool!("netstat, ss", "sockets and their states")],
            ..NAMELESS
        },
        Point::SocketInput => PointFacts {
            number: Some("15"),
            happens: "minimum TTL, IPsec policy, MD5 and AO, cgroup ingress BPF, socket filter, backlog; then TCP's state machine: SYN and accept queues, PAWS, window",
            meters: &[
                "TcpExtListenOverflows, TcpExtListenDrops, TcpExtTCPReqQFullDrop",
                "TcpExtPAWSEstab, TcpExtTCPMinTTLDrop, TcpExtTCPMD5*",
                "ss -lm: Recv-Q against Send-Q, skmem d",
                "tcp:*, sock:inet_sock_set_state",
            ],
            tools: &[
                tool!("netstat -s, nstat", "why TCP said no"),
                tool!("ss -ltn", "how full the accept queue is"),
            ],
            ..NAMELESS
        },
        Point::ReceiveBuffer => PointFacts {
            number: Some("16"),
            happens: "in order, or into the out-of-order queue, as far as the window and the memory reach",
            meters: &[
                "ss: Recv-Q, skmem r, rb, d",
                "UdpRcvbufErrors, TcpExtTCPRcvQDrop, TcpExtRcvPruned",
                "/proc/net/udp: drops",
            ],
            tools: &[tool!(
                "ss -m",
                "how full the buffer is, and what it dropped"
            )],
            ..NAMELESS
        },
        _ => PointFacts {
            number: Some("17"),
            happens: "read or recv copies the bytes out; a window update may go back",
            meters: &[
                "the application's log",
                "ss: Recv-Q that does not shrink",
                "TcpExtTCPToZeroWindowAdv",
            ],
            tools: &[
                tool!(
                    "HTTP programs (nginx, Apache)",
                    "log what they received: the only proof that a request was processed",
                ),
                tool!("strace", "shows whether the program reads"),
            ],
            ..NAMELESS
        },
    }
}
