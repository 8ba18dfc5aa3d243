//! One config's handlers at work: calls them for a request, and judges what they returned.

use mlua::Function;

use super::answer;
use super::bodies::Bodies;
use super::directory::Directory;
use super::failure;
use super::ffi::{Job, Machine, Seen, Slot};
use super::request::{Offer, Subject};
use super::vm::{Handlers, Vm};
use super::{RequestMeta, ScriptError, Verdict};
use crate::config::{Config, PoolId, ServerId};
use crate::http::{RequestHead, ResponseHead};

/// One Lua VM with the handlers of one config.
pub struct Script {
    vm: Vm,
    on_request: Option<Handler>,
    on_response: Option<Handler>,
    balance: Vec<Option<Handler>>,
    pools: usize,
    /// Of answers that clients are reading.
    bodies: Bodies,
    /// Keeps the pool tables alive, by whose addresses the directory knows the pools.
    _identities: Vec<mlua::Value>,
}

#[derive(Clone)]
struct Handler {
    function: Slot,
    /// `site.lua:12`, where the function begins.
    origin: String,
}

impl Handler {
    fn new(vm: &Vm, function: &Function) -> mlua::Result<Handler> {
        let info = function.info();
        let file = info.short_src.unwrap_or_else(|| "?".to_string());
        let origin = format!("{file}:{}", info.line_defined.unwrap_or_default());
        Ok(Handler { function: vm.machine.keep(function)?, origin })
    }

    fn failed(&self, message: impl AsRef<[u8]>) -> ScriptError {
        ScriptError(failure::line(message.as_ref(), &self.origin))
    }
}

impl Script {
    pub(super) fn new(mut vm: Vm, handlers: Handlers, config: &Config) -> mlua::Result<Script> {
        let handler = |f: &Option<Function>| f.as_ref().map(|f| Handler::new(&vm, f)).transpose();
        let (on_request, on_response) = (handler(&handlers.on_request)?, handler(&handlers.on_response)?);
        let balance = handlers.balance.iter().map(handler).collect::<mlua::Result<_>>()?;
        let identities: Vec<_> = handlers.pools.iter().map(mlua::Value::to_pointer).collect();
        vm.machine.set_directory(Directory::new(config, &identities))?;
        let (pools, _identities) = (config.pools.len(), handlers.pools);
        let bodies = Bodies::default();
        Ok(Script { vm, on_request, on_response, balance, pools, bodies, _identities })
    }

    /// Asks the script where a request goes; without a handler it goes to the only pool.
    pub fn on_request(
        &mut self,
        head: &mut RequestHead,
        client: RequestMeta<'_>,
    ) -> Result<Verdict, ScriptError> {
        let Some(handler) = &self.on_request else { return only_pool(self.pools).map_err(ScriptError) };
        let mut subject = Subject { head, client, response: None, offer: None };
        let bodies = &mut self.bodies;
        let judge = |returned: [Seen<'_>; 3], names: &Directory| verdict(returned, names, bodies);
        let called = self.vm.machine.call(Job::Request, handler.function, &mut subject, judge);
        called.map_err(|raised| handler.failed(raised))?.map_err(|wrong| handler.failed(wrong))
    }

    /// Lets the script change the headers of a server's response.
    pub fn on_response(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: &mut ResponseHead,
    ) -> Result<(), ScriptError> {
        let Some(handler) = &self.on_response else { return Ok(()) };
        let mut subject = Subject { head: request, client, response: Some(response), offer: None };
        let called = self.vm.machine.call(Job::Response, handler.function, &mut subject, |_, _| ());
        called.map_err(|raised| handler.failed(raised))
    }

    /// Calls the pool's `balance` function. `candidates` are the servers that may be picked, in the pool's
    /// order; `in_flight[i]` is the number of requests server `i` of the pool has now.
    pub fn balance(
        &mut self,
        pool: PoolId,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        candidates: &[ServerId],
        in_flight: &[u32],
    ) -> Result<ServerId, ScriptError> {
        let Some(Some(handler)) = self.balance.get(pool.0 as usize) else {
            return Err(ScriptError(format!("pool {} has no balance function", pool.0)));
        };
        let offer = Offer { pool, candidates, in_flight };
        let mut subject = Subject { head: request, client, response: None, offer: Some(offer) };
        let judge = |[value, ..]: [Seen<'_>; 3], names: &Directory| choice(value, &offer, names);
        let called = self.vm.machine.call(Job::Balance, handler.function, &mut subject, judge);
        called.map_err(|raised| handler.failed(raised))?.map_err(|wrong| handler.failed(wrong))
    }

    pub(super) fn machine_mut(&mut self) -> &mut Machine {
        &mut self.vm.machine
    }

    /// Large bodies of answers that clients are reading now.
    pub fn bodies(&self) -> usize {
        self.bodies.count()
    }

    /// As on a system that has no timers for it.
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

/// What the values mean that `on_request` returned.
fn verdict(
    [first, second, third]: [Seen<'_>; 3],
    names: &Directory,
    bodies: &mut Bodies,
) -> Result<Verdict, String> {
    let pool = match first {
        Seen::Pool(pool) => pool,
        Seen::Text(name) => names.pool_named(name).map_err(|wrong| format!("on_request: {wrong}"))?,
        Seen::Nil if second == Seen::Nil => return only_pool(names.pools()),
        Seen::Answer(bytes) => {
            let answer = answer::decode(bytes, bodies).ok_or("internal fault of rsp")?;
            return Ok(Verdict::Answer(Box::new(answer)));
        }
        other => {
            return Err(format!(
                "on_request returned {}, expected a pool or its name, rsp.respond, rsp.redirect or nil",
                shown(other)
            ));
        }
    };
    match second {
        Seen::Nil => Ok(Verdict::Pool(pool)),
        second => {
            let server = server_of(pool, second, names)?;
            Ok(Verdict::Server { pool, server, preferred: preference(third)? })
        }
    }
}

/// `true` behind a server: another one may take the request.
fn preference(third: Seen<'_>) -> Result<bool, String> {
    match third {
        Seen::Nil => Ok(false),
        Seen::Truth(preferred) => Ok(preferred),
        other => Err(format!(
            "on_request returned a pool, a server and {}, expected true (the server is only preferred) or nothing as \
             third value",
            shown(other)
        )),
    }
}

fn only_pool(pools: usize) -> Result<Verdict, String> {
    match pools {
        1 => Ok(Verdict::Pool(PoolId(0))),
        n => Err(format!("on_request returned nil, which stands for the only pool, but there are {n}")),
    }
}

fn server_of(pool: PoolId, value: Seen<'_>, names: &Directory) -> Result<ServerId, String> {
    match value {
        Seen::Text(name) => names.server_named(pool, name).map_err(|wrong| format!("on_request: {wrong}")),
        Seen::Server(of, server) if of == pool => Ok(server),
        Seen::Server(of, _) => Err(format!(
            "on_request returned pool \"{}\" and a server of pool \"{}\"",
            names.pool_name(pool),
            names.pool_name(of)
        )),
        other => Err(format!(
            "on_request returned a pool and {}, expected a server or its name as second value",
            shown(other)
        )),
    }
}

/// What a `balance` function chose.
fn choice(value: Seen<'_>, offer: &Offer<'_>, names: &Directory) -> Result<ServerId, String> {
    match value {
        Seen::Server(of, server) if of == offer.pool && offer.candidates.contains(&server) => Ok(server),
        Seen::Server(of, server) => {
            let name = names.servers(of).get(server.0 as usize).map_or("?", |s| &s.name);
            Err(format!("balance returned server \"{name}\", which is not one of the servers it was given"))
        }
        other => Err(format!("balance returned {}, expected one of the servers it was given", shown(other))),
    }
}

fn shown(value: Seen<'_>) -> String {
    match value {
        Seen::Nil => "nil".to_string(),
        Seen::Pool(_) => "a pool".to_string(),
        Seen::Text(_) => "a string".to_string(),
        Seen::Truth(_) => "a boolean".to_string(),
        Seen::Server(..) => "a server".to_string(),
        Seen::Answer(_) => "an answer".to_string(),
        Seen::Other(kind) => format!("a {kind}"),
    }
}
