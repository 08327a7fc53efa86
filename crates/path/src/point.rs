//! The points of the path, in the order in which a packet passes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::named_enum;

named_enum! {
    /// One place that a packet passes on a Linux host, or the network between two hosts.
    ///
    /// The order of the variants is the order of the path: sending, then the network, then receiving.
    /// `forward` stands where a forwarded packet leaves the receiving half and goes on at `post_routing`.
    pub enum Point {
        /// write/send/sendmsg; may fail before any packet exists.
        AppSend => "app_send",
        /// Bytes are copied to the end of the send buffer (`tcp_sendmsg_locked`).
        SendBuffer => "send_buffer",
        /// Window, congestion window, segmentation, retransmission timer (`tcp_write_xmit`, `udp_send_skb`).
        TransportOutput => "transport_output",
        /// Route look-up and source address (`ip_route_output_flow`, `ip6_dst_lookup_flow`).
        RouteOutput => "route_output",
        /// Netfilter LOCAL_OUT (`__ip_local_out`).
        LocalOut => "local_out",
        /// Netfilter POST_ROUTING (`ip_output`).
        PostRouting => "post_routing",
        /// cgroup egress BPF, IPsec, MTU (`ip_finish_output`).
        IpFinish => "ip_finish",
        /// ARP or neighbour discovery (`neigh_resolve_output`).
        Neighbor => "neighbor",
        /// Netfilter egress and clsact egress (`sch_handle_egress`).
        TcEgress => "tc_egress",
        /// The queueing discipline (`__dev_xmit_skb`).
        Qdisc => "qdisc",
        /// The copy to AF_PACKET sockets on the way out (`dev_queue_xmit_nit`).
        TapOut => "tap_out",
        /// The driver and its transmit ring (`ndo_start_xmit`).
        DriverOut => "driver_out",
        /// On the wire.
        WireOut => "wire_out",
        /// The device says that it has sent the packet.
        TxCompletion => "tx_completion",
        /// Every device between two observed hosts.
        Network => "network",
        /// The packet arrives at the device.
        WireIn => "wire_in",
        /// Frame check, address filter, receive ring.
        NicIn => "nic_in",
        /// XDP programs (`bpf_prog_run_xdp`).
        Xdp => "xdp",
        /// NAPI, GRO and the per-CPU backlog (`enqueue_to_backlog`).
        Backlog => "backlog",
        /// The copy to AF_PACKET sockets on the way in (`__netif_receive_skb_core`).
        TapIn => "tap_in",
        /// clsact ingress and Netfilter ingress (`sch_handle_ingress`, `nf_ingress`).
        TcIngress => "tc_ingress",
        /// VLAN, bridge, "not my MAC", EtherType (`ip_rcv_core`'s first check).
        LinkInput => "link_input",
        /// Version, length, header checksum, reassembly (`ip_rcv_core`, `ip_defrag`).
        IpInput => "ip_input",
        /// Netfilter PRE_ROUTING (`ip_rcv`).
        PreRouting => "pre_routing",
        /// Source validation, then local, forward or error (`ip_route_input_slow`).
        RouteInput => "route_input",
        /// TTL, MTU and Netfilter FORWARD (`ip_forward`).
        Forward => "forward",
        /// Netfilter LOCAL_IN (`ip_local_deliver`).
        LocalIn => "local_in",
        /// Copies to raw sockets (`raw_local_deliver`).
        RawTap => "raw_tap",
        /// Protocol handler and checksum (`tcp_v4_rcv`, `__udp4_lib_rcv`).
        TransportInput => "transport_input",
        /// Established, then listening, then none (`__inet_lookup_skb`).
        SocketLookup => "socket_lookup",
        /// Socket filter, backlog, state machine, SYN and accept queues (`tcp_v4_do_rcv`).
        SocketInput => "socket_input",
        /// In order or out of order, within the window (`tcp_data_queue`, `__udp_enqueue_schedule_skb`).
        ReceiveBuffer => "receive_buffer",
        /// read/recv copies the bytes out.
        AppReceive => "app_receive",
    }
}

/// Who executes the code of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The application's own code and its system calls.
    User,
    /// The kernel, on the host's processors.
    Kernel,
    /// The network device, which has a processor of its own.
    Device,
    /// Outside of every observed host.
    Network,
}

/// The protocol layer to which a point belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The program.
    Application,
    /// Socket buffers.
    Socket,
    /// TCP, UDP, ICMP end points.
    Transport,
    /// IPv4 and IPv6, with Netfilter.
    Ip,
    /// Neighbours, queues, taps, bridges.
    Link,
    /// Driver, ring and wire.
    Device,
    /// Between hosts.
    Network,
}

/// Which half of the path a point belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// From the application to the wire.
    Sending,
    /// Between the hosts.
    Network,
    /// From the wire to the application.
    Receiving,
}

impl Point {
    /// The half of the path. `forward` is counted to the receiving half, where it begins.
    pub fn half(self) -> Half {
        if self < Point::Network {
            Half::Sending
        } else if self == Point::Network {
            Half::Network
        } else {
            Half::Receiving
        }
    }

    /// Who executes the code of this point.
    pub fn region(self) -> Region {
        use Point::*;
        match self {
            AppSend | AppReceive => Region::User,
            DriverOut | WireOut | TxCompletion | WireIn | NicIn => Region::Device,
            Network => Region::Network,
            _ => Region::Kernel,
        }
    }

    /// The protocol layer of this point.
    pub fn layer(self) -> Layer {
        use Point::*;
        match self {
            AppSend | AppReceive => Layer::Application,
            SendBuffer | ReceiveBuffer => Layer::Socket,
            TransportOutput | TransportInput | SocketLookup | SocketInput => Layer::Transport,
            RouteOutput | LocalOut | PostRouting | IpFinish | IpInput | PreRouting | RouteInput
            | Forward | LocalIn | RawTap => Layer::Ip,
            Neighbor | TcEgress | Qdisc | TapOut | Backlog | TapIn | TcIngress | LinkInput => {
                Layer::Link
            }
            DriverOut | WireOut | TxCompletion | WireIn | NicIn | Xdp => Layer::Device,
            Network => Layer::Network,
        }
    }

    /// The Netfilter hook that this point runs, if it runs one.
    pub fn hook(self) -> Option<Hook> {
        match self {
            Point::TcIngress => Some(Hook::Ingress),
            Point::PreRouting => Some(Hook::PreRouting),
            Point::LocalIn => Some(Hook::LocalIn),
            Point::Forward => Some(Hook::Forward),
            Point::LocalOut => Some(Hook::LocalOut),
            Point::PostRouting => Some(Hook::PostRouting),
            Point::TcEgress => Some(Hook::Egress),
            _ => None,
        }
    }

    /// The points that a packet passes which this host sends itself, in order.
    pub fn sending() -> &'static [Point] {
        use Point::*;
        &[
            AppSend,
            SendBuffer,
            TransportOutput,
            RouteOutput,
            LocalOut,
            PostRouting,
            IpFinish,
            Neighbor,
            TcEgress,
            Qdisc,
            TapOut,
            DriverOut,
            WireOut,
            TxCompletion,
        ]
    }

    /// The points that a packet passes which this host receives for itself, in order.
    pub fn receiving() -> &'static [Point] {
        use Point::*;
        &[
            WireIn,
            NicIn,
            Xdp,
            Backlog,
            TapIn,
            TcIngress,
            LinkInput,
            IpInput,
            PreRouting,
            RouteInput,
            LocalIn,
            RawTap,
            TransportInput,
            SocketLookup,
            SocketInput,
            ReceiveBuffer,
            AppReceive,
        ]
    }

    /// The points that a packet passes which this host forwards, in order.
    pub fn forwarding() -> &'static [Point] {
        use Point::*;
        &[
            WireIn,
            NicIn,
            Xdp,
            Backlog,
            TapIn,
            TcIngress,
            LinkInput,
            IpInput,
            PreRouting,
            RouteInput,
            Forward,
            PostRouting,
            IpFinish,
            Neighbor,
            TcEgress,
            Qdisc,
            TapOut,
            DriverOut,
            WireOut,
            TxCompletion,
        ]
    }
}

named_enum! {
    /// A Netfilter hook, by the kernel's name.
    pub enum Hook {
        /// `NF_NETDEV_INGRESS` / `NF_INET_INGRESS`.
        Ingress => "ingress",
        /// `NF_INET_PRE_ROUTING`.
        PreRouting => "pre_routing",
        /// `NF_INET_LOCAL_IN`.
        LocalIn => "local_in",
        /// `NF_INET_FORWARD`.
        Forward => "forward",
        /// `NF_INET_LOCAL_OUT`.
        LocalOut => "local_out",
        /// `NF_INET_POST_ROUTING`.
        PostRouting => "post_routing",
        /// `NF_NETDEV_EGRESS`.
        Egress => "egress",
    }
}

impl Hook {
    /// The point of the path at which the hook runs.
    #[inline]
    pub fn point(self) -> Point {
        match self {
            Hook::Ingress => Point::TcIngress,
            Hook::PreRouting => Point::PreRouting,
            Hook::LocalIn => Point::LocalIn,
            Hook::Forward => Point::Forward,
            Hook::LocalOut => Point::LocalOut,
            Hook::PostRouting => Point::PostRouting,
            Hook::Egress => Point::TcEgress,
        }
    }
}

named_enum! {
    /// One of the two edges of a point.
    pub enum Side {
        /// The packet came to the point.
        Entered => "entered",
        /// The packet went on behind the point.
        Left => "left",
    }
}

/// An edge of the path: a point, entered or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// The point.
    pub point: Point,
    /// Entered or left.
    pub side: Side,
}

impl Edge {
    /// The packet came to `point`.
    pub const fn entered(point: Point) -> Self {
        Edge {
            point,
            side: Side::Entered,
        }
    }

    /// The packet went on behind `point`.
    pub const fn left(point: Point) -> Self {
        Edge {
            point,
            side: Side::Left,
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.point, self.side)
    }
}

/// An edge on a host (or in the network), written `server/local_in/entered`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostEdge {
    /// The host's label, or `network`.
    pub host: String,
    /// The edge.
    pub edge: Edge,
}

impl HostEdge {
    /// An edge on the host with this label.
    pub fn new(host: impl Into<String>, edge: Edge) -> Self {
        HostEdge {
            host: host.into(),
            edge,
        }
    }
}

impl fmt::Display for HostEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.edge)
    }
}

impl FromStr for HostEdge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '/');
        let (side, point, host) = (parts.next(), parts.next(), parts.next());
        match (host, point, side) {
            (Some(host), Some(point), Some(side)) if !host.is_empty() => Ok(HostEdge {
                host: host.to_owned(),
                edge: Edge {
                    point: point.parse()?,
                    side: side.parse()?,
                },
            }),
            _ => Err(format!(
                "\"{text}\" is not an edge: expected HOST/POINT/entered or HOST/POINT/left"
            )),
        }
    }
}

impl Serialize for HostEdge {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostEdge {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back() {
        for &point in Point::ALL {
            assert_eq!(point.id().parse::<Point>(), Ok(point));
        }
    }

    #[test]
    fn walks_are_in_the_order_of_the_path() {
        for walk in [Point::sending(), Point::receiving()] {
            assert!(walk.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn hooks_and_points_agree() {
        for &hook in Hook::ALL {
            assert_eq!(hook.point().hook(), Some(hook));
        }
    }

    #[test]
    fn an_edge_reads_back_even_when_the_label_holds_a_slash() {
        let edge = HostEdge::new("a/b", Edge::left(Point::TapIn));
        assert_eq!(edge.to_string(), "a/b/tap_in/left");
        assert_eq!("a/b/tap_in/left".parse(), Ok(edge));
        assert!("tap_in/left".parse::<HostEdge>().is_err());
    }
}
