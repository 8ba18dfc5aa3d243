//! A loaded config that asks what becomes of requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::request::{Asking, Sent};
use super::{Answered, Forwarded, Outcome, headers};
use crate::balance::{NamedServer, Servers, SitePools, Tried, Want, WorkerServer, WorkerServers};
use crate::base::ip_port::IpPort;
use crate::config::{Config, ListenerConfig};
use crate::exchange::{
    Exchange, Failure, Ids, ListenerContext, Peer, RequestHalf, error_answer, last_hop_answer, script_answer,
};
use crate::h1::HeadLimits;
use crate::http::ResponseHead;
use crate::route::{
    Decision, Handlers, NoRoute, NoServer, Route, Routes, TaskStep, WaitingCall, admit, admit_further,
    admit_name, balance_failed, pick,
};
use crate::script::{
    self, LONGEST_WAIT, LoadError, Observed, ScriptError, Source, TaskFunction, Wait, Waited, offline,
};

/// The time of the clock at the start: nothing depends on it but what a script makes of it. 2013-01-01 00:00:00 UTC.
const START: Duration = Duration::from_secs(1_356_998_400);
/// Of the random numbers; any will do, as long as it stays the same.
const SEED: u64 = 2013;
/// Microseconds before the start, so that no moment is zero.
const EARLIER: u64 = 1_000_000_000;

/// Answers what handlers wait for.
pub trait Waits {
    /// What comes of `rsp.fetch`, `rsp.resolve` and `req:body()`.
    fn answer(&mut self, wait: &Wait, site: &OfflineSite) -> Waited;
}

pub struct OfflineSite {
    pub config: Arc<Config>,
    pub(super) routes: Routes,
    pub(super) handlers: RefCell<Handlers>,
    pub(super) pools: SitePools,
    listeners: Vec<Arc<ListenerConfig>>,
    limits: HeadLimits,
    /// Whether somebody wants to know the fields of a request that goes on.
    pub tells_headers: bool,
    ids: RefCell<Ids>,
    /// Microseconds.
    now: std::cell::Cell<u64>,
}

/// A request under way, with the server it goes to.
#[derive(Default)]
pub struct Asked {
    pub x: Exchange,
    pub route: Option<Route>,
    pub server: Option<Rc<WorkerServer>>,
    sent: Sent,
}

impl OfflineSite {
    /// Loads the config on a clock that begins anew.
    pub fn load(source: &mut Source) -> Result<OfflineSite, LoadError> {
        offline::set_time(Some(START));
        offline::set_seed(SEED);
        let (config, script) = script::load(source)?;
        let config = Arc::new(config);
        let pools = Servers::new(1).of(&config);
        let workers = Rc::new(RefCell::new(WorkerServers::new(0)));
        let routes = Routes::new(config.clone(), &pools, &workers);
        let mut handlers = Handlers::new(script, None);
        let listeners: Vec<_> = config.listeners.iter().cloned().map(Arc::new).collect();
        handlers.name_listeners(listeners.iter().map(|listener| listener.name.as_str().into()).collect());
        let settings = &config.settings;
        let limits = HeadLimits { bytes: settings.max_head as usize, fields: settings.max_fields as usize };
        let site = OfflineSite {
            routes,
            handlers: RefCell::new(handlers),
            pools,
            listeners,
            limits,
            tells_headers: true,
            ids: RefCell::new(Ids::numbered()),
            now: EARLIER.into(),
            config,
        };
        site.bring_up();
        Ok(site)
    }

    /// Every server is up at first, and every name has an address (of RFC 5737).
    fn bring_up(&self) {
        for (config, pool) in self.config.pools.iter().zip(&self.pools.pools) {
            for (server, last) in config.servers.iter().filter(|server| server.is_name()).zip(1_u8..) {
                let port = server.written.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                let address = ([192, 0, 2, last], port.unwrap_or(80)).into();
                let named = NamedServer { address, weight: None, backup: false, shows_port: false };
                pool.set_addresses(&server.name, &[named]);
            }
            for server in pool.members().iter() {
                pool.set_checked(server.name(), true);
            }
        }
    }

    /// The clock, in microseconds.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// Moves the clock.
    pub fn advance(&self, micros: u64) {
        self.now.set(self.now() + micros);
        offline::set_time(Some(START + Duration::from_micros(self.now() - EARLIER)));
    }

    /// Moves the clock to so many seconds since 1970, but never back.
    pub fn advance_to(&self, time: u64) {
        let at = Duration::from_secs(time).saturating_sub(START).as_micros() as u64 + EARLIER;
        self.advance(at.saturating_sub(self.now()));
    }

    pub fn listeners(&self) -> &[Arc<ListenerConfig>] {
        &self.listeners
    }

    /// What the script did, as far as it is noted.
    pub fn observed<T>(&self, take: impl FnOnce(&mut Observed) -> T) -> Option<T> {
        self.handlers.borrow_mut().observed().map(take)
    }

    pub(super) fn date(&self) -> Vec<u8> {
        let time = SystemTime::UNIX_EPOCH + START + Duration::from_micros(self.now() - EARLIER);
        httpdate::fmt_http_date(time).into_bytes()
    }

    /// Whether the script lets this client connect.
    pub fn connects(&self, from: Option<IpPort>, listener: usize) -> Result<bool, String> {
        if !self.config.on_connect {
            return Ok(true);
        }
        let allowed = self.handlers.borrow_mut().on_connect(from, listener as u8);
        allowed.map_err(|error| error.0)
    }

    /// Runs a function that belongs to no request.
    pub fn run_task(&self, task: TaskFunction, waits: &mut dyn Waits) -> Result<(), String> {
        let since = self.now();
        let mut step = self.handlers.borrow_mut().run_task(task);
        loop {
            step = match step {
                TaskStep::Done => return Ok(()),
                TaskStep::Failed(error) => return Err(error.0),
                TaskStep::Waits(wait, call) => {
                    let waited = self.wait(&wait, since, waits);
                    self.handlers.borrow_mut().resume_task(task, *call, waited)
                }
            };
        }
    }

    /// Asks what becomes of a request; `asked` gets what is needed to ask about its response.
    pub fn request(&self, asking: &Asking, asked: &mut Asked, waits: &mut dyn Waits) -> Outcome {
        match self.begin(asking, asked) {
            Ok(peer) => self.decide(&peer, asked, waits),
            Err(failure) => self.refuse(asked, failure, None),
        }
    }

    /// The pool of a connection whose TLS passes through, by the name in its ClientHello. An error: why it is refused.
    pub fn name(
        &self,
        name: Option<&[u8]>,
        from: Option<IpPort>,
        listener: usize,
    ) -> Result<Box<Forwarded>, String> {
        let mut asked = Asked::default();
        asked.x.begin(true, self.now());
        asked.x.listener_context = ListenerContext::of(&self.listeners[listener]);
        if let Some(name) = name {
            asked.x.head.fields.append(b"Host", name);
        }
        let peer = Peer::new(from, self.config.settings.trusted.has(from));
        let to = (&*self.listeners[listener], &self.routes);
        let route = admit_name(&mut asked.x, &peer, to, &mut self.handlers.borrow_mut(), self.now());
        match route {
            Ok(route) => match self.forward(route, &mut asked, None) {
                Outcome::Forwarded(forwarded) => Ok(forwarded),
                Outcome::Answered(answered) => Err(answered.error.unwrap_or_default()),
                Outcome::Closed(why) => Err(why.to_owned()),
            },
            Err(NoRoute::Failure(failure)) => Err(failure.text().to_owned()),
            Err(NoRoute::ScriptFailed((_, failed))) => Err(failed.0),
        }
    }

    fn begin(&self, asking: &Asking, asked: &mut Asked) -> Result<Peer, Failure> {
        (asked.route, asked.server) = (None, None);
        let Asked { x, sent, .. } = asked;
        std::mem::swap(&mut x.head, &mut sent.head);
        sent.whole = true;
        let read = asking.read(&self.limits, sent);
        std::mem::swap(&mut x.head, &mut sent.head);
        x.begin(sent.whole, self.now());
        x.listener = asking.listener as u8;
        x.listener_context = self.listeners.get(asking.listener).and_then(ListenerContext::of);
        if let (Some(context), Some(tls)) = (&mut x.listener_context, &asking.tls) {
            *context = Rc::new(ListenerContext { tls: Some(tls.clone()), ..ListenerContext::clone(context) });
        }
        let trusted = self.config.settings.trusted.has(asking.from);
        read.map(|()| Peer::new(asking.from, trusted)).map_err(Failure::of_request)
    }

    fn decide(&self, peer: &Peer, asked: &mut Asked, waits: &mut dyn Waits) -> Outcome {
        let (mut since, mut error) = (None, None);
        let mut decision = {
            let (mut handlers, mut ids) = (self.handlers.borrow_mut(), self.ids.borrow_mut());
            admit(&mut asked.x, peer, &self.routes, &mut handlers, &mut ids, self.now())
        };
        loop {
            decision = match decision {
                Decision::Forward(route) | Decision::Copy(route) | Decision::Buffer(route) => {
                    return self.forward(route, asked, error);
                }
                // There is no file of this name.
                Decision::Challenge(_) => {
                    let handlers = &mut self.handlers.borrow_mut();
                    admit_further(&mut asked.x, &self.routes, handlers, self.now())
                }
                Decision::Wait(wait, call) => {
                    self.resume(&wait, *call, asked, since.get_or_insert(self.now()), waits)
                }
                Decision::Fallback(_, (_, failed), then) => {
                    error.get_or_insert(failed.0);
                    *then
                }
                ends => return self.end(ends, asked, error),
            }
        }
    }

    /// What rsp does itself.
    /// `error`: of a function of the script that failed before.
    fn end(&self, decision: Decision, asked: &mut Asked, error: Option<String>) -> Outcome {
        let mut head = ResponseHead::default();
        match decision {
            Decision::Answer(answer) => {
                let length = answer.body.len();
                script_answer(&mut head, answer.status, &answer.headers, length, &self.date());
                self.answer(asked, head, answer.body.to_vec(), None)
            }
            Decision::LastHop => {
                last_hop_answer(&mut head, &self.date());
                self.answer(asked, head, Vec::new(), None)
            }
            Decision::Abort => Outcome::Closed("the script closed the connection (rsp.abort)"),
            Decision::Refuse(failure) => self.refuse(asked, failure, error),
            Decision::ScriptFailed((_, failed)) => self.refuse(asked, Failure::Script, Some(failed.0)),
            _ => self.refuse(asked, Failure::Internal, error),
        }
    }

    /// Continues a handler with what it waited for.
    fn resume(
        &self,
        wait: &Wait,
        call: WaitingCall,
        asked: &mut Asked,
        since: &mut u64,
        waits: &mut dyn Waits,
    ) -> Decision {
        let waited = self.wait(wait, *since, waits);
        let handlers = &mut self.handlers.borrow_mut();
        handlers.resume_request(call, waited, &mut asked.x, &self.routes, self.now())
    }

    /// Waits on the clock; `None`: longer than a handler may.
    pub(super) fn wait(&self, wait: &Wait, since: u64, waits: &mut dyn Waits) -> Option<Waited> {
        let last = since + LONGEST_WAIT.as_micros() as u64;
        match wait {
            Wait::Sleep(time) => {
                let until = self.now() + time.as_micros() as u64;
                self.advance(until.min(last) - self.now());
                (until <= last).then_some(Waited::Slept)
            }
            other => Some(waits.answer(other, self)),
        }
    }

    fn forward(&self, route: Route, asked: &mut Asked, error: Option<String>) -> Outcome {
        let may_probe = asked.x.request == RequestHalf::NoBody && asked.x.head.method.is_idempotent();
        let want = Want { now: self.now(), key: route.key, may_probe, in_turn: false };
        let picked = match route.pick_any(self.now()) {
            Some(server) => Ok(server),
            None => pick(&route, &Tried::default(), &mut asked.x, &want, || Some(self.handlers.borrow_mut()))
                .map(|picked| picked.server),
        };
        let head = &asked.x.head;
        let mut forwarded = Box::new(Forwarded {
            pool: route.pool.config.name.clone(),
            server: None,
            bound: route.server.is_some(),
            method: head.method_text().to_vec(),
            target: head.target().to_vec(),
            host: head.fields.get_by_name(b"Host").unwrap_or_default().to_vec(),
            headers: if self.tells_headers { headers(&head.fields) } else { Vec::new() },
            error,
        });
        match picked {
            Ok(server) => {
                forwarded.server = Some(server.name().to_owned());
                (asked.server, asked.route) = (Some(server), Some(route));
            }
            Err(NoServer::Full) => {
                let waits = || "it waits for a server: all are busy, or not checked yet".into();
                forwarded.error.get_or_insert_with(waits);
            }
            Err(NoServer::None) => return self.refuse(asked, Failure::NoServer, forwarded.error),
            Err(NoServer::Script(failed)) => return self.balance_failed(&route, failed, asked),
        }
        Outcome::Forwarded(forwarded)
    }

    /// The `balance` function of the route's pool failed.
    fn balance_failed(&self, route: &Route, failed: ScriptError, asked: &mut Asked) -> Outcome {
        if asked.x.passes_through() {
            return self.refuse(asked, Failure::Script, Some(failed.0));
        }
        let decision = {
            let handlers = &mut self.handlers.borrow_mut();
            balance_failed(&mut asked.x, route, failed, &self.routes, handlers)
        };
        let (mut decision, mut error) = (decision, None);
        while let Decision::Fallback(_, (_, failed), then) = decision {
            error.get_or_insert(failed.0);
            decision = *then;
        }
        match decision {
            Decision::Forward(route) | Decision::Copy(route) | Decision::Buffer(route) => {
                self.forward(route, asked, error)
            }
            ends => self.end(ends, asked, error),
        }
    }

    /// rsp's own answer to a failure.
    pub(super) fn refuse(&self, asked: &mut Asked, failure: Failure, error: Option<String>) -> Outcome {
        if failure.status() == 0 {
            return Outcome::Closed(failure.text());
        }
        let mut head = ResponseHead::default();
        let body = error_answer(&mut head, failure.status(), failure.text(), &self.date());
        self.answer(asked, head, body, Some(error.unwrap_or_else(|| failure.text().to_owned())))
    }

    fn answer(
        &self,
        asked: &mut Asked,
        mut head: ResponseHead,
        body: Vec<u8>,
        mut error: Option<String>,
    ) -> Outcome {
        if self.config.on_answer && !asked.x.head.method_text().is_empty() {
            let done = self.handlers.borrow_mut().on_answer(&mut asked.x, &mut head);
            error = done.err().map(|failed| failed.0).or(error);
        }
        if let Some(context) = &asked.x.listener_context {
            context.add_hsts(&mut head);
        }
        Outcome::Answered(Answered { status: head.status, headers: headers(&head.fields), body, error })
    }
}

impl Drop for OfflineSite {
    fn drop(&mut self) {
        offline::set_time(None);
    }
}
