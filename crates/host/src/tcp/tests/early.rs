//! What is set or found out before there is a connection: it counts for the connection, or is over with the attempt.

use std::net::Ipv4Addr;
use std::time::Duration;

use transect_config::IpVersion;

use super::pair::*;
use crate::device::Features;
use crate::error_queue::ErrorOrigin;
use crate::inquiry::SendFlags;
use crate::socket::{Errno, SocketAddress, SocketKind, SocketOption};

/// SOF_TIMESTAMPING_TX_ACK and SOF_TIMESTAMPING_SOFTWARE.
const ACKNOWLEDGED: u32 = 1 << 9 | 1 << 4;

#[test]
fn time_stamps_wanted_before_the_connection_are_given() {
    let mut pair = Pair::new();
    let option = [SocketOption::Timestamping(ACKNOWLEDGED)];
    let listener = pair.listen(80, 10, &option);
    let client = pair.connect(80, &option);
    pair.run_for(Duration::from_millis(1));
    let (server, _) = pair.hosts[SERVER].accept(pair.now, listener).unwrap();
    pair.write(CLIENT, client, b"there").unwrap();
    pair.write(SERVER, server, b"and back").unwrap();
    pair.run_for(Duration::from_millis(100));
    for (which, id, length) in [(CLIENT, client, 5), (SERVER, server, 8)] {
        let told = pair.hosts[which].take_queued_error(id).unwrap();
        assert_eq!(told.origin, ErrorOrigin::Timestamping);
        assert_eq!((told.info, told.data), (2, 0));
        assert_eq!(told.payload.len(), length);
    }
}

#[test]
fn a_listener_has_a_port_even_if_its_address_was_bound_without() {
    let mut pair = Pair::new();
    let host = &mut pair.hosts[SERVER];
    for binds in [true, false] {
        let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
        host.set_option(id, SocketOption::BindAddressNoPort(true))
            .unwrap();
        if binds {
            let any = SocketAddress::new(Ipv4Addr::new(10, 0, 0, 2), 0);
            host.bind(id, any).unwrap();
            assert_eq!(host.local_address(id).unwrap().port, 0);
        }
        host.listen(pair.now, id, 1).unwrap();
        assert_ne!(host.local_address(id).unwrap().port, 0);
    }
}

#[test]
fn fast_open_is_tried_again_when_the_black_holes_time_is_set() {
    let settings = [
        ("net.ipv4.tcp_fastopen", "5"),
        ("net.ipv4.tcp_fastopen_blackhole_timeout_sec", "3600"),
    ];
    let mut pair = Pair::with(Features::VETH, &settings);
    pair.lose(|_| true);
    let try_it = |pair: &mut Pair| {
        let (now, to) = (pair.now, Pair::address(SERVER, 80));
        let host = &mut pair.hosts[CLIENT];
        let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
        let sent = host.send_fast_open(now, id, b"data", Some(to), SendFlags::default());
        pair.collect();
        pair.run_for(Duration::from_secs(20));
        sent
    };
    assert_eq!(try_it(&mut pair), Ok(4));
    assert_eq!(try_it(&mut pair), Err(Errno::Einprogress));
    let (name, value) = settings[1];
    pair.hosts[CLIENT].set_sysctl(name, value).unwrap();
    assert_eq!(try_it(&mut pair), Ok(4));
}

#[test]
fn a_deferred_connection_whose_way_is_gone_is_given_up() {
    let settings = [("net.ipv4.tcp_fastopen", "5")];
    let mut pair = Pair::with(Features::VETH, &settings);
    let (now, to) = (pair.now, Pair::address(SERVER, 80));
    let host = &mut pair.hosts[CLIENT];
    let id = host.socket(SocketKind::Tcp, IpVersion::V4).unwrap();
    host.set_option(id, SocketOption::FastOpenConnect(true))
        .unwrap();
    assert_eq!(host.connect(now, id, to), Ok(()));
    let routes = host.config().routes4.clone();
    host.reconfigure(now, |config| config.routes4 = Some(Vec::new()));
    assert_eq!(host.write(now, id, b"data"), Err(Errno::Econnaborted));
    assert!(!host.is_opening(id));
    // The socket is as good as new.
    host.reconfigure(now, |config| config.routes4 = routes);
    assert_eq!(host.connect(now, id, to), Ok(()));
    assert_eq!(host.write(now, id, b"data"), Ok(4));
}
