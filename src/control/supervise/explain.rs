//! `explain` on the control socket: the script of the present config is loaded once more, on a thread of its own that ends
//! with the answer, and is asked about the servers in the state that they are in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::Running;
use crate::balance::SitePools;
use crate::base::os_error::os_error;
use crate::config::Config;
use crate::control::event_loop::{ControlEvent, WorkerAnswer};
use crate::control::explain::{Explainer, Question};
use crate::control::sockets::Asker;
use crate::control::sockets::console::Answer;
use crate::script::{self, LoadError, Source};

/// What a running process explains with.
struct Present {
    source: Source,
    config: Arc<Config>,
    pools: SitePools,
    zero: Instant,
}

impl Running<'_> {
    /// One at a time: each has a VM of its own.
    pub(super) fn explain(&mut self, asker: Asker, question: Question, json: bool) {
        if self.explaining {
            return self.sockets.answer(asker, &Answer::error("Another request is being explained."));
        }
        let process = &self.process;
        let (config, zero) = (process.config.clone(), process.clock.zero);
        let present =
            Present { source: self.script.clone(), pools: process.servers.of(&config), config, zero };
        let mailbox = self.control.mailbox();
        let run = move || {
            let explain = AssertUnwindSafe(|| present.explain(&question, json));
            let result = catch_unwind(explain).unwrap_or_else(|_| Err("internal fault of rsp".into()));
            mailbox.send(ControlEvent::Answer(asker, WorkerAnswer::Explained(result)));
        };
        match thread::Builder::new().name("explain".into()).spawn(run) {
            Ok(_) => self.explaining = true,
            Err(error) => {
                let why = format!("cannot start a thread: {}", os_error(&error));
                self.sockets.answer(asker, &Answer::error(why));
            }
        }
    }

    pub(super) fn explained(&mut self, asker: Asker, result: Result<String, String>) {
        self.explaining = false;
        let answer = result.map_or_else(Answer::error, Answer::data);
        self.sockets.answer(asker, &answer);
    }
}

impl Present {
    fn explain(self, question: &Question, json: bool) -> Result<String, String> {
        let source = &mut self.source.sharing_a_copy();
        let (_, script) = script::load(source).map_err(|LoadError(line)| line)?;
        let mut explainer = Explainer::new(self.config, script, &self.pools, self.zero);
        let report = explainer.explain(question)?;
        match json {
            true => serde_json::to_string(&report).map_err(|error| error.to_string()),
            false => Ok(report.text()),
        }
    }
}
