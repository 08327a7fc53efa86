//! What several rules share by a name: lists of addresses seen lately (`xt_recent`), rates of each of many flows (`xt_hashlimit`).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ip::bytes::addresses;

/// An address with only its first bits.
pub(super) fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(own) => {
            let mask = u32::MAX
                .checked_shl(u32::from(32 - bits.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(own) & mask))
        }
        IpAddr::V6(own) => {
            let mask = u128::MAX
                .checked_shl(u32::from(128 - bits.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(own) & mask))
        }
    }
}

/// The bits of a mask that is written as an address; none for one with holes.
fn mask_bits(text: &str) -> Option<u8> {
    let (bits, ones) = match text.parse().ok()? {
        IpAddr::V4(mask) => {
            let mask = u32::from(mask);
            (mask.count_ones(), mask.leading_ones())
        }
        IpAddr::V6(mask) => {
            let mask = u128::from(mask);
            (mask.count_ones(), mask.leading_ones())
        }
    };
    (bits == ones).then(|| u8::try_from(bits).ok()).flatten()
}

/// Everything that rules share by a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) recent: BTreeMap<String, Addresses>,
    pub(super) rates: BTreeMap<(String, bool), BTreeMap<Flow, FlowRate>>,
}

/// A list of `xt_recent`, the address that was seen longest ago first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    seen: VecDeque<(IpAddr, Stamps)>,
    /// How many times each address keeps (`nstamps_max_mask` and one more).
    pub(super) most_stamps: usize,
}

/// The ticks at which an address was seen, oldest first.
type Stamps = VecDeque<u64>;

/// `ip_list_tot`: a list holds no more addresses.
const MOST_ADDRESSES: usize = 100;

/// What a rule does with its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Set,
    Check,
    Update,
    Remove,
}

/// `-m recent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recent {
    doing: Doing,
    inverted: bool,
    seconds: u64,
    hits: usize,
    pub(super) name: String,
    destination: bool,
    mask: u8,
}

impl Recent {
    /// `[!] --set|--rcheck|--update|--remove [--seconds N] [--hitcount N] [--name NAME] [--rsource|--rdest] [--mask MASK]`.
    pub(super) fn read(options: &[&str]) -> Option<Self> {
        let mut recent = Recent {
            doing: Doing::Check,
            inverted: false,
            seconds: 0,
            hits: 0,
            name: "DEFAULT".to_owned(),
            destination: false,
            mask: 128,
        };
        let mut doing = None;
        let mut words = options.iter();
        while let Some(word) = words.next() {
            match *word {
                "!" => recent.inverted = true,
                "--set" => doing = Some(Doing::Set),
                "--rcheck" => doing = Some(Doing::Check),
                "--update" => doing = Some(Doing::Update),
                "--remove" => doing = Some(Doing::Remove),
                "--seconds" => recent.seconds = words.next()?.parse().ok()?,
                "--hitcount" => recent.hits = words.next()?.parse().ok().filter(|n| *n < 256)?,
                "--name" => recent.name = (*words.next()?).to_owned(),
                "--rsource" => recent.destination = false,
                "--rdest" => recent.destination = true,
                "--mask" => recent.mask = mask_bits(words.next()?)?,
                _ => return None,
            }
        }
        recent.doing = doing?;
        Some(recent)
    }

    /// How many times each address of the list has to keep for this rule (`recent_mt_check`).
    pub(super) fn stamps(&self) -> usize {
        match self.hits {
            0 => 32,
            hits => hits.next_power_of_two(),
        }
    }

    /// `recent_mt`.
    pub(super) fn passes(
        &self,
        list: &mut Addresses,
        network: &[u8],
        jiffies: u64,
        hz: u32,
    ) -> bool {
        let (source, destination) = addresses(network);
        let address = if self.destination {
            destination
        } else {
            source
        };
        let address = masked(address, self.mask);
        let Some(at) = list.seen.iter().position(|(own, _)| *own == address) else {
            if self.doing != Doing::Set {
                return self.inverted;
            }
            if list.seen.len() >= MOST_ADDRESSES {
                list.seen.pop_front();
            }
            list.seen.push_back((address, VecDeque::from([jiffies])));
            return !self.inverted;
        };
        let found = match self.doing {
            Doing::Set => true,
            Doing::Remove => {
                list.seen.remove(at);
                return !self.inverted;
            }
            Doing::Check | Doing::Update => {
                let since = jiffies.saturating_sub(self.seconds.saturating_mul(hz.into()));
                let stamps = list.seen.get(at).map(|(_, stamps)| stamps);
                let hits = stamps.into_iter().flatten();
                let hits = hits.filter(|stamp| self.seconds == 0 || **stamp >= since);
                hits.count() >= self.hits.max(1)
            }
        };
        let passes = found != self.inverted;
        if (self.doing == Doing::Set || self.doing == Doing::Update && passes)
            && let Some((address, mut stamps)) = list.seen.remove(at)
        {
            stamps.push_back(jiffies);
            while stamps.len() > list.most_stamps.max(1) {
                stamps.pop_front();
            }
            list.seen.push_back((address, stamps));
        }
        passes
    }
}

/// What tells flows apart (`dsthash_dst`): source, destination, their ports, each where the rule asks for it.
pub(super) type Flow = (Option<IpAddr>, Option<IpAddr>, Option<u16>, Option<u16>);

/// One flow's rate (`dsthash_ent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowRate {
    /// Nanoseconds that were saved up.
    credit: u64,
    since: u64,
    /// The tick at which it is forgotten.
    expires: u64,
}

/// `-m hashlimit`, in packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HashLimit {
    /// Nanoseconds that a packet costs.
    cost: u64,
    burst: u64,
    /// Passes what exceeds the rate.
    above: bool,
    source: bool,
    destination: bool,
    source_port: bool,
    destination_port: bool,
    source_mask: u8,
    destination_mask: u8,
    pub(super) name: String,
    /// Milliseconds for which a flow is remembered.
    expire: u64,
    most: usize,
}

/// What the kernel keeps at most where the rule says nothing (`htable_max` follows from the memory there). Here a rule that asks for
/// more gets no more.
const MOST_FLOWS: usize = 65536;

impl HashLimit {
    /// `--hashlimit-upto|-above RATE [-burst N] [-mode LIST] -name NAME [-srcmask N] [-dstmask N] [-htable-expire MS]
    /// [-htable-max N]`.
    pub(super) fn read(options: &[&str]) -> Option<Self> {
        let mut rate = None;
        let mut limit = HashLimit {
            cost: 0,
            burst: 5,
            above: false,
            source: false,
            destination: false,
            source_port: false,
            destination_port: false,
            source_mask: 128,
            destination_mask: 128,
            name: String::new(),
            expire: 0,
            most: MOST_FLOWS,
        };
        for option in options.chunks(2) {
            let [name, value] = option else { return None };
            match name.strip_prefix("--hashlimit-")? {
                "upto" => rate = Some(*value),
                "above" => {
                    rate = Some(*value);
                    limit.above = true;
                }
                "burst" => limit.burst = value.parse().ok()?,
                "mode" => {
                    for part in value.split(',') {
                        match part {
                            "srcip" => limit.source = true,
                            "dstip" => limit.destination = true,
                            "srcport" => limit.source_port = true,
                            "dstport" => limit.destination_port = true,
                            _ => return None,
                        }
                    }
                }
                "name" => limit.name = (*value).to_owned(),
                "srcmask" => limit.source_mask = value.parse().ok()?,
                "dstmask" => limit.destination_mask = value.parse().ok()?,
                "htable-expire" => limit.expire = value.parse().ok()?,
                "htable-max" => limit.most = value.parse::<usize>().ok()?.min(MOST_FLOWS),
                // How often it looks for what has expired, and how many buckets there are: nobody sees it here.
                "htable-size" | "htable-gcinterval" => {}
                _ => return None,
            }
        }
        let (number, unit) = rate?.split_once('/')?;
        let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
        let seconds = super::seconds(unit)?;
        // Counted in millionths of a second (`XT_HASHLIMIT_SCALE_v2`).
        limit.cost = (seconds * 1_000_000 / number).checked_mul(1000)?;
        if limit.expire == 0 {
            limit.expire = seconds * 1000;
        }
        (!limit.name.is_empty()).then_some(limit)
    }

    /// `hashlimit_mt_common`.
    pub(super) fn passes(
        &self,
        flows: &mut BTreeMap<Flow, FlowRate>,
        network: &[u8],
        ports: Option<(u16, u16)>,
        jiffies: u64,
        hz: u32,
    ) -> bool {
        let (source, destination) = addresses(network);
        let (from, to) = ports.unwrap_or_default();
        let flow = (
            self.source.then(|| masked(source, self.source_mask)),
            self.destination
                .then(|| masked(destination, self.destination_mask)),
            self.source_port.then_some(from),
            self.destination_port.then_some(to),
        );
        let hz = u64::from(hz.max(1));
        let expires = jiffies.saturating_add(self.expire.saturating_mul(hz).div_ceil(1000));
        let cap = self.cost.saturating_mul(self.burst);
        if flows.len() >= self.most && !flows.contains_key(&flow) {
            flows.retain(|_, rate| rate.expires > jiffies);
            if flows.len() >= self.most {
                // Without room for it the packet is dropped (`hotdrop`): a rule that drops what is above does as much.
                return self.above;
            }
        }
        let rate = flows.entry(flow).or_insert(FlowRate {
            credit: cap,
            since: jiffies,
            expires,
        });
        if rate.expires <= jiffies {
            rate.credit = cap;
        } else {
            let grown = jiffies.saturating_sub(rate.since);
            let grown = grown.saturating_mul(1_000_000_000 / hz);
            rate.credit = rate.credit.saturating_add(grown).min(cap);
        }
        (rate.since, rate.expires) = (jiffies, expires);
        let within = rate.credit >= self.cost;
        if within {
            rate.credit -= self.cost;
        }
        within != self.above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(last: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0];
        bytes.extend([10, 0, 0, last, 10, 0, 0, 99]);
        bytes
    }

    fn recent(text: &str) -> Recent {
        let words: Vec<&str> = text.split_whitespace().collect();
        Recent::read(&words).expect(text)
    }

    #[test]
    fn an_address_that_came_too_often_is_known() {
        let check = recent("--update --seconds 10 --hitcount 3 --name a");
        let set = recent("--set --name a --mask 255.255.255.255 --rsource");
        let mut list = Addresses {
            seen: VecDeque::new(),
            most_stamps: 32,
        };
        let mut come = |last: u8, jiffies: u64| {
            let known = check.passes(&mut list, &packet(last), jiffies, 250);
            if !known {
                set.passes(&mut list, &packet(last), jiffies, 250);
            }
            known
        };
        // As the kernel counts five pings in a row: three are set, then each is known, and keeps it so.
        let first: Vec<bool> = (0..5).map(|n| come(1, 1000 + n * 250)).collect();
        assert_eq!(first, [false, false, false, true, true]);
        assert!(!come(2, 2250), "somebody else");
        assert!(!come(1, 2000 + 10 * 250 + 1), "ten seconds later");
    }

    #[test]
    fn what_is_removed_is_forgotten_and_inversion_turns_it_round() {
        let mut list = Addresses {
            seen: VecDeque::new(),
            most_stamps: 1,
        };
        let ask = |text: &str, list: &mut Addresses| recent(text).passes(list, &packet(1), 9, 250);
        assert!(!ask("--rcheck", &mut list));
        assert!(ask("! --rcheck", &mut list));
        assert!(ask("--set", &mut list));
        assert!(ask("--rcheck", &mut list));
        assert!(!ask("--rcheck --rdest", &mut list));
        assert!(ask("--remove", &mut list));
        assert!(!ask("--rcheck", &mut list));
        assert_eq!(Recent::read(&["--rcheck", "--rttl"]), None);
        assert_eq!(Recent::read(&["--name", "x"]), None);
    }

    #[test]
    fn a_list_keeps_the_last_hundred() {
        let set = recent("--set");
        let mut list = Addresses {
            seen: VecDeque::new(),
            most_stamps: 32,
        };
        for last in 0..=100 {
            set.passes(&mut list, &packet(last), u64::from(last), 250);
        }
        let known = |last| recent("--rcheck").passes(&mut list.clone(), &packet(last), 200, 250);
        assert!(!known(0) && known(1) && known(100));
    }

    #[test]
    fn each_flow_has_its_own_rate() {
        let words =
            "--hashlimit-above 5/sec --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name h";
        let words: Vec<&str> = words.split(' ').collect();
        let limit = HashLimit::read(&words).unwrap();
        let mut flows = BTreeMap::new();
        let mut over =
            |last: u8, jiffies: u64| limit.passes(&mut flows, &packet(last), None, jiffies, 250);
        assert_eq!((0..8).filter(|_| over(1, 100)).count(), 3);
        assert!(!over(2, 100));
        // A fifth of a second is one packet more.
        assert!(!over(1, 150));
        assert!(over(1, 150));
        // Forgotten after a second without one.
        assert_eq!((0..8).filter(|_| over(1, 150 + 251)).count(), 3);
        assert_eq!(HashLimit::read(&["--hashlimit-upto", "512kb/s"]), None);
    }

    #[test]
    fn any_expiry_is_counted_with_and_no_table_grows_without_bounds() {
        let words = "--hashlimit-upto 1/day --hashlimit-burst 18446744073709551615 --hashlimit-mode srcip --hashlimit-name h \
             --hashlimit-htable-expire 18446744073709551615 --hashlimit-htable-max 4294967295";
        let words: Vec<&str> = words.split_whitespace().collect();
        let limit = HashLimit::read(&words).unwrap();
        assert_eq!(limit.most, MOST_FLOWS);
        let mut flows = BTreeMap::new();
        for jiffies in [u64::MAX, 0, u64::MAX] {
            assert!(limit.passes(&mut flows, &packet(1), None, jiffies, 1000));
        }
    }

    #[test]
    fn masks() {
        let address = "10.1.2.3".parse().unwrap();
        assert_eq!(masked(address, 24).to_string(), "10.1.2.0");
        assert_eq!(masked(address, 0).to_string(), "0.0.0.0");
        assert_eq!(masked(address, 128), address);
        assert_eq!(mask_bits("255.255.0.0"), Some(16));
        assert_eq!(mask_bits("255.0.255.0"), None);
        let six = "fd00::1234".parse().unwrap();
        assert_eq!(masked(six, 64).to_string(), "fd00::");
    }
}
