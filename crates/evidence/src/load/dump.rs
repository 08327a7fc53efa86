//! One dump, read into the part of a reading that it is.

use std::sync::Arc;

use transect_config::rules::{
    Complaint, Family, Reading as RulesRead, RuleSet, read_iptables_list, read_iptables_save,
    read_nft_json, read_nft_text,
};
use transect_config::{
    ConfigText, ConntrackEntry, HostConfig, IpVersion, Parsed, ReadProblem, Socket, SocketProtocol,
    read_addresses, read_conntrack, read_filters, read_links, read_neighbors, read_proc_sockets,
    read_qdiscs, read_sockets,
};
use transect_path::{RuleBackend, Unseen};

use crate::counters::{self, Counters, IpvsService, IpvsTarget};
use crate::recognize::Kind;

/// What one dump says.
#[derive(Debug, Default)]
pub(super) struct Dump {
    /// Its counters.
    pub counters: Counters,
    /// Everything else.
    pub part: Part,
}

/// A part of a reading.
#[derive(Debug, Default)]
pub(super) enum Part {
    /// Counters only.
    #[default]
    None,
    Sockets(Arc<Vec<Socket>>),
    Conntrack(Arc<Vec<ConntrackEntry>>),
    /// The parts of the configuration that this dump shows; the others are not read.
    Config(Box<HostConfig>),
    Rules(RuleSet),
    Unseen(Vec<Unseen>),
}

/// A dump with the places of it that could not be read: the line (from one) and what was expected.
pub(super) struct DumpRead {
    pub dump: Dump,
    pub problems: Vec<(Option<usize>, String)>,
}

/// Reads a dump of this kind that stands in this slot.
pub(super) fn read_dump(kind: Kind, slot: &str, text: &str) -> DumpRead {
    match kind {
        Kind::Sockets => sockets(slot, text),
        Kind::ConntrackEntries => part(read_conntrack(text), |entries| {
            Part::Conntrack(Arc::new(entries))
        }),
        Kind::Ip => ip(slot, text),
        Kind::Qdiscs => {
            let read = read_qdiscs(text);
            let counters = read.value.iter().flat_map(|qdisc| qdisc.counters());
            let counters = counters.collect();
            with_counters(
                counters,
                config(read, |config, qdiscs| config.qdiscs = Some(qdiscs)),
            )
        }
        Kind::TcFilters => {
            let mut place = slot.strip_prefix("tc/filter/").unwrap_or("").split('/');
            let device = place.next().filter(|device| !device.is_empty());
            let read = read_filters(text, device, place.next());
            let counters = read.value.iter().flat_map(|filter| filter.counters());
            let counters = counters.collect();
            with_counters(
                counters,
                config(read, |config, filters| config.filters = Some(filters)),
            )
        }
        Kind::Sysctls => absorbed(ConfigText::Sysctls(text)),
        Kind::EthtoolFeatures => absorbed(ConfigText::Features(interface(slot), text)),
        Kind::IptablesSave | Kind::IptablesList | Kind::NftJson | Kind::NftText => {
            rules(kind, slot, text)
        }
        Kind::Ipvs => part(counters::ip_vs(text), |services| {
            Part::Unseen(services.iter().map(redirected).collect())
        }),
        _ => counted(kind, slot, text),
    }
}

/// Reads `unseen.json`: what a reading could not get.
pub(super) fn read_unseen(text: &str) -> DumpRead {
    match serde_json::from_str::<Vec<Unseen>>(text) {
        Ok(unseen) => DumpRead {
            dump: Dump {
                counters: Counters::new(),
                part: Part::Unseen(unseen),
            },
            problems: Vec::new(),
        },
        Err(error) => DumpRead {
            dump: Dump::default(),
            problems: vec![(
                Some(error.line()),
                format!("expected a list of {{\"meter\": …, \"why\": …}}: {error}"),
            )],
        },
    }
}

fn counted(kind: Kind, slot: &str, text: &str) -> DumpRead {
    let read = match kind {
        Kind::Snmp => counters::snmp(text),
        Kind::Snmp6 => counters::snmp6(text),
        Kind::NetDev => counters::proc_net_dev(text),
        Kind::SoftnetStat => counters::softnet_stat(text),
        Kind::Sockstat => counters::sockstat(text),
        Kind::XfrmStat => counters::xfrm_stat(text),
        Kind::IpvsStats => counters::ip_vs_stats(text),
        Kind::StatTable(table) => counters::stat_table(text, table),
        Kind::Nstat => counters::nstat(text),
        Kind::NstatJson => counters::nstat_json(text),
        Kind::NetstatStatistics => counters::netstat_statistics(text),
        Kind::ConntrackStatistics => counters::conntrack_statistics(text),
        Kind::EthtoolStatistics => counters::ethtool_statistics(text, interface(slot)),
        // Captures, archives and logs are no dumps; an empty file says nothing.
        _ => Parsed::default(),
    };
    DumpRead {
        problems: places(read.problems),
        dump: Dump {
            counters: read.value,
            part: Part::None,
        },
    }
}

fn sockets(slot: &str, text: &str) -> DumpRead {
    let protocol = slot
        .strip_prefix("net/")
        .and_then(|name| match name.trim_end_matches('6') {
            "icmp" if name.ends_with('6') => Some(SocketProtocol::Icmp6),
            protocol => protocol.parse().ok(),
        });
    let read = match protocol {
        Some(protocol) => read_proc_sockets(text, protocol),
        None => read_sockets(text),
    };
    part(read, |sockets| Part::Sockets(Arc::new(sockets)))
}

fn ip(slot: &str, text: &str) -> DumpRead {
    match slot {
        "ip/link.json" => links(text),
        "ip/address.json" => {
            // `ip address` shows the links as well, and a host may have been asked for nothing else.
            let mut read = config(read_addresses(text), |config, addresses| {
                config.addresses = Some(addresses);
            });
            let links = read_links(text).value;
            if !links.is_empty() {
                let counters = links.iter().flat_map(|link| link.counters());
                read.dump.counters = counters.collect();
                if let Part::Config(config) = &mut read.dump.part {
                    config.links = Some(links);
                }
            }
            read
        }
        "ip/neighbor.json" => config(read_neighbors(text), |config, neighbors| {
            config.neighbors = Some(neighbors);
        }),
        "ip/rule.json" => absorbed(ConfigText::PolicyRules(IpVersion::V4, text)),
        "ip/rule6.json" => absorbed(ConfigText::PolicyRules(IpVersion::V6, text)),
        "ip/route.json" => absorbed(ConfigText::Routes(IpVersion::V4, text)),
        "ip/route6.json" => absorbed(ConfigText::Routes(IpVersion::V6, text)),
        _ => absorbed(ConfigText::Ip(text)),
    }
}

fn absorbed(text: ConfigText<'_>) -> DumpRead {
    let mut config = Box::<HostConfig>::default();
    let problems = config.absorb(text);
    DumpRead {
        problems: places(problems),
        dump: Dump {
            counters: Counters::new(),
            part: Part::Config(config),
        },
    }
}

fn links(text: &str) -> DumpRead {
    let read = read_links(text);
    let counters = read.value.iter().flat_map(|link| link.counters());
    let counters = counters.collect();
    with_counters(
        counters,
        config(read, |config, links| config.links = Some(links)),
    )
}

fn rules(kind: Kind, slot: &str, text: &str) -> DumpRead {
    let family = if slot.contains("ip6tables") {
        Family::Ip6
    } else {
        Family::Ip
    };
    let backend = if slot.contains("-nft") {
        RuleBackend::IptablesNft
    } else {
        RuleBackend::IptablesLegacy
    };
    let table = slot
        .strip_prefix("iptables/list/")
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, table)| table)
        .filter(|table| !table.is_empty());
    let read = match kind {
        Kind::NftJson => read_nft_json(text).unwrap_or_else(|complaint| RulesRead {
            rule_set: RuleSet::default(),
            complaints: vec![complaint],
        }),
        Kind::NftText => read_nft_text(text),
        Kind::IptablesList => read_iptables_list(text, family, backend, table),
        _ => read_iptables_save(text, family, backend),
    };
    let told = |complaint: &Complaint| (Some(complaint.line), complaint.to_string());
    DumpRead {
        problems: read.complaints.iter().map(told).collect(),
        dump: Dump {
            counters: Counters::new(),
            part: Part::Rules(read.rule_set),
        },
    }
}

fn redirected(service: &IpvsService) -> Unseen {
    let target = match &service.target {
        IpvsTarget::Address {
            protocol,
            address,
            port,
        } => format!("{protocol} {}", std::net::SocketAddr::new(*address, *port)),
        IpvsTarget::Mark(mark) => format!("packets marked {mark:#x}"),
    };
    Unseen {
        meter: "ipvs".to_owned(),
        why: format!(
            "IPVS redirects {target} to {} real servers, and what it does with a packet is not evaluated",
            service.destinations.len()
        ),
    }
}

fn part<T>(read: Parsed<T>, into: impl FnOnce(T) -> Part) -> DumpRead {
    DumpRead {
        problems: places(read.problems),
        dump: Dump {
            counters: Counters::new(),
            part: into(read.value),
        },
    }
}

fn config<T>(read: Parsed<T>, set: impl FnOnce(&mut HostConfig, T)) -> DumpRead {
    part(read, |value| {
        let mut config = Box::<HostConfig>::default();
        set(&mut config, value);
        Part::Config(config)
    })
}

fn with_counters(counters: Counters, mut read: DumpRead) -> DumpRead {
    read.dump.counters = counters;
    read
}

fn places(problems: Vec<ReadProblem>) -> Vec<(Option<usize>, String)> {
    problems
        .into_iter()
        .map(|problem| (Some(problem.line), problem.to_string()))
        .collect()
}

/// `eth0` of `ethtool/eth0.statistics.txt`.
fn interface(slot: &str) -> &str {
    let name = slot.strip_prefix("ethtool/").unwrap_or(slot);
    [".statistics.txt", ".features.txt"]
        .into_iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}
