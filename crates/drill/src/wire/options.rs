//! TCP options as bytes.

use crate::script::{AccEcn, SackBlock, TcpOption};

const EOL: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
const FAST_OPEN: u8 = 34;
/// RFC 9768 section 3.2.3: with the counter of ECT(0) first, and with that of ECT(1) first.
const ACCURATE_ECN_0: u8 = 172;
const ACCURATE_ECN_1: u8 = 174;
const EXPERIMENTAL: u8 = 254;
/// The experiment that became RFC 7413.
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

/// The bytes of options, not filled up.
pub(super) fn bytes(options: &[TcpOption]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        let (kind, data) = parts(option);
        out.push(kind);
        if matches!(kind, EOL | NOP) {
            continue;
        }
        // What is too long fails when the header's length is computed.
        out.push(u8::try_from(data.len().saturating_add(2)).unwrap_or(u8::MAX));
        out.extend_from_slice(&data);
    }
    out
}

fn parts(option: &TcpOption) -> (u8, Vec<u8>) {
    match option {
        TcpOption::Nop => (NOP, vec![]),
        TcpOption::Eol => (EOL, vec![]),
        TcpOption::Mss(mss) => (MSS, mss.to_be_bytes().to_vec()),
        TcpOption::WindowScale(scale) => (WINDOW_SCALE, vec![*scale]),
        TcpOption::SackPermitted => (SACK_PERMITTED, vec![]),
        TcpOption::Sack(blocks) => (
            SACK,
            blocks
                .iter()
                .flat_map(|block| [block.left, block.right])
                .flat_map(u32::to_be_bytes)
                .collect(),
        ),
        TcpOption::Timestamps { value, echo } => (
            TIMESTAMPS,
            [value.to_be_bytes(), echo.to_be_bytes()].concat(),
        ),
        TcpOption::FastOpen(cookie) => (FAST_OPEN, cookie.clone()),
        TcpOption::FastOpenExperimental(cookie) => {
            (EXPERIMENTAL, [&FAST_OPEN_MAGIC[..], cookie].concat())
        }
        TcpOption::Md5(digest) => (MD5, digest.unwrap_or_default().to_vec()),
        TcpOption::AccEcn(counters) => {
            let kind = match counters.first() {
                Some((AccEcn::Ect1, _)) => ACCURATE_ECN_1,
                _ => ACCURATE_ECN_0,
            };
            let data = counters
                .iter()
                .flat_map(|(_, value)| value.to_be_bytes().into_iter().skip(1))
                .collect();
            (kind, data)
        }
        TcpOption::Other(kind, data) => (*kind, data.clone()),
    }
}

/// Reads options; what is cut off is left out. What stands behind `eol` is padding.
pub(super) fn read(bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    let mut rest = bytes;
    while let Some((kind, behind)) = rest.split_first() {
        match *kind {
            EOL => {
                options.push(TcpOption::Eol);
                break;
            }
            NOP => {
                options.push(TcpOption::Nop);
                rest = behind;
                continue;
            }
            _ => {}
        }
        let length = behind.first().map_or(0, |length| usize::from(*length));
        let Some((option, after)) = rest.split_at_checked(length) else {
            break;
        };
        let Some(data) = option.get(2..) else {
            break;
        };
        options.push(option_from(*kind, data));
        rest = after;
    }
    options
}

fn option_from(kind: u8, data: &[u8]) -> TcpOption {
    let known = match (kind, data) {
        (MSS, [high, low]) => Some(TcpOption::Mss(u16::from_be_bytes([*high, *low]))),
        (WINDOW_SCALE, [scale]) => Some(TcpOption::WindowScale(*scale)),
        (SACK_PERMITTED, []) => Some(TcpOption::SackPermitted),
        (SACK, blocks) if blocks.len().is_multiple_of(8) => {
            let block = |block: &[u8]| SackBlock {
                left: super::u32_at(block, 0),
                right: super::u32_at(block, 4),
            };
            Some(TcpOption::Sack(blocks.chunks(8).map(block).collect()))
        }
        (TIMESTAMPS, both) if both.len() == 8 => Some(TcpOption::Timestamps {
            value: super::u32_at(both, 0),
            echo: super::u32_at(both, 4),
        }),
        (MD5, digest) => digest
            .try_into()
            .ok()
            .map(|digest| TcpOption::Md5(Some(digest))),
        (FAST_OPEN, cookie) => Some(TcpOption::FastOpen(cookie.to_vec())),
        (EXPERIMENTAL, [0xf9, 0x89, cookie @ ..]) => {
            Some(TcpOption::FastOpenExperimental(cookie.to_vec()))
        }
        (ACCURATE_ECN_0, data) => counters([AccEcn::Ect0, AccEcn::Ce, AccEcn::Ect1], data),
        (ACCURATE_ECN_1, data) => counters([AccEcn::Ect1, AccEcn::Ce, AccEcn::Ect0], data),
        _ => None,
    };
    known.unwrap_or_else(|| TcpOption::Other(kind, data.to_vec()))
}

fn counters(order: [AccEcn; 3], data: &[u8]) -> Option<TcpOption> {
    if !data.len().is_multiple_of(3) || data.len() > 9 {
        return None;
    }
    let value = |three: &[u8]| {
        three
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    };
    let counters = order.into_iter().zip(data.chunks(3).map(value));
    Some(TcpOption::AccEcn(counters.collect()))
}
