//! Files that scripts look things up in (`rsp.map`), while rsp runs: a thread looks at them every quarter of a second and
//! reads those again that have changed. A bad one is logged with its line, and what was there stays in use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::base::os_error::os_error;
use crate::config::{Config, Part};
use crate::store::Store;

/// A file that has changed is read once it was the same twice: within a second.
const EVERY: Duration = Duration::from_millis(250);

/// Looks until it is dropped.
pub struct LookupWatch(#[expect(dead_code, reason = "its end stops the thread")] Sender<()>);

impl LookupWatch {
    /// `None` if the config names no file.
    pub fn start(config: &Config, store: &Arc<Store>) -> Option<LookupWatch> {
        if !config.parts.iter().any(|part| matches!(part, Part::Map { .. } | Part::Users { .. })) {
            return None;
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let store = store.clone();
        let run = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // The panic hook has said what and where.
                let Ok(lines) = catch_unwind(AssertUnwindSafe(|| store.look_at_files())) else { continue };
                lines.into_iter().for_each(|line| match line {
                    Ok(line) => log::info!("{line}"),
                    Err(line) => log::error!("{line}; what was read before stays in use"),
                });
            }
        };
        match thread::Builder::new().name("lookups".into()).spawn(run) {
            Ok(_) => Some(LookupWatch(stop)),
            Err(error) => {
                log::error!("cannot watch the files of rsp.map and rsp.basic_auth: {}", os_error(&error));
                None
            }
        }
    }
}
