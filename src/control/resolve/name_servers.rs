//! Which name server to ask, and when to ask the next one. A server that did not answer is asked last for a while,
//! and waited for only shortly, so that a dead one delays a few names and not every one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::control::resolve::ResolveError;
use crate::control::resolve::message::{Question, Reply};
use crate::control::resolve::resolv_conf::ResolvConf;
use crate::control::resolve::transport::{self, Patience};

/// How long a server that did not answer is asked last, unless it answers before.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// How long to wait for it meanwhile.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct NameServers {
    /// Those that did not answer when last asked, and until when that counts.
    silent: Mutex<HashMap<SocketAddr, Instant>>,
}

type Outcome = Result<Reply, ResolveError>;

impl NameServers {
    /// Asks all questions at once, of one server after the other until each has its reply. Once one of them has, the
    /// others are asked for only once more.
    pub fn ask(&self, questions: &[Question], settings: &ResolvConf, deadline: Instant) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = questions.iter().map(|_| Err(ResolveError::TooLong)).collect();
        let servers = self.ordered(&settings.servers, Instant::now());
        let mut last = false;
        for (server, silent) in servers.repeat(settings.attempts) {
            if Instant::now() >= deadline {
                break;
            }
            let timeout = if silent { settings.timeout.min(SHORT_TIMEOUT) } else { settings.timeout };
            self.ask_one(server, questions, Patience { timeout, deadline }, &mut outcomes);
            let open = outcomes.iter().filter(|outcome| is_open(outcome)).count();
            if open == 0 || last {
                break;
            }
            last = open < questions.len();
        }
        outcomes
    }

    fn ask_one(
        &self,
        server: SocketAddr,
        questions: &[Question],
        patience: Patience,
        outcomes: &mut [Outcome],
    ) {
        let open = outcomes.iter_mut().zip(questions).filter(|(outcome, _)| is_open(outcome));
        let (open, asked): (Vec<&mut Outcome>, Vec<&Question>) = open.unzip();
        // A server that the deadline left little time is not to blame.
        let blamed = Instant::now() + patience.timeout <= patience.deadline;
        for (outcome, new) in open.into_iter().zip(transport::ask(server, &asked, patience)) {
            if blamed || new.is_ok() {
                self.note(server, &new);
            }
            *outcome = new;
        }
    }

    fn note(&self, server: SocketAddr, outcome: &Outcome) {
        match outcome {
            Err(ResolveError::Timeout { .. }) => self.locked().insert(server, Instant::now() + SILENT_FOR),
            _ => self.locked().remove(&server),
        };
    }

    /// The servers in the order to ask them, with whether they were silent.
    fn ordered(&self, servers: &[SocketAddr], now: Instant) -> Vec<(SocketAddr, bool)> {
        let mut silent = self.locked();
        silent.retain(|_, until| *until > now);
        let mut ordered: Vec<_> = servers.iter().map(|at| (*at, silent.contains_key(at))).collect();
        ordered.sort_by_key(|(_, silent)| *silent);
        ordered
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether to ask another server.
fn is_open(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| !error.is_answer())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_did_not_answer_is_asked_last_until_it_does_or_time_has_passed() {
        let [a, b] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 53)));
        let (servers, now) = (NameServers::default(), Instant::now());
        assert_eq!(servers.ordered(&[a, b], now), [(a, false), (b, false)]);
        servers.note(a, &Err(ResolveError::Timeout { server: a }));
        assert_eq!(servers.ordered(&[a, b], now), [(b, false), (a, true)]);
        assert_eq!(servers.ordered(&[a, b], now + SILENT_FOR * 2), [(a, false), (b, false)]);
        servers.note(a, &Err(ResolveError::Timeout { server: a }));
        servers.note(a, &Err(ResolveError::ServerFailure { server: a, code: 2 }));
        assert_eq!(servers.ordered(&[a, b], now), [(a, false), (b, false)]);
    }
}
