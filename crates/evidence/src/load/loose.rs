//! Loose files of one host: captures, dumps from one moment or several, logs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use transect_packet::bpf::Program;
use transect_path::{Point, Timestamp};

use super::bundle::{capture, text};
use super::dump::{Dump, read_dump};
use super::series::{Dumps, Series};
use super::slot::slot_of;
use super::{kind_of_text, located};
use crate::bundle::Phase;
use crate::input::Role;
use crate::log::read_log;
use crate::model::{HostEvidence, Log};
use crate::problem::Problem;
use crate::recognize::{HEAD, Kind};

/// The loose files of one host.
#[derive(Default)]
pub(super) struct Loose {
    captures: Vec<(PathBuf, String, Option<Point>)>,
    dumps: Vec<LooseDump>,
    logs: Vec<(PathBuf, String)>,
    problems: Vec<Problem>,
    /// All dumps are from one moment, whatever their names (a sosreport).
    pub(super) one_moment: bool,
}

struct LooseDump {
    slot: String,
    shown: String,
    moment: Moment,
    modified: SystemTime,
    size: usize,
    dump: Arc<Dump>,
}

/// What is said of the moment of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
    Unsaid,
}

impl Loose {
    /// Adds the log of an application.
    pub(super) fn log(&mut self, path: PathBuf, shown: String) {
        self.logs.push((path, shown));
    }

    /// Adds a file of this kind. `shown` is its name for messages.
    ///
    /// # Errors
    /// Why the file is of no use, in words.
    pub(super) fn file(
        &mut self,
        path: PathBuf,
        shown: String,
        kind: Kind,
        role: Role,
    ) -> Result<(), String> {
        if let Role::At(point) = role {
            if kind != Kind::Capture {
                return Err(format!(
                    "is {kind}, not a capture: LABEL@POINT is for captures"
                ));
            }
            self.captures.push((path, shown, Some(point)));
            return Ok(());
        }
        match kind {
            Kind::Capture => self.captures.push((path, shown, None)),
            Kind::Log => self.logs.push((path, shown)),
            Kind::Empty if is_blank(&path) => return Err("holds nothing".to_owned()),
            // An empty list or a remark alone is what a tool prints when there is nothing to show.
            Kind::Empty => {}
            Kind::Archive | Kind::Compressed | Kind::Manifest => {
                return Err(format!("is a {kind} where a dump was expected"));
            }
            kind => self.dump(path, shown, kind, role),
        }
        Ok(())
    }

    fn dump(&mut self, path: PathBuf, shown: String, kind: Kind, role: Role) {
        let Some(text) = text(&path, &shown, &mut self.problems) else {
            return;
        };
        let Some(slot) = slot_of(kind, &shown, &text) else {
            return;
        };
        let read = read_dump(kind, &slot, &text);
        self.problems.extend(located(&shown, &text, read.problems));
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
        self.dumps.push(LooseDump {
            slot,
            moment: match role {
                Role::Before => Moment::Before,
                Role::After => Moment::After,
                _ => Moment::Unsaid,
            },
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            size: text.len(),
            shown,
            dump: Arc::new(read.dump),
        });
    }

    /// Reads everything into the host's evidence. `around` is a moment of the observation, where one is known.
    pub(super) fn read_into(
        mut self,
        host: &mut HostEvidence,
        programs: &[Program],
        around: Option<Timestamp>,
        problems: &mut Vec<Problem>,
    ) {
        problems.append(&mut self.problems);
        for (path, shown, point) in std::mem::take(&mut self.captures) {
            host.captures
                .extend(capture(&path, shown, point, programs, problems));
        }
        for (path, shown) in std::mem::take(&mut self.logs) {
            if let Some(text) = text(&path, &shown, problems) {
                if is_binary(&text) {
                    problems.push(Problem {
                        file: shown,
                        offset: None,
                        message: "holds binary data; expected the lines of a log".to_owned(),
                    });
                    continue;
                }
                if kind_of_text(&text, &shown) != Ok(Kind::Log) {
                    problems.push(Problem {
                        file: shown.clone(),
                        offset: None,
                        message: "no line of it begins with a time; its lines stand without one"
                            .to_owned(),
                    });
                }
                host.logs.push(Log {
                    path: shown,
                    lines: read_log(&text, around),
                });
            }
        }
        if self.dumps.is_empty() {
            return;
        }
        if !host.readings.is_empty() {
            problems.push(Problem {
                file: host.label.clone(),
                offset: None,
                message: "the bundle has this host's readings; its loose dumps are left out"
                    .to_owned(),
            });
            return;
        }
        host.readings = self.readings(problems);
    }

    /// The dumps by their moments: before, in between, after. What there is only once stands in the last.
    fn readings(self, problems: &mut Vec<Problem>) -> Vec<crate::model::Reading> {
        let mut slots: BTreeMap<String, Vec<LooseDump>> = BTreeMap::new();
        for dump in self.dumps {
            slots.entry(dump.slot.clone()).or_default().push(dump);
        }
        let mut before = Dumps::new();
        let mut between: BTreeMap<usize, Dumps> = BTreeMap::new();
        let mut after = Dumps::new();
        for (slot, dumps) in slots {
            let mut moments = if self.one_moment {
                Moments {
                    after: largest(dumps),
                    ..Moments::default()
                }
            } else {
                moments(dumps, problems)
            };
            if let Some(dump) = moments.before.take() {
                before.insert(slot.clone(), dump.dump);
            }
            for (index, dump) in moments.between.into_iter().enumerate() {
                between
                    .entry(index)
                    .or_default()
                    .insert(slot.clone(), dump.dump);
            }
            if let Some(dump) = moments.after.take() {
                after.insert(slot, dump.dump);
            }
        }
        let mut series = Series::default();
        let mut push = |phase, dumps: &Dumps| {
            if !dumps.is_empty() {
                series.push(Timestamp::MIN, Timestamp::MIN, phase, dumps);
            }
        };
        push(Phase::Before, &before);
        for dumps in between.values() {
            push(Phase::Sample, dumps);
        }
        push(Phase::After, &after);
        series.finish()
    }
}

/// Whether there is nothing at all in a file.
fn is_blank(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)
}

/// Whether a text came from bytes that were none: much of it had to be replaced.
fn is_binary(text: &str) -> bool {
    let head = || text.chars().take(HEAD);
    let replaced = head().filter(|&char| char == char::REPLACEMENT_CHARACTER);
    replaced.count() > head().count() / 10
}

/// The dumps of one slot by their moments.
#[derive(Default)]
struct Moments {
    before: Option<LooseDump>,
    between: Vec<LooseDump>,
    after: Option<LooseDump>,
}

/// Sorts the dumps of one slot.
///
/// Dumps of which nothing is said are a series only where their names are the same but for numbers (`nstat.1`, `nstat.2`) or
/// the same in different folders. Others are taken for views of one moment, of which the fullest counts: to take them for a
/// series would say that nothing moved in between.
fn moments(dumps: Vec<LooseDump>, problems: &mut Vec<Problem>) -> Moments {
    let mut moments = Moments::default();
    let mut unsaid = Vec::new();
    for dump in dumps {
        let place = match dump.moment {
            Moment::Before => &mut moments.before,
            Moment::After => &mut moments.after,
            Moment::Unsaid => {
                unsaid.push(dump);
                continue;
            }
        };
        match place {
            None => *place = Some(dump),
            Some(first) => {
                let (kept, left) = if dump.size > first.size {
                    let left = first.shown.clone();
                    *first = dump;
                    (first.shown.clone(), left)
                } else {
                    (first.shown.clone(), dump.shown)
                };
                problems.push(Problem {
                    file: left,
                    offset: None,
                    message: format!("left out: {kept} shows the same of the same moment"),
                });
            }
        }
    }
    let mut unsaid = one_series(unsaid);
    unsaid.sort_by(in_time);
    let mut unsaid = unsaid.into_iter();
    if moments.before.is_none()
        && (unsaid.len() > 1 || (moments.after.is_some() && unsaid.len() > 0))
    {
        moments.before = unsaid.next();
    }
    let mut rest: Vec<LooseDump> = unsaid.collect();
    if moments.after.is_none() {
        moments.after = rest.pop();
    }
    moments.between = rest;
    moments
}

/// The dumps that make a series, or the fullest one where they make none.
fn one_series(dumps: Vec<LooseDump>) -> Vec<LooseDump> {
    let pattern = |dump: &LooseDump| -> String {
        let name = dump.shown.rsplit('/').next().unwrap_or_default();
        name.chars().filter(|char| !char.is_ascii_digit()).collect()
    };
    let alike = dumps.windows(2).all(|pair| match pair {
        [a, b] => pattern(a) == pattern(b),
        _ => true,
    });
    if alike {
        dumps
    } else {
        largest(dumps).into_iter().collect()
    }
}

fn largest(dumps: Vec<LooseDump>) -> Option<LooseDump> {
    dumps
        .into_iter()
        .max_by(|a, b| a.size.cmp(&b.size).then_with(|| b.shown.cmp(&a.shown)))
}

/// The order of a series: by the numbers in the names, then by the files' times, then by the folders.
fn in_time(a: &LooseDump, b: &LooseDump) -> Ordering {
    let name = |dump: &LooseDump| dump.shown.rsplit('/').next().unwrap_or_default().to_owned();
    natural(&name(a), &name(b))
        .then(a.modified.cmp(&b.modified))
        .then_with(|| natural(&a.shown, &b.shown))
}

/// Compares names so that `x.2` comes before `x.10`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (number_a, rest_a) = number(a);
        let (number_b, rest_b) = number(b);
        let order = match (number_a, number_b) {
            (Some(number_a), Some(number_b)) => number_a.cmp(&number_b),
            _ => {
                let (next_a, next_b) = (a.chars().next(), b.chars().next());
                if next_a.is_none() && next_b.is_none() {
                    return Ordering::Equal;
                }
                next_a.cmp(&next_b)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = if number_a.is_some() {
            (rest_a, rest_b)
        } else {
            let skip = a.chars().next().map_or(0, char::len_utf8);
            (
                a.get(skip..).unwrap_or_default(),
                b.get(skip..).unwrap_or_default(),
            )
        };
    }
}

/// The number at the start of a text, and what follows.
fn number(text: &str) -> (Option<u128>, &str) {
    let length = text.bytes().take(30).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    (digits.parse().ok(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["x.10", "x.9", "x", "x.9b", "y1", "x.010"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["x", "x.9", "x.9b", "x.10", "x.010", "y1"]);
    }

    fn dump(shown: &str, moment: Moment, size: usize) -> LooseDump {
        LooseDump {
            slot: "nstat.txt".to_owned(),
            shown: shown.to_owned(),
            moment,
            modified: SystemTime::UNIX_EPOCH,
            size,
            dump: Arc::default(),
        }
    }

    fn sorted(dumps: Vec<LooseDump>) -> (String, Vec<Problem>) {
        let mut problems = Vec::new();
        let moments = moments(dumps, &mut problems);
        let name = |dump: &LooseDump| dump.shown.clone();
        let between: Vec<String> = moments.between.iter().map(name).collect();
        let shown = format!(
            "{} | {} | {}",
            moments.before.as_ref().map(name).unwrap_or_default(),
            between.join(" "),
            moments.after.as_ref().map(name).unwrap_or_default()
        );
        (shown, problems)
    }

    #[test]
    fn what_is_said_counts_and_numbers_make_a_series() {
        use Moment::{After, Before, Unsaid};
        let series = |dumps| sorted(dumps).0;
        assert_eq!(
            series(vec![dump("a", After, 1), dump("b", Before, 1)]),
            "b |  | a"
        );
        assert_eq!(series(vec![dump("a", Unsaid, 1)]), " |  | a");
        assert_eq!(
            series(vec![
                dump("n.10", Unsaid, 1),
                dump("n.9", Unsaid, 1),
                dump("n.11", Unsaid, 1)
            ]),
            "n.9 | n.10 | n.11"
        );
        assert_eq!(
            series(vec![dump("a", Before, 1), dump("n", Unsaid, 1)]),
            "a |  | n"
        );
        assert_eq!(
            series(vec![dump("a", After, 1), dump("n", Unsaid, 1)]),
            "n |  | a"
        );
    }

    #[test]
    fn views_of_one_moment_are_no_series() {
        use Moment::{Before, Unsaid};
        let (shown, problems) = sorted(vec![
            dump("nstat.txt", Unsaid, 10),
            dump("nstat-z.txt", Unsaid, 20),
        ]);
        assert_eq!((shown.as_str(), problems.len()), (" |  | nstat-z.txt", 0));
        let (shown, problems) = sorted(vec![dump("a", Before, 10), dump("b", Before, 20)]);
        assert_eq!(shown, "b |  | ");
        assert_eq!(
            problems[0].message,
            "left out: b shows the same of the same moment"
        );
    }

    proptest! {
        #[test]
        fn natural_is_an_order(a in "[a0-9.]{0,8}", b in "[a0-9.]{0,8}", c in "[a0-9.]{0,8}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            if natural(&a, &b) != Ordering::Greater && natural(&b, &c) != Ordering::Greater {
                prop_assert!(natural(&a, &c) != Ordering::Greater);
            }
        }
    }
}
