//! What would become of a request, and why: it goes through `route::admit` and `route::pick`, which workers call too, in
//! a VM of its own whose lines are noted. Nothing is sent, and nothing that is shared is spent.
//!
//! ```text
//! Question ─► bytes of a client ─► on_connect ─► ClientCodec ─► admit ─► (waits) ─► pick ─► Explanation
//! ```

mod fetch;
mod offline;
mod question;
mod report;
mod servers;
mod waits;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::balance::{SitePools, Tried, Want, WorkerServers};
use crate::config::{Address, Config, ListenerConfig};
use crate::exchange::record::NEVER;
use crate::exchange::{
    Exchange, Failure, Ids, ListenerContext, Peer, error_answer, last_hop_answer, script_answer,
};
use crate::h1::{ClientCodec, HeadLimits};
use crate::http::{Codec, Fault, Fields, ResponseHead};
use crate::net::TlsInfo;
use crate::route::{
    Decision, FailedCall, Handlers, NoServer, Route, Routes, admit, admit_further, balance_failed, pick,
};
use crate::script::Script;
pub use offline::{of_loaded, offline};
use question::Asked;
pub use question::{Question, header};
pub use report::{Explanation, ServerReport};
use waits::Waits;

/// A config and its script, for requests that nobody sends.
pub struct Explainer {
    routes: Routes,
    handlers: RefCell<Handlers>,
    ids: Ids,
    /// The clock common to the pools.
    zero: Instant,
    /// What is said of every request.
    pub notes: Vec<String>,
}

impl Explainer {
    pub fn new(config: Arc<Config>, mut script: Script, pools: &SitePools, zero: Instant) -> Explainer {
        script.trace();
        let clock = move || zero.elapsed().as_micros() as u64;
        let mut handlers = Handlers::new(script, Some(Box::new(clock)));
        handlers.name_listeners(config.listeners.iter().map(|one| one.name.as_str().into()).collect());
        let servers = Rc::new(RefCell::new(WorkerServers::new(0)));
        let routes = Routes::new(config, pools, &servers);
        let (handlers, ids) = (RefCell::new(handlers), Ids::new());
        Explainer { routes, handlers, ids, zero, notes: Vec::new() }
    }

    fn now(&self) -> u64 {
        self.zero.elapsed().as_micros() as u64
    }

    /// An error is for the one who asks: there is no such request.
    pub fn explain(&mut self, question: &Question) -> Result<Explanation, String> {
        let asked = question.asked()?;
        let (number, listener) = self.listener(&asked)?;
        let mut report = Explanation {
            method: question.method.clone(),
            client: asked.client.ip.to_string(),
            listener: listener.name.clone(),
            notes: self.notes.clone(),
            ..Explanation::default()
        };
        let mut x = Exchange::default();
        x.listener = number;
        if self.may_connect(&asked, number, &mut report) {
            match self.read(&asked, &mut x) {
                Ok(whole) => {
                    x.begin(whole, self.now());
                    enter(&mut x, &listener, &asked);
                    self.decide(&mut x, &asked, question, &mut report);
                }
                Err(fault) => {
                    let failure = Failure::of_request(fault);
                    report.target = question.url.clone();
                    answer(&mut report, failure.status(), "rsp", failure.text());
                }
            }
        }
        self.take_trace(&mut report);
        Ok(report)
    }

    /// The listener that takes it: of the URL's port, else the first of its scheme.
    fn listener(&self, asked: &Asked) -> Result<(u8, Arc<ListenerConfig>), String> {
        let all = || (0u8..).zip(&self.routes.config.listeners).filter(|(_, one)| one.sni.is_none());
        let port = asked.port.unwrap_or(if asked.is_https { 443 } else { 80 });
        let at_port = |one: &ListenerConfig| matches!(one.address, Address::Ip(at) if at.port() == port);
        let same_scheme = |one: &ListenerConfig| one.tls.is_some() == asked.is_https;
        let found = all()
            .find(|(_, one)| at_port(one) && same_scheme(one))
            .or_else(|| all().find(|(_, one)| same_scheme(one) && one.redirect.is_none()))
            .or_else(|| all().find(|(_, one)| same_scheme(one)))
            .or_else(|| all().next());
        let found = found.map(|(number, one)| (number, Arc::new(one.clone())));
        found.ok_or_else(|| "no listener takes requests: the others pass TLS through".to_owned())
    }

    fn may_connect(&mut self, asked: &Asked, listener: u8, report: &mut Explanation) -> bool {
        if !self.routes.config.on_connect {
            return true;
        }
        let may = self.handlers.get_mut().on_connect(Some(asked.client), listener);
        match may {
            Ok(true) => return true,
            Ok(false) => report.why = "on_connect closes the connection before it is read".into(),
            Err(error) => {
                report.route = Some(error.place().to_owned());
                report.why = format!("on_connect failed, the connection is closed: {}", error.0);
            }
        }
        false
    }

    /// Reads the head as a worker does. True if nothing follows it.
    fn read(&self, asked: &Asked, x: &mut Exchange) -> Result<bool, Fault> {
        let settings = &self.routes.config.settings;
        let limits = HeadLimits { bytes: settings.max_head as usize, fields: settings.max_fields as usize };
        let trailers = &mut Fields::default();
        let decoded = ClientCodec::default().decode(&asked.bytes, true, 0, &limits, &mut x.head, trailers)?;
        decoded.map(|decoded| decoded.end).ok_or(Fault::CutHead)
    }

    fn decide(&mut self, x: &mut Exchange, asked: &Asked, question: &Question, report: &mut Explanation) {
        report.target = text(x.head.target());
        report.headers_before = pairs(&x.head.fields);
        let trusted = self.routes.config.settings.trusted.has(Some(asked.client));
        let peer = Peer::new(Some(asked.client), trusted);
        let (routes, now) = (&self.routes, self.now());
        let body = question.body.as_deref().unwrap_or_default().as_bytes();
        let mut waits = Waits {
            routes,
            body,
            fetch: question.fetch,
            passed: Duration::ZERO,
            notes: Vec::new(),
            not_asked: false,
        };
        let handlers = self.handlers.get_mut();
        let mut decision = admit(x, &peer, routes, handlers, &mut self.ids, now);
        if let Decision::Challenge(challenge) = decision {
            let file = challenge.directory.join(&challenge.token);
            waits.notes.push(format!("{} answers it, if there is that file", file.display()));
            decision = admit_further(x, routes, handlers, now);
        }
        while let Decision::Wait(wait, call) = decision {
            let waited = waits.wait(wait);
            let now = now + waits.passed.as_micros() as u64;
            decision = handlers.resume_request(*call, waited, x, routes, now);
        }
        report.notes.append(&mut waits.notes);
        report.not_asked = waits.not_asked;
        report.scheme = x.scheme.text().to_owned();
        report.client = x.client.map_or_else(|| "unix:".into(), |client| client.ip.to_string());
        self.take_trace(report);
        self.settle(x, decision, report);
        report.script_us = if x.times.script == NEVER { 0 } else { x.times.script.into() };
    }

    fn settle(&mut self, x: &mut Exchange, decision: Decision, report: &mut Explanation) {
        match decision {
            Decision::Forward(route) | Decision::Copy(route) => self.forward(x, &route, report),
            Decision::Buffer(route) => {
                let most = route.pool.config.buffer_request.unwrap_or_default();
                report.notes.push(format!("the body is held first, up to {most} bytes"));
                self.forward(x, &route, report);
            }
            Decision::Answer(answer) => {
                let by_script = report.route.is_some();
                let (why, by) = match by_script {
                    true => ("the script answers", "script"),
                    false => ("the listener redirects to https", "rsp"),
                };
                let mut head = ResponseHead::default();
                script_answer(&mut head, answer.status, &answer.headers, answer.body.len(), &date());
                self.answer(x, head, (by, why), report);
            }
            Decision::Abort => answer(report, 444, "script", "rsp.abort: closed without an answer"),
            Decision::LastHop => {
                let mut head = ResponseHead::default();
                last_hop_answer(&mut head, &date());
                self.answer(x, head, ("rsp", "OPTIONS with Max-Forwards 0 goes no further"), report);
            }
            Decision::Refuse(failure) => self.refuse(x, failure, report),
            Decision::ScriptFailed(failed) => self.script_failed(x, failed, report),
            Decision::Fallback(pool, (function, error), then) => {
                let pool = &pool.config.name;
                report
                    .notes
                    .push(format!("{function} failed, the fallback pool {pool} takes it: {}", error.0));
                self.settle(x, *then, report);
                report.why = format!("{function} failed: the fallback pool");
                report.route = Some(error.place().to_owned());
                report.failed = Some(error.0);
            }
            // Gone before.
            Decision::Wait(..) | Decision::Challenge(_) => {}
        }
    }

    fn script_failed(&mut self, x: &mut Exchange, failed: FailedCall, report: &mut Explanation) {
        let (function, error) = failed;
        report.route = Some(error.place().to_owned());
        let head = of_failure(Failure::Script);
        self.answer(x, head, ("rsp", &format!("{function} failed: {}", error.0)), report);
        report.failed = Some(error.0);
    }

    fn refuse(&mut self, x: &mut Exchange, failure: Failure, report: &mut Explanation) {
        self.answer(x, of_failure(failure), ("rsp", failure.text()), report);
    }

    /// An answer that no server gives, as `on_answer` leaves it.
    fn answer(
        &mut self,
        x: &mut Exchange,
        mut head: ResponseHead,
        (by, why): (&str, &str),
        report: &mut Explanation,
    ) {
        if self.routes.config.on_answer
            && let Err(error) = self.handlers.get_mut().on_answer(x, &mut head)
        {
            report.notes.push(format!("on_answer failed, the answer stays as it was: {}", error.0));
        }
        if let Some(context) = &x.listener_context {
            context.add_hsts(&mut head);
        }
        answer(report, head.status, by, why);
        report.answer_headers = pairs(&head.fields);
    }

    fn forward(&mut self, x: &mut Exchange, route: &Route, report: &mut Explanation) {
        let (now, pool) = (self.now(), &route.pool);
        report.pool = Some(pool.config.name.clone());
        report.why = servers::why(route, report.route.is_some());
        servers::describe(pool, now, report);
        report.timeouts = servers::timeouts(&self.routes.config.settings, &pool.config);
        // As for a request that cannot be a probe: that would take the turn of one that can.
        let want = Want { now, key: route.key, may_probe: false, in_turn: false };
        let handlers = &self.handlers;
        let picked = pick(route, &Tried::default(), x, &want, || Some(handlers.borrow_mut()));
        report.headers_after = pairs(&x.head.fields);
        report.target_after = text(x.head.target());
        if !matches!(picked, Err(NoServer::Script(_))) {
            report.notes.extend(servers::notes(&self.routes.config, route));
        }
        match picked {
            Ok(picked) => servers::picked(&picked.server, report),
            Err(NoServer::Full) => {
                report.notes.push("it waits in the queue: no server takes one more now".into());
            }
            Err(NoServer::None) => self.refuse(x, Failure::NoServer, report),
            Err(NoServer::Script(error)) => {
                let decision = balance_failed(x, route, error, &self.routes, self.handlers.get_mut());
                self.settle(x, decision, report);
            }
        }
    }

    fn take_trace(&mut self, report: &mut Explanation) {
        let trace = self.handlers.get_mut().take_trace();
        report.lines.extend(trace.lines);
        report.more_lines |= trace.is_cut;
        report.route = report.route.take().or(trace.returned);
    }
}

/// What the connection tells of itself.
fn enter(x: &mut Exchange, listener: &Arc<ListenerConfig>, asked: &Asked) {
    x.listener_context = ListenerContext::of(listener);
    if listener.tls.is_none() {
        return;
    }
    let sni = asked.host.parse::<IpAddr>().is_err().then(|| asked.host.to_ascii_lowercase());
    let cipher = "TLS13_AES_256_GCM_SHA384".to_owned();
    let tls = Rc::new(TlsInfo { version: "1.3", cipher, sni, ..TlsInfo::default() });
    x.listener_context = Some(Rc::new(ListenerContext { listener: listener.clone(), tls: Some(tls) }));
}

fn answer(report: &mut Explanation, status: u16, by: &str, why: &str) {
    report.status = Some(status);
    report.answered_by = Some(by.to_owned());
    report.why = why.to_owned();
}

fn of_failure(failure: Failure) -> ResponseHead {
    let mut head = ResponseHead::default();
    error_answer(&mut head, failure.status(), failure.text(), &date());
    head
}

fn date() -> Vec<u8> {
    httpdate::fmt_http_date(SystemTime::now()).into_bytes()
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(_, name, value)| (text(name), text(value))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
