//! Addresses from the text of `ip address`.

use super::Address;
use crate::block;
use crate::parse::Parsed;
use crate::prefix::Prefix;
use crate::text::Words;

pub(super) fn read(text: &str) -> Parsed<Vec<Address>> {
    let blocks = block::split(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: blocks.problems,
    };
    for block in blocks.value {
        // With -o the address stands in the header's place.
        let lines = std::iter::once((block.line, block.header)).chain(block.lines.iter().copied());
        for (number, line) in lines {
            if !line.trim_start().starts_with("inet") {
                continue;
            }
            match address(block.index, block.name, line) {
                Some(address) => parsed.value.push(address),
                None => parsed.problem(
                    number,
                    "an address, such as \"inet 10.0.0.1/24 scope global eth0\"",
                    line,
                ),
            }
        }
    }
    parsed
}

/// `inet 10.0.0.1 peer 10.0.0.2/32 brd … scope global secondary eth0:1`
fn address(index: u32, device: &str, line: &str) -> Option<Address> {
    let mut words = Words::new(line);
    words.next()?;
    let first: Prefix = words.value()?;
    let mut address = Address {
        index,
        device: device.to_owned(),
        local: first.address,
        prefix_length: first.length,
        peer: None,
        broadcast: None,
        scope: "global".to_owned(),
        flags: Vec::new(),
        label: None,
    };
    while let Some(word) = words.next() {
        match word {
            "peer" => {
                let peer: Prefix = words.value()?;
                address.peer = Some(peer.address);
                address.prefix_length = peer.length;
            }
            "brd" => address.broadcast = words.value(),
            "any" | "metric" | "proto" => {
                words.next();
            }
            "scope" => address.scope = words.next()?.to_owned(),
            "valid_lft" => break,
            // IPv4 ends in the label, which is the device's name with a suffix at most.
            _ if address.local.is_ipv4()
                && (word == device || word.starts_with(&format!("{device}:"))) =>
            {
                address.label = Some(word.to_owned());
            }
            _ => address.flags.push(word.to_owned()),
        }
    }
    Some(address)
}
