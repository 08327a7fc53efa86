//! The times that begin the lines of logs.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use transect_path::Timestamp;

/// `22/Nov/2026:10:33:01 +0000`, as in access logs.
pub(super) fn common_log(text: &str) -> Option<Timestamp> {
    let (date, zone) = text.trim().split_once(' ')?;
    let mut parts = date.splitn(2, ':');
    let mut date = parts.next()?.split('/');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    let clock = parts.next()?;
    moment(
        year.parse().ok()?,
        month_of(month)?,
        day.parse().ok()?,
        clock_of(clock)?,
        offset_of(zone)?,
    )
}

/// The time at the start of a line, in whatever of the usual forms; a zone that is not stated is UTC.
pub(super) fn leading(line: &str, around: Option<Timestamp>) -> Option<Timestamp> {
    let line = line.trim_start();
    // `[time] …`, also after a syslog priority `<34>`.
    let line = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((priority, rest)) if priority.bytes().all(|byte| byte.is_ascii_digit()) => {
            // RFC 5424 has the protocol's version before the time.
            rest.strip_prefix("1 ").unwrap_or(rest)
        }
        _ => line,
    };
    match line.strip_prefix('[') {
        Some(rest) => {
            let inside = rest.split(']').next()?;
            iso(inside)
                .or_else(|| common_log(inside))
                .or_else(|| named_day(inside))
                .or_else(|| epoch(inside))
        }
        None => iso(line)
            .or_else(|| syslog(line, around))
            .or_else(|| named_day(line))
            .or_else(|| epoch(line)),
    }
}

/// `2026-11-22T10:33:01.5+01:00`, `2026-11-22 10:33:01,500`, `2026/11/22 10:33:01`.
fn iso(text: &str) -> Option<Timestamp> {
    let date = text.get(..10)?;
    let separator = date.get(4..5)?;
    if !matches!(separator, "-" | "/") {
        return None;
    }
    let mut parts = date.split(separator);
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2)?;
    let day = number(parts.next()?, 2)?;
    let rest = text.get(10..)?.strip_prefix(['T', ' ', '_'])?;
    // MariaDB writes hours below ten with a space in front.
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let length = rest
        .find(|char: char| !(char.is_ascii_digit() || matches!(char, ':' | '.' | ',')))
        .unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(length);
    let zone = zone.strip_prefix(' ').unwrap_or(zone);
    let offset = match zone.bytes().next() {
        Some(b'+' | b'-') => zone
            .split([' ', ']'])
            .next()
            .and_then(offset_of)
            .unwrap_or(UtcOffset::UTC),
        _ => UtcOffset::UTC,
    };
    moment(
        i32::try_from(year).ok()?,
        Month::try_from(u8::try_from(month).ok()?).ok()?,
        u8::try_from(day).ok()?,
        clock_of(clock.trim_end_matches([',', '.', ':']))?,
        offset,
    )
}

/// `Nov 22 10:33:01`, without a year: the one that leads closest to the observation, else nothing.
fn syslog(line: &str, around: Option<Timestamp>) -> Option<Timestamp> {
    let mut words = line.split_ascii_whitespace();
    let month = month_of(words.next()?)?;
    let day: u8 = words.next()?.parse().ok()?;
    let clock = clock_of(words.next()?)?;
    let around = around.map_or(OffsetDateTime::UNIX_EPOCH, |around| {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(around.0))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    });
    let year = around.year();
    [year, year.saturating_sub(1), year.saturating_add(1)]
        .into_iter()
        .filter_map(|year| {
            let date = Date::from_calendar_date(year, month, day).ok()?;
            Some(PrimitiveDateTime::new(date, clock).assume_utc())
        })
        .min_by_key(|candidate| (*candidate - around).abs())
        .and_then(timestamp)
}

/// `Sun Nov 22 10:33:01.123456 2026`, as Apache's error log and `date` write it.
fn named_day(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let day_name = words.next()?;
    if !DAYS.contains(&day_name) {
        return None;
    }
    let month = month_of(words.next()?)?;
    let day = words.next()?.parse().ok()?;
    let clock = clock_of(words.next()?)?;
    let year = words.find_map(|word| number(word, 4))?;
    moment(i32::try_from(year).ok()?, month, day, clock, UtcOffset::UTC)
}

/// Seconds since the epoch, with or without a fraction; ten digits, so that no other number is taken for it.
fn epoch(text: &str) -> Option<Timestamp> {
    let word = text.split_ascii_whitespace().next()?;
    let (seconds, fraction) = word.split_once('.').unwrap_or((word, ""));
    Some(Timestamp::from_parts(
        number(seconds, 10)?,
        nanoseconds(fraction)?,
    ))
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn month_of(name: &str) -> Option<Month> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let index = MONTHS.iter().position(|month| *month == name)?;
    Month::try_from(u8::try_from(index.checked_add(1)?).ok()?).ok()
}

/// `10:33`, `10:33:01`, `10:33:01.123` or with a comma.
fn clock_of(text: &str) -> Option<Time> {
    let (clock, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hour = parts.next()?.parse().ok()?;
    let minute = parts.next()?.parse().ok()?;
    let second: u8 = parts.next().map_or(Some(0), |text| text.parse().ok())?;
    if parts.next().is_some() {
        return None;
    }
    let nanoseconds = u32::try_from(nanoseconds(fraction)?).ok()?;
    // A leap second stands in a log as 60.
    Time::from_hms_nano(hour, minute, second.min(59), nanoseconds).ok()
}

/// The digits behind the point.
fn nanoseconds(fraction: &str) -> Option<u64> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.get(..9).unwrap_or(fraction);
    format!("{digits:0<9}").parse().ok()
}

/// `+0100`, `+01:00`, `-05`, `Z`.
fn offset_of(text: &str) -> Option<UtcOffset> {
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return Some(UtcOffset::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1_i32, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let digits = rest.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "0"),
        // Logs are anybody's text: four bytes need not be four digits.
        4 => digits.split_at_checked(2)?,
        _ => return None,
    };
    let hours = i32::try_from(number(hours, hours.len())?).ok()?;
    let minutes = i32::try_from(number(minutes, minutes.len())?).ok()?;
    let seconds = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?;
    UtcOffset::from_whole_seconds(sign.checked_mul(seconds)?).ok()
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn moment(year: i32, month: Month, day: u8, clock: Time, zone: UtcOffset) -> Option<Timestamp> {
    let date = Date::from_calendar_date(year, month, day).ok()?;
    timestamp(PrimitiveDateTime::new(date, clock).assume_offset(zone))
}

fn timestamp(moment: OffsetDateTime) -> Option<Timestamp> {
    u64::try_from(moment.unix_timestamp_nanos())
        .ok()
        .map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-22 10:33:01 UTC.
    const MOMENT: u64 = 1_795_343_581;

    fn at(line: &str) -> Option<(u64, u64)> {
        let around = Timestamp::from_parts(MOMENT, 0);
        leading(line, Some(around)).map(|time| (time.0 / 1_000_000_000, time.0 % 1_000_000_000))
    }

    #[test]
    fn the_usual_forms() {
        for line in [
            "2026-11-22T10:33:01Z text",
            "2026-11-22T11:33:01+01:00 text",
            "2026-11-22 10:33:01 0 [Note] mariadbd: ready",
            "2026/11/22 10:33:01 [error] 7#7: text",
            "[2026-11-22 10:33:01] text",
            "[22/Nov/2026:11:33:01 +0100] text",
            "[Sun Nov 22 10:33:01 2026] text",
            "Sun Nov 22 10:33:01 UTC 2026 text",
            "Nov 22 10:33:01 host prog[7]: text",
            "<34>Nov 22 10:33:01 host prog: text",
            "<34>1 2026-11-22T10:33:01Z host prog",
            "1795343581 text",
            "[1795343581] text",
            "2026-11-22 12:33:01 +0200 text",
            "2026-11-22T05:33:01-05 text",
        ] {
            assert_eq!(at(line), Some((MOMENT, 0)), "{line}");
        }
    }

    #[test]
    fn fractions() {
        assert_eq!(at("2026-11-22T10:33:01.5Z"), Some((MOMENT, 500_000_000)));
        assert_eq!(
            at("2026-11-22 10:33:01,123 INFO"),
            Some((MOMENT, 123_000_000))
        );
        assert_eq!(at("1795343581.000000007 x"), Some((MOMENT, 7)));
        assert_eq!(at("1795343581.1234567891 x"), Some((MOMENT, 123_456_789)));
    }

    #[test]
    fn a_year_that_is_not_stated_is_the_closest() {
        let new_year = Timestamp::from_parts(1_798_761_600, 0); // 2027-01-01
        let time = leading("Dec 31 23:59:59 host x", Some(new_year));
        assert_eq!(time, Some(Timestamp::from_parts(1_798_761_599, 0)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "text",
            "2026-13-22 10:33:01",
            "2026-11-22",
            "2026-11-22 25:00:00",
            "[12345.678] kernel text",
            "Nov 31 10:33:01 host",
            "172.17.0.2 - -",
            "17953435810 x",
        ] {
            assert_eq!(at(line), None, "{line}");
        }
    }

    #[test]
    fn four_bytes_need_not_be_four_digits() {
        // Found by the fuzz target `recognize`: the middle of the four bytes lies inside of a character.
        assert_eq!(common_log("22/Nov/2026:11:33:01 +\u{fffd}0"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", around in any::<u64>()) {
            leading(&text, Some(Timestamp(around)));
            common_log(&text);
        }

        #[test]
        fn near_misses_do_not_panic(text in "[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9:.,]{0,12}[+-]?[0-9:]{0,5}") {
            leading(&text, None);
        }

        #[test]
        fn no_zone_panics(zone in "[+-].{0,4}") {
            offset_of(&zone);
        }
    }
}
