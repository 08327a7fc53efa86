//! The closed lists of a verdict: outcomes, symptoms, classes of packets, directions, certainties.

use crate::named_enum;

named_enum! {
    /// How a flow ended, worst first: verdicts are sorted in this order.
    pub enum Outcome {
        /// Packets died on the way, and nobody told the sender.
        Lost => "lost",
        /// The sender was told no: by a reset or an ICMP error, by anybody.
        Refused => "refused",
        /// Nothing was lost; a window or an application stands still.
        Stalled => "stalled",
        /// No packet ever existed.
        NotSent => "not_sent",
        /// The evidence does not suffice.
        Undetermined => "undetermined",
        /// Everything that was sent arrived.
        Delivered => "delivered",
    }
}

named_enum! {
    /// What the user would see of the failure.
    pub enum Symptom {
        /// SYNs without any answer.
        SynUnanswered => "syn_unanswered",
        /// The client holds the connection for open, the server does not.
        HandshakeIncomplete => "handshake_incomplete",
        /// A reset or an ICMP error in answer to the first packet.
        ConnectionRefused => "connection_refused",
        /// A reset after the handshake.
        ConnectionReset => "connection_reset",
        /// Data was sent again and again, and never acknowledged.
        DataUnacknowledged => "data_unacknowledged",
        /// The FIN was sent again and again, and never acknowledged.
        FinUnacknowledged => "fin_unacknowledged",
        /// The request was acknowledged by the kernel, and no answer came.
        RequestUnanswered => "request_unanswered",
        /// The receiver's window is closed.
        WindowClosed => "window_closed",
        /// A datagram or an echo request without an answer.
        DatagramUnanswered => "datagram_unanswered",
        /// Datagrams sent and not all received.
        DatagramsMissing => "datagrams_missing",
        /// An ICMP error in answer to a datagram.
        Unreachable => "unreachable",
        /// The system call failed and no packet was made.
        SendFailed => "send_failed",
        /// No packet of the filtered flow was seen anywhere.
        NoPacketSeen => "no_packet_seen",
        /// The observation ended before the flow did; nothing was found missing.
        Unfinished => "unfinished",
        /// No failure.
        None => "none",
    }
}

named_enum! {
    /// A class of packets of one conversation.
    pub enum What {
        /// The first packet of a TCP connection.
        Syn => "syn",
        /// The answer to a SYN.
        SynAck => "syn_ack",
        /// An acknowledgement without data, the handshake's last packet included.
        Ack => "ack",
        /// A TCP segment with data.
        Data => "data",
        /// A TCP segment with FIN, with or without data.
        Fin => "fin",
        /// A TCP reset.
        Rst => "rst",
        /// A UDP datagram, or one of a protocol without classes.
        Datagram => "datagram",
        /// An ICMP or ICMPv6 echo request.
        EchoRequest => "echo_request",
        /// An ICMP or ICMPv6 echo reply.
        EchoReply => "echo_reply",
        /// A fragment of an IP packet.
        Fragment => "fragment",
        /// An ICMP error.
        IcmpError => "icmp_error",
    }
}

named_enum! {
    /// Towards which end of the flow a packet travels.
    pub enum Direction {
        /// From the client (who sent the SYN, else who spoke first) to the server.
        ToServer => "to_server",
        /// From the server to the client.
        ToClient => "to_client",
    }
}

impl Direction {
    /// The other direction.
    pub const fn reversed(self) -> Self {
        match self {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }
}

named_enum! {
    /// How sure a statement is, weakest first.
    pub enum Certainty {
        /// Candidates remain.
        Undetermined => "undetermined",
        /// Nothing of its own moved, but the configuration says that it would happen to this packet.
        Likely => "likely",
        /// One candidate alone has its own evidence, in matching amounts.
        Strong => "strong",
        /// A per-packet observation shows it, or the bracket holds one point and a terminal meter accounts for exactly what was lost.
        Proven => "proven",
    }
}
