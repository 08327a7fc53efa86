//! close(2), and what becomes of a listener's queues (`tcp_close`, `inet_csk_listen_stop`).

use transect_config::SocketState;

use super::super::connection::Fate;
use super::super::table::Entry;
use super::super::{Idle, Socket, Tcp};
use crate::counters::TcpExtCounter;
use crate::socket::{Errno, SocketId};
use crate::stack::Stack;

impl Tcp {
    /// `close(2)`: the socket is gone for the program; the connection closes by itself.
    pub(crate) fn close(&mut self, stack: &mut Stack, id: SocketId) -> Result<(), Errno> {
        match self.sockets.get_mut(&id) {
            None => return Err(Errno::Ebadf),
            Some(Socket::Listener(_)) => {
                self.stop_listening(stack, id);
                self.close_idle(id);
            }
            Some(Socket::Idle(_)) => self.close_idle(id),
            Some(Socket::Connection(connection)) => {
                connection.close(stack);
                self.orphans += 1;
                let over = self.connection_mut(id)?.fate != Fate::Stays;
                self.settle(stack, id);
                if !over {
                    self.limit_orphans(stack, id);
                }
            }
        }
        Ok(())
    }

    /// Too many orphans: the new one goes at once (`tcp_check_oom` in `__tcp_close`).
    fn limit_orphans(&mut self, stack: &mut Stack, id: SocketId) {
        if self.orphans <= stack.settings.tcp.max_orphans as usize {
            return;
        }
        if let Ok(connection) = self.connection_mut(id) {
            connection.set_state(stack, SocketState::Unconnected);
            connection.send_active_reset(stack);
            connection.count(stack, TcpExtCounter::TCPAbortOnMemory);
            connection.purge_output();
            self.settle(stack, id);
        }
    }

    fn close_idle(&mut self, id: SocketId) {
        if let Some(Socket::Idle(idle)) = self.sockets.remove(&id)
            && idle.local.port != 0
        {
            self.table.release(idle.local.port, Entry::Connection(id));
        }
    }

    /// A listener ends (`inet_csk_listen_stop`): who waits to be accepted is reset, handshakes are forgotten.
    pub(in crate::tcp) fn stop_listening(&mut self, stack: &mut Stack, id: SocketId) {
        let Some(Socket::Listener(listener)) = self.sockets.remove(&id) else {
            return;
        };
        self.table.unlisten(id, listener.local.port);
        stack.timers.set(crate::stack::TimerOwner::Tcp(id), None);
        for (number, request) in &listener.requests {
            self.table
                .remove(&request.ends, Entry::Request(id, *number));
        }
        for child in &listener.accept {
            if let Ok(connection) = self.connection_mut(*child) {
                connection.disconnect(stack);
                connection.orphan = true;
                connection.fate = Fate::Done;
                self.orphans += 1;
                self.settle(stack, *child);
            }
        }
        let idle = Idle {
            version: listener.version,
            options: listener.options,
            local: listener.local,
        };
        self.sockets.insert(id, Socket::Idle(Box::new(idle)));
    }
}
