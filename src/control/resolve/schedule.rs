//! What one watched name has come to: when to look it up again, and what of it the owner has to be told. An outage is
//! told once and its end once; an answer that is the last one again is not told at all.

use std::net::SocketAddr;
use std::time::Duration;

use crate::control::resolve::{Answer, Query, ResolveError, Resolved};

/// Answers of the hosts file have no TTL.
const WITHOUT_TTL: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(100);

/// What the owner of a name is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub id: u64,
    pub change: Change,
    pub result: Result<Answer, ResolveError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first answer, or one with other servers than the last.
    Answered,
    /// The first failure since it worked or since the watch began: once in an outage.
    Failed,
    /// It still fails, but for another reason: the name does not exist, where the name servers failed before, or the
    /// other way round.
    FailedOtherwise,
    /// An answer after `Failed`, whether its servers are new or not.
    Recovered,
}

/// Whose turn for a helper comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Working,
    New,
    Failing,
}

#[derive(Debug)]
pub struct Schedule {
    pub query: Query,
    every: Option<Duration>,
    last: Vec<Resolved>,
    /// Failures in a row.
    failures: u32,
    /// Of the last failure.
    was_answer: bool,
}

impl Schedule {
    pub fn new(query: Query, every: Option<Duration>) -> Schedule {
        let every = every.map(|every| every.max(SHORTEST));
        Schedule { query, every, last: Vec::new(), failures: 0, was_answer: false }
    }

    pub fn standing(&self) -> Standing {
        match self.failures {
            0 if self.last.is_empty() => Standing::New,
            0 => Standing::Working,
            _ => Standing::Failing,
        }
    }

    /// A lookup of the name, whose id is given, has ended: how long until the next one, and what to tell, if anything.
    pub fn ended(&mut self, id: u64, result: Result<Answer, ResolveError>) -> (Duration, Option<Update>) {
        let (wait, change, result) = match result {
            Ok(answer) => {
                let (wait, change, answer) = self.answered(answer);
                (wait, change, Ok(answer))
            }
            Err(error) => {
                let change = self.failed(&error);
                (self.retry(), change, Err(error))
            }
        };
        (wait, change.map(|change| Update { id, change, result }))
    }

    fn answered(&mut self, answer: Answer) -> (Duration, Option<Change>, Answer) {
        let answer = self.completed(answer);
        let wait = self.every.or(answer.ttl).unwrap_or(WITHOUT_TTL);
        let change = match std::mem::take(&mut self.failures) {
            0 if self.last == answer.servers => None,
            0 => Some(Change::Answered),
            _ => Some(Change::Recovered),
        };
        self.last.clone_from(&answer.servers);
        (wait, change, answer)
    }

    /// Adds the last addresses of a family that the name server did not answer for.
    fn completed(&self, answer: Answer) -> Answer {
        let lost = |server: &&Resolved| match server.address {
            SocketAddr::V4(_) => answer.v4_failed,
            SocketAddr::V6(_) => answer.v6_failed,
        };
        let kept: Vec<Resolved> = self.last.iter().filter(lost).copied().collect();
        let known = answer.servers.iter().map(|server| server.address);
        let kept = kept.into_iter().filter(|server| !known.clone().any(|address| address == server.address));
        let servers = answer.servers.iter().copied().chain(kept).collect();
        Answer { servers: Answer::new(servers, answer.ttl).servers, ..answer }
    }

    fn failed(&mut self, error: &ResolveError) -> Option<Change> {
        let other = std::mem::replace(&mut self.was_answer, error.is_answer()) != error.is_answer();
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => Some(Change::Failed),
            _ => other.then_some(Change::FailedOtherwise),
        }
    }

    fn retry(&self) -> Duration {
        let doubled = FIRST_RETRY * (1 << self.failures.saturating_sub(1).min(5));
        doubled.min(LAST_RETRY).min(self.every.unwrap_or(LAST_RETRY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ANSWER: ResolveError = ResolveError::TooLong;

    fn schedule(every: Option<u64>) -> Schedule {
        let query = Query::Host { name: "app".into(), port: 80 };
        Schedule::new(query, every.map(Duration::from_millis))
    }

    fn answer(addresses: &[&str], ttl: Option<u64>) -> Answer {
        let server =
            |address: &&str| Resolved { address: address.parse().unwrap(), weight: None, priority: 0 };
        Answer::new(addresses.iter().map(server).collect(), ttl.map(Duration::from_secs))
    }

    fn change(schedule: &mut Schedule, result: Result<Answer, ResolveError>) -> Option<Change> {
        schedule.ended(1, result).1.map(|update| update.change)
    }

    #[test]
    fn an_outage_and_its_end_are_told_once_each() {
        let (mut name, good) = (schedule(None), answer(&["10.0.0.1:80"], Some(5)));
        assert_eq!(change(&mut name, Ok(good.clone())), Some(Change::Answered));
        assert_eq!(change(&mut name, Ok(good.clone())), None);
        for _ in 0..2 {
            assert_eq!(change(&mut name, Err(NO_ANSWER)), Some(Change::Failed));
            assert_eq!(change(&mut name, Err(NO_ANSWER)), None);
            assert_eq!(change(&mut name, Err(ResolveError::Fault)), None);
            assert_eq!(change(&mut name, Ok(good.clone())), Some(Change::Recovered));
            assert_eq!(change(&mut name, Ok(good.clone())), None);
        }
        assert_eq!(change(&mut name, Ok(answer(&["10.0.0.2:80"], None))), Some(Change::Answered));
    }

    #[test]
    fn a_name_that_never_worked_fails_once_and_then_recovers() {
        let mut name = schedule(None);
        assert_eq!(name.standing(), Standing::New);
        assert_eq!(change(&mut name, Err(NO_ANSWER)), Some(Change::Failed));
        assert_eq!(change(&mut name, Err(NO_ANSWER)), None);
        assert_eq!(name.standing(), Standing::Failing);
        assert_eq!(change(&mut name, Ok(answer(&["10.0.0.1:80"], None))), Some(Change::Recovered));
        assert_eq!(name.standing(), Standing::Working);
    }

    #[test]
    fn a_name_that_turns_out_not_to_exist_is_told_within_an_outage() {
        let mut name = schedule(None);
        assert_eq!(change(&mut name, Err(NO_ANSWER)), Some(Change::Failed));
        assert_eq!(change(&mut name, Err(ResolveError::NoSuchName)), Some(Change::FailedOtherwise));
        assert_eq!(change(&mut name, Err(ResolveError::NoData)), None);
        assert_eq!(change(&mut name, Err(NO_ANSWER)), Some(Change::FailedOtherwise));
    }

    #[test]
    fn the_next_lookup_is_after_the_interval_or_the_ttl_or_ten_seconds() {
        let wait = |every, ttl| schedule(every).ended(1, Ok(answer(&["10.0.0.1:80"], ttl))).0;
        assert_eq!(wait(None, Some(7)), Duration::from_secs(7));
        assert_eq!(wait(None, None), Duration::from_secs(10));
        assert_eq!(wait(Some(2000), Some(7)), Duration::from_secs(2));
        assert_eq!(wait(Some(0), Some(7)), SHORTEST);
    }

    #[test]
    fn after_failures_it_is_tried_again_after_a_second_doubling_to_thirty() {
        let waits = |every| {
            let mut name = schedule(every);
            (0..7).map(|_| name.ended(1, Err(NO_ANSWER)).0.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(None), [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(waits(Some(3000)), [1000, 2000, 3000, 3000, 3000, 3000, 3000]);
        assert_eq!(waits(Some(500))[..2], [500, 500]);
    }

    #[test]
    fn addresses_of_a_family_that_was_not_answered_for_stay() {
        let mut name = schedule(None);
        let both = answer(&["10.0.0.1:80", "[::1]:80", "[::2]:80"], None);
        name.ended(1, Ok(both));
        let v4 = answer(&["10.0.0.2:80"], None);
        let (_, told) = name.ended(1, Ok(Answer { v6_failed: true, ..v4.clone() }));
        let servers = told.unwrap().result.unwrap().servers;
        assert_eq!(servers, answer(&["10.0.0.2:80", "[::1]:80", "[::2]:80"], None).servers);
        let (_, told) = name.ended(1, Ok(v4.clone()));
        assert_eq!(told.unwrap().result.unwrap(), v4);
    }
}
