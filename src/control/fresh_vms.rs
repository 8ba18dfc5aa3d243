//! Fresh VMs for workers whose VM has used up its memory: a thread loads the present config once more, from files that
//! must still be the same, and the worker swaps the VM. One is loaded at a time; a worker asks again if need be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::config::Config;
use crate::control::event_loop::ControlEvent;
use crate::net::Mailbox;
use crate::script::{self, PackedScript, Source};

pub struct FreshVms {
    /// Without what was read.
    source: Source,
    /// Of the files of the present config.
    digest: u64,
    mailbox: Mailbox<ControlEvent>,
    loading: Option<Loading>,
    zero: Instant,
    replaced: LogLimit,
    failed: LogLimit,
}

struct Loading {
    worker: usize,
    generation: u64,
    result: Receiver<Result<PackedScript, String>>,
}

/// A VM for a worker that runs the config of this generation.
pub struct FreshVm {
    pub worker: usize,
    pub generation: u64,
    pub script: PackedScript,
}

impl FreshVms {
    /// `source`: the present config as it was read.
    pub fn new(source: &Source, mailbox: Mailbox<ControlEvent>) -> FreshVms {
        FreshVms {
            source: source.again().unwrap_or_else(|| source.clone()),
            digest: source.digest(),
            mailbox,
            loading: None,
            zero: Instant::now(),
            replaced: LogLimit::default(),
            failed: LogLimit::default(),
        }
    }

    /// Another config is in use.
    pub fn set_digest(&mut self, digest: u64) {
        self.digest = digest;
    }

    /// Begins to load one, unless another is being loaded.
    pub fn load(&mut self, worker: usize, generation: u64, stated: Arc<Config>) {
        if self.loading.is_some() {
            return;
        }
        let (sender, result) = mpsc::channel();
        let (source, digest, mailbox) = (self.source.clone(), self.digest, self.mailbox.clone());
        let run = move || {
            let load = AssertUnwindSafe(|| load(source, digest, &stated));
            let loaded = catch_unwind(load).unwrap_or_else(|_| Err("loading the config panicked".into()));
            // Fails only if nobody waits for it any more.
            let _ = sender.send(loaded);
            mailbox.send(ControlEvent::FreshVm);
        };
        match thread::Builder::new().name("loader".into()).spawn(run) {
            Ok(_) => self.loading = Some(Loading { worker, generation, result }),
            Err(error) => self.note_failure(&format!("cannot start a thread: {}", os_error(&error))),
        }
    }

    /// The VM that was loaded, once the loader has said so.
    pub fn loaded(&mut self) -> Option<FreshVm> {
        let outcome = self.loading.as_ref()?.result.try_recv().ok()?;
        let Loading { worker, generation, .. } = self.loading.take()?;
        match outcome {
            Ok(script) => Some(FreshVm { worker, generation, script }),
            Err(why) => {
                self.note_failure(&why);
                None
            }
        }
    }

    fn now(&self) -> u64 {
        self.zero.elapsed().as_micros() as u64
    }

    pub fn note_replaced(&mut self, stated: &Config) {
        if let Some(count) = self.replaced.count(self.now()) {
            let most = stated.settings.script.memory >> 20;
            let times = counted(count, "time");
            log::warn!("The script had used up its memory of {most} MiB and was started afresh ({times})");
        }
    }

    fn note_failure(&mut self, why: &str) {
        if let Some(count) = self.failed.count(self.now()) {
            let times = counted(count, "time");
            log::error!("The script has used up its memory and could not be started afresh: {why} ({times})");
        }
    }
}

fn load(mut source: Source, digest: u64, stated: &Config) -> Result<PackedScript, String> {
    let script = script::load_again(&mut source, stated).map_err(|error| error.0)?;
    if source.digest() != digest {
        return Err("its files have changed, reload them".into());
    }
    Ok(script.pack())
}
