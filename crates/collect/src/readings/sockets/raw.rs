//! Raw sockets from `/proc/net/raw` and `raw6`, as `ss` reads them where the kernel has no `raw_diag`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::proc::read_file;
use super::super::route::Family;

/// The lines of `sockets.txt`.
///
/// # Errors
/// The file cannot be read.
pub(super) fn lines(family: Family) -> io::Result<Vec<String>> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/raw",
        Family::V6 => "/proc/thread-self/net/raw6",
    };
    let text = read_file(path)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .skip(1)
        .filter_map(line)
        .collect())
}

/// `sl local rem st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops` (net/ipv4/raw.c, `raw_sock_seq_show`).
fn line(row: &str) -> Option<String> {
    let mut fields = row.split_whitespace().skip(1);
    let local = endpoint(fields.next()?)?;
    let remote = endpoint(fields.next()?)?;
    let state = match u8::from_str_radix(fields.next()?, 16).ok()? {
        1 => "ESTAB",
        _ => "UNCONN",
    };
    let (sending, receiving) = fields.next()?.split_once(':')?;
    let queue = |text| u32::from_str_radix(text, 16).ok();
    let uid: u32 = fields.nth(2)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    let user = match uid {
        0 => String::new(),
        uid => format!(" uid:{uid}"),
    };
    Some(format!(
        "raw {state} {} {} {local} {remote}{user} ino:{inode}\n",
        queue(receiving)?,
        queue(sending)?
    ))
}

/// `0100007F:0001`: 32-bit words in the host's byte order, then the protocol.
fn endpoint(text: &str) -> Option<String> {
    let (host, port) = text.split_once(':')?;
    let word = |start: usize| {
        let digits = host.get(start..start.checked_add(8)?)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let host = if host.len() == 32 {
        let mut octets = [0; 16];
        for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
            chunk.copy_from_slice(&word(index.checked_mul(8)?)?);
        }
        match Ipv6Addr::from(octets) {
            Ipv6Addr::UNSPECIFIED => "*".to_owned(),
            host => format!("[{host}]"),
        }
    } else {
        Ipv4Addr::from(word(0)?).to_string()
    };
    match u16::from_str_radix(port, 16).ok()? {
        0 => Some(format!("{host}:*")),
        port => Some(format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_row_becomes_a_line() {
        let row = "   1: 0100007F:0001 00000000:0000 07 00000000:00000010 00:00000000 00000000  1000        0 27269 2 0000000000000000 0";
        assert_eq!(
            line(row).as_deref(),
            Some("raw UNCONN 16 0 127.0.0.1:1 0.0.0.0:* uid:1000 ino:27269\n")
        );
        let row = "  58: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 27270 2 0000000000000000 0";
        assert_eq!(
            line(row).as_deref(),
            Some("raw UNCONN 0 0 [::1]:58 *:* ino:27270\n")
        );
    }

    #[test]
    fn a_cut_row_is_no_line() {
        let row = "   1: 0100007F:0001 00000000:0000 07 00000000:00000010 00:00000000 00000000  1000        0 27269";
        for length in 0..row.len() - 3 {
            let _ = line(&row[..length]);
        }
        assert_eq!(line("   1: 0100:0001 00000000:0000 07"), None);
    }
}
