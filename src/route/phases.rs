//! Calls of the script's functions that decide about no request: `on_answer`, `on_log`, `on_connect`, `on_start` and those
//! of `rsp.every`.

use super::Handlers;
use super::handlers::parts;
use super::waiting::WaitingCall;
use crate::base::ip_port::IpPort;
use crate::exchange::Exchange;
use crate::exchange::counters::Handler;
use crate::http::ResponseHead;
use crate::script::{Called, RequestMeta, ScriptError, TaskFunction, Wait, Waited};

/// What a function that belongs to no request came to.
pub enum TaskStep {
    Done,
    Waits(Wait, Box<WaitingCall>),
    Failed(ScriptError),
}

impl Handlers {
    /// Calls `on_answer`, which may change an answer of rsp's own. Where it fails, the answer is as it was.
    pub fn on_answer(&mut self, x: &mut Exchange, response: &mut ResponseHead) -> Result<(), ScriptError> {
        self.original_response.copy_from(response);
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let done = self.script.on_answer(head, meta, response);
        self.note_call(Handler::OnAnswer, x, began, &done);
        if done.is_err() {
            response.copy_from(&self.original_response);
        }
        done
    }

    /// Calls `on_log`, whose fields are appended to `out`.
    pub fn on_log(
        &mut self,
        x: &mut Exchange,
        response: Option<&mut ResponseHead>,
        out: &mut Vec<u8>,
    ) -> Result<(), ScriptError> {
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let done = self.script.on_log(head, meta, response, out);
        self.note_call(Handler::OnLog, x, began, &done);
        done
    }

    /// Asks `on_connect` whether a client may connect to this listener.
    pub fn on_connect(&mut self, address: Option<IpPort>, listener: u8) -> Result<bool, ScriptError> {
        let began = self.now();
        let listener = self.listeners.get(usize::from(listener)).map_or("", |name| name);
        let meta = RequestMeta { address, scheme: "", id: b"", tls: None, listener };
        let may = self.script.on_connect(meta);
        self.note_own_call(Handler::OnConnect, began, &may);
        may
    }

    /// Runs a function that belongs to no request.
    pub fn run_task(&mut self, task: TaskFunction) -> TaskStep {
        let began = self.now();
        let called = self.script.run_task(task);
        self.task_ran(task, began, 0, called)
    }

    /// Continues it after it has waited; `None`: for too long.
    pub fn resume_task(&mut self, task: TaskFunction, call: WaitingCall, waited: Option<Waited>) -> TaskStep {
        let began = self.now();
        let called = self.script.resume_task(task, call.ticket, waited);
        self.task_ran(task, began, call.took, called)
    }

    fn task_ran(
        &mut self,
        task: TaskFunction,
        began: Option<u64>,
        before: u64,
        called: Result<Called<()>, ScriptError>,
    ) -> TaskStep {
        let ran = before + began.zip(self.now()).map_or(0, |(began, now)| now.saturating_sub(began));
        let handler = match task {
            TaskFunction::OnStart => Handler::OnStart,
            TaskFunction::Every(_) => Handler::Every,
        };
        if began.is_some() && !matches!(called, Ok(Called::Waits(_))) {
            self.count_call(handler, ran, called.as_ref().err());
        }
        match called {
            Ok(Called::Done(())) => TaskStep::Done,
            Ok(Called::Waits(suspended)) => {
                let (wait, call) = WaitingCall::new(suspended, None, ran);
                TaskStep::Waits(wait, Box::new(call))
            }
            Err(error) => TaskStep::Failed(error),
        }
    }

    /// Counts a call that belongs to no request.
    fn note_own_call<T>(&self, handler: Handler, began: Option<u64>, result: &Result<T, ScriptError>) {
        if let Some((began, now)) = began.zip(self.now()) {
            self.count_call(handler, now.saturating_sub(began), result.as_ref().err());
        }
    }
}
