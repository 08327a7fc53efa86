//! One entry of the neighbour table: what changes it, without the packets that are sent for it.

use std::collections::VecDeque;
use std::net::IpAddr;

use transect_config::NeighborState;
use transect_packet::MacAddress;

use crate::device::DeviceId;
use crate::packet::Packet;

/// The settings of a device's family (`struct neigh_parms`); lengths of time in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) reachable: u64,
    pub(super) base_reachable: u64,
    pub(super) delay_first_probe: u64,
    pub(super) retransmit: u64,
    /// The shortest interval between probes (HZ/100).
    pub(super) least: u64,
    pub(super) lock: u64,
    pub(super) unicast_probes: u32,
    pub(super) multicast_probes: u32,
    pub(super) multicast_reprobes: u32,
    pub(super) queue_bytes: u64,
}

impl Times {
    /// The interval between probes.
    pub(super) fn retransmit(&self) -> u64 {
        self.retransmit.max(self.least)
    }
}

/// What is learned of a neighbour (`neigh_update`'s arguments).
#[derive(Debug, Clone, Copy)]
pub(super) struct Update {
    /// The state that it justifies.
    pub(super) state: NeighborState,
    /// May replace a MAC address that is known (NEIGH_UPDATE_F_OVERRIDE).
    pub(super) replace: bool,
    /// A different address makes the entry doubtful rather than nothing (NEIGH_UPDATE_F_WEAK_OVERRIDE).
    pub(super) doubt: bool,
    /// By an administrator (NEIGH_UPDATE_F_ADMIN).
    pub(super) by_hand: bool,
    /// Whether it is a router, where that is told (NEIGH_UPDATE_F_OVERRIDE_ISROUTER).
    pub(super) router: Option<bool>,
}

impl Update {
    /// `ip neighbor replace … nud permanent`.
    pub(super) fn by_hand() -> Self {
        Update {
            state: NeighborState::Permanent,
            replace: true,
            doubt: false,
            by_hand: true,
            router: None,
        }
    }
}

/// What a timer's end leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fired {
    /// Nothing is waited for.
    Rest,
    /// Wait until that tick.
    Wait(u64),
    /// Ask, and wait until that tick.
    Probe(u64),
    /// All questions were in vain.
    Failed,
}

/// One neighbour (`struct neighbour`).
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    pub(super) address: IpAddr,
    pub(super) mac: MacAddress,
    pub(super) state: NeighborState,
    /// It says that it is a router (NTF_ROUTER).
    pub(super) router: bool,
    pub(super) probes: u32,
    /// Ticks at which it was last used, last confirmed, last changed.
    pub(super) used: u64,
    pub(super) confirmed: u64,
    pub(super) updated: u64,
    waiting: VecDeque<Packet>,
    waiting_bytes: u64,
}

impl Entry {
    pub(super) fn new(device: DeviceId, address: IpAddr, now: u64) -> Self {
        Entry {
            device,
            address,
            mac: MacAddress::default(),
            state: NeighborState::None,
            router: false,
            probes: 0,
            used: now,
            confirmed: now,
            updated: now,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Where to send without another thought (NUD_CONNECTED).
    #[inline]
    pub(super) fn connected(&self) -> Option<(DeviceId, MacAddress)> {
        is_connected(self.state).then_some((self.device, self.mac))
    }

    /// Whether the MAC address may be used (NUD_VALID).
    pub(super) fn is_valid(&self) -> bool {
        is_valid(self.state)
    }

    pub(super) fn enter(&mut self, state: NeighborState, now: u64) {
        self.state = state;
        self.updated = now;
    }

    /// Queues a packet; what had to make room for it comes back.
    pub(super) fn wait(&mut self, packet: Packet, most_bytes: u64) -> Vec<Packet> {
        let size = truesize(&packet);
        let mut crowded_out = Vec::new();
        while self.waiting_bytes.saturating_add(size) > most_bytes {
            let Some(oldest) = self.waiting.pop_front() else {
                break;
            };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(truesize(&oldest));
            crowded_out.push(oldest);
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(size);
        self.waiting.push_back(packet);
        crowded_out
    }

    /// The packet on whose behalf the next question is asked.
    pub(super) fn newest(&self) -> Option<&Packet> {
        self.waiting.back()
    }

    /// Empties the queue.
    pub(super) fn take_waiting(&mut self) -> Vec<Packet> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).collect()
    }

    /// `neigh_timer_handler`.
    pub(super) fn fire(&mut self, now: u64, times: &Times) -> Fired {
        let next = match self.state {
            NeighborState::Reachable => {
                let until = self.confirmed.saturating_add(times.reachable);
                if now <= until {
                    until
                } else if now <= self.used.saturating_add(times.delay_first_probe) {
                    self.enter(NeighborState::Delay, now);
                    now.saturating_add(times.delay_first_probe)
                } else {
                    self.enter(NeighborState::Stale, now);
                    return Fired::Rest;
                }
            }
            NeighborState::Delay => {
                if now <= self.confirmed.saturating_add(times.delay_first_probe) {
                    self.enter(NeighborState::Reachable, now);
                    self.confirmed.saturating_add(times.reachable)
                } else {
                    self.enter(NeighborState::Probe, now);
                    self.probes = 0;
                    now.saturating_add(times.retransmit())
                }
            }
            NeighborState::Probe | NeighborState::Incomplete => {
                now.saturating_add(times.retransmit())
            }
            _ => return Fired::Rest,
        };
        let asks = matches!(self.state, NeighborState::Probe | NeighborState::Incomplete);
        if asks && self.probes >= self.most_probes(times) {
            // `neigh_invalidate` sets the time as well.
            self.enter(NeighborState::Failed, now);
            return Fired::Failed;
        }
        let next = next.max(now.saturating_add(times.least));
        if asks {
            Fired::Probe(next)
        } else {
            Fired::Wait(next)
        }
    }

    /// `neigh_max_probes`.
    fn most_probes(&self, times: &Times) -> u32 {
        let multicast = match self.state {
            NeighborState::Probe => times.multicast_reprobes,
            _ => times.multicast_probes,
        };
        times.unicast_probes.saturating_add(multicast)
    }

    /// `__neigh_update` for states that are valid; false: nothing of it was taken.
    pub(super) fn update(
        &mut self,
        mac: Option<MacAddress>,
        update: Update,
        now: u64,
        times: &Times,
    ) -> bool {
        let old = self.state;
        let by_hand = matches!(old, NeighborState::Permanent | NeighborState::Noarp);
        if by_hand && !update.by_hand {
            return false;
        }
        let mut mac = match mac {
            Some(mac) => mac,
            None if is_valid(old) => self.mac,
            None => return false,
        };
        let mut new = update.state;
        if is_connected(new) {
            self.confirmed = now;
        }
        let mut router = update.router;
        if is_valid(old) {
            if mac != self.mac && !update.replace {
                router = None;
                if !(update.doubt && is_connected(old)) {
                    return false;
                }
                mac = self.mac;
                new = NeighborState::Stale;
            } else if mac == self.mac && new == NeighborState::Stale && !update.by_hand {
                new = old;
            }
        }
        if new != old || mac != self.mac {
            self.updated = now;
        }
        if new != old {
            if new == NeighborState::Probe {
                self.probes = 0;
            }
            self.state = new;
        }
        if mac != self.mac {
            self.mac = mac;
            if !is_connected(new) {
                self.confirmed = now.saturating_sub(times.base_reachable.saturating_mul(2));
            }
        }
        if let Some(router) = router {
            self.router = router;
        }
        true
    }
}

fn is_connected(state: NeighborState) -> bool {
    matches!(
        state,
        NeighborState::Permanent | NeighborState::Noarp | NeighborState::Reachable
    )
}

fn is_valid(state: NeighborState) -> bool {
    is_connected(state)
        || matches!(
            state,
            NeighborState::Probe | NeighborState::Stale | NeighborState::Delay
        )
}

/// What a packet occupies (`skb->truesize`): `struct sk_buff`, and a buffer that holds the frame with its headroom and `struct
/// skb_shared_info`. Small ones come from a cache of their own (`skb_small_head_cache`), others from kmalloc's sizes
/// (measured: 832 and 2304 bytes for datagrams of 10 and of 1000 bytes).
fn truesize(packet: &Packet) -> u64 {
    /// `sizeof(struct sk_buff)`, rounded up to a cache line.
    const BUFFER: usize = 256;
    /// `sizeof(struct skb_shared_info)`, likewise.
    const SHARED_INFO: usize = 320;
    /// What is kept free in front of the link header, and for its alignment.
    const HEADROOM: usize = 17;
    /// SKB_SMALL_HEAD_SIZE.
    const SMALL: usize = 576;
    let needed = packet.data.len().saturating_add(HEADROOM + SHARED_INFO);
    let head = match needed {
        ..=SMALL => SMALL,
        _ => needed.checked_next_power_of_two().unwrap_or(needed),
    };
    (BUFFER + head) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        reachable: 30_000,
        base_reachable: 30_000,
        delay_first_probe: 5_000,
        retransmit: 1_000,
        least: 10,
        lock: 1_000,
        unicast_probes: 3,
        multicast_probes: 3,
        multicast_reprobes: 0,
        queue_bytes: 2_000,
    };

    fn entry(state: NeighborState) -> Entry {
        let mut entry = Entry::new(DeviceId(1), "10.0.0.2".parse().unwrap(), 0);
        entry.mac = MacAddress([2, 0, 0, 0, 0, 2]);
        entry.state = state;
        entry
    }

    fn heard(state: NeighborState, replace: bool) -> Update {
        Update {
            state,
            replace,
            doubt: false,
            by_hand: false,
            router: None,
        }
    }

    #[test]
    fn three_questions_then_failure() {
        let mut entry = entry(NeighborState::Incomplete);
        entry.probes = 4;
        for (now, expected) in [(1_000, 2_000), (2_000, 3_000)] {
            assert_eq!(entry.fire(now, &TIMES), Fired::Probe(expected));
            entry.probes += 1;
        }
        assert_eq!(entry.fire(3_000, &TIMES), Fired::Failed);
        assert_eq!(entry.state, NeighborState::Failed);
    }

    #[test]
    fn a_reachable_one_grows_old_and_is_asked_when_it_is_used() {
        let mut entry = entry(NeighborState::Reachable);
        assert_eq!(entry.fire(20_000, &TIMES), Fired::Wait(30_000));
        assert_eq!(entry.fire(30_001, &TIMES), Fired::Rest);
        assert_eq!(entry.state, NeighborState::Stale);
        entry.enter(NeighborState::Delay, 40_000);
        assert_eq!(entry.fire(45_000, &TIMES), Fired::Probe(46_000));
        assert_eq!((entry.state, entry.probes), (NeighborState::Probe, 0));
        entry.probes = 3;
        assert_eq!(entry.fire(48_000, &TIMES), Fired::Failed);
    }

    #[test]
    fn a_confirmation_saves_the_question() {
        let mut entry = entry(NeighborState::Delay);
        entry.confirmed = 41_000;
        assert_eq!(entry.fire(45_000, &TIMES), Fired::Wait(71_000));
        assert_eq!(entry.state, NeighborState::Reachable);
    }

    #[test]
    fn what_an_answer_may_change() {
        let other = MacAddress([2, 0, 0, 0, 0, 9]);
        let mut known = entry(NeighborState::Reachable);
        // Another address within the lock time is not believed.
        assert!(!known.update(
            Some(other),
            heard(NeighborState::Reachable, false),
            5,
            &TIMES
        ));
        assert_ne!(known.mac, other);
        // The same one, heard in passing, changes nothing.
        let own = known.mac;
        assert!(known.update(Some(own), heard(NeighborState::Stale, true), 5, &TIMES));
        assert_eq!(known.state, NeighborState::Reachable);
        // Another one that may replace it does.
        assert!(known.update(Some(other), heard(NeighborState::Stale, true), 5, &TIMES));
        assert_eq!((known.mac, known.state), (other, NeighborState::Stale));
        // What was set by hand stays.
        let mut fixed = entry(NeighborState::Permanent);
        assert!(!fixed.update(
            Some(other),
            heard(NeighborState::Reachable, true),
            5,
            &TIMES
        ));
        assert!(fixed.update(Some(other), Update::by_hand(), 5, &TIMES));
        assert_eq!(fixed.mac, other);
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_and_keeps_the_newest() {
        let mut entry = entry(NeighborState::Incomplete);
        let packet = |byte| Packet::from_network(&[byte; 40]);
        assert_eq!(entry.wait(packet(1), 2_000).len(), 0);
        assert_eq!(entry.wait(packet(2), 2_000).len(), 0);
        let out = entry.wait(packet(3), 2_000);
        assert_eq!(out.first().map(|packet| packet.network()[0]), Some(1));
        assert_eq!(entry.newest().map(|packet| packet.network()[0]), Some(3));
        assert_eq!(entry.take_waiting().len(), 2);
    }
}
