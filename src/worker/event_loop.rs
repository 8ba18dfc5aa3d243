//! The event loop: epoll, the clock, and messages from the control thread. Events are passed to the core; nothing here
//! knows HTTP.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::{Drain, Message, Question, Switch};
use crate::base::counted::counted;
use crate::exchange::counters::Counters;
use crate::net::{Kernel, Listener};
use crate::worker::accept::acceptor::Acceptor;
use crate::worker::access::AccessSender;
use crate::worker::core::{Core, Ready};
use crate::worker::drain::{DELIVERY, Draining};
use crate::worker::heartbeat::{Beating, Heartbeat};
use crate::worker::shared::Shared;
use crate::worker::site::{SiteParts, Sites};

const WAKER: u64 = u64::MAX;

const EVENTS: usize = 1024;
/// Interval at which unused memory is freed, in microseconds.
const TRIM_EVERY: u64 = 1_000_000;
/// Access records are batched for at most this long, in microseconds.
const ACCESS_DELAY: u64 = 20_000;
/// How often a worker may ask for a fresh VM, in microseconds: its script may fill that as fast as it gets it.
const ASK_FOR_SCRIPT_EVERY: u64 = 1_000_000;

pub(crate) struct EventLoop {
    poll: Poll,
    events: Events,
    pub(crate) core: Core<Kernel>,
    acceptor: Acceptor,
    messages: Receiver<Message>,
    beating: Beating,
    zero: Instant,
    date: Date,
    /// The state shared with the other workers.
    shared: Shared,
    /// The last call for descriptors that this worker answered.
    last_call: u64,
    /// When the last batch of access records was sent.
    access_sent: u64,
    /// When memory was last trimmed.
    trimmed: u64,
    /// Before this time no fresh VM is asked for.
    asked_for_script: u64,
    /// The phase of draining, once it has begun.
    draining: Option<Draining>,
    stopped: bool,
}

impl EventLoop {
    pub fn new(
        site: SiteParts,
        listeners: Vec<Listener>,
        access: Option<AccessSender>,
        zero: Instant,
        messages: Receiver<Message>,
        shared: Shared,
    ) -> io::Result<(EventLoop, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER as usize))?);
        shared.wake_by(waker.clone());
        let acceptor = Acceptor::new(listeners, &site.config, poll.registry(), shared.clone())?;
        let kernel = Kernel::new(poll.registry().try_clone()?, shared.reserve());
        let clock = move || zero.elapsed().as_micros() as u64;
        let mut core = Core::new(kernel, Sites::new(site, shared.worker()), access, clock);
        core.share(&shared);
        core.name_listeners(acceptor.names());
        acceptor.name_listeners(core.config(), core.counters());
        let grants = waker.clone();
        core.wake_by(move || _ = grants.wake());
        let event_loop = EventLoop {
            poll,
            events: Events::with_capacity(EVENTS),
            core,
            acceptor,
            messages,
            beating: Beating::start(),
            zero,
            date: Date::default(),
            shared,
            last_call: 0,
            access_sent: 0,
            trimmed: 0,
            asked_for_script: 0,
            draining: None,
            stopped: false,
        };
        Ok((event_loop, waker))
    }

    /// Runs until stopped, or until drained.
    pub fn run(&mut self) -> io::Result<()> {
        let now = self.zero.elapsed().as_micros() as u64;
        self.core.set_clock(now, self.date.at(now));
        self.core.begin_site();
        loop {
            self.wait()?;
            let now = self.zero.elapsed().as_micros() as u64;
            self.core.set_clock(now, self.date.at(now));
            self.mark();
            self.acceptor.accept(&mut self.core, now);
            self.acceptor.close_removed(&mut self.core, now);
            self.core.take_grants();
            self.core.turns();
            self.core.expire();
            self.call_if_short(now);
            self.ask_for_script(now);
            self.acceptor.release_permits(&mut self.core);
            self.send_access(now);
            self.core.report();
            self.core.show_traffic();
            self.trim(now);
            if self.is_over(now) {
                self.core.stop();
                self.core.flush_access();
                self.core.report_rest();
                return Ok(());
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        self.beating.turn_ends();
        let polled = self.poll.poll(&mut self.events, timeout);
        self.beating.turn_begins();
        match polled {
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Returns the time until the next timer, report, access batch or accept; zero if connections are queued.
    fn timeout(&self) -> Option<Duration> {
        if self.core.has_turns() {
            return Some(Duration::ZERO);
        }
        let never = u64::MAX;
        let drained_by = self.draining.map_or(never, Draining::until);
        let mut first = self.core.next_timer().unwrap_or(never).min(drained_by);
        first = first.min(self.core.report_at());
        if self.acceptor.can_accept() {
            first = first.min(self.shared.accept_after());
        }
        if self.core.access_waits() {
            first = first.min(self.access_sent + ACCESS_DELAY);
        }
        if self.core.keeps_idle() {
            first = first.min(self.core.now() + TRIM_EVERY);
        }
        if self.core.has_surplus() {
            first = first.min(self.trimmed + TRIM_EVERY);
        }
        // Relative to the start of this iteration, so a timer may be late by the iteration's length. epoll counts
        // milliseconds; mio rounds up, so a timer is due when the wait returns.
        (first != never).then(|| Duration::from_micros(first.saturating_sub(self.core.now())))
    }

    /// Passes the readiness of every event to its listener or connection.
    fn mark(&mut self) {
        let mut woken = false;
        for event in &self.events {
            let token = event.token().0 as u64;
            if token == WAKER {
                woken = true;
                continue;
            }
            if !self.acceptor.is_ready(token) {
                self.core.ready(token, readiness(event));
            }
        }
        if woken {
            self.acceptor.on_accept_pause(&mut self.core);
            self.on_descriptor_call();
            self.read_messages();
        }
    }

    fn read_messages(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Switch(switch) => self.switch(*switch),
                Message::Script(generation, script) => self.core.set_script(generation, *script),
                Message::Drain(drain) => self.drain(drain),
                Message::Ask(question) => self.answer(question),
                Message::Stop => self.stopped = true,
            }
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Sessions(from, answer) => answer(self.core.sessions(from)),
            Question::Session(token, answer) => answer(self.core.now(), self.core.session_of(token)),
            Question::Shut(token, answer) => answer(self.core.shut_session(token)),
        }
    }

    /// Between two turns: a request sees the old config or the new one.
    fn switch(&mut self, switch: Switch) {
        self.core.set_site(switch.site.unpack());
        let now = self.core.now();
        if self.draining.is_none() {
            self.acceptor.switch(switch.listeners, &mut self.core, self.poll.registry(), now);
            self.core.name_listeners(self.acceptor.names());
        }
        if let Some(access) = switch.access {
            self.core.set_access(access);
        }
        self.core.begin_site();
        (switch.done)();
    }

    fn drain(&mut self, drain: Drain) {
        if self.draining.is_none() {
            let now = self.core.now();
            match drain.handed_over {
                true => self.acceptor.close(&mut self.core),
                false => self.acceptor.stop_accepting(&mut self.core, now),
            }
            self.draining = Some(Draining::Finishing { until: self.core.drain(drain.within) });
        }
    }

    /// Asks the other workers for descriptors after a connection to a server lacked one; this worker has already closed
    /// its own idle ones.
    fn call_if_short(&mut self, now: u64) {
        if self.core.network.was_short() && self.shared.count() > 1 {
            self.shared.call_for_descriptors(now);
        }
    }

    /// Asks for a fresh VM in place of one that has used up its memory.
    fn ask_for_script(&mut self, now: u64) {
        if self.core.needs_script() && now >= self.asked_for_script {
            self.asked_for_script = now + ASK_FOR_SCRIPT_EVERY;
            self.shared.ask_for_script(self.core.sites.current.generation);
        }
    }

    fn on_descriptor_call(&mut self) {
        let called = self.shared.called();
        if called != self.last_call {
            self.last_call = called;
            self.core.close_idle();
        }
    }

    /// Returns what shows that this loop turns.
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        self.beating.heartbeat()
    }

    /// Returns the counters of ended requests.
    pub fn counters(&self) -> Arc<Counters> {
        self.core.counters().clone()
    }

    fn send_access(&mut self, now: u64) {
        if self.core.access_is_full() || now >= self.access_sent + ACCESS_DELAY {
            self.core.flush_access();
            self.access_sent = now;
        }
    }

    fn trim(&mut self, now: u64) {
        if now >= self.trimmed + TRIM_EVERY && self.core.has_surplus() {
            self.trimmed = now;
            self.core.trim();
        }
    }

    /// Returns true when the loop must end.
    fn is_over(&mut self, now: u64) -> bool {
        match self.draining {
            _ if self.stopped => return true,
            None => return false,
            Some(Draining::Finishing { until }) if now >= until => {
                let cut = counted(self.core.client_count() as u64, "connection");
                log::warn!("{cut} cut: drain_timeout is over");
                self.core.cut_all();
                self.draining = Some(Draining::Delivering { until: now + DELIVERY });
            }
            Some(Draining::Delivering { until }) if now >= until => return true,
            Some(_) => {}
        }
        self.core.is_drained()
    }
}

fn readiness(event: &Event) -> Ready {
    Ready {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        hung_up: event.is_error() || event.is_read_closed() && event.is_write_closed(),
    }
}

/// The value of the `Date` field, formatted once a second.
#[derive(Default)]
struct Date {
    text: String,
    second: u64,
}

impl Date {
    fn at(&mut self, now: u64) -> &[u8] {
        let second = now / 1_000_000 + 1;
        if second != self.second {
            self.second = second;
            self.text.clear();
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{}", HttpDate::from(SystemTime::now()));
        }
        self.text.as_bytes()
    }
}
