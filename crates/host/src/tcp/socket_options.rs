//! What programs set on a TCP socket, and what a connection inherits from its listener (`sk_clone_lock`).

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::device::DeviceId;
use crate::settings::{FastOpenKey, TcpSettings};

/// Options of one socket, at their defaults where nothing was set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct SocketOptions {
    /// SO_RCVBUF as the kernel keeps it (doubled); nothing: tunes itself.
    pub(super) receive_buffer: Option<u32>,
    /// SO_SNDBUF, likewise.
    pub(super) send_buffer: Option<u32>,
    /// SO_REUSEADDR.
    pub(super) reuse_address: bool,
    /// SO_KEEPALIVE.
    pub(super) keep_alive: bool,
    /// SO_LINGER.
    pub(super) linger: Option<Duration>,
    /// SO_BINDTODEVICE.
    pub(super) device: Option<DeviceId>,
    /// SO_MARK.
    pub(super) mark: u32,
    /// SO_PRIORITY.
    pub(super) priority: u32,
    /// SO_ATTACH_FILTER: what the program says of every packet.
    pub(super) filter: Option<bool>,
    /// IP_TTL, IPV6_UNICAST_HOPS.
    pub(super) ttl: Option<u8>,
    /// IP_TOS, IPV6_TCLASS.
    pub(super) tos: u8,
    /// IP_MINTTL.
    pub(super) min_ttl: u8,
    /// IP_MTU_DISCOVER.
    pub(super) mtu_discover: u8,
    /// IP_RECVERR.
    pub(super) receive_errors: bool,
    /// SO_TIMESTAMPING (`sk_tsflags`).
    pub(super) timestamping: u32,
    /// SO_RCVLOWAT in bytes; at least 1 where it is looked at.
    pub(super) receive_low_watermark: u32,
    /// SO_OOBINLINE.
    pub(super) urgent_inline: bool,
    /// TCP_NODELAY.
    pub(super) no_delay: bool,
    /// TCP_CORK.
    pub(super) cork: bool,
    /// TCP_MAXSEG.
    pub(super) max_segment: Option<u16>,
    /// TCP_KEEPIDLE.
    pub(super) keep_idle: Option<Duration>,
    /// TCP_KEEPINTVL.
    pub(super) keep_interval: Option<Duration>,
    /// TCP_KEEPCNT.
    pub(super) keep_count: Option<u32>,
    /// TCP_SYNCNT.
    pub(super) syn_count: Option<u32>,
    /// TCP_LINGER2, in seconds.
    pub(super) linger2: i32,
    /// TCP_DEFER_ACCEPT, in SYN-ACK retransmissions (`rskq_defer_accept`).
    pub(super) defer_accept: u32,
    /// TCP_WINDOW_CLAMP; 0: none.
    pub(super) window_clamp: u32,
    /// TCP_CONGESTION; nothing: the setting's.
    pub(super) congestion: Option<String>,
    /// TCP_USER_TIMEOUT in milliseconds; 0: none.
    pub(super) user_timeout: u32,
    /// TCP_NOTSENT_LOWAT; nothing: the setting's.
    pub(super) notsent_lowat: Option<u32>,
    /// What was set of fast open; nothing for most.
    pub(super) fast_open: Option<Box<FastOpenOptions>>,
    /// IPV6_V6ONLY.
    pub(super) v6_only: bool,
    /// IP_LOCAL_PORT_RANGE: the least and the largest; 0: no such limit.
    pub(super) port_range: (u16, u16),
    /// IP_BIND_ADDRESS_NO_PORT: bind(2) to port 0 leaves the port to connect(2).
    pub(super) bind_address_no_port: bool,
    /// The port was chosen by bind(2) (`SOCK_BINDPORT_LOCK`).
    pub(super) port_locked: bool,
}

/// Options that sockets have in common until one of them changes its own: a listener's connections have all the same, and most sockets
/// never set any.
#[derive(Debug, Clone)]
pub(crate) struct SharedOptions(Arc<SocketOptions>);

/// Those of a socket that has set none.
static NONE_SET: LazyLock<SharedOptions> =
    LazyLock::new(|| SharedOptions(Arc::new(SocketOptions::default())));

impl SharedOptions {
    /// The options of a new socket.
    pub(super) fn new(v6_only: bool) -> Self {
        let mut options = NONE_SET.clone();
        if v6_only {
            options.v6_only = true;
        }
        options
    }
}

impl Deref for SharedOptions {
    type Target = SocketOptions;

    #[inline]
    fn deref(&self) -> &SocketOptions {
        &self.0
    }
}

/// To be changed: they are this socket's own from then on.
impl DerefMut for SharedOptions {
    fn deref_mut(&mut self) -> &mut SocketOptions {
        Arc::make_mut(&mut self.0)
    }
}

/// Options of fast open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FastOpenOptions {
    /// TCP_FASTOPEN, within somaxconn: how many connections may be made by SYNs alone (`fastopenq.max_qlen`).
    pub(super) queue: u32,
    /// TCP_FASTOPEN_KEY: its own keys; none: the host's.
    pub(super) keys: Vec<FastOpenKey>,
    /// TCP_FASTOPEN_CONNECT.
    pub(super) connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub(super) no_cookie: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            receive_buffer: None,
            send_buffer: None,
            reuse_address: false,
            keep_alive: false,
            linger: None,
            device: None,
            mark: 0,
            priority: 0,
            filter: None,
            ttl: None,
            tos: 0,
            min_ttl: 0,
            mtu_discover: 1,
            receive_errors: false,
            timestamping: 0,
            receive_low_watermark: 1,
            urgent_inline: false,
            no_delay: false,
            cork: false,
            max_segment: None,
            keep_idle: None,
            keep_interval: None,
            keep_count: None,
            syn_count: None,
            linger2: 0,
            defer_accept: 0,
            window_clamp: 0,
            congestion: None,
            user_timeout: 0,
            notsent_lowat: None,
            fast_open: None,
            v6_only: false,
            port_range: (0, 0),
            bind_address_no_port: false,
            port_locked: false,
        }
    }
}

impl SocketOptions {
    /// TCP_FASTOPEN: 0 where nothing was set.
    pub(super) fn fast_open_queue(&self) -> u32 {
        self.fast_open.as_ref().map_or(0, |fast| fast.queue)
    }

    /// TCP_FASTOPEN_CONNECT.
    pub(super) fn fast_open_connect(&self) -> bool {
        self.fast_open.as_ref().is_some_and(|fast| fast.connect)
    }

    /// TCP_FASTOPEN_NO_COOKIE.
    pub(super) fn fast_open_no_cookie(&self) -> bool {
        self.fast_open.as_ref().is_some_and(|fast| fast.no_cookie)
    }

    /// The keys that its cookies are made with: its own, or the host's (`tcp_fastopen_get_ctx`).
    pub(super) fn fast_open_keys<'a>(&'a self, settings: &'a TcpSettings) -> &'a [FastOpenKey] {
        match &self.fast_open {
            Some(fast) if !fast.keys.is_empty() => &fast.keys,
            _ => &settings.fastopen_keys,
        }
    }

    /// To be changed.
    pub(super) fn fast_open_mut(&mut self) -> &mut FastOpenOptions {
        self.fast_open.get_or_insert_default()
    }

    /// Idle time before the first keepalive (`keepalive_time_when`).
    pub(super) fn keepalive_time(&self, settings: &TcpSettings) -> Duration {
        self.keep_idle.unwrap_or(settings.keepalive_time)
    }

    /// Time between keepalives (`keepalive_intvl_when`).
    pub(super) fn keepalive_interval(&self, settings: &TcpSettings) -> Duration {
        self.keep_interval.unwrap_or(settings.keepalive_intvl)
    }

    /// Unanswered keepalives that end a connection (`keepalive_probes`).
    pub(super) fn keepalive_probes(&self, settings: &TcpSettings) -> u32 {
        self.keep_count.unwrap_or(settings.keepalive_probes)
    }

    /// How long an orphan stays in FIN_WAIT_2, before the time-out is made at least 3.5 RTOs (`tcp_fin_time`).
    pub(super) fn fin_time(&self, settings: &TcpSettings) -> Duration {
        match u64::try_from(self.linger2) {
            Ok(0) | Err(_) => settings.fin_timeout,
            Ok(seconds) => Duration::from_secs(seconds),
        }
    }

    /// "Don't fragment" is set on what is sent (`ip_dont_fragment`); `mtu_locked` is the route's word.
    pub(super) fn dont_fragment(&self, mtu_locked: bool) -> bool {
        match self.mtu_discover {
            2 | 3 => true,
            1 => !mtu_locked,
            _ => false,
        }
    }
}

/// SYN-ACK retransmissions that cover a time (`secs_to_retrans`, with time-outs of 1 s that double up to the largest).
pub(super) fn seconds_to_retransmissions(seconds: u32, rto_max: Duration) -> u32 {
    let most = u32::try_from(rto_max.as_secs()).unwrap_or(u32::MAX);
    let mut retransmissions = 0;
    if seconds > 0 {
        let mut timeout: u32 = 1;
        let mut period = timeout;
        retransmissions = 1;
        while seconds > period && retransmissions < 255 {
            retransmissions += 1;
            timeout = timeout.saturating_mul(2).min(most);
            period = period.saturating_add(timeout);
        }
    }
    retransmissions
}

/// The reverse (`retrans_to_secs`).
pub(super) fn retransmissions_to_seconds(retransmissions: u32, rto_max: Duration) -> u32 {
    let most = u32::try_from(rto_max.as_secs()).unwrap_or(u32::MAX);
    let mut timeout: u32 = 1;
    let mut period: u32 = u32::from(retransmissions > 0);
    for _ in 1..retransmissions {
        timeout = timeout.saturating_mul(2).min(most);
        period = period.saturating_add(timeout);
    }
    period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defer_accept_is_kept_in_retransmissions() {
        let rto_max = Duration::from_secs(120);
        for (seconds, retransmissions) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (30, 5)] {
            assert_eq!(
                seconds_to_retransmissions(seconds, rto_max),
                retransmissions,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn an_orphan_stays_in_fin_wait_2_as_long_as_it_was_told() {
        let settings = crate::settings::Settings::new(
            std::iter::empty(),
            &transect_config::Sysctls::default(),
        )
        .unwrap()
        .tcp;
        let mut options = SocketOptions::default();
        assert_eq!(options.fin_time(&settings), Duration::from_secs(60));
        options.linger2 = 5;
        assert_eq!(options.fin_time(&settings), Duration::from_secs(5));
    }
}
