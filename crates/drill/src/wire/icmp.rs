//! ICMP's types and codes by the names of the script language (RFC 792, RFC 1122, RFC 1812, RFC 4443).

/// Unreachable, in ICMP; too big, in ICMPv6.
pub(super) const UNREACHABLE: u8 = 3;
pub(super) const FRAG_NEEDED: u8 = 4;
pub(super) const PACKET_TOO_BIG: u8 = 2;

const V4_TYPES: &[(&str, u8)] = &[
    ("echo_reply", 0),
    ("unreachable", UNREACHABLE),
    ("source_quench", 4),
    ("redirect", 5),
    ("echo_request", 8),
    ("echo", 8),
    ("time_exceeded", 11),
    ("parameter_problem", 12),
    ("timestamp", 13),
    ("timestamp_request", 13),
    ("timestamp_reply", 14),
    ("information_request", 15),
    ("information_reply", 16),
    ("address_mask_request", 17),
    ("address_mask_reply", 18),
];

const V6_TYPES: &[(&str, u8)] = &[
    ("unreachable", 1),
    ("packet_too_big", PACKET_TOO_BIG),
    ("time_exceeded", 3),
    ("parameter_problem", 4),
    ("echo_request", 128),
    ("echo", 128),
    ("echo_reply", 129),
];

const V4_UNREACHABLE: &[(&str, u8)] = &[
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", FRAG_NEEDED),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("packet_filtered", 13),
    ("prohibited", 13),
    ("precedence_violation", 14),
    ("host_precedence_violation", 14),
    ("precedence_cutoff", 15),
];

const V6_UNREACHABLE: &[(&str, u8)] = &[
    ("noroute", 0),
    ("net_unreachable", 0),
    ("admin_prohibited", 1),
    ("not_neighbour", 2),
    ("beyond_scope", 2),
    ("address_unreachable", 3),
    ("host_unreachable", 3),
    ("port_unreachable", 4),
    ("policy_failed", 5),
    ("reject_route", 6),
];

const TIME_EXCEEDED: &[(&str, u8)] = &[
    ("exceeded_ttl", 0),
    ("ttl_exceeded", 0),
    ("exceeded_reassembly", 1),
    ("reassembly", 1),
];

fn types(v6: bool) -> &'static [(&'static str, u8)] {
    if v6 { V6_TYPES } else { V4_TYPES }
}

fn codes(v6: bool, kind: u8) -> &'static [(&'static str, u8)] {
    match (v6, kind) {
        (false, UNREACHABLE) => V4_UNREACHABLE,
        (true, 1) => V6_UNREACHABLE,
        (false, 11) | (true, 3) => TIME_EXCEEDED,
        _ => &[],
    }
}

fn number(names: &[(&str, u8)], word: &str) -> Option<u8> {
    let named = names.iter().find(|(name, _)| *name == word);
    named
        .map(|(_, number)| *number)
        .or_else(|| word.parse().ok())
}

fn name(names: &[(&str, u8)], number: u8) -> String {
    let named = names.iter().find(|(_, known)| *known == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The numbers of type and code; the error lists what is known. `type_3` and `code 1` are numbers as well.
pub(super) fn numbers(v6: bool, kind: &str, code: Option<&str>) -> Result<(u8, u8), String> {
    let list = |names: &[(&str, u8)]| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let bare = kind.strip_prefix("type_").unwrap_or(kind);
    let kind_number = number(types(v6), bare).ok_or_else(|| {
        format!(
            "`{kind}` is no type of ICMP message; these are: {}",
            list(types(v6))
        )
    })?;
    let Some(code) = code else {
        return Ok((kind_number, 0));
    };
    let codes = codes(v6, kind_number);
    let bare = code.strip_prefix("code_").unwrap_or(code);
    let code_number = number(codes, bare).ok_or_else(|| {
        format!(
            "`{code}` is no code of `{kind}`; these are: {}",
            list(codes)
        )
    })?;
    Ok((kind_number, code_number))
}

/// The names of type and code.
pub(super) fn names(v6: bool, kind: u8, code: u8) -> (String, Option<String>) {
    let codes = codes(v6, kind);
    let known = !codes.is_empty() || code != 0;
    (name(types(v6), kind), known.then(|| name(codes, code)))
}

/// Whether a type quotes the packet that it is about.
pub(super) fn quotes(v6: bool, kind: u8) -> bool {
    match v6 {
        true => kind < 128,
        false => matches!(kind, 3 | 4 | 5 | 11 | 12),
    }
}

/// Whether a type is an echo, with an identifier.
pub(super) fn is_echo(v6: bool, kind: u8) -> bool {
    match v6 {
        true => matches!(kind, 128 | 129),
        false => matches!(kind, 0 | 8),
    }
}
