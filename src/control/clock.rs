//! Wall-clock texts for log lines. Records carry microseconds of the workers' monotonic clock, converted here with
//! the wall clock read again for every batch, so that the log follows changes of the clock. Everything is UTC: logs
//! of servers are compared, and no hour is missing or repeated.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Origin of the monotonic clock of records: microseconds since `zero`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub zero: Instant,
}

impl Clock {
    /// The wall time of `zero` in microseconds since 1970, by the present offset of the clocks.
    pub fn wall_at_zero(&self) -> u64 {
        wall_micros().saturating_sub(self.zero.elapsed().as_micros() as u64)
    }
}

/// Microseconds since 1970; 0 if the clock is before that.
pub fn wall_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The formatted texts of one second, cached because the next line is most likely of the same one.
pub struct Stamp {
    second: u64,
    clf: String,
    iso: String,
    syslog: String,
}

/// 9999-12-31T23:59:59: a year of five digits breaks readers of these texts (and panics in httpdate).
const LAST_SECOND: u64 = 253_402_300_799;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Default for Stamp {
    fn default() -> Stamp {
        Stamp::of(0)
    }
}

impl Stamp {
    fn of(second: u64) -> Stamp {
        // "Sun, 06 Nov 1994 08:49:37 GMT": parts at fixed offsets.
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND)));
        let (day, month, year, time) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
        let number = MONTHS.iter().position(|name| *name == month).map_or(0, |at| at + 1);
        Stamp {
            second,
            clf: format!("{day}/{month}/{year}:{time} +0000"),
            iso: format!("{year}-{number:02}-{day}T{time}"),
            syslog: format!("{month} {:>2} {time}", day.trim_start_matches('0')),
        }
    }

    fn turn_to(&mut self, second: u64) {
        if self.second != second {
            *self = Stamp::of(second);
        }
    }

    /// `10/Oct/2000:13:55:36 +0000`
    pub fn clf(&mut self, micros: u64) -> &str {
        self.turn_to(micros / 1_000_000);
        &self.clf
    }

    /// `Oct 10 13:55:36`, as local syslog daemons expect it (RFC 3164 section 4.1.2).
    pub fn syslog(&mut self, micros: u64) -> &str {
        self.turn_to(micros / 1_000_000);
        &self.syslog
    }

    /// `2000-10-10T13:55:36`; the caller adds a fraction and `Z`.
    pub fn iso(&mut self, micros: u64) -> &str {
        self.turn_to(micros / 1_000_000);
        &self.iso
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_formatted_as_clf_and_iso() {
        let mut stamp = Stamp::default();
        for (second, clf, iso) in [
            (971_186_136, "10/Oct/2000:13:55:36 +0000", "2000-10-10T13:55:36"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00"),
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00"),
            (u64::MAX / 1_000_000 - 1, "31/Dec/9999:23:59:59 +0000", "9999-12-31T23:59:59"),
        ] {
            assert_eq!((stamp.clf(second * 1_000_000), second), (clf, second));
            assert_eq!(stamp.iso(second * 1_000_000 + 999_999), iso);
            let day = clf[..2].replacen('0', " ", usize::from(clf.starts_with('0')));
            assert_eq!(stamp.syslog(second * 1_000_000), format!("{} {day} {}", &clf[3..6], &iso[11..]));
        }
    }

    #[test]
    fn the_monotonic_zero_lies_where_the_wall_clock_was_then() {
        let minute = Duration::from_secs(60);
        // `Instant` cannot go back beyond the boot of a machine that is up for less than a minute.
        if let Some(zero) = Instant::now().checked_sub(minute) {
            let wanted = wall_micros() - 60_000_000;
            assert!(Clock { zero }.wall_at_zero().abs_diff(wanted) < 10_000_000);
        }
    }
}
