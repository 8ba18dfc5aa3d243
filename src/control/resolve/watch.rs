//! The threads of a resolver. One keeps the clock, the names and their turns, answers from files, and tells the owner;
//! a few helpers wait for name servers. However many names fail, those that work find a helper.
//!
//! With no name server alive, a helper is taken for at most `lookup::TOTAL`, most often for a short timeout of each
//! server; once one answers again, all names go on as they come due.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::control::resolve::files::Files;
use crate::control::resolve::lookup::{self, Lookup};
use crate::control::resolve::name_servers::NameServers;
use crate::control::resolve::schedule::{Schedule, Standing, Update};
use crate::control::resolve::{Answer, Query, ResolveError, ResolverConfig};

const HELPERS: usize = 4;
/// How many helpers names may take that have never worked or do not work now.
const FOR_UNPROVEN: usize = HELPERS - 1;

enum Command {
    Watch { id: u64, query: Query, every: Option<Duration> },
    Unwatch(u64),
    Ended { turn: Turn, unproven: bool, result: Result<Answer, ResolveError> },
    Stop,
}

/// One lookup of a name. Ids can be used again; turns are told apart by their number.
#[derive(Clone, Copy)]
struct Turn {
    id: u64,
    number: u64,
}

struct Job {
    turn: Turn,
    unproven: bool,
    query: Query,
}

/// Looks names up again and again, as long as it lives.
pub struct Resolver {
    commands: Sender<Command>,
    keeper: Option<JoinHandle<()>>,
}

impl Resolver {
    /// `deliver` is called by the resolver's thread, and must not wait.
    pub fn start(
        config: ResolverConfig,
        deliver: impl FnMut(Update) + Send + 'static,
    ) -> io::Result<Resolver> {
        let (files, servers) = (Arc::new(Files::new(config)), Arc::new(NameServers::default()));
        let (commands, received) = mpsc::channel();
        let (jobs, taken) = mpsc::channel();
        let taken = Arc::new(Mutex::new(taken));
        for number in 1..=HELPERS {
            let (files, servers, taken) = (files.clone(), servers.clone(), taken.clone());
            let done = commands.clone();
            let help = move || help(&taken, &files, &servers, &done);
            thread::Builder::new().name(format!("resolver-{number}")).spawn(help)?;
        }
        let mut keeper = Keeper::new(files, jobs, Box::new(deliver));
        let keep = move || keeper.run(&received);
        let keeper = thread::Builder::new().name("resolver".into()).spawn(keep)?;
        Ok(Resolver { commands, keeper: Some(keeper) })
    }

    /// Looks the name up now, and again after `every`, or else after the TTL of its records. A watch of the same id is
    /// replaced.
    pub fn watch(&self, id: u64, query: Query, every: Option<Duration>) {
        self.send(Command::Watch { id, query, every });
    }

    /// An update that is on its way may still come.
    pub fn unwatch(&self, id: u64) {
        self.send(Command::Unwatch(id));
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            log::error!(
                "the resolver's thread has ended: names of servers keep their last addresses until rsp is restarted"
            );
        }
    }
}

impl Drop for Resolver {
    /// No update comes after this. Helpers that wait for a name server end by themselves.
    fn drop(&mut self) {
        // Fails only if the thread has ended already.
        let _ = self.commands.send(Command::Stop);
        if let Some(keeper) = self.keeper.take()
            && keeper.thread().id() != thread::current().id()
            && keeper.join().is_err()
        {
            log::error!("the resolver's thread panicked");
        }
    }
}

/// Takes jobs until there can be no more.
fn help(jobs: &Mutex<Receiver<Job>>, files: &Files, servers: &NameServers, done: &Sender<Command>) {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(Job { turn, unproven, query }) = next() {
        // The bytes come from outside: a fault in reading them costs this answer only.
        let lookup = AssertUnwindSafe(|| Lookup::new(files, servers).resolve(&query));
        let result = catch_unwind(lookup).unwrap_or(Err(ResolveError::Fault));
        if done.send(Command::Ended { turn, unproven, result }).is_err() {
            return;
        }
    }
}

struct Watched {
    schedule: Schedule,
    /// The number of its last turn.
    turn: u64,
    /// `None` while a turn is on.
    due: Option<Instant>,
}

/// Turns that wait for a helper, by standing, first come first.
#[derive(Default)]
struct Waiting {
    working: VecDeque<Turn>,
    new: VecDeque<Turn>,
    failing: VecDeque<Turn>,
}

struct Keeper {
    names: HashMap<u64, Watched>,
    due: BTreeSet<(Instant, u64)>,
    waiting: Waiting,
    jobs: Sender<Job>,
    /// Helpers at work, and how many of them for names that have not worked.
    busy: usize,
    busy_unproven: usize,
    next_turn: u64,
    files: Arc<Files>,
    deliver: Box<dyn FnMut(Update) + Send>,
}

impl Keeper {
    fn new(files: Arc<Files>, jobs: Sender<Job>, deliver: Box<dyn FnMut(Update) + Send>) -> Keeper {
        Keeper {
            names: HashMap::new(),
            due: BTreeSet::new(),
            waiting: Waiting::default(),
            jobs,
            busy: 0,
            busy_unproven: 0,
            next_turn: 0,
            files,
            deliver,
        }
    }

    fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            let command = match self.due.first() {
                Some((at, _)) => commands.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => commands.recv().map_err(RecvTimeoutError::from),
            };
            match command {
                Ok(Command::Watch { id, query, every }) => self.watch(id, Schedule::new(query, every)),
                Ok(Command::Unwatch(id)) => self.unwatch(id),
                Ok(Command::Ended { turn, unproven, result }) => {
                    self.busy -= 1;
                    self.busy_unproven -= usize::from(unproven);
                    self.ended(turn, result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.start_turns();
            self.give_jobs();
        }
    }

    fn watch(&mut self, id: u64, schedule: Schedule) {
        self.unwatch(id);
        let now = Instant::now();
        self.names.insert(id, Watched { schedule, turn: 0, due: Some(now) });
        self.due.insert((now, id));
    }

    fn unwatch(&mut self, id: u64) {
        if let Some(at) = self.names.remove(&id).and_then(|watched| watched.due) {
            self.due.remove(&(at, id));
        }
    }

    /// The turns of all names that are due begin.
    fn start_turns(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            self.next_turn += 1;
            let turn = Turn { id, number: self.next_turn };
            let Some(watched) = self.names.get_mut(&id) else { continue };
            (watched.turn, watched.due) = (turn.number, None);
            match lookup::local(&watched.schedule.query, &self.files) {
                Some(answer) => self.ended(turn, Ok(answer)),
                None => self.waiting.of(watched.schedule.standing()).push_back(turn),
            }
        }
    }

    fn ended(&mut self, turn: Turn, result: Result<Answer, ResolveError>) {
        let Some(watched) = self.names.get_mut(&turn.id).filter(|watched| watched.turn == turn.number) else {
            return;
        };
        let (wait, told) = watched.schedule.ended(turn.id, result);
        let at = Instant::now() + wait;
        watched.due = Some(at);
        self.due.insert((at, turn.id));
        if let Some(update) = told {
            (self.deliver)(update);
        }
    }

    fn give_jobs(&mut self) {
        while self.busy < HELPERS {
            let with_unproven = self.busy_unproven < FOR_UNPROVEN;
            let Some((turn, unproven)) = self.waiting.next(with_unproven) else { return };
            let watched = self.names.get(&turn.id).filter(|watched| watched.turn == turn.number);
            // Not watched any more, or anew.
            let Some(watched) = watched else { continue };
            let job = Job { turn, unproven, query: watched.schedule.query.clone() };
            if self.jobs.send(job).is_ok() {
                self.busy += 1;
                self.busy_unproven += usize::from(unproven);
            }
        }
    }
}

impl Waiting {
    fn of(&mut self, standing: Standing) -> &mut VecDeque<Turn> {
        match standing {
            Standing::Working => &mut self.working,
            Standing::New => &mut self.new,
            Standing::Failing => &mut self.failing,
        }
    }

    /// The next turn, with whether it is of a name that has not worked.
    fn next(&mut self, with_unproven: bool) -> Option<(Turn, bool)> {
        let proven = self.working.pop_front().map(|turn| (turn, false));
        proven.or_else(|| {
            let queues = [&mut self.new, &mut self.failing].into_iter().filter(|_| with_unproven);
            queues.filter_map(VecDeque::pop_front).next().map(|turn| (turn, true))
        })
    }
}
