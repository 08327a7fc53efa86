//! One reading of a host: every counter, socket, link, route and rule at one moment, as raw texts.
//!
//! A reading is a set of small files in the formats of the tools that people know (`/proc/net`, `ss`, `ip -j`, `tc -j`,
//! `conntrack`, `ethtool`, `nft`, `iptables-save`), taken by netlink where the kernel offers it. Nothing here interprets
//! what it reads, and nothing here changes the host: no kernel table is created, no connection tracking is switched on.

mod changes;
mod netlink;
mod proc;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use transect_path::{Timestamp, Unseen};

use self::changes::Changes;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything.
    Full,
    /// What changes with traffic: counters, sockets, connection tracking, rule counters, queues. Cheap enough for once a
    /// second.
    Sample,
}

/// One file of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The path inside the reading's folder, such as `net/snmp` or `ethtool/eth0.features.txt`.
    pub name: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// What one reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReading {
    /// When the first file was read, by the real-time clock.
    pub started: Timestamp,
    /// When the last file was read.
    pub ended: Timestamp,
    /// The files in the order in which they were read. What does not exist on the host (no connection tracking, no
    /// IPVS) is absent.
    pub files: Vec<RawFile>,
    /// What could not be read, and what to do about it.
    pub unseen: Vec<Unseen>,
}

/// Takes the readings of one host. Opened, and used, on a thread that is inside the host's network namespace.
pub struct ReadingSource {
    changes: Option<Changes>,
}

impl ReadingSource {
    /// Opens the netlink sockets in the namespace of the calling thread. Nothing is read yet. What cannot be opened is
    /// said, and the rest works.
    pub fn open() -> (Self, Vec<Unseen>) {
        let mut unseen = Vec::new();
        let changes = match Changes::open(true) {
            Ok((changes, refused)) => {
                for (what, error) in refused {
                    unseen.push(Unseen {
                        meter: format!("changes/{what}"),
                        why: format!(
                            "the kernel's announcements of changes cannot be heard ({error}); changes between samples \
                             are seen late"
                        ),
                    });
                }
                Some(changes)
            }
            Err(error) => {
                unseen.push(Unseen {
                    meter: "changes".to_owned(),
                    why: format!("the kernel's announcements of changes cannot be heard: {error}"),
                });
                None
            }
        };
        (ReadingSource { changes }, unseen)
    }

    /// Takes one reading. Never fails as a whole: what cannot be read stands in `unseen`.
    pub fn take(&mut self, scope: Scope) -> RawReading {
        let started = now();
        let mut reading = Gathered::default();
        for name in proc::NET_FILES {
            reading.file_if_there(
                format!("net/{name}"),
                proc::read_file(&format!("/proc/thread-self/net/{name}")),
            );
        }
        let _ = scope;
        RawReading {
            started,
            ended: now(),
            files: reading.files,
            unseen: reading.unseen,
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
