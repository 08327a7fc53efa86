//! The socket calls as the kernel takes them: numbers and bytes, whether they make sense or not.
//!
//! Libraries offer them with types that rule mistakes out. Here the mistakes are wanted: scripts that test a kernel ask for what
//! must fail, too, and for options that no library knows. Descriptors are borrowed, and buffers are slices, so that no call can reach
//! memory or files that are not the caller's.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What a call returned; errors as `errno` says them.
type Result<T> = io::Result<T>;

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: libc::ssize_t) -> Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn length(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).unwrap_or(libc::socklen_t::MAX)
}

/// Takes a descriptor that the kernel has just made.
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: called only with what a successful socket(2) or accept4(2) returned: a new descriptor that nobody else knows.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// socket(2).
///
/// # Errors
/// As the call; so it is for all of these.
pub fn socket(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: three numbers.
    check(unsafe { libc::socket(domain, kind, protocol) }).map(own)
}

/// bind(2); `address` is a `sockaddr` as the kernel reads it.
///
/// # Errors
/// As the call.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads so many bytes as the slice has, and copies them before it looks at them.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) };
    check(result).map(drop)
}

/// connect(2).
///
/// # Errors
/// As the call.
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    // SAFETY: as in `bind`.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) };
    check(result).map(drop)
}

/// listen(2).
///
/// # Errors
/// As the call.
pub fn listen(socket: BorrowedFd<'_>, backlog: i32) -> Result<()> {
    // SAFETY: two numbers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2): the connection, and its peer's address.
///
/// # Errors
/// As the call.
pub fn accept(socket: BorrowedFd<'_>, flags: i32) -> Result<(OwnedFd, Vec<u8>)> {
    let mut address = vec![0; size_of::<libc::sockaddr_storage>()];
    let mut size = length(&address);
    // SAFETY: the kernel writes at most `size` bytes, which the buffer has, and the address's size into `size`.
    let result = unsafe {
        libc::accept4(
            socket.as_raw_fd(),
            address.as_mut_ptr().cast(),
            &raw mut size,
            flags,
        )
    };
    let made = own(check(result)?);
    address.truncate(size as usize);
    Ok((made, address))
}

/// shutdown(2).
///
/// # Errors
/// As the call.
pub fn shutdown(socket: BorrowedFd<'_>, how: i32) -> Result<()> {
    // SAFETY: two numbers.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), how) }).map(drop)
}

/// Which end of a socket [`socket_name`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// getsockname(2).
    Local,
    /// getpeername(2).
    Peer,
}

/// getsockname(2), getpeername(2).
///
/// # Errors
/// As the calls.
pub fn socket_name(socket: BorrowedFd<'_>, end: SocketEnd) -> Result<Vec<u8>> {
    let mut address = vec![0; size_of::<libc::sockaddr_storage>()];
    let mut size = length(&address);
    let (raw, room) = (socket.as_raw_fd(), address.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `size` bytes, which the buffer has, and the address's size into `size`.
    let result = unsafe {
        match end {
            SocketEnd::Local => libc::getsockname(raw, room, &raw mut size),
            SocketEnd::Peer => libc::getpeername(raw, room, &raw mut size),
        }
    };
    check(result)?;
    address.truncate(size as usize);
    Ok(address)
}

/// Options whose values hold addresses of memory, or that make the kernel change memory behind the program's back.
fn holds_addresses(level: i32, name: i32) -> bool {
    // TCP_ZEROCOPY_RECEIVE; TCP_REPAIR_* and filters only read, but what they read is not the slice.
    let tcp = level == libc::IPPROTO_TCP && name == 35;
    let filters = [
        libc::SO_ATTACH_FILTER,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        libc::SO_GET_FILTER,
    ];
    // IPT_SO_*, IP6T_SO_*, ARPT_SO_*, EBT_SO_* take structures with pointers. IPv6 has options of its own between them.
    let tables = match level {
        libc::IPPROTO_IP => (64..80).contains(&name) || name >= 96,
        libc::IPPROTO_IPV6 => matches!(name, 64 | 65 | 68 | 69) || name >= 96,
        _ => false,
    };
    tcp || tables || level == libc::SOL_SOCKET && filters.contains(&name)
}

/// setsockopt(2).
///
/// # Errors
/// As the call; `EOPNOTSUPP` for options whose values hold addresses of memory.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    if holds_addresses(level, name) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    // SAFETY: the kernel reads so many bytes as the slice has; options in which these are addresses were turned away.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length(value),
        )
    };
    check(result).map(drop)
}

/// getsockopt(2): reads into `value`, whose content is passed in, and returns the length.
///
/// # Errors
/// As the call; `EOPNOTSUPP` for options whose values hold addresses of memory.
pub fn option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
    if holds_addresses(level, name) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let mut size = length(value);
    // SAFETY: the kernel writes at most `size` bytes, which the slice has; options that write elsewhere were turned away.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    check(result)?;
    Ok(size as usize)
}

/// What sendmsg(2) and sendto(2) send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a> {
    /// The receiver's address; empty for none.
    pub address: &'a [u8],
    /// The data, in pieces.
    pub pieces: &'a [&'a [u8]],
    /// Control messages as the kernel reads them, aligned as `cmsghdr` is; empty for none.
    pub control: &'a [u8],
    /// `MSG_*`
    pub flags: i32,
}

/// sendmsg(2).
///
/// # Errors
/// As the call.
pub fn send_message(socket: BorrowedFd<'_>, message: Outgoing<'_>) -> Result<usize> {
    let mut pieces: Vec<libc::iovec> = message
        .pieces
        .iter()
        .map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        })
        .collect();
    // SAFETY: msghdr is a C structure of integers and pointers; all zeros is a valid value of it.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    if !message.address.is_empty() {
        header.msg_name = message.address.as_ptr().cast_mut().cast();
        header.msg_namelen = length(message.address);
    }
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len() as _;
    if !message.control.is_empty() {
        header.msg_control = message.control.as_ptr().cast_mut().cast();
        header.msg_controllen = message.control.len() as _;
    }
    // SAFETY: sendmsg only reads, although its types do not say so; every pointer is that of a slice that outlives the call, with
    // that slice's length.
    check_size(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, message.flags) })
}

/// What [`receive_message`] got beside the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// How many bytes of data.
    pub length: usize,
    /// The sender's address; empty where the socket does not tell it.
    pub address: Vec<u8>,
    /// Control messages, as the kernel writes them.
    pub control: Vec<u8>,
    /// `MSG_*`
    pub flags: i32,
}

/// recvmsg(2): reads into `pieces`, with room for so many bytes of control messages.
///
/// # Errors
/// As the call.
pub fn receive_message(
    socket: BorrowedFd<'_>,
    pieces: &mut [Vec<u8>],
    control: usize,
    flags: i32,
) -> Result<Incoming> {
    let mut vectors: Vec<libc::iovec> = pieces
        .iter_mut()
        .map(|piece| libc::iovec {
            iov_base: piece.as_mut_ptr().cast(),
            iov_len: piece.len(),
        })
        .collect();
    let mut address = vec![0; size_of::<libc::sockaddr_storage>()];
    // Aligned for cmsghdr, whose first field is a size_t.
    let mut room = vec![0_u64; control.div_ceil(8)];
    // SAFETY: msghdr is a C structure of integers and pointers; all zeros is a valid value of it.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_mut_ptr().cast();
    header.msg_namelen = length(&address);
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    if control > 0 {
        header.msg_control = room.as_mut_ptr().cast();
        header.msg_controllen = control as _;
    }
    // SAFETY: every pointer is that of a buffer that is exclusively borrowed or owned here and outlives the call, with its length.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let length = check_size(result)?;
    address.truncate(header.msg_namelen as usize);
    let mut control: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).collect();
    control.truncate(header.msg_controllen as usize);
    Ok(Incoming {
        length,
        address,
        control,
        flags: header.msg_flags,
    })
}

/// sendto(2) with a null pointer for its data: what a faulty program does.
///
/// # Errors
/// As the call: most often `EFAULT`.
pub fn send_from_nowhere(
    socket: BorrowedFd<'_>,
    count: usize,
    address: &[u8],
    flags: i32,
) -> Result<usize> {
    // SAFETY: the kernel checks where it reads from, and page 0 of a process is never there; the address is a slice that outlives
    // the call, with its length, or nothing at all.
    let result = unsafe {
        let (address, size) = match address {
            [] => (std::ptr::null(), 0),
            address => (address.as_ptr(), length(address)),
        };
        let null = std::ptr::null();
        libc::sendto(socket.as_raw_fd(), null, count, flags, address.cast(), size)
    };
    check_size(result)
}

/// recvfrom(2) with a null pointer for its buffer.
///
/// # Errors
/// As the call: `EFAULT` where there is something to read.
pub fn receive_into_nowhere(socket: BorrowedFd<'_>, count: usize, flags: i32) -> Result<usize> {
    let (fd, null) = (socket.as_raw_fd(), std::ptr::null_mut());
    let (address, size) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the kernel checks where it writes to, and page 0 of a process is never there; it is told of no other place.
    check_size(unsafe { libc::recvfrom(fd, null, count, flags, address, size) })
}

/// fcntl(2) of commands that take a number or nothing.
///
/// # Errors
/// As the call; `EOPNOTSUPP` for commands that take the address of a structure, or that make another descriptor.
pub fn file_control(file: BorrowedFd<'_>, command: i32, argument: i32) -> Result<i32> {
    let commands = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETPIPE_SZ,
        libc::F_SETPIPE_SZ,
    ];
    if !commands.contains(&command) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    // SAFETY: these commands take numbers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, argument) })
}

/// ioctl(2) of requests that read or write one int: FIONREAD (SIOCINQ), SIOCOUTQ, SIOCOUTQNSD, FIONBIO, SIOCATMARK. Returns what
/// the call did, and the int.
///
/// # Errors
/// As the call; `EOPNOTSUPP` for other requests.
pub fn control_integer(file: BorrowedFd<'_>, request: u64, value: i32) -> Result<(i32, i32)> {
    // FIONREAD, TIOCOUTQ, SIOCOUTQNSD, FIONBIO, SIOCATMARK.
    if ![0x541b, 0x5411, 0x894b, 0x5421, 0x8905].contains(&request) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let mut value = value;
    // SAFETY: these requests read or write one int, and `value` is one that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, &raw mut value) };
    Ok((check(result)?, value))
}

/// One descriptor of poll(2): the descriptor, what is asked, what came.
pub type Polled<'a> = (BorrowedFd<'a>, i16, i16);

/// poll(2).
///
/// # Errors
/// As the call.
pub fn poll(files: &mut [Polled<'_>], timeout: i32) -> Result<usize> {
    let mut set: Vec<libc::pollfd> = files
        .iter()
        .map(|(file, events, _)| libc::pollfd {
            fd: file.as_raw_fd(),
            events: *events,
            revents: 0,
        })
        .collect();
    let count = libc::nfds_t::try_from(set.len()).unwrap_or(0);
    // SAFETY: the kernel reads and writes `count` entries, which the vector has.
    let ready = check(unsafe { libc::poll(set.as_mut_ptr(), count, timeout) })?;
    for (file, polled) in files.iter_mut().zip(&set) {
        file.2 = polled.revents;
    }
    Ok(usize::try_from(ready).unwrap_or(0))
}

/// epoll_create1(2).
///
/// # Errors
/// As the call.
pub fn epoll_create(flags: i32) -> Result<OwnedFd> {
    // SAFETY: a number; what a successful call returns is a new descriptor that nobody else knows.
    check(unsafe { libc::epoll_create1(flags) }).map(own)
}

/// epoll_ctl(2).
///
/// # Errors
/// As the call.
pub fn epoll_control(
    epoll: BorrowedFd<'_>,
    operation: i32,
    file: BorrowedFd<'_>,
    events: u32,
    data: u64,
) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the kernel reads one epoll_event, which outlives the call.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            operation,
            file.as_raw_fd(),
            &raw mut event,
        )
    };
    check(result).map(drop)
}

/// epoll_wait(2): events and data of at most so many.
///
/// # Errors
/// As the call.
pub fn epoll_wait(epoll: BorrowedFd<'_>, most: i32, timeout: i32) -> Result<Vec<(u32, u64)>> {
    let room = usize::try_from(most).unwrap_or(0).min(1024);
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room.max(1)];
    // What is out of range is the kernel's to refuse; it does so before it writes.
    let most = if room == 0 { most } else { room as libc::c_int };
    // SAFETY: the kernel writes at most `most` entries, which the vector has, or refuses where `most` is not positive.
    let count =
        check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), most, timeout) })?;
    events.truncate(usize::try_from(count).unwrap_or(0));
    Ok(events
        .into_iter()
        .map(|event| (event.events, event.u64))
        .collect())
}

/// Lets the calling thread run before all ordinary ones (SCHED_FIFO, lowest priority): what it waits for is then noticed at once,
/// however busy the machine is. Threads and programs that it starts are ordinary ones. sched_setscheduler(2).
///
/// # Errors
/// No CAP_SYS_NICE.
pub fn run_before_others() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the kernel reads one sched_param, which outlives the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn errno<T: std::fmt::Debug>(result: Result<T>) -> Option<i32> {
        result.unwrap_err().raw_os_error()
    }

    #[test]
    fn datagrams_go_round_with_their_addresses() {
        let socket = super::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        let loopback = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        bind(socket.as_fd(), &loopback).unwrap();
        let name = socket_name(socket.as_fd(), SocketEnd::Local).unwrap();
        assert_eq!(name.len(), 16);
        assert_eq!(
            errno(socket_name(socket.as_fd(), SocketEnd::Peer)),
            Some(libc::ENOTCONN)
        );
        let sent = Outgoing {
            address: &name,
            pieces: &[b"ab", b"c"],
            ..Outgoing::default()
        };
        assert_eq!(send_message(socket.as_fd(), sent).unwrap(), 3);
        assert_eq!(control_integer(socket.as_fd(), 0x541b, 0).unwrap(), (0, 3));
        let mut polled = [(socket.as_fd(), libc::POLLIN, 0)];
        assert_eq!(poll(&mut polled, 0).unwrap(), 1);
        assert_eq!(polled[0].2, libc::POLLIN);
        let mut pieces = [vec![0; 1], vec![0; 8]];
        let got = receive_message(socket.as_fd(), &mut pieces, 64, 0).unwrap();
        assert_eq!((got.length, got.address), (3, name));
        assert_eq!((pieces[0][0], &pieces[1][..2]), (b'a', &b"bc"[..]));
    }

    #[test]
    fn mistakes_are_the_kernels_to_refuse() {
        assert_eq!(errno(super::socket(9999, 1, 0)), Some(libc::EAFNOSUPPORT));
        let socket = super::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let borrowed = socket.as_fd();
        assert_eq!(errno(bind(borrowed, &[2])), Some(libc::EINVAL));
        assert_eq!(errno(shutdown(borrowed, 7)), Some(libc::EINVAL));
        assert_eq!(errno(accept(borrowed, 0)), Some(libc::EINVAL));
        assert_eq!(
            errno(set_option(
                borrowed,
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR,
                &[1]
            )),
            Some(libc::EINVAL)
        );
    }

    #[test]
    fn options_with_addresses_in_them_are_turned_away() {
        let socket = super::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let mut value = [0; 64];
        // TCP_ZEROCOPY_RECEIVE, IPT_SO_GET_INFO.
        for (level, name) in [(libc::IPPROTO_TCP, 35), (libc::IPPROTO_IP, 64)] {
            assert_eq!(
                errno(option(socket.as_fd(), level, name, &mut value)),
                Some(libc::EOPNOTSUPP)
            );
        }
        set_option(
            socket.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            &[1, 0, 0, 0],
        )
        .unwrap();
        let name = libc::SO_REUSEADDR;
        assert_eq!(
            option(socket.as_fd(), libc::SOL_SOCKET, name, &mut value[..4]).unwrap(),
            4
        );
        assert_eq!(value[0], 1);
        assert_eq!(
            errno(file_control(socket.as_fd(), libc::F_DUPFD, 0)),
            Some(libc::EOPNOTSUPP)
        );
    }

    #[test]
    fn epoll_tells_what_is_ready() {
        let socket = super::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        let epoll = epoll_create(0).unwrap();
        let events = libc::EPOLLOUT as u32;
        epoll_control(
            epoll.as_fd(),
            libc::EPOLL_CTL_ADD,
            socket.as_fd(),
            events,
            77,
        )
        .unwrap();
        assert_eq!(epoll_wait(epoll.as_fd(), 4, 0).unwrap(), [(events, 77)]);
        assert_eq!(errno(epoll_wait(epoll.as_fd(), 0, 0)), Some(libc::EINVAL));
    }
}
