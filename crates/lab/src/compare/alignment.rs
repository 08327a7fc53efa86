//! Which packet of one world stands for which of the other: the longest common subsequence.

use std::time::Duration;

use super::PacketRow;
use super::packets::Seen;

/// Beyond so many pairs the packets are taken by their place.
const PAIRS: usize = 16_000_000;
/// Times may differ by this share: the timer wheel rounds up to an eighth.
const SHARE: f64 = 0.125;
/// And by this much: programs wake when the machine lets them, delayed acknowledgments included.
const LEEWAY: Duration = Duration::from_millis(60);

/// Aligns the packets of one tap.
pub(super) fn align(kernel: &[Seen], model: &[Seen]) -> Vec<PacketRow> {
    let pairs = pairs(kernel, model);
    let begin = |all: &[Seen]| all.first().map(|seen| seen.at).unwrap_or_default();
    let (kernel_begin, model_begin) = (begin(kernel), begin(model));
    let mut rows = Vec::new();
    let (mut of_kernel, mut of_model) = (kernel.iter(), model.iter());
    let (mut last_kernel, mut last_model) = (0.0, 0.0);
    let row = |seen: &Seen, kernel, model, in_time| PacketRow {
        packet: seen.words.clone(),
        kernel,
        model,
        in_time,
    };
    let (mut at_kernel, mut at_model) = (0, 0);
    for (next_kernel, next_model) in pairs.into_iter().chain([(kernel.len(), model.len())]) {
        for seen in of_kernel.by_ref().take(next_kernel - at_kernel) {
            let time = seen.at.since(kernel_begin).as_secs_f64();
            rows.push(row(seen, Some(time), None, false));
        }
        for seen in of_model.by_ref().take(next_model - at_model) {
            let time = seen.at.since(model_begin).as_secs_f64();
            rows.push(row(seen, None, Some(time), false));
        }
        if let (Some(one), Some(other)) = (of_kernel.next(), of_model.next()) {
            let kernel = one.at.since(kernel_begin).as_secs_f64();
            let model = other.at.since(model_begin).as_secs_f64();
            // A packet answers the one before, or a timer that any earlier one has set.
            let fits = fits(kernel - last_kernel, model - last_model) || fits(kernel, model);
            (last_kernel, last_model) = (kernel, model);
            rows.push(row(one, Some(kernel), Some(model), fits));
        }
        (at_kernel, at_model) = (next_kernel + 1, next_model + 1);
    }
    rows
}

fn fits(one: f64, other: f64) -> bool {
    (one - other).abs() <= SHARE * one.max(other) + LEEWAY.as_secs_f64()
}

/// The places of those that stand for each other, ascending.
fn pairs(kernel: &[Seen], model: &[Seen]) -> Vec<(usize, usize)> {
    let common = kernel
        .iter()
        .zip(model)
        .take_while(|(one, other)| one.words == other.words)
        .count();
    let mut pairs: Vec<_> = (0..common).map(|at| (at, at)).collect();
    let kernel = kernel.get(common..).unwrap_or_default();
    let model = model.get(common..).unwrap_or_default();
    if kernel.len().saturating_mul(model.len()) > PAIRS {
        let same = kernel.iter().zip(model).enumerate();
        pairs.extend(
            same.filter(|(_, (one, other))| one.words == other.words)
                .map(|(at, _)| (common + at, common + at)),
        );
        return pairs;
    }
    // best[i][j]: how many the tails from i and j have in common.
    let width = model.len() + 1;
    let mut best = vec![0_u32; (kernel.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    for (i, one) in kernel.iter().enumerate().rev() {
        for (j, other) in model.iter().enumerate().rev() {
            best[at(i, j)] = if one.words == other.words {
                best[at(i + 1, j + 1)] + 1
            } else {
                best[at(i + 1, j)].max(best[at(i, j + 1)])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while let (Some(one), Some(other)) = (kernel.get(i), model.get(j)) {
        if one.words == other.words {
            pairs.push((common + i, common + j));
            (i, j) = (i + 1, j + 1);
        } else if best[at(i + 1, j)] >= best[at(i, j + 1)] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_path::Timestamp;

    fn seen(packets: &[(u64, &str)]) -> Vec<Seen> {
        let one = |(milliseconds, words): &(u64, &str)| Seen {
            at: Timestamp(5_000_000_000 + milliseconds * 1_000_000),
            words: (*words).to_owned(),
        };
        packets.iter().map(one).collect()
    }

    #[test]
    fn what_one_world_alone_has_stands_alone() {
        let rows = align(
            &seen(&[(0, "S"), (1, "S."), (2, "."), (9, "F.")]),
            &seen(&[(0, "S"), (1, "S."), (3, "P."), (9, "F.")]),
        );
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.packet.as_str(),
                    row.kernel.is_some(),
                    row.model.is_some(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("S", true, true),
                ("S.", true, true),
                (".", true, false),
                ("P.", false, true),
                ("F.", true, true)
            ]
        );
        assert_eq!(rows.iter().filter(|row| row.agrees()).count(), 3);
    }

    #[test]
    fn times_differ_by_what_the_timer_wheel_rounds_and_not_by_more() {
        let in_time = |kernel, model| {
            align(
                &seen(&[(0, "S"), (kernel, "S")]),
                &seen(&[(0, "S"), (model, "S")]),
            )
            .iter()
            .all(PacketRow::agrees)
        };
        assert!(in_time(1024, 1032));
        assert!(in_time(33_536, 32_000));
        assert!(!in_time(1024, 2016));
        assert!(!in_time(0, 200));
    }

    #[test]
    fn a_timer_may_have_been_set_by_any_packet_before() {
        // A neighbour is asked 5 seconds after its first use: the wheel's step is a quarter of a second then.
        let rows = align(
            &seen(&[(0, "S"), (4867, "P."), (5027, "arp")]),
            &seen(&[(0, "S"), (4823, "P."), (5208, "arp")]),
        );
        assert!(rows.iter().all(PacketRow::agrees));
    }
}
