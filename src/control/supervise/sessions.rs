//! `show sess` and `shutdown session`: questions to workers. A list goes out in parts: the next part is asked for when
//! the client has taken the one before, so that neither a worker nor this thread holds a long one.

use std::collections::HashMap;

use super::Running;
use crate::control::event_loop::{ControlEvent, WorkerAnswer};
use crate::control::haproxy;
use crate::control::sockets::Asker;
use crate::control::sockets::console::Answer;
use crate::worker::{Session, Sessions};

const NO_SUCH: &str = "No such session (use 'show sess').";

/// The lists that are under way: from which worker and slot the next part comes; `None` while it is asked for.
pub(super) type Listings = HashMap<Asker, Option<(usize, u32)>>;

impl Running<'_> {
    pub(super) fn list_sessions(&mut self, asker: Asker, id: Option<u128>) {
        match id {
            None => {
                self.listings.insert(asker, Some((0, 0)));
                self.go_on_listing();
            }
            Some(id) => {
                let (worker, token) = split(id);
                let Some(Some(handle)) = self.workers.get(worker) else { return self.no_such(asker) };
                let mailbox = self.control.mailbox();
                handle.ask_session(token, move |now, session: Option<Session>| {
                    let sessions = session.into_iter().collect();
                    let answer = WorkerAnswer::Sessions { worker, now, sessions, next: None };
                    mailbox.send(ControlEvent::Answer(asker, answer));
                });
            }
        }
    }

    pub(super) fn shut_session(&mut self, asker: Asker, id: u128) {
        let (worker, token) = split(id);
        let Some(Some(handle)) = self.workers.get(worker) else { return self.no_such(asker) };
        let mailbox = self.control.mailbox();
        handle.shut_session(token, move |was_there| {
            mailbox.send(ControlEvent::Answer(asker, WorkerAnswer::Shut(was_there)));
        });
    }

    fn no_such(&mut self, asker: Asker) {
        self.sockets.answer(asker, &Answer::error(NO_SUCH));
    }

    /// Asks for the next part of lists whose clients have taken the last one.
    pub(super) fn go_on_listing(&mut self) {
        let due: Vec<(Asker, (usize, u32))> =
            self.listings.iter().filter_map(|(asker, next)| Some((*asker, (*next)?))).collect();
        for (asker, (worker, slot)) in due {
            match self.sockets.answer_part(asker, "") {
                None => _ = self.listings.remove(&asker),
                Some(false) => {}
                Some(true) => self.ask_part(asker, worker, slot),
            }
        }
    }

    fn ask_part(&mut self, asker: Asker, first: usize, slot: u32) {
        let running = (first..self.workers.len()).find(|worker| self.workers[*worker].is_some());
        let Some((worker, handle)) = running.and_then(|at| Some((at, self.workers[at].as_ref()?))) else {
            self.listings.remove(&asker);
            return self.sockets.answer(asker, &Answer::data(""));
        };
        let slot = if worker == first { slot } else { 0 };
        let mailbox = self.control.mailbox();
        self.listings.insert(asker, None);
        handle.ask_sessions(slot, move |Sessions { now, sessions, next }| {
            let answer = WorkerAnswer::Sessions { worker, now, sessions, next };
            mailbox.send(ControlEvent::Answer(asker, answer));
        });
    }

    /// A worker has answered.
    pub(super) fn answered(&mut self, asker: Asker, answer: WorkerAnswer) {
        let (worker, now, sessions, next) = match answer {
            WorkerAnswer::Shut(true) => return self.sockets.answer(asker, &Answer::data("")),
            WorkerAnswer::Shut(false) => return self.no_such(asker),
            WorkerAnswer::Explained(result) => return self.explained(asker, result),
            WorkerAnswer::Sessions { worker, now, sessions, next } => (worker, now, sessions, next),
        };
        let names = self.stats.counters[worker].listener_names();
        let line = |session: &Session| haproxy::sessions::line(session, worker, &names, now);
        let text: String = sessions.iter().map(line).collect();
        match self.listings.get_mut(&asker) {
            // One was asked for.
            None if text.is_empty() => self.no_such(asker),
            None => self.sockets.answer(asker, &Answer::data(text)),
            Some(following) => {
                *following = Some(next.map_or((worker + 1, 0), |slot| (worker, slot)));
                self.sockets.answer_part(asker, &text);
            }
        }
    }
}

/// The worker and the token of an id.
fn split(id: u128) -> (usize, u64) {
    ((id >> 64) as usize, id as u64)
}
