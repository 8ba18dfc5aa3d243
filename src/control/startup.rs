//! Starting the workers: they get ready side by side, and either all begin to serve or none. A stop signal does not
//! wait for a slow script.

use std::io;
use std::time::Duration;

use crate::base::os_error::os_error;
use crate::config::Config;
use crate::control::event_loop::{ControlEvent, ControlLoop};
use crate::control::names::{Names, Watched};
use crate::control::run_error::{RunError, TOO_FEW_DESCRIPTORS};
use crate::control::signals::{self, CaughtSignals, Signal};
use crate::net::{self, Mailbox};
use crate::worker::{self, Handle, Setup, Starting, ThreadState, WorkerEnd, WorkerIo};

/// The control thread's loop, and the running workers.
pub type Started = (ControlLoop, Vec<Handle>);

/// The control thread's loop, and the signals that are caught from now on.
pub fn control_loop() -> Result<(ControlLoop, CaughtSignals), RunError> {
    let control = ControlLoop::new().map_err(|error| no_loop(&error))?;
    let caught = signals::catch();
    let caught = caught.map_err(|error| RunError::Start(format!("signals: {}", os_error(&error))))?;
    Ok((control, caught))
}

/// Signals are events from now on.
pub fn forward(signals: CaughtSignals, control: &ControlLoop) -> Result<(), RunError> {
    let forwarded = signals.forward(control.mailbox());
    forwarded.map_err(|error| RunError::Start(format!("signals: {}", os_error(&error))))
}

/// How long the first lookup of names may hold up the start.
const NAMES: Duration = Duration::from_secs(2);

/// Looks up the names of servers, and waits a little: a name that does not resolve is no reason not to start.
pub fn names(config: &Config, known: Option<&Watched>) -> Result<Option<Names>, RunError> {
    let names = Names::start(config, known);
    let names =
        names.map_err(|error| RunError::Start(format!("cannot look up names: {}", os_error(&error))))?;
    if let Some(names) = &names {
        names.wait(NAMES);
        for line in names.pending() {
            log::warn!("{line}; it is down until there is one");
        }
    }
    Ok(names)
}

/// Starts all workers; `None` if told to stop before they were ready.
pub fn start(
    each: impl Iterator<Item = (Setup, WorkerIo)>,
    mut control: ControlLoop,
) -> Result<Option<Started>, RunError> {
    let mut workers = start_threads(each, &control.mailbox())?;
    match until_ready(&mut control, workers.len())? {
        StartupWait::All(postponed) => {
            let workers: Option<Vec<Handle>> = workers.into_iter().map(Starting::go).collect();
            let workers = workers.ok_or_else(|| RunError::Fault("a worker ended by itself".into()))?;
            // Cannot fail: the receiver is here.
            postponed.into_iter().for_each(|event| _ = control.mailbox().send(event));
            Ok(Some((control, workers)))
        }
        StartupWait::Stop => {
            end(workers);
            log::info!("Stopped before all workers were ready");
            Ok(None)
        }
        StartupWait::Ended(number) => {
            let outcome = workers.remove(number).outcome();
            end(workers);
            Err(failure(outcome))
        }
    }
}

fn start_threads(
    each: impl Iterator<Item = (Setup, WorkerIo)>,
    mailbox: &Mailbox<ControlEvent>,
) -> Result<Vec<Starting>, RunError> {
    let mut workers = Vec::new();
    for (number, (setup, io)) in each.enumerate() {
        let mailbox = mailbox.clone();
        let notify = move |progress| {
            // Fails only when nobody waits any more.
            mailbox.send(ControlEvent::Worker(number, progress));
        };
        match worker::start(setup, io, notify) {
            Ok(worker) => workers.push(worker),
            Err(error) => {
                end(workers);
                return Err(RunError::Start(format!("cannot start a worker thread: {}", os_error(&error))));
            }
        }
    }
    Ok(workers)
}

fn end(workers: Vec<Starting>) {
    workers.into_iter().for_each(Starting::end);
}

/// Result of waiting for all workers.
#[derive(PartialEq, Debug)]
enum StartupWait {
    /// With other signals that arrived meanwhile.
    All(Vec<ControlEvent>),
    Stop,
    /// This worker has ended, which is a failure.
    Ended(usize),
}

fn until_ready(control: &mut ControlLoop, workers: usize) -> Result<StartupWait, RunError> {
    let (mut ready, mut postponed) = (0, Vec::new());
    while ready < workers {
        match control.next(None).map_err(|error| no_loop(&error))? {
            Some(ControlEvent::Worker(_, ThreadState::Ready)) => ready += 1,
            Some(ControlEvent::Worker(number, ThreadState::Ended)) => return Ok(StartupWait::Ended(number)),
            Some(ControlEvent::Signal(Signal::Stop)) => return Ok(StartupWait::Stop),
            Some(signal) if !postponed.contains(&signal) => postponed.push(signal),
            _ => {}
        }
    }
    Ok(StartupWait::All(postponed))
}

fn failure(outcome: WorkerEnd) -> RunError {
    match outcome {
        WorkerEnd::NotLoaded(error) => RunError::Config(error),
        WorkerEnd::NoLoop(error) => no_loop(&error),
        WorkerEnd::Finished => RunError::Fault("a worker ended by itself".into()),
        WorkerEnd::Panicked(what) => RunError::Fault(what),
    }
}

pub fn no_loop(error: &io::Error) -> RunError {
    let hint = if net::is_shortage(error) { TOO_FEW_DESCRIPTORS } else { "" };
    RunError::Start(format!("cannot set up the event loop: {}{hint}", os_error(error)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::balance::Servers;
    use crate::config::Config;
    use crate::net::bind_for;
    use crate::script::{LoadError, Source, load};

    fn source(settings: &str) -> Source {
        let text = format!(
            "rsp.listen '127.0.0.1:0' rsp.pool {{ servers = {{ '127.0.0.1:1' }} }} rsp.settings {{ {settings} }}"
        );
        Source::in_memory(Path::new("site.lua"), text.as_bytes())
    }

    fn stated(settings: &str) -> Arc<Config> {
        Arc::new(load(&mut source(settings)).map_err(|e| e.0).unwrap().0)
    }

    /// Three workers with a config each and one source, and their address.
    fn workers(stated: [Arc<Config>; 3]) -> (String, Vec<(Setup, WorkerIo)>) {
        let config = stated[0].clone();
        let listeners = bind_for(&config.listeners[0], 3).unwrap();
        let address = listeners[0].address();
        let setups = Setup::each(3, &Servers::new(3), &config, &config, &source(""), Instant::now());
        let each = setups.into_iter().zip(stated).zip(listeners).map(|((setup, stated), listener)| {
            (Setup { stated, ..setup }, WorkerIo { listeners: vec![listener], access: None })
        });
        (address, each.collect())
    }

    #[test]
    fn if_one_worker_loads_another_config_the_others_serve_nobody() {
        let (address, each) = workers([stated(""), stated(""), stated("max_body = 1")]);
        let mut clients: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(&address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"nonsense\r\n\r\n").unwrap();
        }
        let outcome = start(each.into_iter(), ControlLoop::new().unwrap());
        assert!(matches!(outcome, Err(RunError::Config(LoadError(line))) if line.contains("a second time")));
        for client in &mut clients {
            assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it was answered");
        }
    }

    #[test]
    fn a_panic_during_startup_is_an_internal_fault() {
        let (_, each) = workers([stated(""), stated(""), stated("")]);
        let (setup, io) = each.into_iter().next().unwrap();
        let worker = worker::start(setup, io, |progress| {
            assert!(progress != ThreadState::Ready, "a seeded fault");
        });
        let failure = failure(worker.unwrap().outcome());
        assert!(matches!(failure, RunError::Fault(what) if what.contains("a seeded fault")));
    }

    #[test]
    fn a_stop_ends_the_startup_and_other_signals_wait_until_all_are_ready() {
        let mut control = ControlLoop::new().unwrap();
        let sender = control.mailbox();
        let say =
            |events: &[ControlEvent]| events.iter().for_each(|event| assert!(sender.send(event.clone())));
        let (ready, reopen) =
            (ControlEvent::Worker(0, ThreadState::Ready), ControlEvent::Signal(Signal::Reopen));
        say(&[reopen.clone(), ready.clone(), reopen.clone(), ready.clone()]);
        assert_eq!(until_ready(&mut control, 2).unwrap(), StartupWait::All(vec![reopen.clone()]));
        say(&[reopen.clone(), ready.clone(), ControlEvent::Signal(Signal::Stop)]);
        assert_eq!(until_ready(&mut control, 2).unwrap(), StartupWait::Stop);
        say(&[ready.clone(), ControlEvent::Worker(1, ThreadState::Ended)]);
        assert_eq!(until_ready(&mut control, 2).unwrap(), StartupWait::Ended(1));
    }
}
