//! Rule sets with their counters, by the tools that print them: `nft`, `iptables-nft-save`, `iptables-legacy-save`.
//!
//! Starting a tool costs milliseconds, so it is started only when it would print something else than the last time: the
//! rules are dumped by netlink first (NFT_MSG_GETRULE, counters included), which is cheap, and compared. Tools are asked
//! only for what exists: listing a legacy table that nobody loaded would create it, and asking for nftables where its
//! module is not loaded would load it.

mod nftables;

use super::netlink::Connection;
use super::proc;
use super::tools::{Running, ToolError, start};
use super::{Gathered, Scope};

pub(super) use nftables::may_be_asked;
use nftables::{Dump, Table};

/// How the two families of iptables are called.
const FAMILIES: [Iptables; 2] = [
    Iptables {
        number: 2,
        nft: "iptables-nft-save",
        legacy: "iptables-legacy-save",
        nft_file: "iptables/iptables-nft.txt",
        legacy_file: "iptables/iptables-legacy.txt",
        names: "/proc/thread-self/net/ip_tables_names",
    },
    Iptables {
        number: 10,
        nft: "ip6tables-nft-save",
        legacy: "ip6tables-legacy-save",
        nft_file: "iptables/ip6tables-nft.txt",
        legacy_file: "iptables/ip6tables-legacy.txt",
        names: "/proc/thread-self/net/ip6_tables_names",
    },
];

struct Iptables {
    number: u8,
    nft: &'static str,
    legacy: &'static str,
    nft_file: &'static str,
    legacy_file: &'static str,
    names: &'static str,
}

impl Iptables {
    /// Whether a table of nftables looks like one that iptables-nft made.
    fn owns(&self, table: &Table) -> bool {
        const NAMES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];
        table.family == self.number && NAMES.contains(&table.name.as_str())
    }
}

/// What was printed the last time.
#[derive(Default)]
pub(super) struct RuleSets {
    /// Whether nftables may be asked.
    loaded: bool,
    /// The dump that `json` was printed for.
    dump: Vec<u8>,
    json: Vec<u8>,
}

/// A tool at work: the file it makes, the meter it stands for, and the package that has it.
struct Job {
    file: &'static str,
    package: &'static str,
    running: Result<Running, ToolError>,
}

impl RuleSets {
    /// Whether nftables may be asked; a module can be loaded meanwhile.
    pub(super) fn may_be_asked(&mut self) -> bool {
        self.loaded = self.loaded || may_be_asked();
        self.loaded
    }

    /// Starts the tools that have something to say; [`Pending::finish`] takes what they print.
    pub(super) fn begin(
        &mut self,
        netfilter: Option<&mut Connection>,
        scope: Scope,
        reading: &mut Gathered,
    ) -> Pending {
        let mut pending = Pending::default();
        let dump = match (self.may_be_asked(), netfilter) {
            // What is not loaded holds no rules.
            (false, _) => Some(Ok(Dump::default())),
            (true, connection) => connection.map(Dump::take),
        };
        match dump {
            Some(Ok(dump)) if !dump.tables.is_empty() => {
                self.begin_nft(dump, scope, &mut pending, reading);
            }
            // No table: the rule set is empty, and nft would say so.
            Some(Ok(_)) => reading.file("nft/ruleset.json", EMPTY.to_vec()),
            Some(Err(error)) => reading.unseen(
                "nft",
                format!("nftables cannot be asked ({error}); reading rules needs CAP_NET_ADMIN: run as root"),
            ),
            None => {}
        }
        for family in &FAMILIES {
            let tables = match proc::read_file(family.names) {
                Ok(tables) => tables,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    reading.unseen(
                        family.legacy_file.trim_end_matches(".txt"),
                        format!("whether there are legacy tables cannot be read: {error}"),
                    );
                    continue;
                }
            };
            // Without a table named it lists those in the same file, and none that is not there.
            if !tables.trim_ascii().is_empty() {
                pending.add(family.legacy_file, "iptables", family.legacy, &["-c"]);
            }
        }
        pending
    }

    fn begin_nft(
        &mut self,
        dump: Dump,
        scope: Scope,
        pending: &mut Pending,
        reading: &mut Gathered,
    ) {
        let same = !dump.volatile && dump.bytes == self.dump && !self.json.is_empty();
        if same && scope == Scope::Sample {
            reading.file("nft/ruleset.json", self.json.clone());
        } else {
            pending.add(
                "nft/ruleset.json",
                "nftables",
                "nft",
                &["-j", "list", "ruleset"],
            );
            pending.dump = Some(dump.bytes);
        }
        if scope == Scope::Full {
            pending.add(
                "nft/ruleset.txt",
                "nftables",
                "nft",
                &["-a", "list", "ruleset"],
            );
            for family in &FAMILIES {
                if dump.tables.iter().any(|table| family.owns(table)) {
                    pending.add(family.nft_file, "iptables", family.nft, &["-c"]);
                }
            }
        }
    }
}

/// What `nft -j list ruleset` prints for no rules, less its version.
const EMPTY: &[u8] = b"{\"nftables\": [{\"metainfo\": {\"json_schema_version\": 1}}]}\n";

/// Tools at work.
#[derive(Default)]
pub(super) struct Pending {
    jobs: Vec<Job>,
    /// The dump that was taken just before `nft -j` was started.
    dump: Option<Vec<u8>>,
}

impl Pending {
    fn add(
        &mut self,
        file: &'static str,
        package: &'static str,
        program: &str,
        arguments: &[&str],
    ) {
        self.jobs.push(Job {
            file,
            package,
            running: start(program, arguments),
        });
    }

    /// Waits for the tools and takes their texts.
    pub(super) fn finish(self, sets: &mut RuleSets, reading: &mut Gathered) {
        for job in self.jobs {
            let bytes = match job.running.and_then(Running::output) {
                Ok(bytes) if job.file.starts_with("iptables/") => without_dates(&bytes),
                Ok(bytes) => bytes,
                Err(error) => {
                    let meter = job.file.rsplit_once('.').map_or(job.file, |(stem, _)| stem);
                    let why = match error {
                        ToolError::Missing => format!(
                            "there are rules, but no tool to read them: install the package {}",
                            job.package
                        ),
                        ToolError::Failed(why) => why,
                    };
                    reading.unseen(meter, why);
                    continue;
                }
            };
            if let ("nft/ruleset.json", Some(dump)) = (job.file, &self.dump) {
                sets.dump.clone_from(dump);
                sets.json.clone_from(&bytes);
            }
            reading.file(job.file, bytes);
        }
    }
}

/// The comments of iptables-save without the time of day, so that two readings of the same rules are the same bytes.
fn without_dates(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let kept = if line.starts_with(b"# Generated by ") || line.starts_with(b"# Completed on ") {
            line.windows(4)
                .position(|window| window == b" on ")
                .and_then(|end| line.get(..end))
        } else {
            None
        };
        match kept {
            Some(kept) => {
                out.extend_from_slice(kept);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_left_out() {
        let text = b"# Generated by iptables-save v1.8.9 on Sun Nov 22 10:00:00 2026\n*filter\n:INPUT ACCEPT [0:0]\n\
            -A INPUT -m comment --comment \"# Completed on \" -j DROP\nCOMMIT\n# Completed on Sun Nov 22 10:00:00 2026\n";
        assert_eq!(
            String::from_utf8(without_dates(text)).unwrap(),
            "# Generated by iptables-save v1.8.9\n*filter\n:INPUT ACCEPT [0:0]\n\
             -A INPUT -m comment --comment \"# Completed on \" -j DROP\nCOMMIT\n# Completed\n"
        );
    }
}
