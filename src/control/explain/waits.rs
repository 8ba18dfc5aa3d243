//! What handlers wait for while a request is explained: time passes at once, and nobody is asked unless that is wanted.

use std::sync::mpsc;
use std::time::Duration;

use super::fetch;
use crate::balance::Pool;
use crate::control::jobs;
use crate::route::Routes;
use crate::script::{Check, LONGEST_WAIT, Wait, Waited, monotonic};
use crate::store::Begun;

/// The waits of one handler.
pub(super) struct Waits<'a> {
    pub routes: &'a Routes,
    pub body: &'a [u8],
    /// Others may be asked.
    pub fetch: bool,
    /// How long it has waited in all.
    pub passed: Duration,
    pub notes: Vec<String>,
    /// Somebody was not asked.
    pub not_asked: bool,
}

const NOT_ASKED: &str = "not asked: use --fetch";

impl Waits<'_> {
    /// What came of it; `None` once the handler has waited for too long.
    pub fn wait(&mut self, wait: Wait) -> Option<Waited> {
        match wait {
            Wait::Sleep(time) => {
                self.passed += time;
                self.notes.push(format!("rsp.sleep: {} s pass at once here", time.as_secs_f64()));
                (self.passed <= LONGEST_WAIT).then_some(Waited::Slept)
            }
            Wait::Body(most) if self.body.len() > most => Some(Waited::Body(Err("too large"))),
            Wait::Body(_) => Some(Waited::Body(Ok(self.body.to_vec()))),
            Wait::Resolve(name) if self.fetch => {
                let (addresses, _) = jobs::look_up(&(name, self.routes.config.settings.resolver));
                Some(Waited::Resolved(addresses))
            }
            Wait::Resolve(name) => {
                self.not_asked = true;
                self.notes.push(format!("rsp.resolve: {name} was {NOT_ASKED}"));
                Some(Waited::Resolved(Err(NOT_ASKED.into())))
            }
            Wait::Check(check) => Some(Waited::Checked(is_right(&check))),
            Wait::Fetch(fetch) => {
                let route = self.routes.route_to(fetch.pool);
                let pool: Option<&Pool> = route.as_ref().map(|route| &*route.pool);
                let name = pool.map_or("?", |pool| &pool.config.name);
                let fetched = match pool {
                    Some(pool) if self.fetch => fetch::ask(pool, &fetch),
                    _ => Err(NOT_ASKED.to_owned()),
                };
                self.not_asked |= !self.fetch;
                self.notes.push(match &fetched {
                    Ok(got) => format!("rsp.fetch: pool {name} answered {}", got.status),
                    Err(why) => format!("rsp.fetch: pool {name}: {why}"),
                });
                Some(Waited::Fetched(fetched))
            }
        }
    }
}

/// Whether the password is right; this thread may wait for it. `None`: too many are being checked.
fn is_right(check: &Check) -> Option<bool> {
    let (told, result) = mpsc::channel();
    let done = move |is_right| _ = told.send(is_right);
    match check.users.check(&check.user, &check.password, monotonic, done) {
        Begun::Known(is_right) => Some(is_right),
        Begun::Full => None,
        Begun::Waits => result.recv().ok(),
    }
}
