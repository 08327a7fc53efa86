//! Frames from bytes: headers that are nearly right, and checksums that are right.

use super::input::Input;

const ETHERNET: usize = 14;

/// A frame to one of the hosts, of which only what the bytes say is strange.
pub(crate) fn make(input: &mut Input<'_>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1 + (input.byte() & 1), 2, 0, 0, 0, 0, 9];
    let six = input.byte() & 3 == 0;
    frame.extend(if six { [0x86, 0xdd] } else { [0x08, 0x00] });
    let protocol = *[6, 6, 6, 17, if six { 58 } else { 1 }, 132, 44, 0]
        .get(input.below(8))
        .unwrap_or(&6);
    let own = 1 + (input.byte() & 1);
    let other = 1 + (input.byte() & 3);
    let payload = transport(protocol, input);
    if six {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([protocol, 64]);
        for last in [other, own] {
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
    } else {
        let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend(input.word().to_be_bytes());
        // Mostly whole packets.
        let fragment = match input.byte() & 3 {
            0 => input.word(),
            _ => 0x4000,
        };
        frame.extend(fragment.to_be_bytes());
        frame.extend([
            1 + input.byte() % 64,
            protocol,
            0,
            0,
            10,
            0,
            0,
            other,
            10,
            0,
            0,
            own,
        ]);
    }
    frame.extend(payload);
    frame
}

fn transport(protocol: u8, input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ports = [80, 81, 53, 8080, 40_000, 8081];
    for _ in 0..2 {
        bytes.extend((input.one_of(&ports).unwrap_or(80) as u16).to_be_bytes());
    }
    match protocol {
        6 => {
            bytes.extend(input.take(8));
            bytes.resize(12, 0);
            let options = usize::from(input.byte() % 11);
            let words = u8::try_from(5 + options).unwrap_or(5);
            bytes.extend([
                words << 4,
                input.byte(),
                input.byte(),
                input.byte(),
                0,
                0,
                0,
                0,
            ]);
            let given = input.take(options * 4);
            bytes.extend(given);
            bytes.resize(20 + options * 4, 0);
        }
        17 => bytes.extend([0, 0, 0, 0]),
        1 | 58 => {
            bytes = vec![input.byte(), input.byte(), 0, 0];
            bytes.extend(input.take(4));
            bytes.resize(8, 0);
        }
        _ => {}
    }
    let length = input.below(200);
    bytes.extend(input.take(length));
    bytes
}

/// Makes lengths and checksums right, as far as there are headers to see.
pub(crate) fn mend(frame: &mut [u8]) {
    let Some((link, network)) = frame.split_at_mut_checked(ETHERNET) else {
        return;
    };
    link[0] = 2;
    match (link[12], link[13], network.len()) {
        (0x08, 0x00, 20..) => mend_ipv4(network),
        (0x86, 0xdd, 40..) => {
            let length = network.len() - 40;
            network[4..6].copy_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
            let pseudo = sum(&network[8..40]) + length as u64 + u64::from(network[6]);
            let protocol = network[6];
            mend_transport(protocol, pseudo, &mut network[40..]);
        }
        _ => {}
    }
}

fn mend_ipv4(network: &mut [u8]) {
    let header = usize::from(network[0] & 0x0f) * 4;
    if !(20..=network.len()).contains(&header) {
        return;
    }
    let length = u16::try_from(network.len()).unwrap_or(u16::MAX);
    network[2..4].copy_from_slice(&length.to_be_bytes());
    network[10..12].fill(0);
    let checksum = folded(sum(&network[..header]));
    network[10..12].copy_from_slice(&checksum.to_be_bytes());
    let (protocol, length) = (network[9], network.len() - header);
    let pseudo = sum(&network[12..20]) + length as u64 + u64::from(protocol);
    mend_transport(protocol, pseudo, &mut network[header..]);
}

fn mend_transport(protocol: u8, pseudo: u64, bytes: &mut [u8]) {
    let (place, pseudo) = match protocol {
        6 => (16, pseudo),
        17 => (6, pseudo),
        1 => (2, 0),
        58 => (2, pseudo),
        _ => return,
    };
    if protocol == 17 && bytes.len() >= 8 {
        let length = u16::try_from(bytes.len()).unwrap_or(0);
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let Some(field) = bytes.get_mut(place..place + 2) else {
        return;
    };
    field.fill(0);
    let checksum = folded(pseudo + sum(bytes));
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
