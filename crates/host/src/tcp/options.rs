//! TCP options as Linux writes them (`tcp_options_write` in net/ipv4/tcp_output.c). Reading is `TcpHeader::options`.

use transect_packet::{SackBlock, TcpTimestamps};

/// Room for options in a header, in bytes.
pub(crate) const MAX_OPTION_SPACE: usize = 40;

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
}

/// The bytes of options, padded to whole words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionBytes {
    pub(super) bytes: [u8; MAX_OPTION_SPACE],
    pub(super) length: u8,
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
    /// Of a SYN or SYN-ACK.
    pub(crate) fn syn(_options: &SynOptions) -> Self {
        OptionBytes::default()
    }

    /// Of any other segment: timestamps, then as many blocks as there is room for (the duplicate's first).
    pub(crate) fn established(_timestamps: Option<TcpTimestamps>, _blocks: &[SackBlock]) -> Self {
        OptionBytes::default()
    }

    /// As they go into the header.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}
