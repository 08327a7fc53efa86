//! setsockopt(2) and getsockopt(2): numbers to the host's options and back.

use std::time::Duration;

use transect_host::{FastOpenKey, OptionName, OptionValue, SocketOption};

use super::ModelWorld;
use super::calls::errno;
use crate::call::{Fd, Outcome, Output};

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;
/// `IPV6_MINHOPCOUNT`
const MIN_HOP_COUNT: i32 = 73;
/// `TCP_INQ` and `TCP_CM_INQ`
pub(super) const INQ: i32 = 36;
/// `IP_BIND_ADDRESS_NO_PORT`, `IP_LOCAL_PORT_RANGE`
const BIND_ADDRESS_NO_PORT: i32 = 24;
const LOCAL_PORT_RANGE: i32 = 51;
/// What is only remembered. Others that libc lacks are not known to the model either.
const REMEMBERED: &[(i32, i32)] = &[
    (SOCKET, libc::SO_REUSEPORT),
    (IP, libc::IP_FREEBIND),
    (IPV6, libc::IPV6_FREEBIND),
];

/// The name of an option that a number means.
fn name(level: i32, number: i32) -> Option<OptionName> {
    Some(match (level, number) {
        (SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => OptionName::ReceiveBuffer,
        (SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => OptionName::SendBuffer,
        (SOCKET, libc::SO_REUSEADDR) => OptionName::ReuseAddress,
        (SOCKET, libc::SO_KEEPALIVE) => OptionName::KeepAlive,
        (SOCKET, libc::SO_LINGER) => OptionName::Linger,
        (SOCKET, libc::SO_MARK) => OptionName::Mark,
        (SOCKET, libc::SO_PRIORITY) => OptionName::Priority,
        (SOCKET, libc::SO_BROADCAST) => OptionName::Broadcast,
        (SOCKET, libc::SO_ACCEPTCONN) => OptionName::Listens,
        (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => OptionName::Ttl,
        (IP, libc::IP_TOS) | (IPV6, libc::IPV6_TCLASS) => OptionName::Tos,
        (IP, libc::IP_MINTTL) | (IPV6, MIN_HOP_COUNT) => OptionName::MinTtl,
        (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => OptionName::MtuDiscover,
        (IP, libc::IP_MTU) | (IPV6, libc::IPV6_MTU) => OptionName::Mtu,
        (IPV6, libc::IPV6_V6ONLY) => OptionName::V6Only,
        (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => OptionName::ReceiveErrors,
        (SOCKET, libc::SO_TIMESTAMPING) => OptionName::Timestamping,
        (IP, BIND_ADDRESS_NO_PORT) => OptionName::BindAddressNoPort,
        (IP, LOCAL_PORT_RANGE) => OptionName::LocalPortRange,
        (SOCKET, libc::SO_RCVLOWAT) => OptionName::ReceiveLowWatermark,
        (SOCKET, libc::SO_OOBINLINE) => OptionName::UrgentInline,
        (TCP, libc::TCP_NODELAY) => OptionName::NoDelay,
        (TCP, libc::TCP_CORK) => OptionName::Cork,
        (TCP, libc::TCP_MAXSEG) => OptionName::MaxSegment,
        (TCP, libc::TCP_KEEPIDLE) => OptionName::KeepIdle,
        (TCP, libc::TCP_KEEPINTVL) => OptionName::KeepInterval,
        (TCP, libc::TCP_KEEPCNT) => OptionName::KeepCount,
        (TCP, libc::TCP_SYNCNT) => OptionName::SynCount,
        (TCP, libc::TCP_LINGER2) => OptionName::Linger2,
        (TCP, libc::TCP_DEFER_ACCEPT) => OptionName::DeferAccept,
        (TCP, libc::TCP_WINDOW_CLAMP) => OptionName::WindowClamp,
        (TCP, libc::TCP_QUICKACK) => OptionName::QuickAck,
        (TCP, libc::TCP_CONGESTION) => OptionName::Congestion,
        (TCP, libc::TCP_USER_TIMEOUT) => OptionName::UserTimeout,
        (TCP, libc::TCP_NOTSENT_LOWAT) => OptionName::NotSentLowWatermark,
        (TCP, libc::TCP_FASTOPEN) => OptionName::FastOpen,
        (TCP, libc::TCP_FASTOPEN_CONNECT) => OptionName::FastOpenConnect,
        (TCP, libc::TCP_FASTOPEN_NO_COOKIE) => OptionName::FastOpenNoCookie,
        (TCP, libc::TCP_FASTOPEN_KEY) => OptionName::FastOpenKeys,
        _ => return None,
    })
}

/// The option with its value; EINVAL where the value is out of range.
fn option(level: i32, name: OptionName, value: &[u8]) -> Result<SocketOption, i32> {
    if name == OptionName::Congestion {
        let end = value
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(value.len());
        let name = value.get(..end).unwrap_or_default();
        return Ok(SocketOption::Congestion(
            String::from_utf8_lossy(name).into_owned(),
        ));
    }
    if name == OptionName::FastOpenKeys {
        // One key, or two.
        let (keys, rest) = value.as_chunks::<16>();
        if !rest.is_empty() || !(1..=2).contains(&keys.len()) {
            return Err(libc::EINVAL);
        }
        let keys = keys.iter().copied().map(FastOpenKey::from_bytes);
        return Ok(SocketOption::FastOpenKeys(keys.collect()));
    }
    // Options of IPv4 may be a single byte (do_ip_setsockopt).
    let number = match (level, value) {
        (IP, [byte, rest @ ..]) if rest.len() < 3 => i32::from(*byte),
        _ => int(value, 0).ok_or(libc::EINVAL)?,
    };
    let on = number != 0;
    let count = || u32::try_from(number).map_err(|_| libc::EINVAL);
    let byte = || u8::try_from(number).map_err(|_| libc::EINVAL);
    Ok(match name {
        // The kernel takes them as unsigned (sk_setsockopt).
        OptionName::ReceiveBuffer => SocketOption::ReceiveBuffer(number.cast_unsigned()),
        OptionName::SendBuffer => SocketOption::SendBuffer(number.cast_unsigned()),
        OptionName::ReuseAddress => SocketOption::ReuseAddress(on),
        OptionName::KeepAlive => SocketOption::KeepAlive(on),
        OptionName::Linger => {
            let seconds = int(value, 4).ok_or(libc::EINVAL)?;
            let seconds = u64::from(seconds.cast_unsigned());
            SocketOption::Linger(on.then(|| Duration::from_secs(seconds)))
        }
        OptionName::Mark => SocketOption::Mark(number.cast_unsigned()),
        OptionName::Priority => SocketOption::Priority(count()?),
        OptionName::Broadcast => SocketOption::Broadcast(on),
        OptionName::Ttl => SocketOption::Ttl(if number == -1 { 64 } else { byte()? }),
        OptionName::Tos => SocketOption::Tos(byte()?),
        OptionName::MinTtl => SocketOption::MinTtl(byte()?),
        OptionName::MtuDiscover => SocketOption::MtuDiscover(byte()?),
        OptionName::V6Only => SocketOption::V6Only(on),
        OptionName::ReceiveErrors => SocketOption::ReceiveErrors(on),
        OptionName::Timestamping => SocketOption::Timestamping(number.cast_unsigned()),
        OptionName::BindAddressNoPort => SocketOption::BindAddressNoPort(on),
        OptionName::LocalPortRange => {
            let number = number.cast_unsigned();
            let half = |bits: u32| u16::try_from(bits & 0xffff).unwrap_or(0);
            SocketOption::LocalPortRange(half(number), half(number >> 16))
        }
        OptionName::ReceiveLowWatermark => {
            // A negative one is a very large one, 0 is 1 (sk_setsockopt).
            let most = i32::MAX.cast_unsigned();
            SocketOption::ReceiveLowWatermark(u32::try_from(number).unwrap_or(most))
        }
        OptionName::UrgentInline => SocketOption::UrgentInline(on),
        OptionName::NoDelay => SocketOption::NoDelay(on),
        OptionName::Cork => SocketOption::Cork(on),
        OptionName::MaxSegment => {
            SocketOption::MaxSegment(u16::try_from(number).map_err(|_| libc::EINVAL)?)
        }
        OptionName::KeepIdle => SocketOption::KeepIdle(count()?),
        OptionName::KeepInterval => SocketOption::KeepInterval(count()?),
        OptionName::KeepCount => SocketOption::KeepCount(count()?),
        OptionName::SynCount => SocketOption::SynCount(count()?),
        OptionName::Linger2 => SocketOption::Linger2(number),
        OptionName::DeferAccept => SocketOption::DeferAccept(number.max(0).cast_unsigned()),
        OptionName::WindowClamp => SocketOption::WindowClamp(count()?),
        OptionName::QuickAck => SocketOption::QuickAck(on),
        OptionName::UserTimeout => SocketOption::UserTimeout(count()?),
        OptionName::NotSentLowWatermark => {
            SocketOption::NotSentLowWatermark(number.cast_unsigned())
        }
        OptionName::FastOpen => SocketOption::FastOpen(count().map_err(|_| libc::EINVAL)?),
        OptionName::FastOpenConnect | OptionName::FastOpenNoCookie
            if !(0..=1).contains(&number) =>
        {
            return Err(libc::EINVAL);
        }
        OptionName::FastOpenConnect => SocketOption::FastOpenConnect(on),
        OptionName::FastOpenNoCookie => SocketOption::FastOpenNoCookie(on),
        OptionName::FastOpenKeys
        | OptionName::Mtu
        | OptionName::Listens
        | OptionName::Congestion => {
            return Err(libc::ENOPROTOOPT);
        }
    })
}

fn int(value: &[u8], at: usize) -> Option<i32> {
    let bytes = value.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(i32::from_ne_bytes)
}

/// `struct timeval`
fn time(value: &[u8]) -> Result<Option<Duration>, i32> {
    let part = |at: usize| {
        let bytes = value
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(i64::from_ne_bytes).ok_or(libc::EINVAL)
    };
    let (seconds, micros) = (part(0)?, part(8)?);
    if !(0..1_000_000).contains(&micros) {
        return Err(libc::EDOM);
    }
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let time = seconds.saturating_add(Duration::from_micros(micros.unsigned_abs()));
    Ok(Some(time).filter(|time| !time.is_zero()))
}

impl ModelWorld {
    /// setsockopt(2).
    pub(super) fn set_option(
        &mut self,
        fd: Fd,
        (level, number): (i32, i32),
        value: &[u8],
    ) -> Result<Outcome, i32> {
        let socket = self.files.socket_mut(fd)?;
        match (level, number) {
            (SOCKET, libc::SO_RCVTIMEO) => socket.receive_timeout = time(value)?,
            (SOCKET, libc::SO_SNDTIMEO) => socket.send_timeout = time(value)?,
            (SOCKET, libc::SO_ZEROCOPY) => {
                socket.error_queue.zero_copy = int(value, 0).ok_or(libc::EINVAL)? != 0;
            }
            (TCP, INQ) if socket.kind == libc::SOCK_STREAM => {
                let value = int(value, 0).ok_or(libc::EINVAL)?;
                if !(0..=1).contains(&value) {
                    return Err(libc::EINVAL);
                }
                socket.tells_queued = value != 0;
            }
            (SOCKET, libc::SO_BINDTODEVICE) => {
                let end = value
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(value.len());
                let name = String::from_utf8_lossy(value.get(..end).unwrap_or_default());
                let option = SocketOption::BindToDevice(name.into_owned());
                self.host.set_option(socket.id, option).map_err(errno)?;
            }
            _ if REMEMBERED.contains(&(level, number)) => {
                let value = int(value, 0).ok_or(libc::EINVAL)?;
                socket.remembered.insert((level, number), value);
            }
            _ => {
                let name = name(level, number).ok_or(libc::ENOPROTOOPT)?;
                let id = socket.id;
                self.host
                    .set_option(id, option(level, name, value)?)
                    .map_err(errno)?;
            }
        }
        Ok(Outcome::of(0))
    }

    /// getsockopt(2).
    pub(super) fn option(
        &mut self,
        fd: Fd,
        (level, number): (i32, i32),
        room: usize,
    ) -> Result<Outcome, i32> {
        let socket = self.files.socket(fd)?;
        let id = socket.id;
        let number = match (level, number) {
            (SOCKET, libc::SO_ERROR) => self.host.take_error(id).map_or(0, errno).into(),
            (SOCKET, libc::SO_ZEROCOPY) => socket.error_queue.zero_copy.into(),
            (TCP, INQ) if socket.kind == libc::SOCK_STREAM => socket.tells_queued.into(),
            (SOCKET, libc::SO_TYPE) => socket.kind.into(),
            (SOCKET, libc::SO_DOMAIN) => socket.family.into(),
            (SOCKET, libc::SO_PROTOCOL) => socket.protocol.into(),
            (SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                let time = match number {
                    libc::SO_RCVTIMEO => socket.receive_timeout,
                    _ => socket.send_timeout,
                };
                let time = time.unwrap_or_default();
                let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                let parts = [seconds, i64::from(time.subsec_micros())];
                return Ok(told(parts.map(i64::to_ne_bytes).concat(), room));
            }
            key if REMEMBERED.contains(&key) => {
                socket.remembered.get(&key).copied().unwrap_or(0).into()
            }
            _ => {
                let name = name(level, number).ok_or(libc::ENOPROTOOPT)?;
                match self.host.option(id, name).map_err(errno)? {
                    OptionValue::Number(number) => number,
                    OptionValue::Linger(time) => {
                        let seconds = time.unwrap_or_default().as_secs();
                        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
                        let parts = [i32::from(time.is_some()), seconds];
                        return Ok(told(parts.map(i32::to_ne_bytes).concat(), room));
                    }
                    OptionValue::Keys(keys) => {
                        let keys = keys.into_iter().flat_map(FastOpenKey::to_bytes);
                        return Ok(told(keys.collect(), room));
                    }
                    OptionValue::Text(text) => {
                        // TCP_CA_NAME_MAX bytes, filled up with zeros.
                        let mut bytes = text.into_bytes();
                        bytes.resize(16, 0);
                        return Ok(told(bytes, room));
                    }
                }
            }
        };
        // An unsigned one has the same bits.
        let number = crate::call::int(number).unwrap_or(i32::MAX);
        Ok(told(number.to_ne_bytes().to_vec(), room))
    }
}

/// As much of the value as there is room for.
fn told(mut bytes: Vec<u8>, room: usize) -> Outcome {
    bytes.truncate(room);
    Outcome::telling(0, Output::Bytes(bytes))
}
