//! What a reload does to the running process: see `control::reload` for its stages.

use super::{Running, Stage};
use crate::control::event_loop::ControlEvent;
use crate::control::fresh_vms::FreshVm;
use crate::control::notify;
use crate::control::process::{Prepared, WorkerParts};
use crate::control::reload::{Loaded, needs_restart};
use crate::control::run_error::RunError;
use crate::control::sockets::Asker;
use crate::control::sockets::console::Answer;
use crate::script::PackedScript;
use crate::worker::Switch;

impl Running<'_> {
    pub(super) fn ask_reload(&mut self, asker: Option<Asker>) {
        if self.stage != Stage::Serving || self.upgrade.is_some() {
            let why = if self.upgrade.is_some() { "a new process is taking over" } else { "rsp is stopping" };
            let refused = RunError::Start(why.into());
            let generation = self.process.generation;
            log::error!("Not reloaded, config {generation} stays in use: {}", refused.reason());
            return self.answer_reload(asker, &Err(refused));
        }
        if let Err(error) = self.reload.ask(asker, self.process.known_names()) {
            self.end_reload(&Err(error));
        }
    }

    pub(super) fn loaded(&mut self) {
        let Some(loaded) = self.reload.loaded() else { return };
        let process = &*self.process;
        let prepared = loaded.and_then(|Loaded { stated, scripts, digest, names, source }| {
            process.prepare(stated, names).map(|prepared| (prepared, scripts, (digest, source)))
        });
        match prepared {
            Ok((prepared, scripts, (digest, source))) if self.stage == Stage::Serving => {
                self.script = source;
                self.fresh_vms.set_digest(digest);
                self.switch(prepared, scripts);
            }
            Ok(_) => self.end_reload(&Err(RunError::Start("rsp is stopping".into()))),
            Err(error) => self.end_reload(&Err(error)),
        }
    }

    /// A worker's VM has used up its memory.
    pub(super) fn load_vm(&mut self, worker: usize, generation: u64) {
        if generation == self.process.generation && self.stage == Stage::Serving {
            self.fresh_vms.load(worker, generation, self.process.stated.clone());
        }
    }

    pub(super) fn hand_out_vm(&mut self) {
        let Some(FreshVm { worker, generation, script }) = self.fresh_vms.loaded() else { return };
        if let Some(worker) = self.workers.get(worker).and_then(Option::as_ref) {
            worker.set_script(generation, script);
            self.fresh_vms.note_replaced(&self.process.stated);
        }
    }

    /// Hands each worker its part of the config.
    pub(super) fn switch(&mut self, prepared: Prepared, scripts: Vec<PackedScript>) {
        let parts = self.process.switch(prepared);
        self.sockets.switch(self.process.take_sockets(), &self.process.stated.settings);
        self.process.serve_challenges(&self.shared);
        self.process.serve_jobs(&self.shared);
        self.shared.set_max_connections(self.process.config.settings.max_connections);
        let generation = self.process.generation;
        self.reload.switching(self.running().count());
        for ((worker, parts), script) in self.workers.iter().zip(parts).zip(scripts) {
            let Some(worker) = worker else { continue };
            let mailbox = self.control.mailbox();
            let done = Box::new(move || _ = mailbox.send(ControlEvent::Switched(generation)));
            let WorkerParts { listeners, access } = parts;
            worker.switch(Switch { site: self.process.site(script), listeners, access, done });
        }
        self.process.announce();
        self.process.warn();
        for line in needs_restart(&self.started_with, &self.process.stated.settings) {
            log::warn!("{line}");
        }
    }

    pub(super) fn end_reload(&mut self, outcome: &Result<(), RunError>) {
        let generation = self.process.generation;
        match outcome {
            Ok(()) => log::info!("Reloaded: config {generation} is in use"),
            Err(error) if self.reload.is_switching() => {
                log::error!("Reloaded in part: config {generation} is in use, but {}", error.reason());
            }
            Err(error) => log::error!("Not reloaded, config {generation} stays in use: {}", error.reason()),
        }
        if self.stage == Stage::Serving {
            notify::ready(&notify::serving(self.process.workers, generation));
        }
        self.stats.note_reload(generation, outcome.as_ref().err().map(|error| error.reason().to_string()));
        let askers = self.reload.end();
        self.answer_reload(askers, outcome);
        if let Err(error) = self.reload.begin_next(self.process.known_names()) {
            self.end_reload(&Err(error));
        }
    }

    pub(super) fn answer_reload(
        &mut self,
        askers: impl IntoIterator<Item = Asker>,
        outcome: &Result<(), RunError>,
    ) {
        let answer = match outcome {
            Ok(()) => Answer::info("Success=1"),
            Err(error) => Answer::error(format!("Success=0\n{}", error.reason())),
        };
        askers.into_iter().for_each(|asker| self.sockets.answer(asker, &answer));
    }
}
