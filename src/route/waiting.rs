//! Handlers that wait: what they leave with their request, and how they go on. What is waited for is the worker's
//! business.

use super::handlers::{Responded, parts};
use super::{Decision, Handlers, Routes, admit};
use crate::config::Config;
use crate::exchange::Exchange;
use crate::exchange::counters::Handler;
use crate::http::ResponseHead;
use crate::script::{Called, ScriptError, Suspended, Ticket, Wait, Waited};

/// A call that waits. Dropping it ends the call.
pub struct WaitingCall {
    pub(super) ticket: Ticket,
    /// The response's head before the handler ran, where a failure restores it.
    pub(super) original: Option<Box<ResponseHead>>,
    /// Microseconds that it ran before.
    pub(super) took: u64,
}

impl WaitingCall {
    pub(super) fn new(
        suspended: Suspended,
        original: Option<Box<ResponseHead>>,
        took: u64,
    ) -> (Wait, WaitingCall) {
        let Suspended { ticket, wait } = suspended;
        (wait, WaitingCall { ticket, original, took })
    }
}

impl Handlers {
    /// Continues an `on_request` that waited; `None`: for too long.
    pub fn resume_request(
        &mut self,
        call: WaitingCall,
        waited: Option<Waited>,
        x: &mut Exchange,
        routes: &Routes,
        now: u64,
    ) -> Decision {
        let WaitingCall { ticket, original, took } = call;
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let called = match waited {
            Some(waited) => self.script.resume_request(ticket, waited, head, meta),
            None => Err(self.script.request_late(ticket)),
        };
        let ran = self.ran(Handler::OnRequest, x, began, took, &called);
        match called {
            Ok(Called::Waits(suspended)) => Decision::waits(WaitingCall::new(suspended, original, ran)),
            Ok(Called::Done(verdict)) => admit::after_script(x, verdict, routes, self, now),
            Err(error) => admit::script_failed(x, ("on_request", error), None, routes, self),
        }
    }

    /// Continues an `on_response` that waited; `None`: for too long.
    pub fn resume_response(
        &mut self,
        call: WaitingCall,
        waited: Option<Waited>,
        x: &mut Exchange,
        response: &mut ResponseHead,
        config: &Config,
    ) -> Responded {
        let WaitingCall { ticket, original, took } = call;
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let called = match waited {
            Some(waited) => self.script.resume_response(ticket, waited, head, meta, response),
            None => Err(self.script.response_late(ticket)),
        };
        let ran = self.ran(Handler::OnResponse, x, began, took, &called);
        if let Some(head) = &original {
            self.original_response.copy_from(head);
        }
        self.responded(called, ran, response, config)
    }

    /// Ends a call that waits, and lets go at once of what it held.
    pub fn give_up(&mut self, call: WaitingCall) {
        self.script.give_up(call.ticket);
    }

    /// The number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.script.waiting()
    }

    /// The same of a call that has not waited, where somebody wants to know.
    pub(super) fn note_ran<T>(
        &self,
        handler: Handler,
        x: &mut Exchange,
        began: Option<u64>,
        called: &Result<Called<T>, ScriptError>,
    ) {
        self.ran(handler, x, began, 0, called);
    }

    /// Counts a call that has ended with all that it ran, `before` it waited too. Returns that, in microseconds.
    pub(super) fn ran<T>(
        &self,
        handler: Handler,
        x: &mut Exchange,
        began: Option<u64>,
        before: u64,
        called: &Result<Called<T>, ScriptError>,
    ) -> u64 {
        let now = began.zip(self.now()).map_or(0, |(began, now)| now.saturating_sub(began));
        self.script.take_places(&mut x.places);
        x.times.add_script(now);
        let ran = before + now;
        if began.is_some() && !matches!(called, Ok(Called::Waits(_))) {
            self.count_call(handler, ran, called.as_ref().err());
        }
        ran
    }
}
