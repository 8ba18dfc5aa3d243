//! State shared by the workers of a process, for limits that apply to the process. Used when a connection opens or
//! closes, never per request.

pub(crate) mod challenges;
pub(crate) mod connection_counts;
pub(crate) mod gateway_errors;
pub(crate) mod jobs;
pub(crate) mod malformed;
pub(crate) mod per_client;
pub(crate) mod permits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mio::Waker;

use self::challenges::{ChallengeAsk, ChallengeSender, Challenges};
use self::connection_counts::ConnectionCounts;
use self::gateway_errors::GatewayErrors;
use self::jobs::{Job, JobSender, Jobs};
use self::malformed::MalformedLog;
use self::per_client::ClientCounts;
use self::permits::Permits;
use crate::base::buffer_memory::BufferMemory;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::net::Reserve;
use crate::worker::pair::waiting::WaitingCount;

/// Minimum interval between calls for descriptors, in microseconds: answering one costs the workers time.
const CALL_AGAIN: u64 = 10_000;

/// One worker's handle to the shared state.
#[derive(Clone)]
pub struct Shared {
    state: Arc<SharedState>,
    /// The worker's number, from 0.
    worker: usize,
}

struct SharedState {
    permits: Permits,
    /// One per worker.
    wakers: Vec<OnceLock<Arc<Waker>>>,
    /// No worker accepts before this time, in microseconds.
    accept_after: AtomicU64,
    accept_failed: Mutex<LogLimit>,
    /// Time of the last call for descriptors, in microseconds; 0 if none.
    called: AtomicU64,
    per_client: ClientCounts,
    connections: ConnectionCounts,
    gateway_errors: GatewayErrors,
    malformed: MalformedLog,
    reserve: Reserve,
    challenges: Challenges,
    jobs: Jobs,
    waiting: WaitingCount,
    buffers: BufferMemory,
    script_asked: OnceLock<ScriptAsk>,
}

/// Passes on that this worker needs a fresh VM of the site of this generation.
type ScriptAsk = Box<dyn Fn(usize, u64) + Send + Sync>;

/// Creates the handles for `workers` workers, which serve at most `max_connections` clients together.
pub fn share(workers: usize, max_connections: usize) -> Vec<Shared> {
    let state = Arc::new(SharedState {
        permits: Permits::new(workers, max_connections),
        wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        accept_after: AtomicU64::new(0),
        accept_failed: Mutex::default(),
        called: AtomicU64::new(0),
        per_client: ClientCounts::default(),
        connections: ConnectionCounts::new(workers),
        gateway_errors: GatewayErrors::default(),
        malformed: MalformedLog::default(),
        reserve: Reserve::default(),
        challenges: Challenges::new(),
        jobs: Jobs::new(),
        waiting: WaitingCount::default(),
        buffers: BufferMemory::default(),
        script_asked: OnceLock::new(),
    });
    (0..workers).map(|worker| Shared { state: state.clone(), worker }).collect()
}

impl Shared {
    /// Returns the number of workers.
    pub fn count(&self) -> usize {
        self.state.wakers.len()
    }

    /// Returns the worker's number, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    pub fn per_client(&self) -> ClientCounts {
        self.state.per_client.clone()
    }

    pub fn connections(&self) -> ConnectionCounts {
        self.state.connections.of_worker(self.worker)
    }

    pub fn gateway_errors(&self) -> GatewayErrors {
        self.state.gateway_errors.shared()
    }

    pub fn malformed(&self) -> MalformedLog {
        self.state.malformed.clone()
    }

    pub fn reserve(&self) -> Reserve {
        self.state.reserve.clone()
    }

    /// Where a worker asks for files of challenges.
    pub(crate) fn challenges(&self) -> ChallengeSender {
        self.state.challenges.sender.clone()
    }

    /// What workers ask for; `None` if that is taken already.
    pub fn take_challenges(&self) -> Option<Receiver<ChallengeAsk>> {
        self.state.challenges.take_receiver()
    }

    /// Where a worker puts jobs, once it can be woken.
    pub(crate) fn jobs(&self) -> Option<JobSender> {
        self.state.wakers[self.worker].get().map(|waker| self.state.jobs.sender(waker.clone()))
    }

    /// What workers ask for; `None` if that is taken already.
    pub fn take_jobs(&self) -> Option<Receiver<Job>> {
        self.state.jobs.take_receiver()
    }

    /// Memory for bodies that are held.
    pub fn buffers(&self) -> BufferMemory {
        self.state.buffers.clone()
    }

    /// Handlers of all workers that wait.
    pub(crate) fn waiting(&self) -> WaitingCount {
        self.state.waiting.clone()
    }

    /// Calls `ask` when a worker needs a fresh VM.
    pub fn provide_scripts(&self, ask: impl Fn(usize, u64) + Send + Sync + 'static) {
        // Set once, when the workers run.
        let _ = self.state.script_asked.set(Box::new(ask));
    }

    pub fn ask_for_script(&self, generation: u64) {
        if let Some(ask) = self.state.script_asked.get() {
            ask(self.worker, generation);
        }
    }

    pub fn wake_by(&self, waker: Arc<Waker>) {
        // Set once, when the worker starts.
        let _ = self.state.wakers[self.worker].set(waker);
    }

    /// Acquires a permit for one more client; see `Permits::acquire`.
    pub fn acquire_permit(&self) -> bool {
        self.state.permits.acquire(self.worker)
    }

    pub fn was_handed_a_permit(&self) -> bool {
        self.state.permits.was_handed(self.worker)
    }

    /// Releases permits; workers in the permit queue get them first.
    pub fn release_permits(&self, count: usize) {
        for _ in 0..count {
            let next = self.state.permits.release();
            // A worker notices its own permits without being woken.
            if let Some(next) = next.filter(|next| *next != self.worker) {
                self.wake(next);
            }
        }
    }

    /// Changes `max_connections`.
    pub fn set_max_connections(&self, most: usize) {
        self.state.permits.set_most(most).into_iter().for_each(|worker| self.wake(worker));
    }

    /// Leaves the permit queue: this worker accepts no more clients.
    pub fn stop_waiting_for_permits(&self) {
        self.release_permits(self.state.permits.stop_waiting(self.worker));
    }

    /// Counts that all permits are taken, if so. Returns the count when it is time to log it.
    pub fn count_full(&self, now: u64) -> Option<u64> {
        self.state.permits.count_full(now)
    }

    /// Returns when connections may be accepted again, in microseconds; 0 if there was no pause.
    pub fn accept_after(&self) -> u64 {
        self.state.accept_after.load(Ordering::Relaxed)
    }

    /// Pauses accepting in all workers until `until`: a shortage in one affects all. Wakes the others. Returns the
    /// number of pauses when it is time to log it.
    pub fn pause_accepting(&self, until: u64, now: u64) -> Option<u64> {
        self.state.accept_after.fetch_max(until, Ordering::Relaxed);
        self.wake_others();
        self.state.accept_failed.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }

    /// Wakes the other workers to close idle connections and spare pipes.
    pub fn call_for_descriptors(&self, now: u64) {
        if now >= self.called() + CALL_AGAIN || self.called() == 0 {
            self.state.called.fetch_max(now, Ordering::Relaxed);
            self.wake_others();
        }
    }

    /// Returns the time of the last call for descriptors, in microseconds; 0 if there was none.
    pub fn called(&self) -> u64 {
        self.state.called.load(Ordering::Relaxed)
    }

    fn wake_others(&self) {
        (0..self.count()).filter(|worker| *worker != self.worker).for_each(|worker| self.wake(worker));
    }

    fn wake(&self, worker: usize) {
        if let Some(waker) = self.state.wakers[worker].get()
            && let Err(error) = waker.wake()
        {
            log::error!("cannot wake a worker: {}", os_error(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_in_accepting_applies_to_all_workers() {
        let workers = share(2, 1);
        assert_eq!(workers[0].pause_accepting(100, 0), Some(1));
        assert_eq!(workers[1].pause_accepting(50, 0), None, "told already");
        assert_eq!((workers[0].accept_after(), workers[1].accept_after()), (100, 100));
    }

    #[test]
    fn a_call_for_descriptors_is_not_repeated_at_once() {
        let workers = share(2, 1);
        for (now, called) in [(5, 5), (6, 5), (5 + CALL_AGAIN, 5 + CALL_AGAIN)] {
            workers[0].call_for_descriptors(now);
            assert_eq!(workers[1].called(), called);
        }
    }
}
