//! How servers are found to be down: by checks (`health`), and by the results of real traffic (`eject`).

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Active checks of every server of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    pub kind: HealthKind,
    pub interval: Duration,
    pub timeout: Duration,
    /// Successes in a row that make a down server up, and failures in a row that make an up server down. The first
    /// check decides alone.
    pub rise: u32,
    pub fall: u32,
    /// Another port of the server's address.
    pub port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealthKind {
    /// A connection that is established.
    Tcp,
    Http(HttpCheck),
}

/// The request of a check, and the response that passes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpCheck {
    pub method: String,
    pub path: String,
    /// `None`: the server's address as written.
    pub host: Option<String>,
    pub status: StatusRanges,
    /// A text that the body has to contain.
    pub body: Option<String>,
}

impl Health {
    /// Checks of this kind with default times.
    pub fn of(kind: HealthKind) -> Health {
        Health {
            kind,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            port: None,
        }
    }
}

impl Default for HttpCheck {
    fn default() -> HttpCheck {
        HttpCheck {
            method: "GET".into(),
            path: "/".into(),
            host: None,
            status: StatusRanges(vec![200..=399]),
            body: None,
        }
    }
}

/// Ejection of servers that fail real requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Eject {
    /// Failures in a row: connects, closes without a response, response timeouts, and responses with `status`.
    pub failures: u32,
    /// The share of failures among the requests of the last 10 s, from 20 requests on.
    pub error_rate: Option<f64>,
    /// Responses that are failures too.
    pub status: StatusRanges,
    /// The first pause; it doubles with each further one, up to `longest_pause`.
    pub pause: Duration,
    /// The share of a pool that may be ejected.
    pub most: f64,
}

impl Eject {
    /// The limit of a doubled pause.
    pub fn longest_pause(&self) -> Duration {
        self.pause.max(Duration::from_secs(30))
    }
}

impl Default for Eject {
    fn default() -> Eject {
        Eject {
            failures: 3,
            error_rate: None,
            status: StatusRanges::default(),
            pause: Duration::from_secs(1),
            most: 0.5,
        }
    }
}

/// A set of response statuses: `200-299,404`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatusRanges(pub Vec<RangeInclusive<u16>>);

impl StatusRanges {
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_in_one_of_the_ranges_or_not() {
        let some = StatusRanges(vec![200..=299, 404..=404]);
        for (status, is) in [(199, false), (200, true), (299, true), (300, false), (404, true), (405, false)]
        {
            assert_eq!(some.has(status), is, "{status}");
        }
        assert_eq!(some.to_string(), "200-299,404");
        assert!(!some.is_empty() && StatusRanges::default().is_empty());
    }

    #[test]
    fn a_pause_doubles_to_thirty_seconds_unless_it_is_longer_already() {
        let pause = |seconds| Eject { pause: Duration::from_secs(seconds), ..Eject::default() };
        assert_eq!(pause(1).longest_pause(), Duration::from_secs(30));
        assert_eq!(pause(60).longest_pause(), Duration::from_secs(60));
    }
}
