//! `struct tcp_info` (include/uapi/linux/tcp.h) as `ss -i` prints it. The structure grows with the kernel: a field that
//! is beyond its end is left out.

use std::fmt::Write;

use super::super::netlink::{u8_at, u32_at, u64_at};

/// TCPI_OPT_*.
const OPTIONS: [(u8, &str); 5] = [
    (0x01, "ts"),
    (0x02, "sack"),
    (0x08, "ecn"),
    (0x10, "ecnseen"),
    (0x20, "fastopen"),
];
const WINDOW_SCALING: u8 = 0x04;
/// Fields that ss prints as `name:number` when they are not zero, with their offsets; it prints them in groups.
const SIZES: [(&str, usize); 5] = [
    ("mss", 16),
    ("pmtu", 60),
    ("rcvmss", 20),
    ("advmss", 84),
    ("cwnd", 80),
];
const SEGMENTS: [(&str, usize); 4] = [
    ("segs_out", 136),
    ("segs_in", 140),
    ("data_segs_out", 156),
    ("data_segs_in", 152),
];
const BYTES: [(&str, usize); 4] = [
    ("bytes_sent", 200),
    ("bytes_retrans", 208),
    ("bytes_acked", 120),
    ("bytes_received", 128),
];
const AGES: [(&str, usize); 3] = [("lastsnd", 44), ("lastrcv", 52), ("lastack", 56)];

/// Appends the fields.
pub(super) fn print(out: &mut String, info: &[u8], congestion: &str, listening: bool) {
    let byte = |offset| u8_at(info, offset).unwrap_or_default();
    let field = |offset| u32_at(info, offset).unwrap_or_default();
    let long = |offset| u64_at(info, offset).unwrap_or_default();

    for (bit, name) in OPTIONS {
        if byte(5) & bit != 0 {
            let _ = write!(out, " {name}");
        }
    }
    if !congestion.is_empty() {
        let _ = write!(out, " {congestion}");
    }
    if byte(5) & WINDOW_SCALING != 0 {
        let (low, high) = (byte(6) & 0xf, byte(6) >> 4);
        let (sent, received) = if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        };
        let _ = write!(out, " wscale:{sent},{received}");
    }
    // A listener has no timers; the kernel says 3 s there.
    if !matches!(field(8), 0 | 3_000_000) {
        let _ = write!(out, " rto:{}", thousandths(field(8)));
    }
    if byte(4) != 0 {
        let _ = write!(out, " backoff:{}", byte(4));
    }
    if field(68) != 0 {
        let _ = write!(
            out,
            " rtt:{}/{}",
            thousandths(field(68)),
            thousandths(field(72))
        );
    }
    if field(12) != 0 {
        let _ = write!(out, " ato:{}", thousandths(field(12)));
    }
    numbers(
        out,
        SIZES.map(|(name, offset)| (name, u64::from(field(offset)))),
    );
    if field(76) < 0xffff {
        numbers(out, [("ssthresh", u64::from(field(76)))]);
    }
    numbers(out, BYTES.map(|(name, offset)| (name, long(offset))));
    numbers(
        out,
        SEGMENTS.map(|(name, offset)| (name, u64::from(field(offset)))),
    );
    numbers(
        out,
        AGES.map(|(name, offset)| (name, u64::from(field(offset)))),
    );
    rates(out, info);
    limits(out, info);
    flight(out, info, listening);
}

fn rates(out: &mut String, info: &[u8]) {
    let long = |offset| u64_at(info, offset).unwrap_or_default();
    let unlimited = |rate: u64| rate == 0 || rate == u64::MAX;
    if !unlimited(long(104)) {
        let _ = write!(out, " pacing_rate {}bps", long(104).saturating_mul(8));
        if !unlimited(long(112)) {
            let _ = write!(out, "/{}bps", long(112).saturating_mul(8));
        }
    }
    if long(160) != 0 {
        let _ = write!(out, " delivery_rate {}bps", long(160).saturating_mul(8));
    }
    numbers(
        out,
        [("delivered", 192), ("delivered_ce", 196)]
            .map(|(name, offset)| (name, u64::from(u32_at(info, offset).unwrap_or_default()))),
    );
    let first_bit = if cfg!(target_endian = "little") {
        0x01
    } else {
        0x80
    };
    if u8_at(info, 7).unwrap_or_default() & first_bit != 0 {
        out.push_str(" app_limited");
    }
}

/// For how long the sender was busy, and what held it back.
fn limits(out: &mut String, info: &[u8]) {
    let long = |offset| u64_at(info, offset).unwrap_or_default();
    let busy = long(168);
    if busy == 0 {
        return;
    }
    let _ = write!(out, " busy:{}ms", busy / 1000);
    for (name, offset) in [("rwnd_limited", 176), ("sndbuf_limited", 184)] {
        let limited = long(offset);
        if limited != 0 {
            let _ = write!(
                out,
                " {name}:{}ms({:.1}%)",
                limited / 1000,
                100.0 * limited as f64 / busy as f64
            );
        }
    }
}

/// What is under way, what was lost, and what the receiver has room for.
fn flight(out: &mut String, info: &[u8], listening: bool) {
    let field = |offset| u32_at(info, offset).unwrap_or_default();
    numbers(out, [("unacked", u64::from(field(24)))]);
    if field(36) != 0 || field(100) != 0 {
        let _ = write!(out, " retrans:{}/{}", field(36), field(100));
    }
    numbers(out, [("lost", u64::from(field(32)))]);
    // In a listener these two are the accept queue's length and limit, which stand in Recv-Q and Send-Q.
    if !listening {
        numbers(out, [("sacked", u64::from(field(28)))]);
    }
    numbers(
        out,
        [("dsack_dups", 216), ("fackets", 40)]
            .map(|(name, offset)| (name, u64::from(field(offset)))),
    );
    if field(88) != 3 {
        numbers(out, [("reordering", u64::from(field(88)))]);
    }
    numbers(out, [("reord_seen", u64::from(field(220)))]);
    if field(92) != 0 {
        let _ = write!(out, " rcv_rtt:{}", thousandths(field(92)));
    }
    numbers(
        out,
        [("rcv_space", 96), ("rcv_ssthresh", 64), ("notsent", 144)]
            .map(|(name, offset)| (name, u64::from(field(offset)))),
    );
    if !matches!(field(148), 0 | u32::MAX) {
        let _ = write!(out, " minrtt:{}", thousandths(field(148)));
    }
    numbers(
        out,
        [
            ("rcv_ooopack", 224),
            ("snd_wnd", 228),
            ("rcv_wnd", 232),
            ("rehash", 236),
        ]
        .map(|(name, offset)| (name, u64::from(field(offset)))),
    );
}

/// ` name:number` for all that are not zero.
fn numbers<const N: usize>(out: &mut String, fields: [(&str, u64); N]) {
    for (name, value) in fields {
        if value != 0 {
            let _ = write!(out, " {name}:{value}");
        }
    }
}

/// Microseconds as milliseconds, without zeros at the end.
fn thousandths(microseconds: u32) -> String {
    let (whole, rest) = (microseconds / 1000, microseconds % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Vec<u8> {
        let mut info = vec![0; 248];
        let mut put = |offset: usize, value: u32| {
            info[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(8, 204_000);
        put(16, 1448);
        put(24, 2);
        put(36, 1);
        put(68, 35);
        put(72, 18);
        put(76, u32::MAX);
        put(80, 10);
        put(88, 3);
        put(100, 5);
        put(148, 20);
        put(228, 65_536);
        info[5] = 0x07;
        info[6] = 0xa7;
        info[168..176].copy_from_slice(&2_000_000u64.to_ne_bytes());
        info[176..184].copy_from_slice(&1_960_000u64.to_ne_bytes());
        info
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn fields_are_named_as_ss_names_them() {
        let mut out = String::new();
        print(&mut out, &info(), "cubic", false);
        assert_eq!(
            out,
            " ts sack cubic wscale:7,10 rto:204 rtt:0.035/0.018 mss:1448 cwnd:10 busy:2000ms \
             rwnd_limited:1960ms(98.0%) unacked:2 retrans:1/5 minrtt:0.02 snd_wnd:65536"
        );
    }

    #[test]
    fn an_older_kernel_says_less() {
        for length in 0..248 {
            let mut out = String::new();
            print(&mut out, &info()[..length], "", false);
            assert!(length >= 232 || !out.contains("snd_wnd"));
        }
    }
}
