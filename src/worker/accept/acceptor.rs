//! Accepts new connections in bounded batches, while connection permits are available. Further connections stay in the
//! kernel's queue and are accepted even during shutdown.

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;

use mio::Registry;

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{Config, ListenerConfig};
use crate::exchange::ListenerContext;
use crate::exchange::counters::{ConnectionEnd, Counters};
use crate::net::{Accepted, Kernel, Listener, Stream};
use crate::worker::conn::client::REMOVED_LISTENER;
use crate::worker::core::Core;
use crate::worker::shared::Shared;

/// Connections accepted in one loop iteration, so that existing ones are served in between.
const ACCEPTS_A_TURN: usize = 64;
/// Pause after a failed accept (no descriptors, for example), in microseconds.
const ACCEPT_PAUSE: u64 = 100_000;
/// Connections accepted from the kernel's queue before the listeners close; no `backlog` is larger.
const LAST_ACCEPTS: usize = 65_535;
/// Listener tokens count down from here and are not reused; connection tokens never reach them.
const FIRST_LISTENER: u64 = u64::MAX - 1;

/// The listeners of a worker and its connection permits.
pub struct Acceptor {
    listeners: Vec<Accepting>,
    next_token: u64,
    /// The number of listeners that are closing.
    closing: usize,
    /// Index of the listener that the last batch started with.
    first: usize,
    shared: Shared,
    /// Client permits this worker holds, and whether it is queued for one more.
    permits: usize,
    waits_for_permit: bool,
    /// The last accept pause that this worker acted on.
    last_pause: u64,
}

/// A listener of a config that takes the place of another.
pub enum NextListener {
    /// The one at this position in the config before.
    Kept(usize),
    New(Listener),
}

struct Accepting {
    token: u64,
    /// Of its clients: few enough that they can share a byte, and used again after so many others.
    number: u8,
    name: Arc<str>,
    listener: Listener,
    /// Clients connect through a proxy that sends a PROXY header.
    proxied: bool,
    /// Connections are accepted once they have received bytes (TCP_DEFER_ACCEPT).
    deferred: bool,
    /// What else the listener does with its clients.
    context: Option<Rc<ListenerContext>>,
    ready: bool,
    /// The config does not have it any more: it closes once its queue is empty, or at this time, in microseconds.
    closes_by: Option<u64>,
}

impl Acceptor {
    /// `listeners`: in the order of the config.
    pub fn new(
        listeners: Vec<Listener>,
        config: &Config,
        registry: &Registry,
        shared: Shared,
    ) -> io::Result<Acceptor> {
        let mut acceptor = Acceptor {
            listeners: Vec::new(),
            next_token: FIRST_LISTENER,
            closing: 0,
            first: 0,
            shared,
            permits: 0,
            waits_for_permit: false,
            last_pause: 0,
        };
        for (listener, config) in listeners.into_iter().zip(&config.listeners) {
            acceptor.add(listener, config, registry)?;
        }
        Ok(acceptor)
    }

    fn add(
        &mut self,
        mut listener: Listener,
        config: &ListenerConfig,
        registry: &Registry,
    ) -> io::Result<()> {
        let token = self.next_token;
        self.next_token -= 1;
        let watched = listener.watch(registry, token);
        let (proxied, deferred) = (config.proxy_protocol, config.defer_accept);
        let (number, ready, closes_by) = ((token % u64::from(REMOVED_LISTENER)) as u8, false, None);
        let context = ListenerContext::of(&Arc::new(config.clone()));
        let name = config.name.as_str().into();
        let accepting =
            Accepting { token, number, name, listener, proxied, deferred, context, ready, closes_by };
        self.listeners.push(accepting);
        watched
    }

    /// The names of the listeners, by number.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names = vec![Arc::from(""); usize::from(REMOVED_LISTENER)];
        for listener in self.listeners.iter().filter(|listener| listener.closes_by.is_none()) {
            names[usize::from(listener.number)] = listener.name.clone();
        }
        names
    }

    /// Shows the listeners that accept, by name: `config` is the one that they are of.
    pub fn name_listeners(&self, config: &Config, counters: &Counters) {
        let open = self.listeners.iter().filter(|listener| listener.closes_by.is_none());
        for (listener, config) in open.zip(&config.listeners) {
            counters.name_listener(listener.number, &config.name);
        }
    }

    /// Marks a listener ready. Returns false if the token is not a listener's.
    pub fn is_ready(&mut self, token: u64) -> bool {
        if token <= self.next_token || token > FIRST_LISTENER {
            return false;
        }
        let accepting = self.listeners.iter_mut().find(|accepting| accepting.token == token);
        accepting.map(|accepting| accepting.ready = true).is_some()
    }

    /// Returns true if a listener is ready and a permit may be available. Ignores a pause in accepting.
    pub fn can_accept(&self) -> bool {
        self.somebody_waits() && (!self.waits_for_permit || self.shared.was_handed_a_permit())
    }

    fn somebody_waits(&self) -> bool {
        self.listeners.iter().any(|l| l.ready)
    }

    /// Accepts connections while permits are available; further ones stay in the kernel's queue.
    pub fn accept(&mut self, core: &mut Core<Kernel>, now: u64) {
        if !self.can_accept() || self.shared.accept_after() > now {
            return;
        }
        if !core.network.refill() {
            // A new connection would take descriptors that existing clients need for their servers.
            return self.pause_accepting(core, now, &io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.accept_some(core, ACCEPTS_A_TURN, now);
        self.release_permits(core);
        if self.waits_for_permit && !self.somebody_waits() {
            // The waiting clients are gone.
            self.stop_waiting();
        }
        self.note_full(core, now);
    }

    /// Accepts up to `most` connections. Returns the number of accepted connections.
    fn accept_some(&mut self, core: &mut Core<Kernel>, most: usize, now: u64) -> usize {
        let (count, mut accepted) = (self.listeners.len(), 0);
        // Rotate the first listener, so that a busy one cannot take every permit.
        self.first = (self.first + 1) % count.max(1);
        for step in 0..count {
            let at = (self.first + step) % count;
            if accepted < most && self.listeners[at].ready {
                match self.accept_from(core, at, most - accepted) {
                    Ok(more) => accepted += more,
                    Err(error) => {
                        self.pause_accepting(core, now, &error);
                        break;
                    }
                }
            }
        }
        accepted
    }

    /// Accepts from one listener while there are permits. Where the queue's length is known, stops before an accept
    /// that would find it empty. Returns the number of accepted connections.
    fn accept_from(&mut self, core: &mut Core<Kernel>, at: usize, most: usize) -> io::Result<usize> {
        let waiting = self.listeners[at].listener.waiting();
        // Accept at least once, even if the kernel reports an empty queue: the report may be wrong.
        let wanted = waiting.map_or(most, |waiting| waiting.clamp(1, most));
        for accepted in 0..wanted {
            if !self.reserve_permit(core) || !self.accept_one(core, at)? {
                return Ok(accepted);
            }
        }
        // Connections that arrive after this raise a new event.
        if waiting == Some(wanted) {
            self.listeners[at].ready = false;
        }
        Ok(wanted)
    }

    /// Reserves a connection permit for the next accept. A permit that is not used is kept for the accept after it.
    fn reserve_permit(&mut self, core: &mut Core<Kernel>) -> bool {
        if self.permits > core.client_count() {
            return true;
        }
        self.waits_for_permit = !self.shared.acquire_permit();
        self.permits += usize::from(!self.waits_for_permit);
        !self.waits_for_permit
    }

    /// Releases permits that no client uses: clients closed, or an accept found none.
    pub fn release_permits(&mut self, core: &mut Core<Kernel>) {
        let clients = core.client_count();
        if self.permits > clients {
            self.shared.release_permits(self.permits - clients);
            self.permits = clients;
        }
    }

    fn stop_waiting(&mut self) {
        self.waits_for_permit = false;
        self.shared.stop_waiting_for_permits();
    }

    /// Takes over the listeners of the config that is the current one now, in its order, and closes those that it does
    /// not have any more.
    pub fn switch(
        &mut self,
        next: Vec<NextListener>,
        core: &mut Core<Kernel>,
        registry: &Registry,
        now: u64,
    ) {
        let (before, mut closing): (Vec<_>, Vec<_>) = std::mem::take(&mut self.listeners)
            .into_iter()
            .partition(|listener| listener.closes_by.is_none());
        let mut before: Vec<_> = before.into_iter().map(Some).collect();
        let config = core.sites.current.routes.config.clone();
        for (next, config) in next.into_iter().zip(&config.listeners) {
            match next {
                NextListener::Kept(position) => {
                    let Some(kept) = before.get_mut(position).and_then(Option::take) else { continue };
                    let (proxied, deferred) = (config.proxy_protocol, config.defer_accept);
                    let context = ListenerContext::of(&Arc::new(config.clone()));
                    let name = config.name.as_str().into();
                    self.listeners.push(Accepting { name, proxied, deferred, context, ..kept });
                }
                NextListener::New(listener) => {
                    if let Err(error) = self.add(listener, config, registry) {
                        log::error!("cannot watch the listener {}: {}", config.address, os_error(&error));
                    }
                }
            }
        }
        let by = now + config.settings.drain_timeout.as_micros() as u64;
        for mut removed in before.into_iter().flatten() {
            removed.listener.refuse_more();
            (removed.ready, removed.closes_by) = (true, Some(by));
            core.drain_listener(removed.number, config.settings.drain_timeout);
            closing.push(removed);
        }
        self.name_listeners(&config, core.counters());
        self.closing = closing.len();
        self.listeners.append(&mut closing);
        self.close_removed(core, now);
    }

    /// Closes removed listeners whose queue is empty: the clients in it see themselves as connected, and would be
    /// reset.
    pub fn close_removed(&mut self, core: &mut Core<Kernel>, now: u64) {
        if self.closing == 0 {
            return;
        }
        let stays = |listener: &Accepting| listener.closes_by.is_none_or(|by| listener.ready && now < by);
        self.listeners.iter_mut().filter(|listener| !stays(listener)).for_each(|closing| {
            core.network.unwatch(&mut closing.listener);
        });
        self.listeners.retain(stays);
        self.closing = self.listeners.iter().filter(|listener| listener.closes_by.is_some()).count();
        if self.waits_for_permit && !self.somebody_waits() {
            self.stop_waiting();
        }
    }

    /// Closes the listeners for good.
    pub fn stop_accepting(&mut self, core: &mut Core<Kernel>, now: u64) {
        // Their clients see themselves as connected, and closing a listener would reset them.
        if core.network.refill() {
            self.accept_last(core, now);
        }
        self.close(core);
    }

    /// Closes the listeners at once: another process has the same sockets.
    pub fn close(&mut self, core: &mut Core<Kernel>) {
        self.listeners.iter_mut().for_each(|closing| core.network.unwatch(&mut closing.listener));
        self.listeners.clear();
        self.stop_waiting();
        self.release_permits(core);
    }

    /// Connections keep arriving meanwhile: repeats until the queues are empty or `LAST_ACCEPTS` is reached.
    fn accept_last(&mut self, core: &mut Core<Kernel>, now: u64) {
        let mut left = LAST_ACCEPTS;
        while left > 0 {
            for accepting in &mut self.listeners {
                accepting.ready = true;
            }
            match self.accept_some(core, left, now) {
                0 => return,
                accepted => left -= accepted.min(left),
            }
        }
    }

    /// Logs, rate-limited, that all permits are taken.
    fn note_full(&mut self, core: &mut Core<Kernel>, now: u64) {
        if let Some(n) = self.shared.count_full(now) {
            let most = core.config().settings.max_connections;
            let (most, times) = (counted(most as u64, "connection"), counted(n, "time"));
            log::warn!("{most} (max_connections): new ones wait until others end ({times})");
        }
    }

    /// Returns false if no connection was queued.
    fn accept_one(&mut self, core: &mut Core<Kernel>, at: usize) -> io::Result<bool> {
        match self.listeners[at].listener.accept() {
            Ok(accepted) => self.take(core, at, accepted),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock => {
                    self.listeners[at].ready = false;
                    return Ok(false);
                }
                ErrorKind::Interrupted => return Ok(false),
                // The client closed the connection while it was queued.
                ErrorKind::ConnectionAborted => {}
                _ => return Err(e),
            },
        }
        Ok(true)
    }

    fn take(&mut self, core: &mut Core<Kernel>, at: usize, Accepted { stream, peer }: Accepted) {
        let Accepting { proxied, deferred, number, closes_by, context, .. } = &self.listeners[at];
        let (proxied, deferred) = (*proxied, *deferred);
        let listener = if closes_by.is_some() { REMOVED_LISTENER } else { *number };
        let Some(stream) = secured(stream, context.as_deref(), proxied) else { return };
        let client = match proxied {
            true => core.accepted_from_proxy(stream, peer),
            false => core.accepted(stream, peer),
        };
        let Some(client) = client else { return };
        core.set_listener(client, listener, context.as_ref());
        if !proxied && !core.on_connect_allows(client) {
            core.close_client(client);
        } else if deferred {
            core.mark_readable(client);
        }
    }

    /// The listener stays ready and is retried after the pause; connections stay in the kernel's queue.
    fn pause_accepting(&mut self, core: &mut Core<Kernel>, now: u64, error: &io::Error) {
        core.counters().connection_ended(ConnectionEnd::AcceptFailed);
        if let Some(n) = self.shared.pause_accepting(now + ACCEPT_PAUSE, now) {
            log::error!(
                "cannot accept connections ({}): {}; those that come wait in the kernel",
                if n == 1 { "1 try".into() } else { format!("{n} tries") },
                os_error(error)
            );
        }
        self.on_accept_pause(core);
    }

    /// Closes idle connections and spare pipes to free descriptors, after any worker failed to accept.
    pub fn on_accept_pause(&mut self, core: &mut Core<Kernel>) {
        let pause = self.shared.accept_after();
        if pause != self.last_pause {
            self.last_pause = pause;
            core.close_idle();
        }
    }
}

/// The connection with TLS around it, if its listener has that. `None`: it is closed.
fn secured(stream: Stream, context: Option<&ListenerContext>, proxied: bool) -> Option<Stream> {
    let Some(tls) = context.and_then(|context| context.listener.tls.as_ref()) else {
        return Some(stream);
    };
    match stream.secured(&tls.server, proxied) {
        Ok(stream) => Some(stream),
        Err(error) => {
            log::error!("cannot begin TLS with a client: {}", os_error(&error));
            None
        }
    }
}
