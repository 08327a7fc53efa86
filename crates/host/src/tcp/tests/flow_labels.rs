//! Flow labels over IPv6, as between two namespaces of Linux 6.18: each end keeps one until a time-out, or until data comes again
//! under another one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::pair::*;
use crate::socket::{SocketAddress, SocketId, SocketKind};
use transect_config::IpVersion;

/// Who sent under which labels, in the order of their first packets.
type Labels = Rc<RefCell<[Vec<u32>; 2]>>;

struct World {
    pair: Pair,
    labels: Labels,
    client: SocketId,
}

/// A connection over IPv6, established; the server has accepted it.
fn world(sysctls: &[(&str, &str)]) -> World {
    let mut pair = Pair::with(crate::device::Features::VETH, sysctls);
    let labels = Labels::default();
    watch(&mut pair, &labels, false);
    let now = pair.now;
    let server = &mut pair.hosts[SERVER];
    let listener = server.socket(SocketKind::Tcp, IpVersion::V6).unwrap();
    let any = SocketAddress::new(std::net::Ipv6Addr::UNSPECIFIED, 80);
    server.bind(listener, any).unwrap();
    server.listen(now, listener, 5).unwrap();
    let client = pair.hosts[CLIENT]
        .socket(SocketKind::Tcp, IpVersion::V6)
        .unwrap();
    let peer: std::net::Ipv6Addr = "fd00::2".parse().unwrap();
    let connected = pair.hosts[CLIENT].connect(now, client, SocketAddress::new(peer, 80));
    assert!(connected.is_err(), "in progress");
    pair.collect();
    pair.run_for(Duration::from_millis(1));
    assert!(pair.hosts[SERVER].accept(pair.now, listener).is_ok());
    World {
        pair,
        labels,
        client,
    }
}

/// Notes labels from now on; `deaf`: what the server sends is lost.
fn watch(pair: &mut Pair, labels: &Labels, deaf: bool) {
    let labels = Rc::clone(labels);
    pair.treat(move |frame| {
        let known = &mut labels.borrow_mut()[frame.from];
        if known.last() != Some(&frame.label) {
            known.push(frame.label);
        }
        if deaf && frame.from == SERVER {
            Treatment::Lost
        } else {
            Treatment::Carried
        }
    });
}

#[test]
fn a_flow_keeps_its_label_until_a_time_out_and_who_sees_that_takes_another() {
    let World {
        mut pair,
        labels,
        client,
    } = world(&[]);
    pair.write(CLIENT, client, b"heard").unwrap();
    pair.run_for(Duration::from_millis(1));
    {
        let labels = labels.borrow();
        assert_eq!((labels[CLIENT].len(), labels[SERVER].len()), (1, 1));
        assert_ne!(labels[CLIENT], labels[SERVER]);
        assert!(labels.iter().flatten().all(|label| *label != 0));
    }
    watch(&mut pair, &labels, true);
    pair.write(CLIENT, client, b"answered in vain").unwrap();
    // A loss probe comes under the old label, three time-outs under new ones.
    pair.run_for(Duration::from_secs(2));
    let names = ["TcpExtTCPTimeouts", "TcpExtTcpTimeoutRehash"];
    let counted = pair.moved(CLIENT, &names);
    let [timeouts, rehashed] = names.map(|name| pair.counter(CLIENT, name));
    assert_eq!(timeouts, rehashed, "{counted:?}");
    let seen = pair.counter(SERVER, "TcpExtTcpDuplicateDataRehash");
    assert_eq!((timeouts, seen), (3, 3));
    let labels = labels.borrow();
    assert_eq!((labels[CLIENT].len(), labels[SERVER].len()), (4, 4));
    let different: BTreeSet<_> = labels.iter().flatten().collect();
    assert_eq!(different.len(), 8);
}

#[test]
fn settings_say_whether_there_are_labels_and_whether_they_change() {
    let mut none = world(&[("net.ipv6.auto_flowlabels", "0")]);
    none.pair.write(CLIENT, none.client, b"x").unwrap();
    assert_eq!(*none.labels.borrow(), [vec![0], vec![0]]);

    let mut fixed = world(&[
        ("net.core.txrehash", "0"),
        ("net.ipv6.flowlabel_state_ranges", "1"),
    ]);
    watch(&mut fixed.pair, &fixed.labels, true);
    fixed.pair.write(CLIENT, fixed.client, b"x").unwrap();
    fixed.pair.run_for(Duration::from_secs(2));
    let labels = fixed.labels.borrow();
    assert_eq!((labels[CLIENT].len(), labels[SERVER].len()), (1, 1));
    assert!(labels.iter().flatten().all(|label| label >> 19 == 1));
    let pair = &fixed.pair;
    assert_eq!(pair.counter(CLIENT, "TcpExtTCPTimeouts"), 3);
    assert_eq!(pair.counter(CLIENT, "TcpExtTcpTimeoutRehash"), 0);
    assert_eq!(pair.counter(SERVER, "TcpExtTcpDuplicateDataRehash"), 0);
}
