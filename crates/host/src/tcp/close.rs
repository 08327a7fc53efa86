//! Closing (`__tcp_close`, `tcp_shutdown`, `tcp_disconnect`): FINs, resets for what was not read, lingering, orphans.

use std::time::Duration;

use transect_config::SocketState;

use super::connection::{Connection, Fate, TIME_WAIT};
use crate::counters::TcpExtCounter;
use crate::socket::{Errno, Shutdown};
use crate::stack::Stack;

impl Connection {
    /// The state that closing leads to, and whether a FIN is due (`tcp_close_state`).
    fn close_state(&mut self, stack: &mut Stack) -> bool {
        let (next, fin) = match self.state {
            SocketState::Established | SocketState::SynRecv => (SocketState::FinWait1, true),
            SocketState::CloseWait => (SocketState::LastAck, true),
            SocketState::SynSent => (SocketState::Unconnected, false),
            state => (state, false),
        };
        if next != self.state {
            self.set_state(stack, next);
        }
        fin
    }

    /// `close(2)`: no program holds it any more.
    pub(super) fn close(&mut self, stack: &mut Stack) {
        self.shut_read = true;
        self.shut_write = true;
        let unread = self.receive.purge();
        if self.state == SocketState::Unconnected {
            // Reset or timed out before.
        } else if unread {
            self.count(stack, TcpExtCounter::TCPAbortOnClose);
            self.set_state(stack, SocketState::Unconnected);
            self.send_active_reset(stack);
        } else if self.options.linger == Some(Duration::ZERO) {
            self.disconnect(stack);
            self.count(stack, TcpExtCounter::TCPAbortOnData);
        } else if self.close_state(stack) {
            self.send_fin(stack);
        }
        self.orphan = true;
        self.receive.owned = false;
        if self.state == SocketState::FinWait2 {
            self.close_in_fin_wait_2(stack);
        }
        if self.state == SocketState::Unconnected {
            self.end_fast_open(false);
            self.purge_output();
            if self.fate == Fate::Stays {
                self.fate = Fate::Done;
            }
        }
    }

    fn close_in_fin_wait_2(&mut self, stack: &mut Stack) {
        if self.options.linger2 < 0 {
            self.set_state(stack, SocketState::Unconnected);
            self.send_active_reset(stack);
            self.count(stack, TcpExtCounter::TCPAbortOnLinger);
            return;
        }
        let timeout = self.fin_timeout(stack);
        if timeout > TIME_WAIT {
            let clock = Self::clock(stack);
            let ticks = clock.jiffies_of(timeout - TIME_WAIT);
            self.keepalive.set(&clock, clock.jiffies() + ticks);
        } else {
            self.time_wait(stack, SocketState::FinWait2, timeout);
        }
    }

    /// How long FIN_WAIT_2 lasts: at least 3.5 RTOs (`tcp_fin_time`).
    pub(super) fn fin_timeout(&self, stack: &Stack) -> Duration {
        let clock = Self::clock(stack);
        let rto = Duration::from_micros(clock.us_of_jiffies(self.sender.rtt.rto));
        self.options.fin_time(&stack.settings.tcp).max(rto * 7 / 2)
    }

    /// The connection is thrown away at once (`tcp_disconnect`).
    pub(super) fn disconnect(&mut self, stack: &mut Stack) {
        let old = self.state;
        if old == SocketState::Unconnected {
            return;
        }
        let needs_reset = matches!(
            old,
            SocketState::Established
                | SocketState::CloseWait
                | SocketState::FinWait1
                | SocketState::FinWait2
                | SocketState::SynRecv
        );
        let unsent = self.sender.snd_nxt != self.send_buffer.write_seq
            && matches!(old, SocketState::Closing | SocketState::LastAck);
        self.set_state(stack, SocketState::Unconnected);
        if needs_reset || unsent {
            self.send_active_reset(stack);
            self.error = Some(Errno::Econnreset);
        } else if old == SocketState::SynSent {
            self.error = Some(Errno::Econnreset);
        }
        self.sender.clear_timer();
        self.acks.clear();
        self.keepalive.cancel();
        self.end_fast_open(false);
        self.purge_output();
    }

    /// `shutdown(2)` (`inet_shutdown`, `tcp_shutdown`).
    pub(super) fn shut_down(&mut self, stack: &mut Stack, how: Shutdown) -> Result<(), Errno> {
        match self.state {
            SocketState::Unconnected => return Err(Errno::Enotconn),
            SocketState::SynSent => {
                // The attempt is given up.
                self.disconnect(stack);
                return Ok(());
            }
            _ => {}
        }
        if how != Shutdown::Write {
            self.shut_read = true;
        }
        if how != Shutdown::Read {
            self.shut_write = true;
            // In SYN-RECV the FIN waits for the handshake's end.
            let sends = matches!(
                self.state,
                SocketState::Established | SocketState::CloseWait
            );
            if sends && self.close_state(stack) {
                self.send_fin(stack);
            }
        }
        self.state_changed(stack);
        Ok(())
    }
}
