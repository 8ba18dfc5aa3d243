//! Loading the config again while rsp runs. A thread of its own loads it, a VM for each worker, and looks up new names;
//! the control thread then prepares what can fail and hands each worker its part. Until then nothing has changed.
//!
//! ```text
//! idle ─ asked ─► loading ─ loaded, prepared ─► switching ─ all workers have switched ─► idle
//!                    └────────── error: the old config stays in use ────────────────────►┘
//! ```
//!
//! Whoever asks while a reload runs gets another one after it: the file may have changed since it was read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{Config, Settings};
use crate::control::event_loop::ControlEvent;
use crate::control::names::Watched;
use crate::control::notify;
use crate::control::process::NextNames;
use crate::control::run_error::RunError;
use crate::control::startup;
use crate::net::Mailbox;
use crate::script::{self, PackedScript, Source};

/// How long a config may take to load: more than its own limits add up to. A file on a dead network disk has none.
const LOAD_WAIT: Duration = Duration::from_secs(60);
/// How long the answer to a reload waits for a worker that does not switch.
const SWITCH_WAIT: Duration = Duration::from_secs(10);

/// A config that was loaded for all workers.
pub struct Loaded {
    pub stated: Config,
    pub scripts: Vec<PackedScript>,
    /// Of the script's files.
    pub digest: u64,
    pub names: NextNames,
    /// The script as it was read.
    pub source: Source,
}

pub struct Reload<A> {
    source: Source,
    workers: usize,
    mailbox: Mailbox<ControlEvent>,
    stage: Stage,
    /// Who waits for this reload, and who for the one after it.
    askers: Vec<A>,
    next: Option<Vec<A>>,
}

enum Stage {
    Idle,
    Loading {
        result: Receiver<Result<Loaded, RunError>>,
        until: Instant,
    },
    /// So many workers are left.
    Switching {
        left: usize,
        until: Instant,
    },
}

impl<A> Reload<A> {
    pub fn new(source: &Source, workers: usize, mailbox: Mailbox<ControlEvent>) -> Reload<A> {
        // Without what was read: that would be kept for the life of the process, keys as well.
        let (source, stage) = (source.again().unwrap_or_else(|| source.clone()), Stage::Idle);
        Reload { source, workers, mailbox, stage, askers: Vec::new(), next: None }
    }

    /// Begins a reload, now or after the one that runs. `known`: the names of the present config.
    pub fn ask(&mut self, asker: Option<A>, known: Option<Arc<Watched>>) -> Result<(), RunError> {
        if !matches!(self.stage, Stage::Idle) {
            if self.next.is_none() {
                log::info!("Another reload follows the one that runs");
            }
            self.next.get_or_insert_default().extend(asker);
            return Ok(());
        }
        self.askers.extend(asker);
        self.begin(known)
    }

    fn begin(&mut self, known: Option<Arc<Watched>>) -> Result<(), RunError> {
        let Some(source) = self.source.again() else {
            return Err(RunError::Start("rsp runs without a config file: there is nothing to reload".into()));
        };
        log::info!("Reloading {}", source.name());
        notify::reloading();
        let (sender, result) = mpsc::channel();
        let (workers, mailbox) = (self.workers, self.mailbox.clone());
        let run = move || {
            let load = AssertUnwindSafe(|| load(source, workers, known.as_deref()));
            let fault = |_| Err(RunError::Fault("loading the config panicked".into()));
            // Fails only if nobody waits for it any more.
            let _ = sender.send(catch_unwind(load).unwrap_or_else(fault));
            mailbox.send(ControlEvent::Loaded);
        };
        let started = thread::Builder::new().name("loader".into()).spawn(run);
        started.map_err(|error| RunError::Start(format!("cannot load the config: {}", os_error(&error))))?;
        self.stage = Stage::Loading { result, until: Instant::now() + LOAD_WAIT };
        Ok(())
    }

    /// The result of loading, once the loader has said that there is one.
    pub fn loaded(&mut self) -> Option<Result<Loaded, RunError>> {
        match &self.stage {
            Stage::Loading { result, .. } => result.try_recv().ok(),
            Stage::Idle | Stage::Switching { .. } => None,
        }
    }

    /// So many workers are told to switch.
    pub fn switching(&mut self, workers: usize) {
        self.stage = Stage::Switching { left: workers, until: Instant::now() + SWITCH_WAIT };
    }

    /// A worker has switched. True for the last one.
    pub fn switched(&mut self) -> bool {
        match &mut self.stage {
            Stage::Switching { left, .. } => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Stage::Idle | Stage::Loading { .. } => false,
        }
    }

    /// Until when it waits for the loader, or for workers.
    pub fn until(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Loading { until, .. } | Stage::Switching { until, .. } => Some(*until),
            Stage::Idle => None,
        }
    }

    /// What took too long.
    pub fn late(&self) -> RunError {
        RunError::Start(match &self.stage {
            Stage::Switching { left, .. } => format!(
                "{} has not taken it over after {SWITCH_WAIT:?}: it will when its loop turns again",
                counted(*left as u64, "worker")
            ),
            Stage::Idle | Stage::Loading { .. } => {
                format!("loading the config takes longer than {LOAD_WAIT:?}")
            }
        })
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether the config is in use already.
    pub fn is_switching(&self) -> bool {
        matches!(self.stage, Stage::Switching { .. })
    }

    /// The reload has ended. Returns who waits for it.
    pub fn end(&mut self) -> Vec<A> {
        self.stage = Stage::Idle;
        std::mem::take(&mut self.askers)
    }

    /// Begins the one that was asked for meanwhile.
    pub fn begin_next(&mut self, known: Option<Arc<Watched>>) -> Result<(), RunError> {
        match self.next.take() {
            Some(askers) => {
                self.askers = askers;
                self.begin(known)
            }
            None => Ok(()),
        }
    }
}

fn load(mut source: Source, workers: usize, known: Option<&Watched>) -> Result<Loaded, RunError> {
    let (stated, _) = script::load(&mut source).map_err(RunError::Config)?;
    let script = |_| script::load_again(&mut source, &stated).map(|script| script.pack());
    let scripts = (0..workers).map(script).collect::<Result<_, _>>().map_err(RunError::Config)?;
    let names = match known {
        Some(known) if known.is_of(&stated) => NextNames::Same,
        _ => NextNames::New(startup::names(&stated, known)?),
    };
    Ok(Loaded { stated, scripts, digest: source.digest(), names, source: source.script_only() })
}

/// A line for each setting that a reload cannot change.
pub fn needs_restart(running: &Settings, wanted: &Settings) -> Vec<String> {
    let changed = [
        ("workers", running.workers != wanted.workers),
        ("user", running.user != wanted.user),
        ("group", running.group != wanted.group),
    ];
    let line = |(key, _): &(&str, bool)| format!("{key}: changed, but stays as it is until rsp is restarted");
    changed.iter().filter(|(_, changed)| *changed).map(line).collect()
}
