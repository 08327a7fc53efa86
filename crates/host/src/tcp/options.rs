//! TCP options as Linux writes them (`tcp_options_write` in net/ipv4/tcp_output.c). Reading is `TcpHeader::options`.

use transect_packet::{SackBlock, TcpTimestamps};

use super::fast_open::FastOpenOption;

/// Room for options in a header, in bytes.
pub(crate) const MAX_OPTION_SPACE: usize = 40;

const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The options of a SYN or SYN-ACK (`tcp_syn_options`, `tcp_synack_options`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SynOptions {
    /// Maximum segment size.
    pub(crate) mss: u16,
    /// SACK is offered or agreed to.
    pub(crate) sack_permitted: bool,
    /// Timestamps.
    pub(crate) timestamps: Option<TcpTimestamps>,
    /// Window scale.
    pub(crate) window_scale: Option<u8>,
    /// Fast open: the wish for a cookie, or one.
    pub(crate) fast_open: Option<FastOpenOption>,
}

/// The bytes of options, padded to whole words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionBytes {
    bytes: [u8; MAX_OPTION_SPACE],
    length: u8,
}

impl Default for OptionBytes {
    fn default() -> Self {
        OptionBytes {
            bytes: [0; MAX_OPTION_SPACE],
            length: 0,
        }
    }
}

impl OptionBytes {
    /// Of a SYN or SYN-ACK: MSS; SACK permitted in front of the timestamps, where there are both, or else either with two
    /// bytes of padding; window scale.
    pub(crate) fn syn(options: &SynOptions) -> Self {
        let mut written = OptionBytes::default();
        let [high, low] = options.mss.to_be_bytes();
        written.put(&[MSS, 4, high, low]);
        match (options.sack_permitted, options.timestamps) {
            (true, Some(_)) => written.put(&[SACK_PERMITTED, 2]),
            (true, None) => written.put(&[NOP, NOP, SACK_PERMITTED, 2]),
            (false, Some(_)) => written.put(&[NOP, NOP]),
            (false, None) => {}
        }
        written.put_timestamps(options.timestamps);
        if let Some(scale) = options.window_scale {
            written.put(&[NOP, WINDOW_SCALE, 3, scale]);
        }
        if let Some(option) = options.fast_open {
            let (bytes, length) = option.write();
            written.put(bytes.get(..length).unwrap_or_default());
        }
        written
    }

    /// Of any other segment: timestamps, then as many blocks as there is room for (the duplicate's first).
    pub(crate) fn established(timestamps: Option<TcpTimestamps>, blocks: &[SackBlock]) -> Self {
        let mut written = OptionBytes::default();
        if timestamps.is_some() {
            written.put(&[NOP, NOP]);
        }
        written.put_timestamps(timestamps);
        let blocks = blocks
            .get(..sack_room(timestamps.is_some()))
            .unwrap_or(blocks);
        if let Ok(length @ 1..) = u8::try_from(blocks.len() * 8) {
            written.put(&[NOP, NOP, SACK, 2 + length]);
            for block in blocks {
                written.put(&block.start.0.to_be_bytes());
                written.put(&block.end.0.to_be_bytes());
            }
        }
        written
    }

    /// As they go into the header.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// Bytes that are left (`remaining` of `tcp_syn_options`).
    pub(crate) fn room(&self) -> usize {
        MAX_OPTION_SPACE - self.as_slice().len()
    }

    fn put_timestamps(&mut self, timestamps: Option<TcpTimestamps>) {
        if let Some(TcpTimestamps { value, echo }) = timestamps {
            self.put(&[TIMESTAMPS, 10]);
            self.put(&value.to_be_bytes());
            self.put(&echo.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        if let Some(room) = self.bytes.get_mut(start..start + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len() as u8;
        }
    }
}

/// How many SACK blocks there is room for (`TCP_NUM_SACKS`: four, three beside timestamps).
pub(crate) const fn sack_room(timestamps: bool) -> usize {
    if timestamps { 3 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_packet::SequenceNumber;

    const STAMPS: Option<TcpTimestamps> = Some(TcpTimestamps {
        value: 0x0102_0304,
        echo: 0x0506_0708,
    });

    #[test]
    fn a_syn_carries_linux_order() {
        // tcpdump of the kernel: mss 1460, sackOK, TS val … ecr …, nop, wscale 10.
        let mut options = SynOptions {
            mss: 1460,
            sack_permitted: true,
            timestamps: STAMPS,
            window_scale: Some(10),
            fast_open: None,
        };
        let expected = [
            2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 10,
        ];
        assert_eq!(OptionBytes::syn(&options).as_slice(), expected);
        options.sack_permitted = false;
        assert_eq!(OptionBytes::syn(&options).as_slice()[4..8], [1, 1, 8, 10]);
        options.timestamps = None;
        options.sack_permitted = true;
        let expected = [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 10];
        assert_eq!(OptionBytes::syn(&options).as_slice(), expected);
    }

    #[test]
    fn established_segments_carry_what_fits() {
        let block = |start| SackBlock {
            start: SequenceNumber(start),
            end: SequenceNumber(start + 1),
        };
        let blocks = [block(1), block(3), block(5), block(7)];
        let both = OptionBytes::established(STAMPS, &blocks);
        assert_eq!(both.as_slice().len(), 40);
        assert_eq!(both.as_slice()[12..20], [1, 1, 5, 26, 0, 0, 0, 1]);
        let alone = OptionBytes::established(None, &blocks);
        assert_eq!(alone.as_slice()[..4], [1, 1, 5, 34]);
        assert_eq!(alone.as_slice().len(), 36);
        assert!(OptionBytes::established(None, &[]).as_slice().is_empty());
        let stamps = OptionBytes::established(STAMPS, &[]);
        assert_eq!(stamps.as_slice()[..4], [1, 1, 8, 10]);
    }
}
