//! Runs the handlers of one config for a request and interprets what they return.

use std::collections::BTreeSet;
use std::rc::Rc;

use mlua::Function;

use super::bodies::Bodies;
use super::directory::{Directory, ServerNames};
use super::failure;
use super::ffi::{Called, Job, KeptFunction, Machine, Results, Returned, Ticket, Trace};
use super::judge::{by_name, choice, only_pool, shown, verdict};
use super::parts::Entered;
use super::phases::PhaseHandlers;
use super::request::{Changes, Offer, Subject};
use super::vm::{ScriptHandlers, Vm};
use super::wait::{LONGEST, Waited};
use super::{Observed, RequestMeta, ScriptError, Verdict};
use crate::config::{Config, PoolId, ServerId, SniId};
use crate::http::{RequestHead, ResponseHead};
use crate::store::Place;

/// One Lua VM with the handlers of one config.
pub struct Script {
    pub(super) vm: Vm,
    on_request: Option<Handler>,
    on_response: Option<Handler>,
    sni: Vec<Handler>,
    balance: Vec<Option<Handler>>,
    hash_by: Vec<Option<Handler>>,
    pub(super) phases: PhaseHandlers,
    pools: usize,
    /// Places that its calls take.
    entered: Rc<Entered>,
    /// Bodies of answers that clients are reading.
    bodies: Bodies,
    /// Keeps the pool tables alive, whose addresses identify the pools in the directory.
    _identities: Vec<mlua::Value>,
}

#[derive(Clone)]
pub(super) struct Handler {
    pub function: KeptFunction,
    /// `site.lua:12`, where the function is defined.
    origin: String,
}

impl Handler {
    pub fn new(vm: &mut Vm, function: &Function) -> mlua::Result<Handler> {
        let info = function.info();
        let file = info.short_src.unwrap_or_else(|| "?".to_string());
        let origin = format!("{file}:{}", info.line_defined.unwrap_or_default());
        Ok(Handler { function: vm.machine.keep(function, &origin)?, origin })
    }

    pub fn failed(&self, message: impl AsRef<[u8]>) -> ScriptError {
        ScriptError(failure::line(message.as_ref(), &self.origin))
    }

    /// What a call came to whose results were judged.
    #[inline(always)]
    pub(super) fn came_to<T>(
        &self,
        called: Result<Called<Result<T, String>>, Vec<u8>>,
    ) -> Result<Called<T>, ScriptError> {
        match called.map_err(|raised| self.failed(raised))? {
            Called::Done(judged) => judged.map(Called::Done).map_err(|wrong| self.failed(wrong)),
            Called::Waits(suspended) => Ok(Called::Waits(suspended)),
        }
    }

    /// The same of a function that cannot wait.
    pub(super) fn came_at_once<T>(
        &self,
        called: Result<Called<Result<T, String>>, Vec<u8>>,
    ) -> Result<T, ScriptError> {
        match self.came_to(called)? {
            Called::Done(result) => Ok(result),
            Called::Waits(_) => Err(self.failed("internal fault of rsp: it cannot wait")),
        }
    }
}

impl Script {
    pub(super) fn new(mut vm: Vm, handlers: ScriptHandlers, config: &Config) -> mlua::Result<Script> {
        let mut handler = |f: &Option<Function>| f.as_ref().map(|f| Handler::new(&mut vm, f)).transpose();
        let (on_request, on_response) = (handler(&handlers.on_request)?, handler(&handlers.on_response)?);
        let sni = handlers.sni.iter().map(|f| handler(&Some(f.clone()))).collect::<mlua::Result<Vec<_>>>()?;
        let sni = sni.into_iter().flatten().collect();
        let balance = handlers.balance.iter().map(&mut handler).collect::<mlua::Result<_>>()?;
        let hash_by = handlers.hash_by.iter().map(handler).collect::<mlua::Result<_>>()?;
        let phases = PhaseHandlers::new(&mut vm, &handlers)?;
        let identities: Vec<_> = handlers.pools.iter().map(mlua::Value::to_pointer).collect();
        vm.limit(config.settings.script)?;
        vm.machine.set_directory(Directory::new(config, &identities))?;
        let most_body = config.pools.iter().filter_map(|pool| pool.buffer_request).max();
        vm.machine.set_most_body(most_body.map(|most| most as usize));
        let (pools, _identities) = (config.pools.len(), handlers.pools);
        let bodies = Bodies::default();
        let entered =
            vm.lua().app_data_ref::<Rc<Entered>>().map(|entered| entered.clone()).unwrap_or_default();
        Ok(Script {
            vm,
            on_request,
            on_response,
            sni,
            balance,
            hash_by,
            phases,
            pools,
            entered,
            bodies,
            _identities,
        })
    }

    /// Sets the servers that a pool uses now, if they are not those of the config: an offer numbers these.
    pub fn set_servers(&mut self, pool: PoolId, servers: Vec<ServerNames>) -> Result<(), ScriptError> {
        let failed = |error: mlua::Error| ScriptError(failure::line(error.to_string().as_bytes(), "servers"));
        self.vm.machine.set_servers(pool, servers).map_err(failed)
    }

    /// The name of a server that a handler returned.
    pub fn server_name(&self, pool: PoolId, server: ServerId) -> Option<&str> {
        let known = self.vm.machine.directory().servers(pool).get(server.0 as usize);
        known.map(|server| server.name.as_str())
    }

    /// Asks the script for the route; without a handler it is the only pool.
    pub fn on_request(
        &mut self,
        head: &mut RequestHead,
        client: RequestMeta<'_>,
    ) -> Result<Called<Verdict>, ScriptError> {
        let Some(handler) = &self.on_request else {
            return only_pool(self.pools).map(Called::Done).map_err(ScriptError);
        };
        let mut subject = Subject::request(head, client);
        let bodies = &mut self.bodies;
        let judge = |results: Results<'_>, names: &Directory| verdict(results, names, bodies);
        handler.came_to(self.vm.machine.call(Job::Request, handler.function, &mut subject, judge))
    }

    /// Continues it after it has waited.
    pub fn resume_request(
        &mut self,
        ticket: Ticket,
        waited: Waited,
        head: &mut RequestHead,
        client: RequestMeta<'_>,
    ) -> Result<Called<Verdict>, ScriptError> {
        let Some(handler) = &self.on_request else { return Err(ScriptError(NO_HANDLER.into())) };
        let mut subject = Subject::request(head, client);
        let bodies = &mut self.bodies;
        let judge = |results: Results<'_>, names: &Directory| verdict(results, names, bodies);
        handler.came_to(self.vm.machine.resume(ticket, waited, &mut subject, judge))
    }

    /// Ends an `on_request` that has waited too long. Returns its error.
    pub fn request_late(&mut self, ticket: Ticket) -> ScriptError {
        self.give_up(ticket);
        late(self.on_request.as_ref())
    }

    /// Asks a listener's `sni` function for the route of a connection, whose name is the `Host` of this head. `None`: the
    /// script knows none.
    pub fn sni(
        &mut self,
        function: SniId,
        head: &mut RequestHead,
        client: RequestMeta<'_>,
    ) -> Result<Option<Verdict>, ScriptError> {
        let Some(handler) = self.sni.get(function.0 as usize) else {
            return Err(ScriptError(format!("there is no sni function {}", function.0)));
        };
        let mut subject = Subject::request(head, client);
        handler.came_at_once(self.vm.machine.call(Job::Name, handler.function, &mut subject, by_name))
    }

    /// Runs the handler that may change a server's response.
    pub fn on_response(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: &mut ResponseHead,
    ) -> Result<Called<()>, ScriptError> {
        let Some(handler) = &self.on_response else { return Ok(Called::Done(())) };
        let changes = Changes::Response;
        let mut subject = Subject { response: Some(response), changes, ..Subject::request(request, client) };
        handler.came_to(self.vm.machine.call(Job::Response, handler.function, &mut subject, nothing))
    }

    /// Continues it after it has waited.
    pub fn resume_response(
        &mut self,
        ticket: Ticket,
        waited: Waited,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: &mut ResponseHead,
    ) -> Result<Called<()>, ScriptError> {
        let Some(handler) = &self.on_response else { return Err(ScriptError(NO_HANDLER.into())) };
        let changes = Changes::Response;
        let mut subject = Subject { response: Some(response), changes, ..Subject::request(request, client) };
        handler.came_to(self.vm.machine.resume(ticket, waited, &mut subject, nothing))
    }

    /// Ends an `on_response` that has waited too long. Returns its error.
    pub fn response_late(&mut self, ticket: Ticket) -> ScriptError {
        self.give_up(ticket);
        late(self.on_response.as_ref())
    }

    /// Ends a call that waits, and lets go at once of what it held.
    pub fn give_up(&mut self, ticket: Ticket) {
        drop(ticket);
        self.vm.machine.forget_given_up();
    }

    /// The number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.vm.machine.waiting()
    }

    /// Calls the `balance` function of the offer's pool.
    pub fn balance(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        offer: Offer<'_>,
    ) -> Result<ServerId, ScriptError> {
        let pool = offer.pool;
        let Some(Some(handler)) = self.balance.get(pool.0 as usize) else {
            return Err(ScriptError(format!("pool {} has no balance function", pool.0)));
        };
        let mut subject = Subject { offer: Some(offer), ..Subject::request(request, client) };
        let judge = |results: Results<'_>, names: &Directory| choice(results.first(), &offer, names);
        handler.came_at_once(self.vm.machine.call(Job::Balance, handler.function, &mut subject, judge))
    }

    /// Calls the pool's `hash_by` function; the key it returns, if any, is passed to `take`.
    pub fn hash_by<R>(
        &mut self,
        pool: PoolId,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        take: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, ScriptError> {
        let Some(Some(handler)) = self.hash_by.get(pool.0 as usize) else {
            return Err(ScriptError(format!("pool {} has no hash_by function", pool.0)));
        };
        let mut subject = Subject::request(request, client);
        let judge = |results: Results<'_>, _: &Directory| match results.first() {
            Returned::Nil => Ok(take(None)),
            Returned::Text(key) => Ok(take(Some(key))),
            other => Err(format!("hash_by returned {}, expected a string or nil", shown(other))),
        };
        handler.came_at_once(self.vm.machine.call(Job::Key, handler.function, &mut subject, judge))
    }

    /// What it does is noted; `None` for a script that serves traffic.
    pub fn observed(&mut self) -> Option<&mut Observed> {
        self.vm.machine.observed()
    }

    pub(super) fn machine_mut(&mut self) -> &mut Machine {
        &mut self.vm.machine
    }

    /// The globals of the script, and the functions of `rsp`.
    pub(super) fn names(&self) -> (BTreeSet<String>, Vec<String>) {
        let of = |table: mlua::Table| -> Vec<String> {
            table
                .pairs::<mlua::Value, mlua::Value>()
                .flatten()
                .filter_map(|(key, _)| key.to_string().ok())
                .collect()
        };
        let globals = self.vm.lua().globals();
        let rsp = globals.raw_get::<mlua::Table>("rsp").ok().and_then(|rsp| rsp.metatable());
        let functions = rsp.and_then(|meta| meta.raw_get::<mlua::Table>("__index").ok());
        let mut rsp = functions.map(of).unwrap_or_default();
        rsp.sort();
        (of(globals).into_iter().collect(), rsp)
    }

    /// Notes the lines that run from now on, which makes every call slower.
    pub fn trace(&mut self) {
        self.vm.machine.trace();
    }

    /// What has run since it was last taken.
    pub fn take_trace(&mut self) -> Trace {
        self.vm.machine.take_trace()
    }

    /// Its VM has used up its memory.
    pub fn needs_replacement(&self) -> bool {
        self.vm.machine.needs_replacement()
    }

    /// Hands over the places that calls have taken since; the request holds them until it ends.
    pub fn take_places(&self, into: &mut Vec<Place>) {
        self.entered.take(into);
    }

    /// Number of large bodies of answers that clients are reading now.
    pub fn bodies(&self) -> usize {
        self.bodies.count()
    }

    /// Simulates a system without timers.
    #[cfg(test)]
    pub(super) fn without_timer(mut self) -> Script {
        self.vm.machine.stop_timer();
        self
    }

    #[cfg(test)]
    pub(super) fn vm(&self) -> &Vm {
        &self.vm
    }
}

const NO_HANDLER: &str = "internal fault of rsp: there is no such handler";

/// For handlers that return nothing that counts.
pub(super) fn nothing(_: Results<'_>, _: &Directory) -> Result<(), String> {
    Ok(())
}

pub(super) fn late(handler: Option<&Handler>) -> ScriptError {
    let text = format!("waited longer than {} s in all", LONGEST.as_secs());
    handler.map_or_else(|| ScriptError(NO_HANDLER.into()), |handler| handler.failed(text))
}
