//! From the first worker's thread to the moment when all workers run: they get ready side by side, and either all
//! of them begin or none. A stop does not wait for a slow script.

use std::sync::mpsc::{self, Receiver, Sender};

use crate::base::os_error::reason;
use crate::control::run_error::{RunError, TOO_FEW_DESCRIPTORS};
use crate::control::signals::{self, Signal};
use crate::control::supervise::Event;
use crate::net;
use crate::worker::{self, Handle, Outcome, Progress, Setup, Starting, WorkerIo};

/// Workers that run, and what there will be to hear of them.
pub type Started = (Receiver<Event>, Vec<Handle>);

/// What there is to hear of, and by whom it is said.
pub type Events = (Sender<Event>, Receiver<Event>);

/// From here on signals are events.
pub fn events() -> Result<Events, RunError> {
    let (sender, events) = mpsc::channel();
    let forwarded = signals::forward(sender.clone());
    forwarded.map_err(|error| RunError::Start(format!("signals: {}", reason(&error))))?;
    Ok((sender, events))
}

/// All of them; `None` if told to stop before they were ready.
pub fn start(
    each: impl Iterator<Item = (Setup, WorkerIo)>,
    (sender, events): Events,
) -> Result<Option<Started>, RunError> {
    let mut workers = start_threads(each, &sender)?;
    match until_ready(&events, workers.len()) {
        Ready::All(put_off) => {
            let workers: Option<Vec<Handle>> = workers.into_iter().map(Starting::go).collect();
            let workers = workers.ok_or_else(|| RunError::Fault("a worker ended by itself".into()))?;
            // Not refused: the other end is here.
            put_off.into_iter().for_each(|event| _ = sender.send(event));
            Ok(Some((events, workers)))
        }
        Ready::Stop => {
            end(workers);
            log::info!("Stopped before all workers were ready");
            Ok(None)
        }
        Ready::Ended(number) => {
            let outcome = workers.remove(number).outcome();
            end(workers);
            Err(failure(outcome))
        }
    }
}

fn start_threads(
    each: impl Iterator<Item = (Setup, WorkerIo)>,
    sender: &Sender<Event>,
) -> Result<Vec<Starting>, RunError> {
    let mut workers = Vec::new();
    for (number, (setup, io)) in each.enumerate() {
        let sender = sender.clone();
        let notify = move |progress| {
            // Refused only when nobody waits any more.
            let _ = sender.send(Event::Worker(number, progress));
        };
        match worker::start(setup, io, notify) {
            Ok(worker) => workers.push(worker),
            Err(error) => {
                end(workers);
                return Err(RunError::Start(format!("cannot start a worker thread: {}", reason(&error))));
            }
        }
    }
    Ok(workers)
}

fn end(workers: Vec<Starting>) {
    workers.into_iter().for_each(Starting::end);
}

/// How the wait for all workers went.
#[derive(PartialEq, Debug)]
enum Ready {
    /// With the signals that came meanwhile and have to do with those who run.
    All(Vec<Event>),
    Stop,
    /// This one has ended, which is a failure.
    Ended(usize),
}

fn until_ready(events: &Receiver<Event>, workers: usize) -> Ready {
    let (mut ready, mut put_off) = (0, Vec::new());
    while ready < workers {
        match events.recv() {
            Ok(Event::Worker(_, Progress::Ready)) => ready += 1,
            Ok(Event::Worker(number, Progress::Ended)) => return Ready::Ended(number),
            Ok(Event::Signal(Signal::Stop)) | Err(_) => return Ready::Stop,
            Ok(signal) if put_off.contains(&signal) => {}
            Ok(signal) => put_off.push(signal),
        }
    }
    Ready::All(put_off)
}

fn failure(outcome: Outcome) -> RunError {
    match outcome {
        Outcome::NotLoaded(error) => RunError::Config(error),
        Outcome::NoLoop(error) => RunError::Start(format!(
            "cannot set up the event loop: {}{}",
            reason(&error),
            if net::is_shortage(&error) { TOO_FEW_DESCRIPTORS } else { "" }
        )),
        Outcome::Finished => RunError::Fault("a worker ended by itself".into()),
        Outcome::Panicked(what) => RunError::Fault(what),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::net::bind_for;
    use crate::script::{LoadError, Source, load};

    fn source(settings: &str) -> Source {
        let text = format!(
            "rsp.listen '127.0.0.1:0' rsp.pool {{ servers = {{ '127.0.0.1:1' }} }} rsp.settings {{ {settings} }}"
        );
        Source::in_memory(Path::new("site.lua"), text.as_bytes())
    }

    fn said(settings: &str) -> Arc<Config> {
        Arc::new(load(&mut source(settings)).map_err(|e| e.0).unwrap().0)
    }

    /// Workers that are to find what is given for each in the same source, and where they listen.
    fn workers(said: [Arc<Config>; 3]) -> (String, Vec<(Setup, WorkerIo)>) {
        let config = said[0].clone();
        let listeners = bind_for(&config.listeners[0], 3).unwrap();
        let address = listeners[0].address();
        let setups = Setup::each(3, &config, &config, &source(""), Instant::now());
        let each = setups.into_iter().zip(said).zip(listeners).map(|((setup, said), listener)| {
            (Setup { said, ..setup }, WorkerIo { listeners: vec![listener], access: None })
        });
        (address, each.collect())
    }

    #[test]
    fn where_one_worker_finds_another_config_nobody_was_served_by_the_others() {
        let (address, each) = workers([said(""), said(""), said("max_body = 1")]);
        let mut clients: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(&address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"nonsense\r\n\r\n").unwrap();
        }
        let outcome = start(each.into_iter(), mpsc::channel());
        assert!(matches!(outcome, Err(RunError::Config(LoadError(line))) if line.contains("a second time")));
        for client in &mut clients {
            assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it was answered");
        }
    }

    #[test]
    fn a_fault_while_it_gets_ready_is_an_internal_fault() {
        let (_, each) = workers([said(""), said(""), said("")]);
        let (setup, io) = each.into_iter().next().unwrap();
        let worker = worker::start(setup, io, |progress| {
            assert!(progress != Progress::Ready, "a seeded fault");
        });
        let failure = failure(worker.unwrap().outcome());
        assert!(matches!(failure, RunError::Fault(what) if what.contains("a seeded fault")));
    }

    #[test]
    fn a_stop_ends_the_start_and_other_signals_wait_until_all_are_ready() {
        let (sender, events) = mpsc::channel();
        let say = |events: &[Event]| events.iter().for_each(|event| sender.send(*event).unwrap());
        let (ready, reopen) = (Event::Worker(0, Progress::Ready), Event::Signal(Signal::Reopen));
        say(&[reopen, ready, reopen, ready]);
        assert_eq!(until_ready(&events, 2), Ready::All(vec![reopen]));
        say(&[reopen, ready, Event::Signal(Signal::Stop)]);
        assert_eq!(until_ready(&events, 2), Ready::Stop);
        say(&[ready, Event::Worker(1, Progress::Ended)]);
        assert_eq!(until_ready(&events, 2), Ready::Ended(1));
    }
}
