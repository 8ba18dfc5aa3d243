//! Taking new connections from the listeners: not more at a time than those that are there can bear, and not more
//! than there are permits for. Who has to wait does so in the kernel's queue, and those are let in even at the very end.

use std::io::{self, ErrorKind};

use mio::Registry;

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{Config, ListenerConfig};
use crate::exchange::counters::ConnectionEnd;
use crate::net::{Accepted, Kernel, Listener};
use crate::worker::core::Core;
use crate::worker::shared::Shared;

/// Connections accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = 64;
/// After a failed accept (no descriptors left, say) this long nobody tries.
const ACCEPT_PAUSE: u64 = 100_000;
/// Connections taken from the kernel's queue before the listeners close; no `backlog` is larger.
const LAST_ACCEPTS: usize = 65_535;
/// Tokens of listeners count down from here, each used once; those of connections never come near.
const FIRST_LISTENER: u64 = u64::MAX - 1;

/// The listeners of a worker, and its permits for those who come.
pub struct Acceptor {
    listeners: Vec<Accepting>,
    next_token: u64,
    /// The listener that was asked first the last time.
    first: usize,
    shared: Shared,
    /// Permits for clients that this worker has, and whether it waits for one more.
    permits: usize,
    waits_for_permit: bool,
    /// The pause in accepting that was heeded last.
    pause_seen: u64,
}

struct Accepting {
    token: u64,
    listener: Listener,
    /// Its clients come through proxies that say for whom.
    proxied: bool,
    /// Its clients have sent something before they are accepted.
    deferred: bool,
    ready: bool,
}

impl Acceptor {
    /// `listeners`: in the order of the config's.
    pub fn new(
        listeners: Vec<Listener>,
        config: &Config,
        registry: &Registry,
        shared: Shared,
    ) -> io::Result<Acceptor> {
        let mut acceptor = Acceptor {
            listeners: Vec::new(),
            next_token: FIRST_LISTENER,
            first: 0,
            shared,
            permits: 0,
            waits_for_permit: false,
            pause_seen: 0,
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
        listener.watch(registry, token)?;
        let (proxied, deferred) = (config.proxy_protocol, config.defer_accept);
        self.listeners.push(Accepting { token, listener, proxied, deferred, ready: false });
        Ok(())
    }

    /// Takes note of an event; false if it is of no listener.
    pub fn is_ready(&mut self, token: u64) -> bool {
        if token <= self.next_token || token > FIRST_LISTENER {
            return false;
        }
        let accepting = self.listeners.iter_mut().find(|accepting| accepting.token == token);
        accepting.map(|accepting| accepting.ready = true).is_some()
    }

    /// Whether anybody waits whom this worker may take, now or after a pause that may be on.
    pub fn can_accept(&self) -> bool {
        self.somebody_waits() && (!self.waits_for_permit || self.shared.was_handed_a_permit())
    }

    fn somebody_waits(&self) -> bool {
        self.listeners.iter().any(|l| l.ready)
    }

    /// Takes new connections while there is room for them; those there is no room for wait in the kernel.
    pub fn accept(&mut self, core: &mut Core<Kernel>, now: u64) {
        if !self.can_accept() || self.shared.accept_after() > now {
            return;
        }
        if !core.network.refill() {
            // Whoever is let in now would take what those who are in need to be served.
            return self.pause_accepting(core, now, &io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.accept_some(core, ACCEPTS_A_TURN, now);
        self.release_permits(core);
        if self.waits_for_permit && !self.somebody_waits() {
            // They left while this worker waited for a permit.
            self.stop_waiting();
        }
        self.note_full(core, now);
    }

    /// Gives how many came.
    fn accept_some(&mut self, core: &mut Core<Kernel>, most: usize, now: u64) -> usize {
        let (count, mut accepted) = (self.listeners.len(), 0);
        // Another one is first each time: where there is little room, no listener takes all of it for ever.
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

    /// As many as wait at one listener and get a permit, without asking for one more in vain where their number is
    /// known. Gives how many came.
    fn accept_from(&mut self, core: &mut Core<Kernel>, at: usize, most: usize) -> io::Result<usize> {
        let waiting = self.listeners[at].listener.waiting();
        // Asked once even where nobody is said to wait: should a kernel always say so, clients come in all the same.
        let wanted = waiting.map_or(most, |waiting| waiting.clamp(1, most));
        for accepted in 0..wanted {
            if !self.reserve_permit(core) || !self.accept_one(core, at)? {
                return Ok(accepted);
            }
        }
        // Those that came meanwhile are a new event.
        if waiting == Some(wanted) {
            self.listeners[at].ready = false;
        }
        Ok(wanted)
    }

    /// Reserves a connection permit for the next client; if none comes, it serves for the one after.
    fn reserve_permit(&mut self, core: &mut Core<Kernel>) -> bool {
        if self.permits > core.client_count() {
            return true;
        }
        self.waits_for_permit = !self.shared.acquire_permit();
        self.permits += usize::from(!self.waits_for_permit);
        !self.waits_for_permit
    }

    /// Releases permits that nobody has: of clients that went, or did not come.
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

    /// Closes the listeners. Connections that wait in the kernel were made, as far as their clients know, and would
    /// be reset: they are taken before, as many as there may be.
    pub fn stop_accepting(&mut self, core: &mut Core<Kernel>, now: u64) {
        if core.network.refill() {
            self.accept_last(core, now);
        }
        self.listeners.clear();
        self.stop_waiting();
        self.release_permits(core);
    }

    /// Others come while these are taken: until nobody more does.
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

    /// After there was room: is there still some?
    fn note_full(&mut self, core: &mut Core<Kernel>, now: u64) {
        if let Some(n) = self.shared.count_full(now) {
            let most = core.config().settings.max_connections;
            let (most, times) = (counted(most as u64, "connection"), counted(n, "time"));
            log::warn!("{most} (max_connections): new ones wait until others end ({times})");
        }
    }

    /// False if nobody came.
    fn accept_one(&mut self, core: &mut Core<Kernel>, at: usize) -> io::Result<bool> {
        match self.listeners[at].listener.accept() {
            Ok(accepted) => self.take(core, at, accepted),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock => {
                    self.listeners[at].ready = false;
                    return Ok(false);
                }
                ErrorKind::Interrupted => return Ok(false),
                // The client came, and left while it waited.
                ErrorKind::ConnectionAborted => {}
                _ => return Err(e),
            },
        }
        Ok(true)
    }

    fn take(&mut self, core: &mut Core<Kernel>, at: usize, Accepted { stream, peer }: Accepted) {
        let Accepting { proxied, deferred, .. } = self.listeners[at];
        let client = match proxied {
            true => core.accepted_from_proxy(stream, peer),
            false => core.accepted(stream, peer),
        };
        if let Some(client) = client.filter(|_| deferred) {
            core.mark_readable(client);
        }
    }

    /// The listener stays ready and is tried again after the pause; meanwhile clients wait in the kernel.
    fn pause_accepting(&mut self, core: &mut Core<Kernel>, now: u64, error: &io::Error) {
        core.counters().connection_ended(ConnectionEnd::AcceptFailed);
        if let Some(n) = self.shared.pause_accepting(now + ACCEPT_PAUSE, now) {
            log::error!(
                "cannot accept connections ({}): {}; those that come wait in the kernel",
                if n == 1 { "1 try".into() } else { format!("{n} tries") },
                os_error(error)
            );
        }
        self.heed_pause(core);
    }

    /// A worker could not accept, and woke the others: all give back what they only keep to be fast.
    pub fn heed_pause(&mut self, core: &mut Core<Kernel>) {
        let pause = self.shared.accept_after();
        if pause != self.pause_seen {
            self.pause_seen = pause;
            core.close_idle();
        }
    }
}
