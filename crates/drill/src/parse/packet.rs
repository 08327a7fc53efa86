//! Reads packets.

use super::options::option_list;
use super::{Cursor, ParseError};
use crate::script::{
    Body, Direction, Echoed, Ecn, Flags, Icmp, IpInfo, Packet, Ports, Segment, TypeOfService,
};

/// `<` or `>`, what is said of the IP header, and the packet.
pub(super) fn packet(cursor: &mut Cursor<'_>) -> Result<Packet, ParseError> {
    let direction = match cursor.eat("<")? {
        true => Direction::In,
        false => {
            cursor.expect(">")?;
            Direction::Out
        }
    };
    let ip = ip_info(cursor)?;
    let word = cursor.peek_word()?;
    if matches!(
        word,
        "ipv4" | "ipv6" | "gre" | "mpls" | "encap" | "psp" | "ah" | "esp"
    ) {
        return Err(cursor.error(format!(
            "packets inside of other packets (`{word}`) are not among what this interpreter can do"
        )));
    }
    let (ports, body) = match word {
        "udp" => {
            cursor.word("udp")?;
            let ports = ports(cursor)?;
            (ports, Body::Udp(parenthesized(cursor)?))
        }
        "icmp" => {
            cursor.word("icmp")?;
            (None, Body::Icmp(icmp(cursor)?))
        }
        _ => (ports(cursor)?, Body::Tcp(segment(cursor)?)),
    };
    if cursor.eat("{")? {
        return Err(cursor.error(
            "mutations of packets (`{ mut … }`) are not among what this interpreter can do"
                .to_owned(),
        ));
    }
    Ok(Packet {
        direction,
        ip,
        ports,
        body,
    })
}

/// `[ect0]`, `[tos 0x10, ttl 64, flowlabel 0x1]`, or the same in parentheses.
fn ip_info(cursor: &mut Cursor<'_>) -> Result<IpInfo, ParseError> {
    let mut info = IpInfo::default();
    let close = if cursor.eat("[")? {
        "]"
    } else if cursor.eat("(")? {
        ")"
    } else {
        return Ok(info);
    };
    loop {
        let what = "noecn, ect0, ect1, ect01, ce, `tos N`, `ttl N` or `flowlabel N`";
        let word = cursor.peek_word()?;
        let tos = match word {
            "noecn" => Some(TypeOfService::Ecn(Ecn::None)),
            "ect0" => Some(TypeOfService::Ecn(Ecn::Ect0)),
            "ect1" => Some(TypeOfService::Ecn(Ecn::Ect1)),
            "ect01" => Some(TypeOfService::Ecn(Ecn::Ect01)),
            "ce" => Some(TypeOfService::Ecn(Ecn::Ce)),
            "tos" | "ttl" | "flowlabel" => None,
            _ => return Err(cursor.expected(what)),
        };
        cursor.word(what)?;
        match (word, tos) {
            (_, Some(tos)) => info.tos = Some(tos),
            ("tos", None) => info.tos = Some(TypeOfService::Byte(cursor.number("a byte")?)),
            ("ttl", None) => info.ttl = Some(cursor.number("a byte")?),
            (_, None) => {
                let label: u32 = cursor.number("a flow label")?;
                if label > 0xf_ffff {
                    return Err(cursor.error("a flow label has 20 bits".to_owned()));
                }
                info.flow_label = Some(label);
            }
        }
        if cursor.eat(close)? {
            return Ok(info);
        }
        cursor.expect(",")?;
    }
}

/// `1111 > 80`.
fn ports(cursor: &mut Cursor<'_>) -> Result<Option<Ports>, ParseError> {
    if !cursor.peek()?.is_some_and(|next| next.is_ascii_digit()) {
        return Ok(None);
    }
    let source = cursor.number("a port")?;
    cursor.expect(">")?;
    Ok(Some(Ports {
        source,
        destination: cursor.number("a port")?,
    }))
}

/// `(1000)`
fn parenthesized(cursor: &mut Cursor<'_>) -> Result<u16, ParseError> {
    cursor.expect("(")?;
    let length = cursor.number("a length in bytes, at most 65535")?;
    cursor.expect(")")?;
    Ok(length)
}

fn segment(cursor: &mut Cursor<'_>) -> Result<Segment, ParseError> {
    let flags = flags(cursor)?;
    let (sequence, length) = sequence(cursor)?;
    let ack = match cursor.eat_word("ack")? {
        true => Some(cursor.number("an acknowledgment number")?),
        false => None,
    };
    let window = match cursor.eat_word("win")? {
        true => Some(cursor.number("a window, at most 65535")?),
        false => None,
    };
    let urgent = match cursor.eat_word("urg")? {
        true => Some(cursor.number("an urgent pointer, at most 65535")?),
        false => None,
    };
    Ok(Segment {
        flags,
        sequence,
        length,
        ack,
        window,
        urgent,
        options: option_list(cursor)?,
    })
}

/// `S`, `P.`, `SEWA`, `.5` (AccECN's counter as a digit), `-` for none.
fn flags(cursor: &mut Cursor<'_>) -> Result<Flags, ParseError> {
    let before = cursor.clone();
    let word = cursor.until(&[])?;
    let wrong =
        || before.expected("TCP flags: letters of `FSRP.UEWA`, a digit for ACE, or `-` for none");
    if word == "-" {
        return Ok(Flags::default());
    }
    let mut flags = Flags::default();
    for letter in word.chars() {
        let known = Flags::LETTERS.iter().find(|(known, _)| *known == letter);
        flags = match (known, letter.to_digit(8)) {
            (Some((_, flag)), _) => flags.with(*flag),
            // ACE stands where AE, CWR and ECE do, the highest bit first.
            (None, Some(counter)) => [(4, Flags::AE), (2, Flags::CWR), (1, Flags::ECE)]
                .into_iter()
                .filter(|(bit, _)| counter & bit != 0)
                .fold(flags, |flags, (_, flag)| flags.with(flag)),
            (None, None) => return Err(wrong()),
        };
    }
    if word.is_empty() {
        return Err(wrong());
    }
    Ok(flags)
}

/// `1:1001(1000)`: first byte and length; the three numbers must agree.
pub(super) fn sequence(cursor: &mut Cursor<'_>) -> Result<(u32, u16), ParseError> {
    let sequence: u32 = cursor.number("sequence numbers, such as `1:1001(1000)`")?;
    cursor.expect(":")?;
    let end: u32 = cursor.number("the sequence number behind the last byte")?;
    let length = parenthesized(cursor)?;
    if sequence.wrapping_add(u32::from(length)) != end {
        return Err(cursor.error(format!(
            "{sequence}:{end}({length}): the sequence numbers do not span {length} bytes"
        )));
    }
    Ok((sequence, length))
}

/// `unreachable frag_needed mtu 1200 [1:1461(1460)]`, with the quoted packet in front of the type, too.
fn icmp(cursor: &mut Cursor<'_>) -> Result<Icmp, ParseError> {
    let mut echoed = echoed(cursor)?;
    let kind = cursor.word("the type of the ICMP message")?;
    let kind = cursor.defined(kind).unwrap_or(kind).to_owned();
    let code = match cursor.peek_word()? {
        "" | "mtu" | "id" => None,
        // The time of the next event.
        word if word.starts_with(|first: char| first.is_ascii_digit()) => None,
        word => {
            cursor.word("the code")?;
            Some(cursor.defined(word).unwrap_or(word).to_owned())
        }
    };
    // A number would be read as the time of the next event.
    let code = match code.as_deref() {
        Some("code") => Some(cursor.number::<u8>("a code")?.to_string()),
        _ => code,
    };
    let mtu = match cursor.eat_word("mtu")? {
        true => Some(cursor.number("an MTU")?),
        false => None,
    };
    let id = match cursor.eat_word("id")? {
        true => Some(cursor.number("an identifier")?),
        false => None,
    };
    if echoed.is_none() {
        echoed = self::echoed(cursor)?;
    }
    Ok(Icmp {
        kind,
        code,
        mtu,
        id,
        echoed,
    })
}

fn echoed(cursor: &mut Cursor<'_>) -> Result<Option<Echoed>, ParseError> {
    if !cursor.eat("[")? {
        return Ok(None);
    }
    let echoed = if cursor.eat_word("udp")? {
        Echoed::Udp(parenthesized(cursor)?)
    } else {
        let (sequence, length) = sequence(cursor)?;
        Echoed::Tcp { sequence, length }
    };
    cursor.expect("]")?;
    Ok(Some(echoed))
}
