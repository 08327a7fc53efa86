//! The blocks that `ip link` and `ip address` print for each device.

use crate::parse::Parsed;

/// One device's lines.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    /// Number of the header's line, from 1.
    pub(crate) line: usize,
    /// Interface index.
    pub(crate) index: u32,
    /// Device name.
    pub(crate) name: &'a str,
    /// What stands behind the name's `@`.
    pub(crate) peer: Option<&'a str>,
    /// The rest of the header; with `-o` of `ip address`, the address.
    pub(crate) header: &'a str,
    /// The further lines with their numbers.
    pub(crate) lines: Vec<(usize, &'a str)>,
}

/// Splits a text into blocks. Knows the one-line form (`-o`), which puts a backslash where lines would break.
pub(crate) fn split(text: &str) -> Parsed<Vec<Block<'_>>> {
    let mut parsed: Parsed<Vec<Block<'_>>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let mut pieces = line.split('\\');
        let first = pieces.next().unwrap_or("");
        if let Some(block) = header(number, first) {
            parsed.value.push(block);
        } else if first.starts_with(char::is_whitespace) || first.is_empty() {
            match parsed.value.last_mut() {
                Some(block) => block.lines.push((number, first)),
                None if first.trim().is_empty() => {}
                None => parsed.problem(
                    number,
                    "a device, such as \"2: eth0: <UP> mtu 1500\"",
                    first,
                ),
            }
        } else {
            parsed.problem(
                number,
                "a device, such as \"2: eth0: <UP> mtu 1500\"",
                first,
            );
        }
        if let Some(block) = parsed.value.last_mut() {
            block.lines.extend(pieces.map(|piece| (number, piece)));
        }
    }
    parsed
}

fn header(line: usize, text: &str) -> Option<Block<'_>> {
    let (index, rest) = text.split_once(": ")?;
    let index = index.trim().parse().ok()?;
    let rest = rest.trim_start();
    let (name, header) = rest.split_once(char::is_whitespace)?;
    let name = name.strip_suffix(':').unwrap_or(name);
    let (name, peer) = match name.split_once('@') {
        Some((name, peer)) => (name, Some(peer)),
        None => (name, None),
    };
    let header = header.trim();
    Some(Block {
        line,
        index,
        name,
        peer,
        header,
        lines: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_form() {
        let blocks =
            split("2: eth0    inet 10.0.0.1/24 scope global eth0\\       valid_lft forever\n");
        assert!(blocks.problems.is_empty());
        assert_eq!(blocks.value[0].name, "eth0");
        assert_eq!(blocks.value[0].header, "inet 10.0.0.1/24 scope global eth0");
        assert_eq!(blocks.value[0].lines, [(1, "       valid_lft forever")]);
    }

    #[test]
    fn strangers_are_named() {
        let blocks = split("hello\n2: eth0@if7: <UP> mtu 1500\n    link/ether\n");
        assert_eq!(blocks.problems.len(), 1);
        assert_eq!(blocks.value[0].peer, Some("if7"));
        assert_eq!(blocks.value[0].lines.len(), 1);
    }
}
