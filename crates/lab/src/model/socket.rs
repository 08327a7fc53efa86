//! System calls that wait, as programs make them: each returns when the host answers or the deadline has come.

use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{Errno, Shutdown, SocketAddress, SocketId, SocketKind, SocketOption};
use transect_path::Timestamp;

use super::network::{Awaited, NodeId};
use super::task::Clock;
use super::wire::later;
use crate::error::WorldError;

/// Why a call did not do what it was to: an error of the host's, or one of the world's, which ends the experiment.
#[derive(Debug)]
pub(super) enum CallError {
    /// What the program sees.
    Errno(Errno),
    /// The world cannot go on.
    World(WorldError),
}

impl CallError {
    /// In words, for the experiment's report.
    pub(super) fn doing(self, what: &str) -> WorldError {
        match self {
            CallError::Errno(errno) => WorldError(format!("{what}: {errno}")),
            CallError::World(error) => error,
        }
    }
}

impl From<WorldError> for CallError {
    fn from(error: WorldError) -> Self {
        CallError::World(error)
    }
}

impl From<Errno> for CallError {
    fn from(errno: Errno) -> Self {
        CallError::Errno(errno)
    }
}

/// A program's view of its host.
#[derive(Clone)]
pub(super) struct Sockets {
    pub(super) clock: Clock,
    pub(super) node: NodeId,
}

/// A socket of a program. It is closed only by [`Socket::close`]: a program that ends without closing leaves it open, as one
/// does that is still running when the experiment ends.
#[derive(Clone)]
pub(super) struct Socket {
    sockets: Sockets,
    id: SocketId,
}

impl Sockets {
    /// Opens a socket.
    pub(super) fn open(&self, kind: SocketKind, version: IpVersion) -> Result<Socket, CallError> {
        let id = self
            .clock
            .call(self.node, |host, _| host.socket(kind, version))??;
        Ok(Socket {
            sockets: self.clone(),
            id,
        })
    }
}

impl Socket {
    pub(super) fn clock(&self) -> &Clock {
        &self.sockets.clock
    }

    fn call<T>(
        &self,
        call: impl FnOnce(&mut transect_host::Host, Timestamp) -> Result<T, Errno>,
    ) -> Result<T, CallError> {
        Ok(self.clock().call(self.sockets.node, call)??)
    }

    /// Waits until something happens to the socket; false when the deadline has come.
    async fn ready(&self, deadline: Option<Timestamp>) -> bool {
        let now = self.clock().now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return false;
        }
        let socket = Awaited::Socket(self.sockets.node, self.id);
        self.clock().wait(Some(socket), deadline).await;
        true
    }

    /// Tries again and again while the host says EAGAIN; EAGAIN when the deadline has come.
    async fn until_ready<T>(
        &self,
        deadline: Option<Timestamp>,
        mut call: impl FnMut(&mut transect_host::Host, Timestamp) -> Result<T, Errno>,
    ) -> Result<T, CallError> {
        loop {
            match self.call(&mut call) {
                Err(CallError::Errno(Errno::Eagain)) => {}
                other => return other,
            }
            if !self.ready(deadline).await {
                return Err(Errno::Eagain.into());
            }
        }
    }

    /// Sets an option.
    pub(super) fn set(&self, option: SocketOption) -> Result<(), CallError> {
        self.call(|host, _| host.set_option(self.id, option))
    }

    /// Binds it.
    pub(super) fn bind(&self, address: SocketAddress) -> Result<(), CallError> {
        self.call(|host, _| host.bind(self.id, address))
    }

    /// Listens.
    pub(super) fn listen(&self, backlog: u32) -> Result<(), CallError> {
        self.call(|host, now| host.listen(now, self.id, backlog))
    }

    /// Connects; ETIMEDOUT when the deadline comes first, as a program that waits in poll(2) would give up. It asks for `SO_ERROR`
    /// whenever it is woken: an ICMP error that came inside of connect(2) is told so, while the handshake still goes on.
    pub(super) async fn connect(
        &self,
        to: SocketAddress,
        deadline: Option<Timestamp>,
    ) -> Result<(), CallError> {
        loop {
            match self.call(|host, now| host.connect(now, self.id, to)) {
                Ok(()) | Err(CallError::Errno(Errno::Eisconn)) => return Ok(()),
                Err(CallError::Errno(Errno::Einprogress | Errno::Ealready)) => {}
                other => return other,
            }
            let told = self
                .clock()
                .call(self.sockets.node, |host, _| host.take_error(self.id))?;
            if let Some(error) = told {
                return Err(error.into());
            }
            if !self.ready(deadline).await {
                return Err(Errno::Etimedout.into());
            }
        }
    }

    /// Accepts a connection.
    pub(super) async fn accept(&self) -> Result<(Socket, SocketAddress), CallError> {
        let (id, peer) = self
            .until_ready(None, |host, now| host.accept(now, self.id))
            .await?;
        self.pause_of_a_call().await;
        let sockets = self.sockets.clone();
        Ok((Socket { sockets, id }, peer))
    }

    /// Reads up to `most` bytes; none: the peer has closed.
    pub(super) async fn read(
        &self,
        most: usize,
        deadline: Option<Timestamp>,
    ) -> Result<Vec<u8>, CallError> {
        let mut buffer = vec![0; most];
        let count = self
            .until_ready(deadline, |host, now| host.read(now, self.id, &mut buffer))
            .await?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Reads exactly so many bytes; an early end is an error.
    pub(super) async fn read_exact(
        &self,
        count: usize,
        deadline: Option<Timestamp>,
    ) -> Result<Vec<u8>, CallError> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let more = self.read(count - bytes.len(), deadline).await?;
            if more.is_empty() {
                return Err(WorldError::new("the peer closed too early").into());
            }
            bytes.extend(more);
        }
        Ok(bytes)
    }

    /// Writes as much as there is room for, at least one byte.
    pub(super) async fn write(
        &self,
        bytes: &[u8],
        deadline: Option<Timestamp>,
    ) -> Result<usize, CallError> {
        let count = self
            .until_ready(deadline, |host, now| host.write(now, self.id, bytes))
            .await?;
        self.pause_of_a_call().await;
        Ok(count)
    }

    /// What the call took, and all that it made the host send to be answered; nothing to wait for in real time.
    async fn pause_of_a_call(&self) {
        let call = self.clock().network(|network| network.pace().call);
        self.clock().sleep(call).await;
        while let Ok(Some(until)) = self
            .clock()
            .call(self.sockets.node, |host, now| host.call_until(now, self.id))
        {
            let left = until.since(self.clock().now());
            self.clock().sleep(left).await;
        }
    }

    /// Writes everything.
    pub(super) async fn write_all(
        &self,
        bytes: &[u8],
        deadline: Option<Timestamp>,
    ) -> Result<(), CallError> {
        let mut left = bytes;
        while !left.is_empty() {
            let count = self.write(left, deadline).await?;
            left = left.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a datagram, or a packet or frame that the program built.
    pub(super) async fn send_to(
        &self,
        bytes: &[u8],
        to: Option<SocketAddress>,
    ) -> Result<(), CallError> {
        let sent = self.call(|host, now| host.send_to(now, self.id, bytes, to));
        self.pause_of_a_call().await;
        sent.map(drop)
    }

    /// Receives a datagram.
    pub(super) async fn receive_from(
        &self,
        deadline: Option<Timestamp>,
    ) -> Result<(Vec<u8>, SocketAddress), CallError> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let (count, from) = self
            .until_ready(deadline, |host, now| {
                host.receive_from(now, self.id, &mut buffer)
            })
            .await?;
        buffer.truncate(count);
        Ok((buffer, from))
    }

    /// Closes a direction.
    pub(super) fn shutdown(&self, what: Shutdown) -> Result<(), CallError> {
        self.call(|host, now| host.shutdown(now, self.id, what))
    }

    /// Closes it.
    pub(super) fn close(&self) -> Result<(), WorldError> {
        self.clock()
            .call(self.sockets.node, |host, now| host.close(now, self.id))?;
        let node = self.sockets.node;
        self.clock()
            .network(|network| network.forget_socket(node, self.id));
        Ok(())
    }

    /// How many segments a TCP socket has sent again; nothing where it is closed.
    #[cfg(feature = "live")]
    pub(super) fn retransmissions(&self) -> Result<Option<u32>, WorldError> {
        let info = self
            .clock()
            .call(self.sockets.node, |host, _| host.tcp_info(self.id))?;
        Ok(info.map(|info| info.total_retrans))
    }

    /// Its own address.
    pub(super) fn local_address(&self) -> Result<Option<SocketAddress>, WorldError> {
        self.clock()
            .call(self.sockets.node, |host, _| host.local_address(self.id))
    }

    /// The moment after a length of time, for deadlines.
    pub(super) fn within(&self, time: Duration) -> Option<Timestamp> {
        Some(later(self.clock().now(), time))
    }
}
