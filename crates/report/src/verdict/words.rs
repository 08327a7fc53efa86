//! The words for a verdict's closed lists.

use transect_path::{Direction, What};

/// `7 SYNs`, `1 data segment`.
pub(super) fn count(packets: u64, what: What) -> String {
    let (one, many) = noun(what);
    format!("{packets} {}", if packets == 1 { one } else { many })
}

/// The name of a class of packets, for one and for several.
pub(super) const fn noun(what: What) -> (&'static str, &'static str) {
    match what {
        What::Syn => ("SYN", "SYNs"),
        What::SynAck => ("SYN-ACK", "SYN-ACKs"),
        What::Ack => ("ACK", "ACKs"),
        What::Data => ("data segment", "data segments"),
        What::Fin => ("FIN", "FINs"),
        What::Rst => ("RST", "RSTs"),
        What::Datagram => ("datagram", "datagrams"),
        What::EchoRequest => ("echo request", "echo requests"),
        What::EchoReply => ("echo reply", "echo replies"),
        What::Fragment => ("fragment", "fragments"),
        What::IcmpError => ("ICMP error", "ICMP errors"),
    }
}

/// Whether the class's name says by itself which protocol it belongs to.
pub(super) const fn names_protocol(what: What) -> bool {
    !matches!(what, What::Datagram | What::Fragment)
}

/// Where packets of this direction go.
pub(super) const fn towards(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "to the server",
        Direction::ToClient => "to the client",
    }
}

/// An interval of packets: `7`, `at least 3`, `at most 9`, `3 to 9`; nothing where there is no bound.
pub(super) fn bounds(lo: Option<u64>, hi: Option<u64>) -> Option<String> {
    match (lo, hi) {
        (None, None) => None,
        (Some(lo), Some(hi)) if lo == hi => Some(lo.to_string()),
        (_, Some(0)) => Some("0".to_owned()),
        (Some(0) | None, Some(hi)) => Some(format!("at most {hi}")),
        (Some(lo), None) => Some(format!("at least {lo}")),
        (Some(lo), Some(hi)) => Some(format!("{lo} to {hi}")),
    }
}

/// The text with its first letter in lower case, to go on in a sentence; an abbreviation (two capitals) stays as it is.
pub(super) fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

/// The words for a symptom, as the end of the sentence "What is seen: …".
pub(super) const fn symptom(symptom: transect_path::Symptom) -> &'static str {
    use transect_path::Symptom;
    match symptom {
        Symptom::SynUnanswered => "the SYNs are not answered",
        Symptom::HandshakeIncomplete => "the handshake is not completed",
        Symptom::ConnectionRefused => "the connection is refused",
        Symptom::ConnectionReset => "the connection is reset",
        Symptom::DataUnacknowledged => "data is not acknowledged",
        Symptom::FinUnacknowledged => "the FIN is not acknowledged",
        Symptom::RequestUnanswered => "the request is acknowledged and not answered",
        Symptom::WindowClosed => "the receiver's window is closed",
        Symptom::DatagramUnanswered => "no answer comes",
        Symptom::DatagramsMissing => "not all datagrams arrive",
        Symptom::Unreachable => "an ICMP error comes back",
        Symptom::SendFailed => "sending fails",
        Symptom::NoPacketSeen => "no packet of the flow was seen anywhere",
        Symptom::Unfinished => {
            "the observation ended before the flow did, and nothing was found missing"
        }
        Symptom::None => "nothing is wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_in_words() {
        assert_eq!(bounds(Some(7), Some(7)).as_deref(), Some("7"));
        assert_eq!(bounds(Some(3), Some(9)).as_deref(), Some("3 to 9"));
        assert_eq!(bounds(Some(0), Some(9)).as_deref(), Some("at most 9"));
        assert_eq!(bounds(None, Some(0)).as_deref(), Some("0"));
        assert_eq!(bounds(Some(3), None).as_deref(), Some("at least 3"));
        assert_eq!(bounds(None, None), None);
    }

    #[test]
    fn sentences_go_on_in_lower_case_except_for_abbreviations() {
        assert_eq!(lower_first("The server"), "the server");
        assert_eq!(lower_first("TCP has"), "TCP has");
        assert_eq!(lower_first("ü"), "ü");
        assert_eq!(lower_first(""), "");
    }
}
