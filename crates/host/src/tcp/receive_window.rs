//! How much the peer may send: the window that is advertised (`__tcp_select_window`, `tcp_select_window` in
//! net/ipv4/tcp_output.c), and how it grows (`tcp_grow_window`, `tcp_rcv_space_adjust`, `tcp_measure_rcv_mss` in
//! net/ipv4/tcp_input.c).

use transect_packet::SequenceNumber;

use super::clock::{Clock, Context};
use super::receive_buffer::{Arrived, Pushed, ReceiveBuffer};
use super::segment::{OVERHEAD, distance};
use crate::counters::TcpExtCounter;
use crate::settings::TcpSettings;

/// Half of the buffer's memory is payload, until segments show how much (`TCP_DEFAULT_SCALING_RATIO`), of 256.
pub(super) const DEFAULT_RATIO: u8 = 128;
/// The largest window scale (`TCP_MAX_WSCALE`).
const MAX_SCALE: u32 = 14;
/// The smallest clamp (`SOCK_MIN_RCVBUF / 2`).
const MIN_CLAMP: u32 = 1152;
/// A segment size that every peer can send (`TCP_MSS_DEFAULT`, `TCP_MIN_MSS`).
const DEFAULT_MSS: u32 = 536;
const MIN_MSS: u32 = 88;

/// Receive buffer tuning by round trips (`rcv_rtt_est`, `rcvq_space`).
#[derive(Debug, Clone, Default)]
pub(super) struct Tuning {
    /// Eight times the round trip as the receiver sees it, in microseconds; 0: unknown.
    pub(super) rtt_us: u32,
    /// Without timestamps: a window is full at this number, measured since.
    rtt_seq: SequenceNumber,
    rtt_since_us: u64,
    /// The echo that served last (`rcv_rtt_last_tsecr`).
    last_echo: Option<u32>,
    /// Bytes that the program took in one round trip (`rcvq_space.space`).
    pub(super) space: u32,
    seq: SequenceNumber,
    since_us: u64,
}

/// The window of a SYN or SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitialWindow {
    /// The window, unscaled.
    pub(crate) window: u32,
    /// The scale to offer.
    pub(crate) scale: u8,
    /// The clamp (`window_clamp`).
    pub(crate) clamp: u32,
}

/// Chooses it (`tcp_select_initial_window`): as much of `space` as are whole segments, and a scale with which the largest
/// possible buffer can be told. `clamp` 0: none.
pub(crate) fn initial_window(
    settings: &TcpSettings,
    space: u32,
    mss: u32,
    clamp: u32,
    scaling: bool,
) -> InitialWindow {
    let clamp = match clamp {
        0 => u32::from(u16::MAX) << MAX_SCALE,
        clamp => clamp,
    };
    let mut space = space.min(clamp);
    if mss > 0 && space > mss {
        space -= space % mss;
    }
    let window = space;
    let mut scale = 0;
    if scaling {
        let largest = space
            .max(settings.rmem[2])
            .max(settings.rmem_max)
            .min(clamp);
        scale = largest
            .checked_ilog2()
            .unwrap_or(0)
            .saturating_sub(15)
            .min(MAX_SCALE);
    }
    InitialWindow {
        window,
        scale: scale as u8,
        clamp: clamp.min(u32::from(u16::MAX) << scale),
    }
}

/// The next multiple of a power of two.
const fn align_up(value: u32, shift: u8) -> u32 {
    let unit = 1u32 << shift;
    value.saturating_add(unit - 1) & !(unit - 1)
}

const fn align_down(value: u32, shift: u8) -> u32 {
    value & !((1u32 << shift) - 1)
}

impl ReceiveBuffer {
    /// How much payload fits into memory (`tcp_win_from_space`).
    fn window_of(&self, space: u32) -> u32 {
        ((u64::from(space) * u64::from(self.scaling_ratio)) >> 8) as u32
    }

    /// … into the whole buffer (`tcp_full_space`).
    pub(crate) fn full_space(&self) -> u32 {
        self.window_of(self.rcvbuf)
    }

    /// … into what of it is free (`tcp_space`).
    pub(crate) fn space(&self) -> u32 {
        self.window_of(self.rcvbuf.saturating_sub(self.rmem_alloc))
    }

    /// The window of our SYN or SYN-ACK, with the scale to offer (`tcp_connect_init`, `tcp_openreq_init_rwin`). `mss` is the one that
    /// we advertise, in a SYN-ACK less the timestamps. Sets clamp, scale, `rcv_wnd`, `rcv_ssthresh`.
    pub(crate) fn select_initial_window(
        &mut self,
        context: &Context<'_>,
        mss: u32,
        scaling: bool,
    ) -> u32 {
        let space = self.full_space();
        let mut clamp = self.window_clamp;
        if self.locked && (clamp == 0 || clamp > space) {
            clamp = space;
        }
        let mut initial = initial_window(context.settings, space, mss, clamp, scaling);
        if self.first_window > 0 {
            initial.window = initial.window.min(self.first_window.saturating_mul(mss));
        }
        self.window_clamp = initial.clamp;
        self.rcv_wscale = initial.scale;
        self.rcv_wnd = initial.window;
        self.rcv_ssthresh = initial.window;
        initial.window
    }

    /// The handshake is done (`tcp_init_buffer_space`, `tcp_initialize_rcv_mss`). `mss` is what we send, `advmss` what we advertise,
    /// less the timestamps.
    pub(crate) fn establish(&mut self, context: &Context<'_>, mss: u32, advmss: u32) {
        let app_win = context.settings.app_win;
        let whole = self.full_space();
        self.advmss = advmss;
        self.tuning.since_us = context.clock.us();
        self.tuning.seq = self.copied_seq;
        if self.window_clamp >= whole {
            self.window_clamp = whole;
            if app_win > 0 && whole > 4 * advmss {
                let kept = whole.checked_shr(app_win).unwrap_or(0);
                self.window_clamp = (whole - kept).max(4 * advmss);
            }
        }
        // One segment is held in reserve.
        if app_win > 0 && self.window_clamp > 2 * advmss && self.window_clamp + advmss > whole {
            self.window_clamp = (2 * advmss).max(whole.saturating_sub(advmss));
        }
        self.rcv_ssthresh = self.rcv_ssthresh.min(self.window_clamp);
        self.tuning.space = self.rcv_ssthresh.min(self.rcv_wnd).min(10 * advmss);
        self.initialize_rcv_mss(mss, advmss);
    }

    /// `tcp_initialize_rcv_mss`.
    pub(crate) fn initialize_rcv_mss(&mut self, mss: u32, advmss: u32) {
        self.rcv_mss = advmss
            .min(mss)
            .min(self.rcv_wnd / 2)
            .clamp(MIN_MSS, DEFAULT_MSS);
    }

    /// What is left of the window that was advertised last (`tcp_receive_window`).
    pub(crate) fn receive_window(&self) -> u32 {
        distance(self.rcv_nxt, self.rcv_wup + self.rcv_wnd)
    }

    /// The header's window field for a segment that goes out now (`tcp_select_window`); it is remembered as advertised. Counts
    /// TCPToZeroWindowAdv, TCPFromZeroWindowAdv, TCPWantZeroWindowAdv.
    pub(crate) fn select_window(&mut self, context: &mut Context<'_>) -> u16 {
        if self.no_memory {
            self.no_memory = false;
            self.rcv_wnd = 0;
            self.rcv_wup = self.rcv_nxt;
            return 0;
        }
        let advertised = self.rcv_wnd;
        let left = self.receive_window();
        let counters = &mut context.counters.tcp_ext;
        let mut window = self.free_window_of(context.settings);
        if self.is_short(context.settings) {
            self.clear_quick = true;
        }
        // A window once offered is not taken back.
        if window < left && !(context.settings.shrink_window && self.rcv_wscale > 0) {
            if window == 0 {
                counters.count(TcpExtCounter::TCPWantZeroWindowAdv);
            }
            window = align_up(left, self.rcv_wscale);
        }
        self.rcv_wnd = window;
        self.rcv_wup = self.rcv_nxt;
        let field = (window >> self.rcv_wscale).min(u32::from(u16::MAX));
        match (advertised, field) {
            (0, 0) => {}
            (_, 0) => counters.count(TcpExtCounter::TCPToZeroWindowAdv),
            (0, _) => counters.count(TcpExtCounter::TCPFromZeroWindowAdv),
            _ => {}
        }
        field as u16
    }

    /// The window that could be advertised, without doing so (`__tcp_select_window`). Even that notes that the buffer is short.
    pub(crate) fn free_window(&mut self, context: &Context<'_>) -> u32 {
        self.clear_quick |= self.is_short(context.settings);
        self.free_window_of(context.settings)
    }

    /// Less than half of the buffer is free.
    fn is_short(&self, settings: &TcpSettings) -> bool {
        let mut free = self.space();
        if settings.shrink_window && self.rcv_wscale > 0 {
            free = align_down(free, self.rcv_wscale);
        }
        free < self.window_clamp.min(self.full_space()) >> 1
    }

    fn free_window_of(&self, settings: &TcpSettings) -> u32 {
        let scale = self.rcv_wscale;
        let allowed = self.full_space();
        let whole = self.window_clamp.min(allowed);
        let mss = self.rcv_mss.min(whole);
        if mss == 0 {
            return 0;
        }
        let mut free = self.space();
        if settings.shrink_window && scale > 0 {
            free = align_down(free, scale);
            if self.is_short(settings) && (free < allowed >> 4 || free < mss || free < 1 << scale) {
                return 0;
            }
            return if free > self.rcv_ssthresh {
                align_up(self.rcv_ssthresh, scale)
            } else {
                free
            };
        }
        if self.is_short(settings) {
            free = align_down(free, scale);
            // Silly windows are not offered (RFC 9293 section 3.8.6.2.2).
            if free < allowed >> 4 || free < mss {
                return 0;
            }
        }
        free = free.min(self.rcv_ssthresh);
        if scale > 0 {
            return align_up(free, scale);
        }
        let window = self.rcv_wnd;
        if i64::from(window) <= i64::from(free) - i64::from(mss) || window > free {
            free - free % mss
        } else if mss == whole && free > window.saturating_add(whole >> 1) {
            free
        } else {
            window
        }
    }

    /// The size of the peer's segments, and how much of their memory is payload (`tcp_measure_rcv_mss`).
    pub(super) fn measure_segment(&mut self, arrived: &Arrived<'_>) -> Pushed {
        let last = std::mem::take(&mut self.last_segment);
        let payload = arrived.length();
        let length = match arrived.gso_size {
            0 => payload,
            size => u32::from(size),
        };
        if length >= self.rcv_mss {
            if length != self.rcv_mss {
                self.measure_ratio(payload, arrived.truesize);
            }
            self.rcv_mss = length.min(self.advmss);
            return if arrived.psh { Pushed::Yes } else { Pushed::No };
        }
        // Its length with the header, so that SACK blocks do not matter.
        let whole = length + arrived.header_length;
        let unpushed = !arrived.psh && !arrived.fin;
        if whole >= DEFAULT_MSS + 20 || (whole >= MIN_MSS + 20 && unpushed) {
            let length = whole.saturating_sub(self.header_length);
            self.last_segment = length;
            if length == last {
                self.rcv_mss = length;
                return Pushed::No;
            }
        }
        Pushed::Again
    }

    /// `tcp_set_window_clamp` follows where the ratio changes.
    fn measure_ratio(&mut self, payload: u32, truesize: u32) {
        let ratio = (u64::from(payload) << 8) / u64::from(truesize.max(1));
        let ratio = u8::try_from(ratio).unwrap_or(u8::MAX).max(1);
        if ratio == self.scaling_ratio {
            return;
        }
        self.scaling_ratio = ratio;
        self.set_clamp(self.full_space());
        self.tuning.space = self.tuning.space.min(self.window_clamp);
    }

    /// Sets the largest window (`tcp_set_window_clamp`).
    pub(crate) fn set_clamp(&mut self, clamp: u32) {
        let (old, new) = (self.window_clamp, clamp.max(MIN_CLAMP));
        self.window_clamp = new;
        if new < old {
            self.rcv_ssthresh = self.rcv_ssthresh.min(new);
        } else if new > old {
            self.rcv_ssthresh = self.rcv_ssthresh.max(self.rcv_wnd.min(new));
        }
    }

    /// A segment of a good size lets the window grow (`tcp_grow_window`). `headless`: its overhead is not counted. True: an
    /// ACK shall go out at once.
    pub(super) fn grow_window(
        &mut self,
        settings: &TcpSettings,
        arrived: &Arrived<'_>,
        headless: bool,
    ) -> bool {
        let room = self
            .window_clamp
            .min(self.space())
            .saturating_sub(self.rcv_ssthresh);
        if room == 0 {
            return false;
        }
        let length = arrived.length();
        let mut truesize = arrived.truesize;
        if headless && arrived.written.is_none() && truesize >= OVERHEAD.saturating_add(length) {
            truesize -= OVERHEAD;
        }
        let mut more = if self.window_of(truesize) <= length {
            2 * self.advmss
        } else {
            self.growth_of(settings, truesize, length)
        };
        if more == 0 {
            return false;
        }
        more = more.max(2 * length);
        self.rcv_ssthresh += room.min(more);
        true
    }

    /// Segments with much overhead count while the window is small (`__tcp_grow_window`).
    fn growth_of(&self, settings: &TcpSettings, truesize: u32, length: u32) -> u32 {
        let mut truesize = self.window_of(truesize) >> 1;
        let mut window = self.window_of(settings.rmem[2]) >> 1;
        while self.rcv_ssthresh <= window && window > 0 {
            if truesize <= length {
                return 2 * self.rcv_mss;
            }
            truesize >>= 1;
            window >>= 1;
        }
        0
    }

    /// The round trip as the receiver sees it, in microseconds; 0: unknown.
    pub(crate) fn rcv_rtt_us(&self) -> u64 {
        u64::from(self.tuning.rtt_us >> 3)
    }

    /// Bytes that the program took in one round trip (`rcv_space`).
    pub(crate) fn rcv_space(&self) -> u32 {
        self.tuning.space
    }

    /// … from the timestamps that full segments echo (`tcp_rcv_rtt_measure_ts`).
    pub(super) fn measure_rtt_by_echo(&mut self, clock: &Clock, arrived: &Arrived<'_>) {
        let Some(echo) = arrived
            .echo
            .filter(|_| arrived.echo != self.tuning.last_echo)
        else {
            return;
        };
        self.tuning.last_echo = Some(echo);
        let ms = clock.ms().wrapping_sub(echo);
        if arrived.length() >= self.rcv_mss && ms > 0 && ms < u32::MAX / 2 / 1000 {
            self.update_rtt(ms * 1000, false);
        }
    }

    /// … from how long it takes until a window is full (`tcp_rcv_rtt_measure`).
    pub(super) fn measure_rtt_by_window(&mut self, clock: &Clock) {
        let now = clock.us();
        if self.tuning.rtt_since_us != 0 {
            if self.rcv_nxt.is_before(self.tuning.rtt_seq) {
                return;
            }
            let passed = now.saturating_sub(self.tuning.rtt_since_us).max(1);
            self.update_rtt(u32::try_from(passed).unwrap_or(u32::MAX >> 3), true);
        }
        self.tuning.rtt_seq = self.rcv_nxt + self.rcv_wnd;
        self.tuning.rtt_since_us = now;
    }

    /// The smallest counts at once; larger ones are smoothed, where they are worth it (`tcp_rcv_rtt_update`).
    fn update_rtt(&mut self, sample_us: u32, by_window: bool) {
        let sample = sample_us.min(u32::MAX >> 3);
        let (old, new) = (self.tuning.rtt_us, sample << 3);
        if old == 0 || new < old {
            self.tuning.rtt_us = new;
        } else if !by_window && self.rcv_nxt == self.copied_seq {
            self.tuning.rtt_us = old - (old >> 3) + sample;
        }
    }

    /// The program read: how much in one round trip (`tcp_rcv_space_adjust`)?
    pub(super) fn adjust_space(&mut self, context: &Context<'_>) {
        let now = context.clock.us();
        let passed = now.saturating_sub(self.tuning.since_us);
        if self.tuning.rtt_us == 0 || passed < u64::from(self.tuning.rtt_us >> 3) {
            return;
        }
        let waiting = distance(self.copied_seq, self.rcv_nxt);
        let copied = distance(self.tuning.seq, self.copied_seq).saturating_sub(waiting);
        if copied > self.tuning.space {
            self.grow_buffer(context.settings, copied);
        }
        self.tuning.seq = self.copied_seq;
        self.tuning.since_us = now;
    }

    /// Dynamic right-sizing: room for twice what was taken, and more while that grows (`tcp_rcvbuf_grow`).
    pub(super) fn grow_buffer(&mut self, settings: &TcpSettings, space: u32) {
        let old = std::mem::replace(&mut self.tuning.space, space);
        if !settings.moderate_rcvbuf || self.locked {
            return;
        }
        let mut window = u64::from(space) << 1;
        let growth = window * u64::from(space.saturating_sub(old)) / u64::from(old.max(1));
        window = window.saturating_add(growth << 1);
        window = window.saturating_add(u64::from(self.out_of_order_reach()));
        let window = window.min(u64::from(u32::MAX));
        let buffer = (window << 8) / u64::from(self.scaling_ratio.max(1));
        let buffer = u32::try_from(buffer)
            .unwrap_or(u32::MAX)
            .min(settings.rmem[2]);
        if buffer > self.rcvbuf {
            self.rcvbuf = buffer;
            self.window_clamp = self.full_space();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn connected(bench: &mut Bench, mss: u32) -> ReceiveBuffer {
        let mut buffer = ReceiveBuffer::new(131_072);
        let context = bench.context();
        buffer.select_initial_window(&context, mss, true);
        buffer.establish(&context, 1448, 1448);
        buffer
    }

    #[test]
    fn the_first_windows_are_the_kernels() {
        let mut bench = Bench::new();
        // tcpdump: SYN win 64240, SYN-ACK win 65160, both wscale 10; ss: rcv_ssthresh:64088 rcv_space:14480 rcvmss:536.
        let mut buffer = ReceiveBuffer::new(131_072);
        assert_eq!(
            buffer.select_initial_window(&bench.context(), 1460, true),
            64_240
        );
        assert_eq!(buffer.rcv_wscale, 10);
        let buffer = connected(&mut bench, 1448);
        assert_eq!(buffer.rcv_wnd, 65_160);
        assert_eq!(buffer.rcv_ssthresh, 64_088);
        assert_eq!((buffer.rcv_space(), buffer.rcv_mss), (14_480, 536));
    }

    #[test]
    fn a_small_fixed_buffer_offers_little_and_no_scale_too_large() {
        let mut bench = Bench::new();
        let mut buffer = ReceiveBuffer::new(4608);
        buffer.locked = true;
        let window = buffer.select_initial_window(&bench.context(), 1460, true);
        assert_eq!(
            (window, buffer.rcv_wscale, buffer.window_clamp),
            (1460, 0, 2304)
        );
    }

    #[test]
    fn a_window_is_not_taken_back_and_zero_is_counted_both_ways() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench, 1448);
        buffer.rmem_alloc = 131_072;
        // 64088 are left of the offer: aligned to the scale, not taken back.
        buffer.rcv_wnd = 64_088;
        assert_eq!(buffer.select_window(&mut bench.context()), 63);
        assert_eq!(buffer.rcv_wnd, 64_512);
        buffer.rcv_nxt = buffer.rcv_nxt + 64_512;
        assert_eq!(buffer.select_window(&mut bench.context()), 0);
        buffer.rmem_alloc = 0;
        assert_eq!(buffer.select_window(&mut bench.context()), 63);
        let count = |counter| bench.counters.tcp_ext.of(counter);
        assert_eq!(count(TcpExtCounter::TCPWantZeroWindowAdv), 1);
        assert_eq!(count(TcpExtCounter::TCPToZeroWindowAdv), 1);
        assert_eq!(count(TcpExtCounter::TCPFromZeroWindowAdv), 1);
    }

    #[test]
    fn the_buffer_follows_what_the_program_takes() {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench, 1448);
        buffer.tuning.rtt_us = 10_000 << 3;
        for taken in [20_000, 40_000, 80_000, 160_000] {
            bench.advance_ms(10);
            buffer.rcv_nxt = buffer.rcv_nxt + taken;
            buffer.copied_seq = buffer.rcv_nxt;
            buffer.adjust_space(&bench.context());
            assert_eq!(buffer.rcv_space(), taken);
        }
        // 160000 twice, and twice what it grew by: 960000 of payload, half of the memory.
        assert_eq!(buffer.rcvbuf, 1_920_000);
        assert_eq!(buffer.window_clamp, 960_000);
    }
}
