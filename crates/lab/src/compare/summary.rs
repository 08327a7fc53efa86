//! All comparisons in one table: what differs how often.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Both, Comparison, HostComparison, PacketRow};

/// Where a kind of thing differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// How many were compared.
    pub compared: usize,
    /// How many of them differ.
    pub differing: usize,
    /// In which experiments.
    pub experiments: Vec<String>,
}

/// All comparisons in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many experiments were compared.
    pub experiments: usize,
    /// How many show no difference at all.
    pub same: usize,
    /// How many experiments were run more than once in the kernel world.
    pub repeated: usize,
    /// Experiments whose verdicts differ, or that did not end as their file says.
    pub verdicts: Differences,
    /// Packets that one world alone has.
    pub packets: Differences,
    /// Packets that both have, at times that do not fit.
    pub times: Differences,
    /// Sockets of one kind and state.
    pub sockets: Differences,
    /// Rules' counters.
    pub rules: Differences,
    /// The hosts' counters: all of them together.
    pub counters: Differences,
    /// Each counter that differs anywhere: the experiments.
    pub by_counter: BTreeMap<String, Vec<String>>,
}

impl Differences {
    fn note(&mut self, experiment: &str, compared: usize, differing: usize) {
        self.compared += compared;
        self.differing += differing;
        if differing > 0
            && self
                .experiments
                .last()
                .is_none_or(|last| last != experiment)
        {
            self.experiments.push(experiment.to_owned());
        }
    }

    fn amounts(&mut self, experiment: &str, amounts: &BTreeMap<String, Both<u64>>) {
        let differing = amounts.values().filter(|both| !both.agree()).count();
        self.note(experiment, amounts.len(), differing);
    }
}

impl Summary {
    pub(super) fn of(all: &[Comparison]) -> Self {
        let mut summary = Summary::default();
        for one in all {
            summary.add(one);
        }
        summary
    }

    fn add(&mut self, one: &Comparison) {
        self.experiments += 1;
        self.same += usize::from(one.agrees());
        self.repeated += usize::from(one.kernel_runs > 1);
        let problems = one.problems.kernel.len() + one.problems.model.len();
        let differs = !one.verdicts.agree() || problems > 0;
        self.verdicts.note(&one.name, 1, usize::from(differs));
        for host in one.hosts.values() {
            self.add_host(&one.name, host);
        }
    }

    fn add_host(&mut self, experiment: &str, host: &HostComparison) {
        let rows = || host.taps.values().flatten();
        let alone = |row: &&PacketRow| row.kernel.is_none() || row.model.is_none();
        let lonely = rows().filter(alone).count();
        self.packets.note(experiment, rows().count(), lonely);
        let both = rows().count() - lonely;
        let late = rows().filter(|row| !alone(row) && !row.in_time).count();
        self.times.note(experiment, both, late);
        self.sockets.amounts(experiment, &host.sockets);
        self.rules.amounts(experiment, &host.rules);
        self.counters.amounts(experiment, &host.counters);
        for (name, both) in &host.counters {
            if !both.agree() {
                let experiments = self.by_counter.entry(name.clone()).or_default();
                if experiments.last().is_none_or(|last| last != experiment) {
                    experiments.push(experiment.to_owned());
                }
            }
        }
    }
}

/// The summary as a table.
pub fn summary_text(summary: &Summary) -> String {
    let mut text = format!(
        "{:<28} {:>9} {:>9}  in experiments\n",
        "", "compared", "different"
    );
    for (title, differences) in [
        ("verdicts", &summary.verdicts),
        ("packets at the taps", &summary.packets),
        ("their times", &summary.times),
        ("counters", &summary.counters),
        ("sockets", &summary.sockets),
        ("rules", &summary.rules),
    ] {
        let _ = writeln!(
            text,
            "{title:<28} {:>9} {:>9}  {}",
            differences.compared,
            differences.differing,
            differences.experiments.len()
        );
    }
    for (name, experiments) in &summary.by_counter {
        let shown: Vec<&str> = experiments.iter().map(String::as_str).take(3).collect();
        let more = if experiments.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {name:<36} {:>11}  {}{more}",
            experiments.len(),
            shown.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "{} experiments: {} the same, {} different; {} were run more than once in the kernel world",
        summary.experiments,
        summary.same,
        summary.experiments.saturating_sub(summary.same),
        summary.repeated
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(name: &str, received: u64, model: Option<f64>) -> Comparison {
        let row = PacketRow {
            packet: "#1 > S 0:0".to_owned(),
            kernel: Some(0.0),
            model,
            in_time: model.is_some(),
        };
        let host = HostComparison {
            taps: BTreeMap::from([("eth0 in".to_owned(), vec![row])]),
            counters: BTreeMap::from([(
                "IpInReceives".to_owned(),
                Both {
                    kernel: 7,
                    model: received,
                },
            )]),
            ..HostComparison::default()
        };
        Comparison {
            name: name.to_owned(),
            kernel_runs: 1,
            kernel_differs: None,
            problems: Both {
                kernel: Vec::new(),
                model: Vec::new(),
            },
            verdicts: Both {
                kernel: vec!["lost".to_owned()],
                model: vec!["lost".to_owned()],
            },
            hosts: BTreeMap::from([("server".to_owned(), host)]),
        }
    }

    #[test]
    fn each_difference_is_counted_under_its_kind() {
        let all = [
            comparison("a", 7, Some(0.0)),
            comparison("b", 8, Some(0.0)),
            comparison("c", 9, None),
        ];
        let summary = Summary::of(&all);
        assert_eq!((summary.experiments, summary.same), (3, 1));
        assert_eq!(
            (summary.packets.compared, summary.packets.differing),
            (3, 1)
        );
        assert_eq!(summary.times.compared, 2);
        assert_eq!(summary.verdicts.differing, 0);
        assert_eq!(summary.by_counter["IpInReceives"], ["b", "c"]);
        let text = summary_text(&summary);
        assert!(text.contains("IpInReceives"), "{text}");
        assert!(text.ends_with("3 experiments: 1 the same, 2 different; 0 were run more than once in the kernel world\n"));
        assert_eq!(all[2].differences(), 2);
    }
}
