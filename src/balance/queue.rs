//! Requests that wait until a server takes one more. One queue a pool, in the order of arrival, and one for each server
//! of those that must go there. All workers share them: a server that becomes free is given, with the slot, to the
//! request that waits longest, whichever worker has it; the worker finds the grant in its inbox.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::server::Server;
use super::slot::Slot;

/// A request that waits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueuedRequest {
    pub worker: usize,
    /// The worker's name for it.
    pub client: u64,
    /// Servers that failed for it, and are not given to it.
    pub tried: Vec<ServerKey>,
    /// It looks again by itself: what it waits for is not the end of a request.
    pub looks: bool,
}

/// A server, by the identity of its object.
pub type ServerKey = usize;

/// A request's place in the queue.
pub struct Ticket {
    pub number: u64,
    /// How many wait for the same and came before.
    pub ahead: usize,
    pub wakes: Wakes,
}

/// What wakes a request that has entered the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wakes {
    /// A server that becomes free. One may have become free meanwhile, when nobody was there to be woken, or be free
    /// already where those in front cannot go there: it has to look.
    Look,
    /// The same, but those in front have looked.
    Freed,
    /// Perhaps nothing, since those in front look by themselves: it has to do that, too.
    Time,
}

/// Its turn has come.
pub struct Grant {
    pub client: u64,
    /// Its number in the queue.
    pub ticket: u64,
    pub server: GrantedServer,
}

pub enum GrantedServer {
    /// With its slot, which is free again when this is dropped.
    Server(Slot),
    /// The one that it waited for, or the last of all, went down.
    None,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Those that any server may take, by ticket.
    any: BTreeMap<u64, QueuedRequest>,
    /// Those of one server.
    bound: HashMap<ServerKey, BTreeMap<u64, QueuedRequest>>,
}

pub struct Queue {
    waiting: Mutex<Waiting>,
    /// All of them, and those that any server may take.
    len: AtomicUsize,
    any: AtomicUsize,
    inboxes: Arc<Inboxes>,
}

impl Queue {
    pub fn new(inboxes: Arc<Inboxes>) -> Queue {
        Queue { waiting: Mutex::default(), len: AtomicUsize::new(0), any: AtomicUsize::new(0), inboxes }
    }

    /// The requests that wait.
    pub fn count(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// How many wait for each of these servers and no other, by name.
    pub fn by_server(&self, members: &[Arc<Server>]) -> HashMap<String, u64> {
        if self.count() == 0 {
            return HashMap::new();
        }
        let waiting = lock(&self.waiting);
        let of = |server: &Arc<Server>| {
            Some((server.name().to_owned(), waiting.bound.get(&key(server))?.len() as u64))
        };
        members.iter().filter_map(of).collect()
    }

    /// Others wait for any server, so that a new request has to wait behind them.
    pub fn is_busy(&self) -> bool {
        self.any.load(Ordering::SeqCst) > 0
    }

    /// Returns the ticket, or `None` if `most` wait already.
    pub fn enter(&self, waiter: QueuedRequest, server: Option<&Arc<Server>>, most: usize) -> Option<Ticket> {
        let mut waiting = lock(&self.waiting);
        if self.count() >= most {
            return None;
        }
        let wakes = waiting.wakes(&waiter, server.is_some());
        let number = waiting.next;
        waiting.next += 1;
        let waiters = match server {
            None => &mut waiting.any,
            Some(server) => waiting.bound.entry(key(server)).or_default(),
        };
        let ahead = waiters.len();
        waiters.insert(number, waiter);
        self.note_len(&waiting, 1);
        Some(Ticket { number, ahead, wakes })
    }

    /// The request does not wait any more. Returns false if its turn has come already.
    pub fn leave(&self, ticket: u64, server: Option<&Arc<Server>>) -> bool {
        let mut waiting = lock(&self.waiting);
        let left = match server {
            None => waiting.any.remove(&ticket).is_some(),
            Some(server) => waiting.take_bound(key(server), ticket).is_some(),
        };
        if left {
            self.note_len(&waiting, -1);
        }
        left
    }

    /// The server may take more: as many of those that wait as it takes get it. `open`: also those that are not bound
    /// to it.
    pub fn freed(&self, server: &Arc<Server>, open: bool) {
        while self.count() > 0 {
            let mut waiting = lock(&self.waiting);
            let Some((ticket, bound)) = waiting.first(key(server), open) else { return };
            let Some(slot) = Slot::reserve(server) else { return };
            let waiter = match bound {
                true => waiting.take_bound(key(server), ticket),
                false => waiting.any.remove(&ticket),
            };
            self.note_len(&waiting, -1);
            drop(waiting);
            if let Some(waiter) = waiter {
                self.grant(ticket, waiter, GrantedServer::Server(slot));
            }
        }
    }

    /// No server of the pool takes requests any more: nobody needs to wait.
    pub fn give_up(&self) {
        let mut waiting = lock(&self.waiting);
        let any = std::mem::take(&mut waiting.any);
        self.turn_away(waiting, any);
    }

    /// This server takes no requests any more: nobody needs to wait for it.
    pub fn give_up_bound(&self, server: &Arc<Server>) {
        let mut waiting = lock(&self.waiting);
        let bound = waiting.bound.remove(&key(server)).unwrap_or_default();
        self.turn_away(waiting, bound);
    }

    fn turn_away(&self, waiting: MutexGuard<'_, Waiting>, those: BTreeMap<u64, QueuedRequest>) {
        self.note_len(&waiting, -(those.len() as isize));
        drop(waiting);
        those.into_iter().for_each(|(ticket, waiter)| self.grant(ticket, waiter, GrantedServer::None));
    }

    fn grant(&self, ticket: u64, waiter: QueuedRequest, server: GrantedServer) {
        self.inboxes.put(waiter.worker, Grant { client: waiter.client, ticket, server });
    }

    fn note_len(&self, waiting: &Waiting, by: isize) {
        self.any.store(waiting.any.len(), Ordering::SeqCst);
        self.len.store(self.count().wrapping_add_signed(by), Ordering::SeqCst);
    }
}

impl Waiting {
    /// What will wake a request that enters now.
    fn wakes(&self, waiter: &QueuedRequest, bound: bool) -> Wakes {
        let first = self.any.values().next();
        match first {
            _ if waiter.looks => Wakes::Time,
            _ if bound => Wakes::Look,
            Some(first) if first.looks => Wakes::Time,
            _ if self.any.values().all(|waiter| !waiter.tried.is_empty()) => Wakes::Look,
            _ => Wakes::Freed,
        }
    }

    /// The ticket that waits longest for this server, and whether it is bound to it.
    fn first(&self, server: ServerKey, open: bool) -> Option<(u64, bool)> {
        let bound = self.bound.get(&server).and_then(|bound| bound.keys().next());
        // Who has tried others takes what is left.
        let takes = |(_, waiter): &(&u64, &QueuedRequest)| {
            (open || !waiter.tried.is_empty()) && !waiter.tried.contains(&server)
        };
        let any = self.any.iter().find(takes).map(|(ticket, _)| ticket);
        match (bound, any) {
            (Some(bound), Some(any)) => Some((*bound.min(any), bound < any)),
            (Some(bound), None) => Some((*bound, true)),
            (None, any) => any.map(|any| (*any, false)),
        }
    }

    fn take_bound(&mut self, server: ServerKey, ticket: u64) -> Option<QueuedRequest> {
        let bound = self.bound.get_mut(&server)?;
        let waiter = bound.remove(&ticket);
        if bound.is_empty() {
            self.bound.remove(&server);
        }
        waiter
    }
}

pub fn key(server: &Arc<Server>) -> ServerKey {
    Arc::as_ptr(server) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The grants for each worker.
pub struct Inboxes(Vec<Inbox>);

#[derive(Default)]
struct Inbox {
    grants: Mutex<Vec<Grant>>,
    waiting: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Inboxes {
    pub fn new(workers: usize) -> Inboxes {
        Inboxes((0..workers).map(|_| Inbox::default()).collect())
    }

    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// How to wake the worker for a grant. Without this it has to look by itself.
    pub fn wake_by(&self, worker: usize, wake: impl Fn() + Send + Sync + 'static) {
        // Set once, when the worker starts.
        let _ = self.0[worker].wake.set(Box::new(wake));
    }

    pub fn has_grants(&self, worker: usize) -> bool {
        self.0[worker].waiting.load(Ordering::Acquire)
    }

    pub fn take(&self, worker: usize) -> Vec<Grant> {
        let inbox = &self.0[worker];
        let mut grants = lock(&inbox.grants);
        inbox.waiting.store(false, Ordering::Release);
        std::mem::take(&mut grants)
    }

    fn put(&self, worker: usize, grant: Grant) {
        let inbox = &self.0[worker];
        lock(&inbox.grants).push(grant);
        if !inbox.waiting.swap(true, Ordering::AcqRel)
            && let Some(wake) = inbox.wake.get()
        {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::pool_of;

    fn waiter(client: u64) -> QueuedRequest {
        QueuedRequest { worker: client as usize % 2, client, ..QueuedRequest::default() }
    }

    /// The clients that were granted a server, in the order of their grants, and frees their slots.
    fn granted(pool: &crate::balance::PoolState) -> Vec<(u64, String)> {
        let inboxes = &pool.queue.inboxes;
        let mut grants: Vec<Grant> = (0..2).flat_map(|worker| inboxes.take(worker)).collect();
        grants.sort_by_key(|grant| grant.ticket);
        let name = |server| match server {
            GrantedServer::Server(slot) => {
                let name = Slot::server(&slot).name().to_owned();
                std::mem::forget(slot);
                name
            }
            GrantedServer::None => "none".into(),
        };
        grants.into_iter().map(|grant| (grant.client, name(grant.server))).collect()
    }

    #[test]
    fn those_that_wait_are_served_in_order_over_all_workers() {
        let pool = pool_of(2, &[Some(2)]);
        let server = pool.members()[0].clone();
        let queue = &pool.queue;
        let tickets: Vec<_> = (0..5).map(|client| queue.enter(waiter(client), None, 5)).collect();
        assert!(tickets.iter().all(Option::is_some) && queue.is_busy());
        assert!(queue.enter(waiter(5), None, 5).is_none(), "five at most");
        let second = tickets[1].as_ref().unwrap().number;
        assert!(queue.leave(second, None) && !queue.leave(second, None));
        queue.freed(&server, true);
        let name = || "s0".to_string();
        assert_eq!(granted(&pool), [(0, name()), (2, name())]);
        queue.freed(&server, true);
        assert_eq!(granted(&pool), [], "no slot is free");
        server.free_slot();
        queue.freed(&server, true);
        assert_eq!(granted(&pool), [(3, name())]);
        assert_eq!(queue.count(), 1);
    }

    #[test]
    fn a_request_bound_to_a_server_gets_only_that_one_and_holds_up_nobody() {
        let pool = pool_of(2, &[Some(1), Some(1)]);
        let [first, second] = [0, 1].map(|at| pool.members()[at].clone());
        let queue = &pool.queue;
        let bound = queue.enter(waiter(0), Some(&first), 9).unwrap().number;
        assert!(!queue.is_busy(), "it waits for its server alone");
        queue.enter(waiter(1), None, 9);
        queue.freed(&second, true);
        assert_eq!(granted(&pool), [(1, "s1".to_string())]);
        queue.enter(waiter(2), None, 9);
        queue.freed(&first, false);
        assert_eq!(granted(&pool), [(0, "s0".to_string())], "a draining server takes only its own");
        assert!(!queue.leave(bound, Some(&first)));
        queue.give_up();
        assert_eq!((granted(&pool), queue.count()), (vec![(2, "none".to_string())], 0));
    }

    #[test]
    fn a_grant_that_is_not_used_gives_its_slot_back() {
        let pool = pool_of(2, &[Some(1)]);
        let server = pool.members()[0].clone();
        pool.queue.enter(waiter(0), None, 9);
        pool.queue.enter(waiter(2), None, 9);
        pool.queue.freed(&server, true);
        drop(pool.queue.inboxes.take(0));
        assert_eq!(granted(&pool), [(2, "s0".to_string())], "the next one gets it");
    }

    #[test]
    fn a_server_that_failed_for_a_request_goes_to_the_next_one() {
        let pool = pool_of(2, &[None, Some(1)]);
        let [first, second] = [0, 1].map(|at| pool.members()[at].clone());
        let queue = &pool.queue;
        let enter = |client, tried| {
            let waiter = QueuedRequest { tried, ..waiter(client) };
            queue.enter(waiter, None, 9).unwrap().wakes
        };
        assert_eq!(enter(0, vec![key(&first)]), Wakes::Look);
        queue.freed(&first, true);
        assert_eq!(granted(&pool), []);
        assert_eq!(enter(1, vec![]), Wakes::Look, "the one in front could not take the first server");
        assert_eq!(enter(2, vec![]), Wakes::Freed);
        queue.freed(&first, true);
        assert_eq!(granted(&pool), [(1, "s0".to_string()), (2, "s0".to_string())]);
        queue.freed(&second, true);
        assert_eq!(granted(&pool), [(0, "s1".to_string())]);
    }

    #[test]
    fn behind_a_request_that_looks_by_itself_all_do() {
        let pool = pool_of(2, &[None]);
        let server = pool.members()[0].clone();
        let enter = |waiter, server| pool.queue.enter(waiter, server, 9).unwrap().wakes;
        assert_eq!(enter(QueuedRequest { looks: true, ..waiter(0) }, None), Wakes::Time);
        assert_eq!(enter(waiter(2), None), Wakes::Time);
        assert_eq!(enter(waiter(4), Some(&server)), Wakes::Look);
        pool.queue.give_up_bound(&server);
        assert_eq!(granted(&pool), [(4, "none".to_string())]);
        assert_eq!(pool.queue.count(), 2);
    }
}
