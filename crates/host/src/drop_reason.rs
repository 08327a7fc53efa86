//! Why the kernel freed a packet (`enum skb_drop_reason`), under the names of Linux 6.18.

use transect_path::named_enum;

named_enum! {
    /// A drop reason; the name is what follows `SKB_DROP_REASON_`.
    pub enum DropReason {
        /// No reason given.
        NotSpecified => "NOT_SPECIFIED",
        /// Nobody listens.
        NoSocket => "NO_SOCKET",
        /// `SKB_DROP_REASON_SOCKET_CLOSE`.
        SocketClose => "SOCKET_CLOSE",
        /// A socket's own filter.
        SocketFilter => "SOCKET_FILTER",
        /// The receive buffer is full.
        SocketRcvbuff => "SOCKET_RCVBUFF",
        /// `SKB_DROP_REASON_PKT_TOO_SMALL`.
        PktTooSmall => "PKT_TOO_SMALL",
        /// `SKB_DROP_REASON_TCP_CSUM`.
        TcpCsum => "TCP_CSUM",
        /// `SKB_DROP_REASON_UDP_CSUM`.
        UdpCsum => "UDP_CSUM",
        /// A Netfilter rule or policy.
        NetfilterDrop => "NETFILTER_DROP",
        /// Another host's frame.
        Otherhost => "OTHERHOST",
        /// `SKB_DROP_REASON_IP_CSUM`.
        IpCsum => "IP_CSUM",
        /// `SKB_DROP_REASON_IP_INHDR`.
        IpInhdr => "IP_INHDR",
        /// The reverse path filter.
        IpRpfilter => "IP_RPFILTER",
        /// `SKB_DROP_REASON_UNICAST_IN_L2_MULTICAST`.
        UnicastInL2Multicast => "UNICAST_IN_L2_MULTICAST",
        /// `SKB_DROP_REASON_XFRM_POLICY`.
        XfrmPolicy => "XFRM_POLICY",
        /// `SKB_DROP_REASON_IP_NOPROTO`.
        IpNoproto => "IP_NOPROTO",
        /// `SKB_DROP_REASON_PROTO_MEM`.
        ProtoMem => "PROTO_MEM",
        /// `SKB_DROP_REASON_TCP_AUTH_HDR`.
        TcpAuthHdr => "TCP_AUTH_HDR",
        /// `SKB_DROP_REASON_TCP_MD5NOTFOUND`.
        TcpMd5notfound => "TCP_MD5NOTFOUND",
        /// `SKB_DROP_REASON_TCP_MD5UNEXPECTED`.
        TcpMd5unexpected => "TCP_MD5UNEXPECTED",
        /// `SKB_DROP_REASON_TCP_MD5FAILURE`.
        TcpMd5failure => "TCP_MD5FAILURE",
        /// `SKB_DROP_REASON_TCP_AONOTFOUND`.
        TcpAonotfound => "TCP_AONOTFOUND",
        /// `SKB_DROP_REASON_TCP_AOUNEXPECTED`.
        TcpAounexpected => "TCP_AOUNEXPECTED",
        /// `SKB_DROP_REASON_TCP_AOKEYNOTFOUND`.
        TcpAokeynotfound => "TCP_AOKEYNOTFOUND",
        /// `SKB_DROP_REASON_TCP_AOFAILURE`.
        TcpAofailure => "TCP_AOFAILURE",
        /// `SKB_DROP_REASON_SOCKET_BACKLOG`.
        SocketBacklog => "SOCKET_BACKLOG",
        /// `SKB_DROP_REASON_TCP_FLAGS`.
        TcpFlags => "TCP_FLAGS",
        /// `SKB_DROP_REASON_TCP_ABORT_ON_DATA`.
        TcpAbortOnData => "TCP_ABORT_ON_DATA",
        /// `SKB_DROP_REASON_TCP_ZEROWINDOW`.
        TcpZerowindow => "TCP_ZEROWINDOW",
        /// `SKB_DROP_REASON_TCP_OLD_DATA`.
        TcpOldData => "TCP_OLD_DATA",
        /// `SKB_DROP_REASON_TCP_OVERWINDOW`.
        TcpOverwindow => "TCP_OVERWINDOW",
        /// `SKB_DROP_REASON_TCP_OFOMERGE`.
        TcpOfomerge => "TCP_OFOMERGE",
        /// `SKB_DROP_REASON_TCP_RFC7323_PAWS`.
        TcpRfc7323Paws => "TCP_RFC7323_PAWS",
        /// `SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK`.
        TcpRfc7323PawsAck => "TCP_RFC7323_PAWS_ACK",
        /// `SKB_DROP_REASON_TCP_RFC7323_TW_PAWS`.
        TcpRfc7323TwPaws => "TCP_RFC7323_TW_PAWS",
        /// `SKB_DROP_REASON_TCP_RFC7323_TSECR`.
        TcpRfc7323Tsecr => "TCP_RFC7323_TSECR",
        /// `SKB_DROP_REASON_TCP_LISTEN_OVERFLOW`.
        TcpListenOverflow => "TCP_LISTEN_OVERFLOW",
        /// `SKB_DROP_REASON_TCP_OLD_SEQUENCE`.
        TcpOldSequence => "TCP_OLD_SEQUENCE",
        /// `SKB_DROP_REASON_TCP_INVALID_SEQUENCE`.
        TcpInvalidSequence => "TCP_INVALID_SEQUENCE",
        /// `SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE`.
        TcpInvalidEndSequence => "TCP_INVALID_END_SEQUENCE",
        /// `SKB_DROP_REASON_TCP_INVALID_ACK_SEQUENCE`.
        TcpInvalidAckSequence => "TCP_INVALID_ACK_SEQUENCE",
        /// `SKB_DROP_REASON_TCP_RESET`.
        TcpReset => "TCP_RESET",
        /// `SKB_DROP_REASON_TCP_INVALID_SYN`.
        TcpInvalidSyn => "TCP_INVALID_SYN",
        /// `SKB_DROP_REASON_TCP_CLOSE`.
        TcpClose => "TCP_CLOSE",
        /// `SKB_DROP_REASON_TCP_FASTOPEN`.
        TcpFastopen => "TCP_FASTOPEN",
        /// `SKB_DROP_REASON_TCP_OLD_ACK`.
        TcpOldAck => "TCP_OLD_ACK",
        /// `SKB_DROP_REASON_TCP_TOO_OLD_ACK`.
        TcpTooOldAck => "TCP_TOO_OLD_ACK",
        /// `SKB_DROP_REASON_TCP_ACK_UNSENT_DATA`.
        TcpAckUnsentData => "TCP_ACK_UNSENT_DATA",
        /// `SKB_DROP_REASON_TCP_OFO_QUEUE_PRUNE`.
        TcpOfoQueuePrune => "TCP_OFO_QUEUE_PRUNE",
        /// `SKB_DROP_REASON_TCP_OFO_DROP`.
        TcpOfoDrop => "TCP_OFO_DROP",
        /// `SKB_DROP_REASON_IP_OUTNOROUTES`.
        IpOutnoroutes => "IP_OUTNOROUTES",
        /// `SKB_DROP_REASON_BPF_CGROUP_EGRESS`.
        BpfCgroupEgress => "BPF_CGROUP_EGRESS",
        /// `SKB_DROP_REASON_IPV6DISABLED`.
        Ipv6disabled => "IPV6DISABLED",
        /// `SKB_DROP_REASON_NEIGH_CREATEFAIL`.
        NeighCreatefail => "NEIGH_CREATEFAIL",
        /// `SKB_DROP_REASON_NEIGH_FAILED`.
        NeighFailed => "NEIGH_FAILED",
        /// `SKB_DROP_REASON_NEIGH_QUEUEFULL`.
        NeighQueuefull => "NEIGH_QUEUEFULL",
        /// `SKB_DROP_REASON_NEIGH_DEAD`.
        NeighDead => "NEIGH_DEAD",
        /// `SKB_DROP_REASON_NEIGH_HH_FILLFAIL`.
        NeighHhFillfail => "NEIGH_HH_FILLFAIL",
        /// `SKB_DROP_REASON_TC_EGRESS`.
        TcEgress => "TC_EGRESS",
        /// `SKB_DROP_REASON_SECURITY_HOOK`.
        SecurityHook => "SECURITY_HOOK",
        /// `SKB_DROP_REASON_QDISC_DROP`.
        QdiscDrop => "QDISC_DROP",
        /// `SKB_DROP_REASON_QDISC_OVERLIMIT`.
        QdiscOverlimit => "QDISC_OVERLIMIT",
        /// `SKB_DROP_REASON_QDISC_CONGESTED`.
        QdiscCongested => "QDISC_CONGESTED",
        /// `SKB_DROP_REASON_CPU_BACKLOG`.
        CpuBacklog => "CPU_BACKLOG",
        /// `SKB_DROP_REASON_XDP`.
        Xdp => "XDP",
        /// `SKB_DROP_REASON_TC_INGRESS`.
        TcIngress => "TC_INGRESS",
        /// `SKB_DROP_REASON_UNHANDLED_PROTO`.
        UnhandledProto => "UNHANDLED_PROTO",
        /// `SKB_DROP_REASON_SKB_CSUM`.
        SkbCsum => "SKB_CSUM",
        /// `SKB_DROP_REASON_SKB_GSO_SEG`.
        SkbGsoSeg => "SKB_GSO_SEG",
        /// `SKB_DROP_REASON_SKB_UCOPY_FAULT`.
        SkbUcopyFault => "SKB_UCOPY_FAULT",
        /// `SKB_DROP_REASON_DEV_HDR`.
        DevHdr => "DEV_HDR",
        /// `SKB_DROP_REASON_DEV_READY`.
        DevReady => "DEV_READY",
        /// `SKB_DROP_REASON_FULL_RING`.
        FullRing => "FULL_RING",
        /// `SKB_DROP_REASON_NOMEM`.
        Nomem => "NOMEM",
        /// `SKB_DROP_REASON_HDR_TRUNC`.
        HdrTrunc => "HDR_TRUNC",
        /// `SKB_DROP_REASON_TAP_FILTER`.
        TapFilter => "TAP_FILTER",
        /// `SKB_DROP_REASON_TAP_TXFILTER`.
        TapTxfilter => "TAP_TXFILTER",
        /// `SKB_DROP_REASON_ICMP_CSUM`.
        IcmpCsum => "ICMP_CSUM",
        /// `SKB_DROP_REASON_INVALID_PROTO`.
        InvalidProto => "INVALID_PROTO",
        /// `SKB_DROP_REASON_IP_INADDRERRORS`.
        IpInaddrerrors => "IP_INADDRERRORS",
        /// `SKB_DROP_REASON_IP_INNOROUTES`.
        IpInnoroutes => "IP_INNOROUTES",
        /// `SKB_DROP_REASON_IP_LOCAL_SOURCE`.
        IpLocalSource => "IP_LOCAL_SOURCE",
        /// `SKB_DROP_REASON_IP_INVALID_SOURCE`.
        IpInvalidSource => "IP_INVALID_SOURCE",
        /// `SKB_DROP_REASON_IP_LOCALNET`.
        IpLocalnet => "IP_LOCALNET",
        /// `SKB_DROP_REASON_IP_INVALID_DEST`.
        IpInvalidDest => "IP_INVALID_DEST",
        /// `SKB_DROP_REASON_PKT_TOO_BIG`.
        PktTooBig => "PKT_TOO_BIG",
        /// `SKB_DROP_REASON_DUP_FRAG`.
        DupFrag => "DUP_FRAG",
        /// `SKB_DROP_REASON_FRAG_REASM_TIMEOUT`.
        FragReasmTimeout => "FRAG_REASM_TIMEOUT",
        /// `SKB_DROP_REASON_FRAG_TOO_FAR`.
        FragTooFar => "FRAG_TOO_FAR",
        /// `SKB_DROP_REASON_TCP_MINTTL`.
        TcpMinttl => "TCP_MINTTL",
        /// `SKB_DROP_REASON_IPV6_BAD_EXTHDR`.
        Ipv6BadExthdr => "IPV6_BAD_EXTHDR",
        /// `SKB_DROP_REASON_IPV6_NDISC_FRAG`.
        Ipv6NdiscFrag => "IPV6_NDISC_FRAG",
        /// `SKB_DROP_REASON_IPV6_NDISC_HOP_LIMIT`.
        Ipv6NdiscHopLimit => "IPV6_NDISC_HOP_LIMIT",
        /// `SKB_DROP_REASON_IPV6_NDISC_BAD_CODE`.
        Ipv6NdiscBadCode => "IPV6_NDISC_BAD_CODE",
        /// `SKB_DROP_REASON_IPV6_NDISC_BAD_OPTIONS`.
        Ipv6NdiscBadOptions => "IPV6_NDISC_BAD_OPTIONS",
        /// `SKB_DROP_REASON_IPV6_NDISC_NS_OTHERHOST`.
        Ipv6NdiscNsOtherhost => "IPV6_NDISC_NS_OTHERHOST",
        /// `SKB_DROP_REASON_QUEUE_PURGE`.
        QueuePurge => "QUEUE_PURGE",
        /// `SKB_DROP_REASON_TC_COOKIE_ERROR`.
        TcCookieError => "TC_COOKIE_ERROR",
        /// `SKB_DROP_REASON_PACKET_SOCK_ERROR`.
        PacketSockError => "PACKET_SOCK_ERROR",
        /// `SKB_DROP_REASON_TC_CHAIN_NOTFOUND`.
        TcChainNotfound => "TC_CHAIN_NOTFOUND",
        /// `SKB_DROP_REASON_TC_RECLASSIFY_LOOP`.
        TcReclassifyLoop => "TC_RECLASSIFY_LOOP",
        /// `SKB_DROP_REASON_VXLAN_INVALID_HDR`.
        VxlanInvalidHdr => "VXLAN_INVALID_HDR",
        /// `SKB_DROP_REASON_VXLAN_VNI_NOT_FOUND`.
        VxlanVniNotFound => "VXLAN_VNI_NOT_FOUND",
        /// `SKB_DROP_REASON_MAC_INVALID_SOURCE`.
        MacInvalidSource => "MAC_INVALID_SOURCE",
        /// `SKB_DROP_REASON_VXLAN_ENTRY_EXISTS`.
        VxlanEntryExists => "VXLAN_ENTRY_EXISTS",
        /// `SKB_DROP_REASON_NO_TX_TARGET`.
        NoTxTarget => "NO_TX_TARGET",
        /// `SKB_DROP_REASON_IP_TUNNEL_ECN`.
        IpTunnelEcn => "IP_TUNNEL_ECN",
        /// `SKB_DROP_REASON_TUNNEL_TXINFO`.
        TunnelTxinfo => "TUNNEL_TXINFO",
        /// `SKB_DROP_REASON_LOCAL_MAC`.
        LocalMac => "LOCAL_MAC",
        /// `SKB_DROP_REASON_ARP_PVLAN_DISABLE`.
        ArpPvlanDisable => "ARP_PVLAN_DISABLE",
        /// `SKB_DROP_REASON_MAC_IEEE_MAC_CONTROL`.
        MacIeeeMacControl => "MAC_IEEE_MAC_CONTROL",
        /// `SKB_DROP_REASON_BRIDGE_INGRESS_STP_STATE`.
        BridgeIngressStpState => "BRIDGE_INGRESS_STP_STATE",
        /// `SKB_DROP_REASON_PFMEMALLOC`.
        Pfmemalloc => "PFMEMALLOC",
        /// `SKB_DROP_REASON_RECURSION_LIMIT`.
        RecursionLimit => "RECURSION_LIMIT",
    }
}
