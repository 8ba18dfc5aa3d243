//! Does what handlers of scripts wait for and no loop may do itself: looks names up (`rsp.resolve`). One thread takes the
//! jobs of all workers; each name that it does not know is asked for on a thread of its own, since a name server may
//! take seconds.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::resolve::{Answer, Query, ResolveError, ResolverConfig, resolve};
use crate::script::Waited;
use crate::worker::{Job, Reply, Shared, Work};

/// Names that are asked for at once.
const AT_ONCE: usize = 16;
/// Answers that are kept.
const KEPT: usize = 1024;
/// An answer is kept as long as its records say, but no longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it is kept that a name has no address, or that the name server does not answer.
const FAILED: Duration = Duration::from_secs(1);

pub(super) type Addresses = Result<Vec<String>, String>;

/// Starts the thread, unless it runs already. It ends with the process.
pub fn serve(shared: &Shared) -> io::Result<()> {
    let Some(jobs) = shared.take_jobs() else { return Ok(()) };
    thread::Builder::new().name("script-jobs".into()).spawn(move || run(jobs)).map(drop)
}

fn run(jobs: Receiver<Job>) {
    let names = Arc::new(Mutex::new(Names::new(look_up)));
    for job in jobs {
        let Work::Resolve { name, server } = job.work;
        Names::ask(&names, (name, server), job.reply);
    }
}

/// A name, and whom to ask for it.
pub(super) type Asked = (String, Option<SocketAddr>);

/// Asks for a name. The answer, and how long it is kept.
type LookUp = fn(&Asked) -> (Addresses, Duration);

struct Names {
    look_up: LookUp,
    known: HashMap<Asked, (Addresses, Instant)>,
    /// Who waits for each name that is being asked for.
    running: HashMap<Asked, Vec<Reply>>,
}

impl Names {
    fn new(look_up: LookUp) -> Names {
        Names { look_up, known: HashMap::new(), running: HashMap::new() }
    }

    /// Answers at once, or when the name has been looked up.
    fn ask(names: &Arc<Mutex<Names>>, asked: Asked, reply: Reply) {
        let mut found = lock(names);
        let now = Instant::now();
        if let Some((addresses, until)) = found.known.get(&asked)
            && now < *until
        {
            return reply.send(Waited::Resolved(addresses.clone()));
        }
        if let Some(waiting) = found.running.get_mut(&asked) {
            return waiting.push(reply);
        }
        if found.running.len() >= AT_ONCE {
            return reply.send(Waited::Resolved(Err("busy".into())));
        }
        found.running.insert(asked.clone(), vec![reply]);
        let look_up = found.look_up;
        drop(found);
        let (theirs, of) = (names.clone(), asked.clone());
        let started = thread::Builder::new().name("script-names".into()).spawn(move || {
            // The bytes come from outside: a fault in reading them costs this answer only.
            let fault = |_| (Err("internal fault of rsp".into()), Duration::ZERO);
            let (addresses, keep) = catch_unwind(AssertUnwindSafe(|| look_up(&of))).unwrap_or_else(fault);
            lock(&theirs).answer(of, addresses, keep);
        });
        if started.is_err() {
            lock(names).answer(asked, Err("busy".into()), Duration::ZERO);
        }
    }

    fn answer(&mut self, asked: Asked, addresses: Addresses, keep: Duration) {
        for reply in self.running.remove(&asked).unwrap_or_default() {
            reply.send(Waited::Resolved(addresses.clone()));
        }
        let now = Instant::now();
        if self.known.len() >= KEPT {
            self.known.retain(|_, (_, until)| now < *until);
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(asked, (addresses, now + keep));
    }
}

fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn look_up((name, server): &Asked) -> (Addresses, Duration) {
    let config = ResolverConfig { servers: server.iter().copied().collect(), ..ResolverConfig::default() };
    let answer = resolve(&Query::Host { name: name.clone(), port: 0 }, &config);
    told(answer)
}

fn told(answer: Result<Answer, ResolveError>) -> (Addresses, Duration) {
    match answer {
        Ok(answer) => {
            let addresses = answer.servers.iter().map(|server| server.address.ip().to_string()).collect();
            (Ok(addresses), answer.ttl.unwrap_or(FAILED).min(LONGEST))
        }
        Err(error) => (Err(error.to_string()), FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_panics_is_answered_and_leaves_its_slot() {
        let names = Arc::new(Mutex::new(Names::new(|_| panic!("a fault of a test"))));
        let until = Instant::now() + Duration::from_secs(10);
        for round in 0..2 * AT_ONCE {
            Names::ask(&names, (format!("host{round}"), None), Reply::to_nobody());
            while !lock(&names).running.is_empty() {
                assert!(Instant::now() < until, "it keeps its slot");
                thread::yield_now();
            }
        }
    }
}
