//! Variables: `${name}` anywhere in a file.
//!
//! They are filled in before the text is parsed, so that every later complaint has the right line. Values therefore must
//! not contain quotes, backslashes or control characters.

use std::collections::BTreeMap;

use super::Link;

/// Variable → value.
pub(super) type Variables = BTreeMap<String, String>;

/// What went wrong while filling in, with the line (from 1).
#[derive(Debug)]
pub(super) struct FillError {
    pub(super) line: usize,
    pub(super) what: String,
}

/// How deep a value may refer to other variables; deeper is a circle.
const DEPTH: usize = 8;

/// Fills in all variables of `text`. The sections `[vars]` and `[choose.…]` stay as they are: they hold values for other experiments,
/// too, and are filled in where they are used.
pub(super) fn fill(text: &str, variables: &Variables) -> Result<String, FillError> {
    let mut filled = String::with_capacity(text.len());
    let mut in_values = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with('[') {
            in_values = line.starts_with("[vars]") || line.starts_with("[choose.");
        }
        if in_values {
            filled.push_str(line);
            continue;
        }
        fill_line(line, variables, DEPTH, &mut filled).map_err(|what| FillError {
            line: index + 1,
            what,
        })?;
    }
    Ok(filled)
}

fn fill_line(
    line: &str,
    variables: &Variables,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| "\"${\" without \"}\"".to_owned())?;
        let value = variables.get(name).ok_or_else(|| {
            format!(
                "unknown variable ${{{name}}}; known here are {}",
                variables.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        })?;
        if value
            .chars()
            .any(|c| c == '"' || c == '\\' || c.is_control())
        {
            return Err(format!(
                "the value of ${{{name}}} contains a quote, a backslash or a control character"
            ));
        }
        if value.contains("${") {
            let depth = depth
                .checked_sub(1)
                .ok_or_else(|| format!("${{{name}}} refers to itself"))?;
            fill_line(value, variables, depth, out)?;
        } else {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

/// The variables that every experiment has, from its axes and its links.
///
/// - `family` (`ipv4`), `ip` (`ip`, `ip6`: nft's word), `inet` (`-4`, `-6`), `bits` (`32`, `128`), `conf` (`net.ipv4.conf`), `icmp` (`icmp`, `icmpv6`);
/// - `iptables_legacy` (`iptables-legacy`, `ip6tables-legacy`), `iptables_nft`; with an axis `backend`: `rule_backend` (the verdict's word)
///   and `iptables`;
/// - for each host `HOST` (its first address) and `HOST.url` (in brackets for IPv6); for each of its interfaces `HOST.IFACE`,
///   `HOST.IFACE.url`, `HOST.IFACE.net` (address/prefix length) and `HOST.IFACE.mac`;
/// - each axis by its own name.
pub(super) fn built_in(values: &BTreeMap<String, String>, links: &[Link]) -> Variables {
    let mut variables = values.clone();
    let v6 = values.get("family").is_some_and(|family| family == "ipv6");
    let mut set = |name: &str, v4_value: &str, v6_value: &str| {
        variables.insert(
            name.to_owned(),
            if v6 { v6_value } else { v4_value }.to_owned(),
        );
    };
    set("ip", "ip", "ip6");
    set("inet", "-4", "-6");
    set("bits", "32", "128");
    set("conf", "net.ipv4.conf", "net.ipv6.conf");
    set("icmp", "icmp", "icmpv6");
    set("iptables_legacy", "iptables-legacy", "ip6tables-legacy");
    set("iptables_nft", "iptables-nft", "ip6tables-nft");
    match values.get("backend").map(String::as_str) {
        Some("legacy") => {
            set("iptables", "iptables-legacy", "ip6tables-legacy");
            set("rule_backend", "iptables-legacy", "iptables-legacy");
        }
        Some("iptables-nft") => {
            set("iptables", "iptables-nft", "ip6tables-nft");
            set("rule_backend", "iptables-nft", "iptables-nft");
        }
        Some("nft") => {
            // Stands in parts that `when` leaves out; where it is used by mistake, there is no such program.
            set("iptables", "no-iptables-with-nft", "no-iptables-with-nft");
            set("rule_backend", "nft", "nft");
        }
        _ => {}
    }
    for (link_index, link) in links.iter().enumerate() {
        let addresses = if v6 { &link.ipv6 } else { &link.ipv4 };
        for (end_index, end) in link.ends.iter().enumerate() {
            let Some((host, interface)) = end.split_once(':') else {
                continue;
            };
            let name = format!("{host}.{interface}");
            variables.insert(format!("{name}.mac"), mac(link_index, end_index));
            let Some(with_length) = addresses
                .as_ref()
                .and_then(|both| both.get(end_index))
                .filter(|address| *address != "-")
            else {
                continue;
            };
            let address = with_length
                .split_once('/')
                .map_or(with_length.as_str(), |(address, _)| address);
            let url = if v6 {
                format!("[{address}]")
            } else {
                address.to_owned()
            };
            variables.insert(format!("{name}.net"), with_length.clone());
            variables.insert(format!("{name}.url"), url.clone());
            variables.insert(name, address.to_owned());
            variables.entry(format!("{host}.url")).or_insert(url);
            variables
                .entry(host.to_owned())
                .or_insert_with(|| address.to_owned());
        }
    }
    variables
}

/// The MAC address of a link's end; the runner sets it, so that files can name it.
pub(crate) fn mac(link_index: usize, end_index: usize) -> String {
    format!(
        "02:00:00:00:{:02x}:{:02x}",
        link_index & 0xff,
        end_index & 0xff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn fills_in_and_follows_references() {
        let known = variables(&[("a", "${b}!"), ("b", "x")]);
        assert_eq!(fill("1 ${a}\n2 ${b}${b}", &known).unwrap(), "1 x!\n2 xx");
    }

    #[test]
    fn names_the_line_of_an_unknown_a_circular_and_an_unclosed_variable() {
        let known = variables(&[("a", "${a}"), ("quote", "\"")]);
        for (text, line, part) in [
            ("\n${nope}", 2, "unknown variable ${nope}"),
            ("${a}", 1, "refers to itself"),
            ("\n\n${a", 3, "without"),
            ("${quote}", 1, "a quote"),
        ] {
            let error = fill(text, &known).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.what.contains(part), "{}", error.what);
        }
    }
}
