//! The functions of the phases around routing: `on_answer`, `on_log`, `on_connect`, `on_start` and those of `rsp.every`.

use std::mem;

use super::directory::Directory;
use super::ffi::{Called, Job, Results, Returned, Ticket};
use super::judge::shown;
use super::log_fields::LogFields;
use super::request::{Changes, Subject};
use super::run::{Handler, Script, late, nothing};
use super::vm::{ScriptHandlers, Vm};
use super::wait::Waited;
use super::{RequestMeta, ScriptError};
use crate::http::{RequestHead, ResponseHead};

/// The functions that the script set.
#[derive(Default)]
pub struct PhaseHandlers {
    on_answer: Option<Handler>,
    on_log: Option<Handler>,
    on_connect: Option<Handler>,
    on_start: Option<Handler>,
    every: Vec<Handler>,
    /// What `on_log` adds; the allocation is reused.
    log: LogFields,
}

impl PhaseHandlers {
    pub(super) fn new(vm: &mut Vm, set: &ScriptHandlers) -> mlua::Result<PhaseHandlers> {
        let mut handler = |f: &Option<mlua::Function>| f.as_ref().map(|f| Handler::new(vm, f)).transpose();
        let (on_answer, on_log) = (handler(&set.on_answer)?, handler(&set.on_log)?);
        let (on_connect, on_start) = (handler(&set.on_connect)?, handler(&set.on_start)?);
        let every = set.every.iter().map(|f| Handler::new(vm, f)).collect::<mlua::Result<_>>()?;
        Ok(PhaseHandlers { on_answer, on_log, on_connect, on_start, every, log: LogFields::default() })
    }
}

impl Script {
    /// Runs the handler that may change an answer of rsp's own, or of the script.
    pub fn on_answer(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: &mut ResponseHead,
    ) -> Result<(), ScriptError> {
        let Some(handler) = &self.phases.on_answer else { return Ok(()) };
        let changes = Changes::Response;
        let mut subject = Subject { response: Some(response), changes, ..Subject::request(request, client) };
        handler.came_at_once(self.vm.machine.call(Job::Answer, handler.function, &mut subject, nothing))
    }

    /// Runs the handler that adds fields to the request's line in the access log; they are appended to `out` as
    /// `base::named_values`.
    pub fn on_log(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: Option<&mut ResponseHead>,
        out: &mut Vec<u8>,
    ) -> Result<(), ScriptError> {
        let Some(handler) = &self.phases.on_log else { return Ok(()) };
        let mut log = mem::take(&mut self.phases.log);
        log.clear();
        let changes = Changes::Nothing;
        let mut subject =
            Subject { response, changes, log: Some(&mut log), ..Subject::request(request, client) };
        let called = self.vm.machine.call(Job::Log, handler.function, &mut subject, nothing);
        let done = handler.came_at_once(called);
        if done.is_ok() {
            log.encode(out);
        }
        self.phases.log = log;
        done
    }

    /// Asks whether a client may connect.
    pub fn on_connect(&mut self, client: RequestMeta<'_>) -> Result<bool, ScriptError> {
        let Some(handler) = &self.phases.on_connect else { return Ok(true) };
        let mut head = RequestHead::default();
        let mut subject = Subject::request(&mut head, client);
        let judge = |results: Results<'_>, _: &Directory| match results.first() {
            Returned::Nil => Ok(true),
            Returned::Boolean(may) => Ok(may),
            other => Err(format!("on_connect returned {}, expected true, false or nothing", shown(other))),
        };
        handler.came_at_once(self.vm.machine.call(Job::Connect, handler.function, &mut subject, judge))
    }

    /// Runs a function that belongs to no request.
    pub fn run_task(&mut self, task: TaskFunction) -> Result<Called<()>, ScriptError> {
        let Some(handler) = self.phases.task(task) else { return Ok(Called::Done(())) };
        let (mut head, client) = (RequestHead::default(), NOBODY);
        let mut subject = Subject::request(&mut head, client);
        handler.came_to(self.vm.machine.call(Job::Plain, handler.function, &mut subject, nothing))
    }

    /// Continues it after it has waited; `None`: for too long.
    pub fn resume_task(
        &mut self,
        task: TaskFunction,
        ticket: Ticket,
        waited: Option<Waited>,
    ) -> Result<Called<()>, ScriptError> {
        let (Some(handler), Some(waited)) = (self.phases.task(task), waited) else {
            self.give_up(ticket);
            return Err(late(self.phases.task(task)));
        };
        let (mut head, client) = (RequestHead::default(), NOBODY);
        let mut subject = Subject::request(&mut head, client);
        handler.came_to(self.vm.machine.resume(ticket, waited, &mut subject, nothing))
    }
}

const NOBODY: RequestMeta<'static> =
    RequestMeta { address: None, scheme: "", id: b"", tls: None, listener: "" };

/// A function that belongs to no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskFunction {
    OnStart,
    /// That of this `rsp.every`, counted in their order.
    Every(usize),
}

impl PhaseHandlers {
    fn task(&self, task: TaskFunction) -> Option<&Handler> {
        match task {
            TaskFunction::OnStart => self.on_start.as_ref(),
            TaskFunction::Every(at) => self.every.get(at),
        }
    }
}
