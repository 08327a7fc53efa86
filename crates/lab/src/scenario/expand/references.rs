//! What an experiment names must be there: hosts, interfaces, programs, and addresses that are some.

use std::collections::BTreeSet;

use transect_config::Prefix;
use transect_packet::{LinkType, bpf};

use super::{Reader, Scenario};
use crate::LabError;
use crate::scenario::Link;

impl Reader<'_> {
    /// Ends and addresses of links, before anything is made of them.
    pub(super) fn check_links(&self, links: &[Link]) -> Result<(), LabError> {
        for end in links.iter().flat_map(|link| &link.ends) {
            // IFNAMSIZ is 16 with the final zero.
            let interface = end.split_once(':').map(|(_, interface)| interface.len());
            if !interface.is_some_and(|length| (1..=15).contains(&length)) {
                let what = format!("\"{end}\" is no end of a link; expected \"host:interface\"");
                return Err(self.error(self.line_of(end), what));
            }
        }
        let v4 = links.iter().flat_map(|link| &link.ipv4).flatten();
        let v6 = links.iter().flat_map(|link| &link.ipv6).flatten();
        let of_family = v4.map(|one| (one, false)).chain(v6.map(|one| (one, true)));
        for (address, v6) in of_family.filter(|(address, _)| *address != "-") {
            let fits = address
                .parse::<Prefix>()
                .is_ok_and(|prefix| address.contains('/') && prefix.address.is_ipv6() == v6);
            if !fits {
                let example = if v6 { "fd00::1/64" } else { "10.0.0.1/24" };
                let what = format!(
                    "\"{address}\" is no address with a prefix length, such as \"{example}\""
                );
                return Err(self.error(self.line_of(address), what));
            }
        }
        Ok(())
    }

    /// Every host and program that is named must exist.
    pub(super) fn check_references(&self, scenario: &Scenario) -> Result<(), LabError> {
        let ends = scenario.links.iter().flat_map(|link| &link.ends);
        let mut hosts: Vec<&str> = ends
            .filter_map(|end| Some(end.split_once(':')?.0))
            .collect();
        if let Some(filter) = &scenario.observe.filter
            && let Err(error) = bpf::compile(filter, LinkType::ETHERNET)
        {
            let what = format!("the filter expression \"{filter}\": {error}");
            return Err(self.error(self.line_of("filter"), what));
        }
        hosts.extend(scenario.bridges.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.setup.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.tc_drops.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.xdp_drops.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.programs.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.meters.iter().map(|one| one.host.as_str()));
        hosts.extend(scenario.observe.hosts.iter().map(String::as_str));
        let steps = scenario.prepare.iter().chain(&scenario.steps);
        hosts.extend(steps.filter_map(|one| one.host.as_deref()));
        if let Some(unknown) = hosts
            .into_iter()
            .find(|host| !scenario.hosts.contains_key(*host))
        {
            return Err(self.error(
                self.line_of(unknown),
                format!(
                    "unknown host \"{unknown}\"; the hosts are {}",
                    scenario
                        .hosts
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            ));
        }
        self.check_interfaces(scenario)?;
        if let Some(log) = scenario.observe.logs.iter().find(|log| {
            !scenario
                .programs
                .iter()
                .any(|program| program.name == log.program)
        }) {
            return Err(self.error(
                self.line_of("logs"),
                format!("unknown program \"{}\"", log.program),
            ));
        }
        Ok(())
    }

    /// Programs are attached, and ports made, before any command can add an interface: a link has to have it.
    fn check_interfaces(&self, scenario: &Scenario) -> Result<(), LabError> {
        let ends_of = |host: &str| -> Vec<&str> {
            let ends = scenario.links.iter().flat_map(|link| &link.ends);
            let ends = ends.filter_map(|end| end.split_once(':'));
            ends.filter(|(own, _)| *own == host)
                .map(|(_, device)| device)
                .collect()
        };
        let mut taken: BTreeSet<(&str, &str)> = BTreeSet::new();
        for bridge in &scenario.bridges {
            let known = ends_of(&bridge.host);
            for port in &bridge.ports {
                let what = if !known.contains(&port.as_str()) {
                    format!(
                        "{}: the port \"{port}\" of {} is no end of a link; those are {}",
                        bridge.host,
                        bridge.name,
                        known.join(", ")
                    )
                } else if !taken.insert((&bridge.host, port)) {
                    format!("{}: {port} can be a port once only", bridge.host)
                } else {
                    continue;
                };
                return Err(self.error(self.line_of_quoted("ports", port), what));
            }
        }
        let tc = scenario.tc_drops.iter().map(|one| (&one.host, &one.dev));
        let xdp = scenario.xdp_drops.iter().map(|one| (&one.host, &one.dev));
        for (host, device) in tc.chain(xdp) {
            let bridges = scenario.bridges.iter().filter(|one| one.host == *host);
            let mut known = ends_of(host);
            known.extend(bridges.map(|bridge| bridge.name.as_str()));
            known.push("lo");
            if !known.contains(&device.as_str()) {
                let what = format!(
                    "{host}: unknown interface \"{device}\"; the interfaces are {}",
                    known.join(", ")
                );
                return Err(self.error(self.line_of_quoted("dev", device), what));
            }
        }
        Ok(())
    }

    /// The last line that gives a key this text, alone or among others; where none does, the first with the key.
    fn line_of_quoted(&self, key: &str, value: &str) -> usize {
        let quoted = format!("\"{value}\"");
        let lines: Vec<(usize, &str)> = (1..).zip(self.text.lines()).collect();
        let found = lines.iter().rfind(|(_, line)| {
            line.split_once('=')
                .is_some_and(|(own, rest)| own.trim() == key && rest.contains(&quoted))
        });
        found.map_or_else(|| self.line_of(key), |(number, _)| *number)
    }
}
