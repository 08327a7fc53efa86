//! The internet checksum, changed along with the bytes under it (RFC 1624).

use transect_packet::transport_checksum;
use transect_path::Hook;

use crate::packet::{ChecksumState, Packet};

/// Bytes of even length that stand at an even distance from where the checksum begins: their sum, not folded.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2);
    words
        .map(|word| match word {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A sum (not inverted) after `old` became `new` under it. Both of the same length.
pub(crate) fn sum_after(before: u16, old: &[u8], new: &[u8]) -> u16 {
    // Subtracting in ones' complement is adding the inverse of each word.
    let words = old.len().div_ceil(2) as u64;
    let inverse = words * 0xffff - sum(old);
    fold(u64::from(before) + inverse + sum(new))
}

/// A checksum after `old` became `new` under it (RFC 1624, equation 3).
pub(crate) fn checksum_after(before: u16, old: &[u8], new: &[u8]) -> u16 {
    !sum_after(!before, old, new)
}

/// The checksum of bytes whose own checksum field is 0, with something summed before.
pub(crate) fn checksum_of(start: u32, bytes: &[u8]) -> u16 {
    !fold(u64::from(start) + sum(bytes))
}

/// Two bytes as they stand in the network's order; 0 where there are none.
pub(crate) fn read(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at.saturating_add(2)) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Writes bytes; nothing where there is no room.
pub(crate) fn write(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(new.len())) {
        place.copy_from_slice(new);
    }
}

/// Writes bytes, and changes the checksum at `field` that covers them. `start` is where that checksum begins to count, so that
/// bytes at an odd distance are taken with their neighbours.
pub(crate) fn write_under(bytes: &mut [u8], at: usize, new: &[u8], start: usize, field: usize) {
    let odd = at.saturating_sub(start) % 2;
    let first = at - odd;
    let length = (odd + new.len()).next_multiple_of(2);
    let Some(old) = bytes.get(first..first + length).map(<[u8]>::to_vec) else {
        return;
    };
    write(bytes, at, new);
    let changed = bytes
        .get(first..first + length)
        .unwrap_or_default()
        .to_vec();
    let checksum = checksum_after(read(bytes, field), &old, &changed);
    write(bytes, field, &checksum.to_be_bytes());
}

/// Whether the transport's checksum is right (`nf_ip_checksum`). What the host itself sends is not looked at, nor what a device
/// has verified, nor what a device is to finish.
pub(crate) fn holds(hook: Hook, packet: &Packet) -> bool {
    let received = matches!(hook, Hook::PreRouting | Hook::LocalIn | Hook::Forward);
    if packet.checksum != ChecksumState::None || !received {
        return true;
    }
    transport_checksum(packet.network(), &packet.dissect()) != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_checksum_is_the_one_of_the_changed_bytes() {
        let mut bytes: Vec<u8> = (1..=40).collect();
        write(&mut bytes, 10, &[0, 0]);
        let checksum = checksum_of(0, &bytes);
        write(&mut bytes, 10, &checksum.to_be_bytes());
        for (at, new) in [
            (0, &[9u8, 9][..]),
            (21, &[0xff, 0xfe]),
            (12, &[1, 2, 3, 4]),
            (3, &[7]),
        ] {
            write_under(&mut bytes, at, new, 0, 10);
            assert_eq!(checksum_of(0, &bytes), 0, "at {at}");
        }
    }

    #[test]
    fn a_sum_that_is_not_inverted() {
        // What CHECKSUM_PARTIAL holds: the pseudo header's sum.
        let before = !checksum_of(0, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 20]);
        let after = !checksum_of(0, &[10, 0, 0, 9, 10, 0, 0, 2, 0, 6, 0, 20]);
        assert_eq!(sum_after(before, &[10, 0, 0, 1], &[10, 0, 0, 9]), after);
    }
}
