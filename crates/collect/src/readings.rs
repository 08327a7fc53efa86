//! One reading of a host: every counter, socket, link, route and rule at one moment, as raw texts.
//!
//! A reading is a set of small files in the formats of the tools that people know (`/proc/net`, `ss`, `ip -j`, `tc -j`,
//! `conntrack`, `ethtool`, `nft`, `iptables-save`), taken by netlink where the kernel offers it. Nothing here interprets
//! what it reads, and nothing here changes the host: no kernel table is created, no connection tracking is switched on.

mod changes;
mod conntrack;
mod driver;
mod filter;
mod json;
mod link;
mod neighbor;
pub(crate) mod netlink;
mod proc;
mod qdisc;
mod route;
mod rulesets;
mod sockets;
mod tools;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
pub use transect_evidence::bundle::{RawFile, RawReading};
use transect_path::{Timestamp, Unseen};
use transect_sys::Ethtool;

use self::changes::Changes;
use self::filter::filter_json;
use self::link::{Links, Names};
use self::neighbor::neighbor_json;
use self::netlink::Connection;
use self::qdisc::Qdiscs;
use self::route::{Family, policy_json, route_json};
use self::rulesets::RuleSets;
use self::sockets::SocketLister;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything.
    Full,
    /// What changes with traffic: counters, sockets, connection tracking, rule counters, queues. Cheap enough for once a
    /// second.
    Sample,
}

/// The most sockets that one reading lists.
const SOCKETS: usize = 20_000;
const SOCKETS_IN_SAMPLE: usize = 5_000;
/// With more entries than this the connection tracking table is not listed: the kernel cannot stop in the middle.
const ENTRIES: usize = 65_536;
const ENTRIES_IN_SAMPLE: usize = 4_096;

/// Takes the readings of one host. Opened, and used, on a thread that is inside the host's network namespace.
pub struct ReadingSource {
    changes: Option<Changes>,
    route: Option<Connection>,
    sockets: Option<SocketLister>,
    netfilter: Option<Connection>,
    ethtool: Option<Ethtool>,
    rule_sets: RuleSets,
}

impl ReadingSource {
    /// Opens the netlink sockets in the namespace of the calling thread. Nothing is read yet. What cannot be opened is
    /// said, and the rest works.
    pub fn open() -> (Self, Vec<Unseen>) {
        let mut unseen = Vec::new();
        let source = ReadingSource {
            changes: open_changes(&mut unseen),
            route: opened("ip", Connection::open(NETLINK_ROUTE), &mut unseen),
            sockets: opened("sockets", Connection::open(NETLINK_SOCK_DIAG), &mut unseen)
                .map(SocketLister::new),
            netfilter: None,
            ethtool: opened("ethtool", Ethtool::open(), &mut unseen),
            rule_sets: RuleSets::default(),
        };
        (source, unseen)
    }

    /// Takes one reading. Never fails as a whole: what cannot be read stands in `unseen`.
    pub fn take(&mut self, scope: Scope) -> RawReading {
        let started = now();
        let mut reading = Gathered::default();
        self.open_netfilter(&mut reading);
        // The tools print while everything else is read.
        let tools = self
            .rule_sets
            .begin(self.netfilter.as_mut(), scope, &mut reading);
        for name in proc::NET_FILES {
            reading.file_if_there(
                format!("net/{name}"),
                proc::read_file(&format!("/proc/thread-self/net/{name}")),
            );
        }
        let names = self.links(scope, &mut reading);
        self.sockets(scope, &names, &mut reading);
        self.conntrack(scope, &mut reading);
        if scope == Scope::Full {
            reading.file(
                "sysctl.txt",
                proc::sysctl_text(names.iter().map(|(_, name)| name)),
            );
            if let Some(ethtool) = &self.ethtool {
                driver::read(ethtool, names.iter().map(|(_, name)| name), &mut reading);
            }
        }
        tools.finish(&mut self.rule_sets, &mut reading);
        RawReading {
            started,
            ended: now(),
            files: reading.files,
            unseen: reading.unseen,
        }
    }

    /// Opens the netfilter socket once there is something to ask: opening it would load nfnetlink.
    fn open_netfilter(&mut self, reading: &mut Gathered) {
        if self.netfilter.is_none()
            && (self.rule_sets.may_be_asked() || conntrack::count().is_some())
        {
            self.netfilter = opened(
                "netfilter",
                Connection::open(NETLINK_NETFILTER),
                &mut reading.unseen,
            );
        }
    }

    /// Everything that rtnetlink knows. Returns the names of the interfaces.
    fn links(&mut self, scope: Scope, reading: &mut Gathered) -> Names {
        let Some(route) = &mut self.route else {
            return Names::default();
        };
        let links = match Links::dump(route) {
            Ok(links) => links,
            Err(error) => {
                reading.unseen("ip/link", format!("the kernel does not list them: {error}"));
                return Names::default();
            }
        };
        reading.whole("ip/link.json", Ok((links.json(), links.incomplete())));
        if scope == Scope::Full {
            let addresses = links.address_json(route);
            reading.whole("ip/address.json", addresses);
            for (family, routes, rules) in [
                (Family::V4, "ip/route.json", "ip/rule.json"),
                (Family::V6, "ip/route6.json", "ip/rule6.json"),
            ] {
                reading.whole(routes, route_json(route, family, &links.names));
                reading.whole(rules, policy_json(route, family).map(|bytes| (bytes, None)));
            }
        }
        reading.whole("ip/neighbor.json", neighbor_json(route, &links.names));
        match Qdiscs::dump(route) {
            Ok(qdiscs) => {
                let text = (qdiscs.json(&links.names), qdiscs.incomplete());
                reading.whole("tc/qdisc.json", Ok(text));
                reading.whole("tc/filter.json", filter_json(route, &qdiscs, &links.names));
            }
            Err(error) => reading.unseen("tc", format!("the kernel does not list them: {error}")),
        }
        links.names
    }

    fn sockets(&mut self, scope: Scope, names: &Names, reading: &mut Gathered) {
        let Some(lister) = &mut self.sockets else {
            return;
        };
        let limit = match scope {
            Scope::Full => SOCKETS,
            Scope::Sample => SOCKETS_IN_SAMPLE,
        };
        match lister.text(names, limit) {
            Ok((text, incomplete)) => {
                reading.file("sockets.txt", text);
                if let Some(why) = incomplete {
                    reading.unseen("sockets", why);
                }
            }
            Err(error) => {
                reading.unseen("sockets", format!("the kernel does not list them: {error}"));
            }
        }
    }

    fn conntrack(&mut self, scope: Scope, reading: &mut Gathered) {
        let (Some(count), Some(connection)) = (conntrack::count(), &mut self.netfilter) else {
            return;
        };
        let limit = match scope {
            Scope::Full => ENTRIES,
            Scope::Sample => ENTRIES_IN_SAMPLE,
        };
        match conntrack::stats_text(connection) {
            Ok(text) => reading.file("conntrack/stats.txt", text),
            Err(error) => reading.unseen(
                "conntrack",
                format!("it cannot be asked ({error}); that needs CAP_NET_ADMIN: run as root"),
            ),
        }
        match count {
            0 => reading.file("conntrack/entries.txt", Vec::new()),
            count if count > limit => reading.unseen(
                "conntrack/entries",
                format!("the table has {count} entries, and a reading lists at most {limit}"),
            ),
            _ => reading.whole("conntrack/entries.txt", conntrack::entries_text(connection)),
        }
    }

    /// A descriptor that is readable when the kernel has announced a change of links, addresses, routes, rules, queues
    /// or nftables; `None` when announcements cannot be heard here. Poll it together with others, then call
    /// [`drain_changes`](Self::drain_changes).
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Takes what was announced since the last call, in words, bounded; the descriptor is not readable after it. Lost
    /// announcements (the kernel's buffer was full) are a word too.
    pub fn drain_changes(&mut self) -> Vec<String> {
        self.changes
            .as_mut()
            .map(Changes::drain)
            .unwrap_or_default()
    }
}

/// What opened, or a word on why it did not.
fn opened<T>(meter: &str, result: io::Result<T>, unseen: &mut Vec<Unseen>) -> Option<T> {
    result
        .map_err(|error| {
            unseen.push(Unseen {
                meter: meter.to_owned(),
                why: format!("the kernel cannot be asked: {error}"),
            });
        })
        .ok()
}

fn open_changes(unseen: &mut Vec<Unseen>) -> Option<Changes> {
    const LATE: &str =
        "the kernel's announcements cannot be heard; changes between samples are seen late";
    match Changes::open(rulesets::may_be_asked()) {
        Ok((changes, refused)) => {
            for (what, error) in refused {
                unseen.push(Unseen {
                    meter: format!("changes/{what}"),
                    why: format!("{LATE}: {error}"),
                });
            }
            Some(changes)
        }
        Err(error) => {
            unseen.push(Unseen {
                meter: "changes".to_owned(),
                why: format!("{LATE}: {error}"),
            });
            None
        }
    }
}

/// A reading while it is taken.
#[derive(Default)]
struct Gathered {
    files: Vec<RawFile>,
    unseen: Vec<Unseen>,
}

impl Gathered {
    fn file(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.files.push(RawFile {
            name: name.into(),
            bytes,
        });
    }

    fn unseen(&mut self, meter: impl Into<String>, why: impl Into<String>) {
        self.unseen.push(Unseen {
            meter: meter.into(),
            why: why.into(),
        });
    }

    /// A file that netlink gave, with a word on what is missing in it.
    fn whole(&mut self, name: &str, read: io::Result<(Vec<u8>, Option<&'static str>)>) {
        let meter = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        match read {
            Ok((bytes, incomplete)) => {
                self.file(name, bytes);
                if let Some(why) = incomplete {
                    self.unseen(meter, format!("the list is not whole: {why}"));
                }
            }
            Err(error) => self.unseen(meter, format!("the kernel does not list them: {error}")),
        }
    }

    /// A file that may well not exist: then it is absent, without a word.
    fn file_if_there(&mut self, name: String, read: io::Result<Vec<u8>>) {
        match read {
            Ok(bytes) => self.file(name, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unseen(name, format!("reading it failed: {error}")),
        }
    }
}

/// The real-time clock.
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
