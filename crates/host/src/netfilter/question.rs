//! What rules keep beside the packet: rates, counts, chances. A match of that kind is a question that only the host that runs
//! the rules can answer (`xt_limit`, `xt_statistic`, `xt_quota`, `xt_recent`, `xt_hashlimit`, `xt_connlimit`, `nft_limit`, `nft_numgen`,
//! `nft_quota`, `nft_connlimit`).

mod connections;
mod named;
mod read;

use std::collections::BTreeMap;

use transect_config::rules::{Match, Rule, RuleSet, Statement, Table, Test};
use transect_path::{RuleBackend, Timestamp};
use transect_walk::netfilter::RulePlace;

use super::plan::refused;
use crate::conntrack::{Connections, Tuple};
use connections::ConnectionLimit;
use named::{HashLimit, Named, Recent};
use read::seconds;

/// Which question: table, rule, statement, by position.
type Place = (usize, RulePlace, usize);

/// Every question of a rule set, with what it has kept so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions {
    kept: BTreeMap<Place, Question>,
    named: Named,
}

/// What questions look at beside what they keep.
pub(super) struct Circumstances<'a> {
    /// The tick, and how many there are in a second.
    pub(super) ticks: (u64, u32),
    pub(super) now: Timestamp,
    /// The packet, from its IP header on.
    pub(super) network: &'a [u8],
    /// Its ports, where it has any.
    pub(super) ports: Option<(u16, u16)>,
    pub(super) connections: &'a Connections,
    /// As the first packet of its connection went.
    pub(super) tuple: Option<Tuple>,
    pub(super) random: &'a mut fastrand::Rng,
}

/// The questions of one packet.
pub(super) struct Asked<'a> {
    kept: &'a mut BTreeMap<Place, Question>,
    named: &'a mut Named,
    table: usize,
    about: Circumstances<'a>,
}

impl Questions {
    /// The questions of new rules; what a rule has kept stays with it. The legacy programs load a table anew at every change,
    /// and everything in it begins anew.
    ///
    /// # Errors
    /// A match that the model cannot answer, with its rule.
    pub(super) fn of(&self, old: &RuleSet, new: &RuleSet) -> Result<Self, String> {
        let mut kept = BTreeMap::new();
        for (number, table) in new.tables.iter().enumerate() {
            let before = same_table(old, table);
            for (place, rule) in rules(table) {
                let found = before.and_then(|(at, table)| Some((at, same_rule(table, rule)?)));
                for (statement, text) in unknowns(rule) {
                    let Some(mut question) = Question::read(text) else {
                        let chain = table.chains.get(place.chain);
                        let what = format!("\"{text}\"");
                        return Err(
                            chain.map_or(what.clone(), |chain| refused(table, chain, rule, &what))
                        );
                    };
                    if let Some((at, place)) = found
                        && let Some(own) = self.kept.get(&(at, place, statement))
                    {
                        question = own.clone();
                    }
                    kept.insert((number, place, statement), question);
                }
            }
        }
        let named = self.named_by(&kept);
        Ok(Questions { kept, named })
    }

    /// What rules share by a name stays while a rule names it.
    fn named_by(&self, kept: &BTreeMap<Place, Question>) -> Named {
        let mut named = Named::default();
        for question in kept.values() {
            match question {
                Question::Recent(recent) => {
                    let list = named.recent.entry(recent.name.clone()).or_insert_with(|| {
                        let own = self.named.recent.get(&recent.name);
                        own.cloned().unwrap_or_default()
                    });
                    list.most_stamps = list.most_stamps.max(recent.stamps());
                }
                Question::HashLimit(limit) => {
                    for v6 in [false, true] {
                        let name = (limit.name.clone(), v6);
                        if let Some(own) = self.named.rates.get(&name) {
                            named.rates.insert(name, own.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        named
    }

    /// The questions of one table for one packet.
    pub(super) fn ask<'a>(&'a mut self, table: usize, about: Circumstances<'a>) -> Asked<'a> {
        Asked {
            kept: &mut self.kept,
            named: &mut self.named,
            table,
            about,
        }
    }
}

fn rules(table: &Table) -> impl Iterator<Item = (RulePlace, &Rule)> {
    table.chains.iter().enumerate().flat_map(|(chain, own)| {
        let rules = own.rules.iter().enumerate();
        rules.map(move |(rule, own)| (RulePlace { chain, rule }, own))
    })
}

fn unknowns(rule: &Rule) -> impl Iterator<Item = (usize, &str)> {
    rule.statements
        .iter()
        .enumerate()
        .filter_map(|(at, statement)| match statement {
            Statement::Match(Match {
                test: Test::Unknown { text },
                ..
            }) => Some((at, text.as_str())),
            _ => None,
        })
}

fn same_table<'a>(old: &'a RuleSet, table: &Table) -> Option<(usize, &'a Table)> {
    let same = |own: &Table| {
        (own.backend, own.family, &own.name, own.handle)
            == (table.backend, table.family, &table.name, table.handle)
    };
    let found = old.tables.iter().enumerate().find(|(_, own)| same(own))?;
    let texts = |table: &Table| -> Vec<String> {
        rules(table).map(|(_, rule)| rule.text.clone()).collect()
    };
    let unchanged = table.backend != RuleBackend::IptablesLegacy || texts(found.1) == texts(table);
    unchanged.then_some(found)
}

/// The same rule in the table as it was: by handle, or (legacy tables that did not change) by words.
fn same_rule(table: &Table, rule: &Rule) -> Option<RulePlace> {
    rules(table)
        .find(|(_, own)| {
            own.handle == rule.handle && own.number == rule.number && own.text == rule.text
                || own.handle.is_some() && own.handle == rule.handle
        })
        .map(|(place, _)| place)
}

impl Asked<'_> {
    /// Answers one question.
    pub(super) fn answer(&mut self, at: RulePlace, statement: usize) -> bool {
        let about = &mut self.about;
        let (jiffies, hz) = about.ticks;
        let network = about.network;
        match self.kept.get_mut(&(self.table, at, statement)) {
            Some(Question::Rate(rate)) => rate.passes(jiffies, hz),
            Some(Question::Bucket(bucket)) => bucket.passes(about.now, network.len()),
            Some(Question::Recent(recent)) => {
                let list = self.named.recent.entry(recent.name.clone()).or_default();
                recent.passes(list, network, jiffies, hz)
            }
            Some(Question::HashLimit(limit)) => {
                let v6 = network.first().is_some_and(|first| first >> 4 == 6);
                let flows = self.named.rates.entry((limit.name.clone(), v6));
                limit.passes(flows.or_default(), network, about.ports, jiffies, hz)
            }
            Some(Question::Connections(limit)) => {
                limit.passes(about.connections, jiffies, about.tuple, network)
            }
            Some(Question::Consumption {
                limit,
                over,
                consumed,
            }) => {
                *consumed = consumed.saturating_add(network.len() as u64);
                (*consumed > *limit) == *over
            }
            Some(Question::Nth { every, count }) => {
                *count = if *count >= *every { 0 } else { *count + 1 };
                *count == 0
            }
            Some(Question::Chance {
                threshold,
                inverted,
            }) => (about.random.u32(..) & 0x7fff_ffff < *threshold) != *inverted,
            Some(Question::Quota { left }) => match left.checked_sub(network.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => {
                    *left = 0;
                    false
                }
            },
            Some(Question::Number(number)) => number.passes(about.random),
            Some(Question::Fragment(field)) => field.passes(network),
            None => false,
        }
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// `-m limit`.
    Rate(Rate),
    /// nft's `limit`.
    Bucket(Bucket),
    /// `-m statistic --mode nth`: `every` is one less than typed.
    Nth { every: u32, count: u32 },
    /// `-m statistic --mode random`, of 2^31.
    Chance { threshold: u32, inverted: bool },
    /// `-m quota`, bytes.
    Quota { left: u64 },
    /// nft's `quota`, bytes.
    Consumption {
        limit: u64,
        over: bool,
        consumed: u64,
    },
    /// `-m recent`.
    Recent(Recent),
    /// `-m hashlimit`.
    HashLimit(HashLimit),
    /// `-m connlimit`, nft's `ct count`.
    Connections(ConnectionLimit),
    /// nft's `numgen`.
    Number(Number),
    /// The field that holds a fragment's place, with its flags.
    Fragment(FragmentField),
}

/// `xt_limit`: credits that grow with the ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rate {
    /// Ten-thousandths of a second for each packet (`XT_LIMIT_SCALE`).
    average: u32,
    burst: u32,
    /// Credits, and the tick at which they were counted; nothing before the first packet.
    credit: Option<(u64, u64)>,
}

/// Ten-thousandths of a second.
const LIMIT_SCALE: u64 = 10_000;

impl Rate {
    fn passes(&mut self, jiffies: u64, hz: u32) -> bool {
        let hz = u64::from(hz.max(1));
        // `CREDITS_PER_JIFFY`: the power of two below what lets a day's credits fit into 32 bits.
        let most = (u64::from(u32::MAX) / (hz * 60 * 60 * 24)).max(1);
        let per_jiffy = 1u64 << most.ilog2();
        let credits = |user: u64| match user > u64::from(u32::MAX) / (hz * per_jiffy) {
            true => (user / LIMIT_SCALE).saturating_mul(hz * per_jiffy),
            false => user * hz * per_jiffy / LIMIT_SCALE,
        };
        let cost = credits(u64::from(self.average));
        let cap = credits(u64::from(self.average).saturating_mul(u64::from(self.burst)));
        let (old, since) = self.credit.unwrap_or((cap, jiffies));
        let grown = jiffies.saturating_sub(since).saturating_mul(per_jiffy);
        let credit = old.saturating_add(grown).min(cap);
        let passes = credit >= cost;
        let left = if passes { credit - cost } else { credit };
        self.credit = Some((left, jiffies));
        passes
    }
}

/// `nft_limit`: tokens are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket {
    /// Packets or bytes in each unit of time.
    rate: u64,
    /// The unit, in nanoseconds.
    unit: u64,
    burst: u64,
    bytes: bool,
    /// `over`: passes what exceeds the rate.
    over: bool,
    /// Tokens, and when they were counted.
    tokens: Option<(u64, Timestamp)>,
}

impl Bucket {
    fn passes(&mut self, now: Timestamp, length: usize) -> bool {
        let rate = self.rate.max(1);
        let wide = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let per = |amount: u64| wide(u128::from(self.unit) * u128::from(amount) / u128::from(rate));
        let (cost, most) = match self.bytes {
            false => (
                self.unit / rate,
                (self.unit / rate).saturating_mul(self.burst),
            ),
            true => (per(length as u64), per(rate.saturating_add(self.burst))),
        };
        let (old, since) = self.tokens.unwrap_or((most, now));
        let tokens = old.saturating_add(now.0.saturating_sub(since.0)).min(most);
        let within = tokens >= cost;
        self.tokens = Some((if within { tokens - cost } else { tokens }, now));
        within != self.over
    }
}

/// `nft_numgen`, and what its number is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    /// Counts up; else drawn.
    counts: bool,
    modulus: u32,
    counter: u32,
    negated: bool,
    /// First and last, both included.
    wanted: Vec<(u32, u32)>,
}

impl Number {
    fn passes(&mut self, random: &mut fastrand::Rng) -> bool {
        let number = match self.counts {
            true => {
                let next = self.counter.saturating_add(1);
                self.counter = if next < self.modulus { next } else { 0 };
                self.counter
            }
            // `reciprocal_scale`
            false => {
                let scaled = (u64::from(random.u32(..)) * u64::from(self.modulus)) >> 32;
                u32::try_from(scaled).unwrap_or(0)
            }
        };
        self.wanted
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number))
            != self.negated
    }
}

/// `ip frag-off & 0x3fff == 0x2000`, `frag frag-off != 0`: IPv4's field with its flags; IPv6's offset, of a packet that has a
/// fragment header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FragmentField {
    v6: bool,
    mask: u32,
    negated: bool,
    wanted: Vec<(u32, u32)>,
}

impl FragmentField {
    fn passes(&self, network: &[u8]) -> bool {
        let word = |at: usize| match network.get(at..at + 2) {
            Some([high, low]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let is_v6 = network.first().is_some_and(|first| first >> 4 == 6);
        let field = match (self.v6, is_v6) {
            (false, false) => word(6),
            (true, true) => super::run::fragment_header(network)
                .and_then(|at| word(at + 2))
                .map(|field| field >> 3),
            _ => None,
        };
        field.is_some_and(|field| {
            let field = u32::from(field) & self.mask;
            let inside = |(first, last): &(u32, u32)| (*first..=*last).contains(&field);
            self.wanted.iter().any(inside) != self.negated
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, times: usize, step_milliseconds: u64) -> Vec<bool> {
        let place = RulePlace { chain: 0, rule: 0 };
        let question = Question::read(text).expect(text);
        let mut questions = Questions {
            kept: BTreeMap::from([((0, place, 0), question)]),
            named: Named::default(),
        };
        let connections = Connections::default();
        let mut random = fastrand::Rng::with_seed(7);
        (0..times as u64)
            .map(|n| {
                let now = Timestamp(1_000_000_000 + n * step_milliseconds * 1_000_000);
                let jiffies = now.0 / 4_000_000;
                questions
                    .ask(
                        0,
                        Circumstances {
                            ticks: (jiffies, 250),
                            now,
                            network: &[0; 100],
                            ports: None,
                            connections: &connections,
                            tuple: None,
                            random: &mut random,
                        },
                    )
                    .answer(place, 0)
            })
            .collect()
    }

    fn count(answers: &[bool]) -> usize {
        answers.iter().filter(|yes| **yes).count()
    }

    #[test]
    fn a_rate_lets_its_burst_pass_and_then_its_average() {
        // All at once: the burst. Then five in every second.
        assert_eq!(
            count(&asked("-m limit --limit 5/sec --limit-burst 3", 100, 0)),
            3
        );
        let slow = asked("-m limit --limit 5/sec --limit-burst 3", 101, 100);
        assert_eq!(count(&slow), 3 + 50);
        assert_eq!(
            count(&asked("limit rate 5/second burst 3 packets", 100, 0)),
            3
        );
        assert_eq!(count(&asked("limit rate over 5/second", 100, 0)), 95);
        assert_eq!(count(&asked("limit rate 1000 bytes/second", 100, 0)), 10);
    }

    #[test]
    fn every_third_and_the_fourteenth_of_twenty() {
        let every = asked("-m statistic --mode nth --every 3 --packet 0", 6, 0);
        assert_eq!(every, [true, false, false, true, false, false]);
        let second = asked("-m statistic --mode nth --every 3 --packet 1", 6, 0);
        assert_eq!(second, [false, true, false, false, true, false]);
        let numbers = asked("numgen inc mod 20 13", 40, 0);
        let hits: Vec<usize> = (0..40).filter(|at| numbers[*at]).collect();
        assert_eq!(hits, [13, 33]);
        assert_eq!(count(&asked("numgen inc mod 10 < 3", 30, 0)), 9);
        assert_eq!(count(&asked("numgen inc mod 4 { 0, 2-3 }", 8, 0)), 6);
    }

    #[test]
    fn chances_come_from_the_seed() {
        let often = asked("-m statistic --mode random --probability 0.5", 1000, 0);
        assert!((400..600).contains(&count(&often)));
        assert_eq!(
            often,
            asked("-m statistic --mode random --probability 0.5", 1000, 0)
        );
        assert_eq!(
            count(&asked(
                "-m statistic --mode random --probability 0.0",
                100,
                0
            )),
            0
        );
    }

    #[test]
    fn a_quota_ends() {
        let answers = asked("-m quota --quota 250", 4, 0);
        assert_eq!(answers, [true, true, false, false]);
    }

    #[test]
    fn fragments_by_their_place() {
        let field = |text: &str| match Question::read(text) {
            Some(Question::Fragment(field)) => field,
            other => panic!("{text}: {other:?}"),
        };
        let v4 = |place: u16| {
            let mut packet = vec![0x45, 0, 0, 40, 0, 1];
            packet.extend(place.to_be_bytes());
            packet.resize(40, 0);
            packet
        };
        let first = field("ip frag-off & 0x3fff == 0x2000");
        assert!(
            first.passes(&v4(0x2000)) && !first.passes(&v4(0x20b9)) && !first.passes(&v4(0x4000))
        );
        let later = field("ip frag-off & 8191 != 0");
        assert!(later.passes(&v4(0x20b9)) && !later.passes(&v4(0x2000)));
        let v6 = |place: u16| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 16, 44, 64];
            packet.resize(40, 0);
            packet.extend([17, 0]);
            packet.extend(place.to_be_bytes());
            packet.resize(56, 0);
            packet
        };
        let first = field("frag frag-off 0");
        assert!(first.passes(&v6(1)) && !first.passes(&v6(0xb9 << 3)));
        assert!(!first.passes(&v4(0)));
        let whole = [[0x60, 0, 0, 0, 0, 16, 17, 64].as_slice(), &[0; 48]].concat();
        assert!(!first.passes(&whole), "no fragment header");
    }

    #[test]
    fn what_cannot_be_answered_is_not_read() {
        for text in [
            "-m recent --rcheck --rttl",
            "-m hashlimit --hashlimit-upto 5/sec",
            "-m owner --uid-owner 0",
            "ct status dnat",
            "limit rate many/second",
        ] {
            assert_eq!(Question::read(text), None, "{text}");
        }
    }
}
