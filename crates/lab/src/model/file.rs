//! The files that the world's programs write: their logs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use transect_path::Timestamp;

/// What each file holds, by owner and name.
type Contents = BTreeMap<(String, String), Vec<u8>>;

/// By program and name.
#[derive(Clone, Default)]
pub(super) struct Files {
    files: Rc<RefCell<Contents>>,
}

impl Files {
    /// Appends to a file; makes it when it is not there.
    pub(super) fn append(&self, program: &str, name: &str, text: &str) {
        let key = (program.to_owned(), name.to_owned());
        let mut files = self.files.borrow_mut();
        files
            .entry(key)
            .or_default()
            .extend_from_slice(text.as_bytes());
    }

    /// What stands in a file; nothing where there is none.
    pub(super) fn read(&self, program: &str, name: &str) -> Vec<u8> {
        let key = (program.to_owned(), name.to_owned());
        self.files.borrow().get(&key).cloned().unwrap_or_default()
    }
}

/// A moment in parts of the calendar, UTC.
pub(super) struct Date {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Date {
    /// Of a moment.
    pub(super) fn of(moment: Timestamp) -> Self {
        let seconds = moment.0 / 1_000_000_000;
        let days = i64::try_from(seconds / 86_400).unwrap_or(0);
        // The proleptic Gregorian calendar by whole eras of 400 years, with years that begin in March.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 2
        } else {
            march_month - 10
        };
        Date {
            year: year_of_era + era * 400 + i64::from(month < 2),
            month: usize::try_from(month).unwrap_or(0),
            day: of_year - (153 * march_month + 2) / 5 + 1,
            weekday: usize::try_from(days.rem_euclid(7)).unwrap_or(0),
            hour: seconds % 86_400 / 3600,
            minute: seconds % 3600 / 60,
            second: seconds % 60,
        }
    }

    /// As access logs have it: `22/Nov/2026:14:14:21 +0000`.
    pub(super) fn of_log(&self) -> String {
        format!(
            "{:02}/{}/{}:{:02}:{:02}:{:02} +0000",
            self.day,
            name(&MONTHS, self.month),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// As HTTP has it (RFC 9110, section 5.6.7): `Sun, 22 Nov 2026 14:14:16 GMT`.
    pub(super) fn of_http(&self) -> String {
        format!(
            "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            name(&WEEKDAYS, self.weekday),
            self.day,
            name(&MONTHS, self.month),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }
}

fn name(names: &[&'static str], at: usize) -> &'static str {
    names.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, log, http) in [
            (
                0,
                "01/Jan/1970:00:00:00 +0000",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                951_782_399,
                "28/Feb/2000:23:59:59 +0000",
                "Mon, 28 Feb 2000 23:59:59 GMT",
            ),
            (
                951_782_400,
                "29/Feb/2000:00:00:00 +0000",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_795_356_861,
                "22/Nov/2026:14:14:21 +0000",
                "Sun, 22 Nov 2026 14:14:21 GMT",
            ),
        ] {
            let date = Date::of(Timestamp::from_parts(seconds, 5));
            assert_eq!(
                (date.of_log().as_str(), date.of_http().as_str()),
                (log, http)
            );
        }
    }

    #[test]
    fn a_file_is_what_was_appended() {
        let files = Files::default();
        files.clone().append("nginx", "access.log", "one\n");
        files.append("nginx", "access.log", "two\n");
        assert_eq!(files.read("nginx", "access.log"), b"one\ntwo\n");
        assert_eq!(files.read("nginx", "error.log"), b"");
    }
}
