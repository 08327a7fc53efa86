//! TCP details as `ss -i` prints them.

use super::TcpInfo;

/// Takes one word in. False when it is none of the TCP details.
pub(super) fn word(info: &mut TcpInfo, key: &str, value: &str) -> bool {
    if value.is_empty() {
        return bare(info, key);
    }
    match key {
        "wscale" => {
            info.window_scale = value.split_once(',').and_then(|(sending, receiving)| {
                Some((sending.parse().ok()?, receiving.parse().ok()?))
            });
        }
        "rtt" => {
            let (rtt, variation) = value.split_once('/').unwrap_or((value, ""));
            info.rtt = rtt.parse().ok();
            info.rtt_variation = variation.parse().ok();
        }
        "retrans" => {
            let (out, total) = value.split_once('/').unwrap_or((value, ""));
            info.retrans_out = out.parse().ok();
            info.retrans_total = total.parse().ok();
        }
        "rto" => info.rto = value.parse().ok(),
        "ato" => info.ato = value.parse().ok(),
        "minrtt" => info.minrtt = value.parse().ok(),
        "rcv_rtt" => info.rcv_rtt = value.parse().ok(),
        "busy" => info.busy = milliseconds(value),
        "rwnd_limited" => info.rwnd_limited = milliseconds(value),
        "sndbuf_limited" => info.sndbuf_limited = milliseconds(value),
        _ => return count(info, key, value) || large(info, key, value),
    }
    true
}

/// A flag, or the name of the congestion control, which has no key. Marks such as `<->` are neither.
fn bare(info: &mut TcpInfo, word: &str) -> bool {
    match word {
        "ts" => info.timestamps = true,
        "sack" => info.sack = true,
        "ecn" => info.ecn = true,
        "app_limited" => info.app_limited = true,
        "ecnseen" | "fastopen" => {}
        _ => {
            let is_name = word.starts_with(|first: char| first.is_ascii_lowercase())
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
            if !is_name || info.congestion.is_some() {
                return false;
            }
            info.congestion = Some(word.to_owned());
        }
    }
    true
}

/// Fields of 32 bits.
fn count(info: &mut TcpInfo, key: &str, value: &str) -> bool {
    let field = match key {
        "backoff" => &mut info.backoff,
        "mss" => &mut info.mss,
        "pmtu" => &mut info.pmtu,
        "rcvmss" => &mut info.rcvmss,
        "advmss" => &mut info.advmss,
        "cwnd" => &mut info.cwnd,
        "ssthresh" => &mut info.ssthresh,
        "unacked" => &mut info.unacked,
        "lost" => &mut info.lost,
        "sacked" => &mut info.sacked,
        "dsack_dups" => &mut info.dsack_dups,
        "reordering" => &mut info.reordering,
        _ => return false,
    };
    *field = value.parse().ok();
    true
}

/// Fields of 64 bits.
fn large(info: &mut TcpInfo, key: &str, value: &str) -> bool {
    let field = match key {
        "bytes_sent" => &mut info.bytes_sent,
        "bytes_retrans" => &mut info.bytes_retrans,
        "bytes_acked" => &mut info.bytes_acked,
        "bytes_received" => &mut info.bytes_received,
        "segs_out" => &mut info.segs_out,
        "segs_in" => &mut info.segs_in,
        "data_segs_out" => &mut info.data_segs_out,
        "data_segs_in" => &mut info.data_segs_in,
        "lastsnd" => &mut info.lastsnd,
        "lastrcv" => &mut info.lastrcv,
        "lastack" => &mut info.lastack,
        "delivered" => &mut info.delivered,
        "notsent" => &mut info.notsent,
        "rcv_space" => &mut info.rcv_space,
        "rcv_ssthresh" => &mut info.rcv_ssthresh,
        "snd_wnd" => &mut info.snd_wnd,
        "rcv_wnd" => &mut info.rcv_wnd,
        "rcv_ooopack" => &mut info.rcv_ooopack,
        _ => return false,
    };
    *field = value.parse().ok();
    true
}

/// `2512ms`, or `2512ms(100.0%)`.
fn milliseconds(text: &str) -> Option<u64> {
    text.split("ms").next()?.parse().ok()
}
