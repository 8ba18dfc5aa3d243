//! Begins what handlers wait for: times, requests to pools, names, passwords. What comes of it is left with the wait's
//! number (`waits`).

use std::rc::Rc;

use crate::exchange::Failure;
use crate::exchange::end::End;
use crate::net::Network;
use crate::script::{Check, Fetch, Fetched, LONGEST_WAIT, TIMEOUT, Wait, Waited, monotonic};
use crate::store::Begun;
use crate::worker::core::Core;
use crate::worker::pair::inside::{Fetching, InsideEnd, InsideRequest, InsideTarget};
use crate::worker::shared::jobs::{Job, Work};
use crate::worker::site::{SharedHandlers, Site};
use crate::worker::time::timeouts::micros;
use crate::worker::waits::{RunningWait, WaitKind, Waiter};

/// What a fetched response may have beside its body: head and framing, in bytes.
const HEAD_MOST: usize = 64 * 1024;
/// How long a check of a password is waited for, in microseconds.
const CHECK_TIMEOUT: u64 = 30_000_000;
/// How long a name is waited for.
const RESOLVE_TIMEOUT: u64 = 5_000_000;

/// The site of a handler, and its functions.
type SiteHandlers<'a> = (&'a Rc<Site>, Option<&'a SharedHandlers>);

impl<N: Network> Core<N> {
    /// Starts a wait of a handler of this site that first waited at `since`. Returns its number.
    pub(crate) fn start_wait(
        &mut self,
        waiter: Waiter,
        site: SiteHandlers<'_>,
        wait: Wait,
        since: u64,
    ) -> u64 {
        let now = self.tools.now;
        let (most, kind) = match &wait {
            Wait::Sleep(time) => (micros(*time), WaitKind::Sleep),
            Wait::Fetch(fetch) => (micros(fetch.timeout), WaitKind::Fetch(None)),
            Wait::Resolve(_) => (RESOLVE_TIMEOUT, WaitKind::Resolve),
            // The timeout of the request's body ends it sooner.
            Wait::Body(_) => (micros(LONGEST_WAIT), WaitKind::Body),
            Wait::Check(_) => (CHECK_TIMEOUT, WaitKind::Check),
        };
        let last = since + micros(LONGEST_WAIT);
        let (until, is_last) = (last.min(now + most), last < now + most);
        let number = self.waits.begin(RunningWait { waiter, kind, since, until, is_last });
        match wait {
            Wait::Sleep(_) => {}
            Wait::Fetch(fetch) => self.fetch(site, number, *fetch),
            Wait::Resolve(name) => self.resolve(site.0, number, name),
            Wait::Check(check) => self.check(number, *check),
            // Begun by `begin_wait`.
            Wait::Body(_) => {}
        }
        number
    }

    fn fetch(&mut self, (site, handlers): SiteHandlers<'_>, number: u64, fetch: Fetch) {
        let results = self.waits.results();
        let Some(route) = site.routes.route_to(fetch.pool) else {
            let none = Err("internal fault of rsp".to_string());
            return results.borrow_mut().push((number, Waited::Fetched(none)));
        };
        let max_body = fetch.max_body;
        let done = move |end| results.borrow_mut().push((number, Waited::Fetched(fetched(end, max_body))));
        let (site, handlers) = (site.clone(), handlers.cloned());
        let fetching = Fetching { route, site, handlers, own_host: fetch.own_host };
        let inside = self.request_inside(InsideRequest {
            pool: String::new(),
            target: InsideTarget::Fetch(Box::new(fetching)),
            method: fetch.method,
            bytes: fetch.bytes,
            most: max_body.saturating_add(max_body / 8).saturating_add(HEAD_MOST),
            done: Box::new(done),
        });
        self.waits.fetches(number, inside);
    }

    /// Has a password checked, which takes long on purpose, on another thread.
    fn check(&mut self, number: u64, check: Check) {
        let Check { users, user, password } = check;
        let begun = self.waits.jobs.as_ref().map(|jobs| {
            let reply = self.waits.reply(number, jobs.waker.clone());
            users.check(&user, &password, monotonic, move |is_right| {
                reply.send(Waited::Checked(Some(is_right)))
            })
        });
        let known = match begun {
            Some(Begun::Waits) => return,
            Some(Begun::Known(is_right)) => Some(is_right),
            Some(Begun::Full) | None => None,
        };
        self.waits.results().borrow_mut().push((number, Waited::Checked(known)));
    }

    fn resolve(&mut self, site: &Site, number: u64, name: String) {
        let failed = |why: &str| Waited::Resolved(Err(why.to_string()));
        let Some(jobs) = &self.waits.jobs else {
            return self.waits.results().borrow_mut().push((number, failed("not available here")));
        };
        let reply = self.waits.reply(number, jobs.waker.clone());
        let server = site.settings().resolver;
        if let Err(job) = jobs.send(Job { work: Work::Resolve { name, server }, reply }) {
            job.reply.send(failed("busy"));
        }
    }
}

/// What the script gets of an internal request's end.
fn fetched(end: InsideEnd, max_body: usize) -> Result<Box<Fetched>, String> {
    let response = match end.response {
        _ if end.too_long => return Err("too large".into()),
        Some(response) if response.body.len() > max_body => return Err("too large".into()),
        Some(response) => response,
        None => return Err(reason(end.end, end.failure).into()),
    };
    let fields = response.head.fields.iter();
    let headers = fields.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
    Ok(Box::new(Fetched { status: response.head.status, headers, body: response.body }))
}

/// A word or two for scripts to compare.
fn reason(end: End, failure: Option<Failure>) -> &'static str {
    match end {
        End::ServerRefused => "refused",
        End::ServerConnectTimeout
        | End::ServerResponseTimeout
        | End::ServerGapTimeout
        | End::QueueTimeout => TIMEOUT,
        End::ServerTls => "tls",
        End::ServerClosed => "closed",
        End::ServerCutResponse => "cut",
        End::ServerBadResponse => "bad response",
        End::NoServer => "no server",
        End::QueueFull => "queue full",
        End::Stopped => "stopped",
        _ => failure.map_or("failed", Failure::text),
    }
}
