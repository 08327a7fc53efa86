//! Which conversations of all captures may be one flow, without building any of them.
//!
//! A capture may hold a million conversations. What is kept of each here is a few words; the flow itself is built by
//! [`crate::flow::split`], and only where there is something to find.

use std::collections::HashSet;

use transect_evidence::conversation::{Brief, ConversationId};
use transect_packet::{SequenceNumber, Tuple, protocol};

use crate::world::World;

/// A conversation in one ledger of one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) host: usize,
    pub(crate) capture: usize,
    pub(crate) id: ConversationId,
    /// A TCP conversation without a flaw, as far as this capture goes.
    pub(crate) clean: bool,
    /// The SYN's sequence number, which address translation leaves alone.
    syn: Option<SequenceNumber>,
}

/// The conversations of all captures by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    places: Vec<Place>,
    /// Where each group ends in `places`.
    ends: Vec<usize>,
}

impl Groups {
    /// The filtered conversations, those of the same addresses together, in the order of appearance. Whether one group is
    /// one flow is decided when it is built.
    pub(crate) fn new(world: &World<'_>) -> Self {
        let mut captures = world.hosts().flat_map(|host| &world.host(host).captures);
        // In one capture every conversation is a flow of its own.
        if captures.next().is_some() && captures.next().is_none() {
            let places: Vec<Place> = placed(world).map(|(_, place)| place).collect();
            let ends = (1..=places.len()).collect();
            return Groups { places, ends };
        }
        let mut named: Vec<(Tuple, Place)> = placed(world)
            // One capture may take the server for the client, when it began in the middle.
            .map(|(tuple, place)| (tuple.min(tuple.reversed()), place))
            .collect();
        named.sort_by_key(|(tuple, _)| *tuple);
        let mut groups: Vec<&[(Tuple, Place)]> =
            named.chunk_by(|(one, _), (two, _)| one == two).collect();
        groups.sort_by_key(|group| group.first().map(|(_, place)| place.order()));
        let mut all = Groups::default();
        for group in groups {
            all.places.extend(group.iter().map(|(_, place)| *place));
            all.ends.push(all.places.len());
        }
        all
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The groups, each in the order of its captures.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Place]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .filter_map(|(&start, &end)| self.places.get(start..end))
    }
}

impl Place {
    /// The order of appearance.
    fn order(&self) -> (usize, usize, ConversationId) {
        (self.host, self.capture, self.id)
    }
}

fn briefs<'a>(world: &'a World<'_>) -> impl Iterator<Item = (usize, usize, Brief)> + 'a {
    world.hosts().flat_map(move |host| {
        let captures = world.host(host).captures.iter().enumerate();
        captures.flat_map(move |(capture, file)| {
            let briefs = file.ledger.briefs().filter(|brief| brief.filtered);
            briefs.map(move |brief| (host, capture, brief))
        })
    })
}

fn placed<'a>(world: &'a World<'_>) -> impl Iterator<Item = (Tuple, Place)> + 'a {
    briefs(world).map(|(host, capture, brief)| {
        let place = Place {
            host,
            capture,
            id: brief.id,
            clean: brief.clean && brief.tuple.protocol == protocol::TCP,
            syn: brief.syn,
        };
        (brief.tuple, place)
    })
}

/// The addresses of everything that was captured, both ways.
pub(crate) fn captured_tuples(world: &World<'_>) -> HashSet<Tuple> {
    briefs(world)
        .flat_map(|(_, _, brief)| [brief.tuple, brief.tuple.reversed()])
        .collect()
}

/// The flows that one capture saw at most once in all: how many flows a group of flawless conversations stands for.
pub(crate) fn connections(places: &[Place]) -> u64 {
    // The same addresses may have been used for several connections, one behind the other.
    let by_capture = places
        .chunk_by(|one, two| (one.host, one.capture) == (two.host, two.capture))
        .map(|same| same.len() as u64);
    by_capture.max().unwrap_or(0)
}

/// Parts the groups that share a SYN's sequence number with another group (they may be one flow behind address
/// translation) from those that stand alone.
pub(crate) fn part_translated<'g>(groups: &[&'g [Place]]) -> (Vec<&'g [Place]>, Vec<&'g [Place]>) {
    let mut origins: Vec<(u32, usize)> = groups
        .iter()
        .enumerate()
        .flat_map(|(at, places)| {
            let syns = places.iter().filter_map(|place| place.syn);
            syns.map(move |syn| (syn.0, at))
        })
        .collect();
    origins.sort_unstable();
    origins.dedup();
    let mut shared = vec![false; groups.len()];
    for same in origins.chunk_by(|(one, _), (two, _)| one == two) {
        for &(_, at) in same.iter().filter(|_| same.len() > 1) {
            shared[at] = true;
        }
    }
    let numbered = groups.iter().copied().zip(shared);
    let (translated, alone): (Vec<_>, Vec<_>) = numbered.partition(|(_, shared)| *shared);
    let places = |list: Vec<(&'g [Place], bool)>| list.into_iter().map(|(places, _)| places);
    (places(translated).collect(), places(alone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(capture: usize, id: u32, syn: Option<u32>) -> Place {
        Place {
            host: 0,
            capture,
            id: ConversationId(id),
            clean: true,
            syn: syn.map(SequenceNumber),
        }
    }

    #[test]
    fn connections_are_counted_where_most_of_them_were_seen() {
        let reused = [
            place(0, 0, Some(1)),
            place(0, 7, Some(2)),
            place(1, 3, Some(1)),
        ];
        assert_eq!(connections(&reused), 2);
        assert_eq!(connections(&reused[1..]), 1);
    }

    #[test]
    fn only_groups_that_share_a_syn_can_be_translated() {
        let [one, two, three, four] = [
            [place(0, 0, Some(5)), place(0, 1, Some(5))],
            [place(0, 2, Some(6)), place(0, 3, Some(7))],
            [place(1, 0, Some(7)), place(1, 1, None)],
            [place(1, 2, None), place(1, 3, None)],
        ];
        let groups = [&one[..], &two, &three, &four];
        let ids = |groups: Vec<&[Place]>| -> Vec<_> {
            groups
                .iter()
                .map(|group| (group[0].capture, group[0].id.0))
                .collect()
        };
        let (translated, alone) = part_translated(&groups);
        assert_eq!(ids(translated), [(0, 2), (1, 0)]);
        assert_eq!(ids(alone), [(0, 0), (1, 2)]);
    }
}
