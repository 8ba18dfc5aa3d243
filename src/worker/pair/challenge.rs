//! A request for the token of an ACME challenge waits until its file was looked for, which the loop does not do itself.
//! It looks whether that has happened every few milliseconds: challenges are too rare to be worth a message.

use crate::exchange::Failure;
use crate::net::Network;
use crate::route::{Challenge, admit_further};
use crate::script::{Answer, Body};
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};
use crate::worker::pair::Stage;
use crate::worker::pair::table::PairKey;
use crate::worker::shared::challenges::{ChallengeAsk, ChallengeText};

/// How often it looks, in microseconds.
const LOOK: u64 = 2_000;
/// How long it waits at most.
const CHALLENGE_TIMEOUT: u64 = 2_000_000;

pub struct ChallengeWait {
    text: ChallengeText,
    again: u64,
    until: u64,
}

impl ChallengeWait {
    /// When it looks again.
    pub fn deadline(&self) -> u64 {
        self.again
    }
}

impl<N: Network> Core<N> {
    /// Has another thread look for the file, and waits.
    #[cold]
    pub(crate) fn ask_challenge(&mut self, pair_key: PairKey, challenge: Challenge) -> Step {
        let Challenge { directory, token } = challenge;
        let (text, now) = (ChallengeText::default(), self.tools.now);
        let ask = ChallengeAsk { directory, token, text: text.clone() };
        match self.waits.challenges.as_ref().map(|asks| asks.try_send(ask)) {
            Some(Ok(())) => {
                let wait = ChallengeWait { text, again: now + LOOK, until: now + CHALLENGE_TIMEOUT };
                self.pairs[pair_key].stage = Stage::Challenge(Box::new(wait));
                Step::Wait
            }
            _ => self.start_without_challenge(pair_key),
        }
    }

    /// Looks whether the file has been looked for.
    pub(crate) fn challenge_timer(&mut self, client: ClientKey) -> Step {
        let Some(pair_key) = self.clients.get(client).and_then(|client| client.role.pair) else {
            return Step::Wait;
        };
        let pair = &mut self.pairs[pair_key];
        let Stage::Challenge(wait) = &mut pair.stage else { return Step::Wait };
        let text = match wait.text.get() {
            Some(text) => text.clone(),
            None if self.tools.now >= wait.until => None,
            None => {
                wait.again = self.tools.now + LOOK;
                return Step::Wait;
            }
        };
        pair.stage = Stage::Routing;
        match text {
            Some(text) => {
                let headers = vec![(b"Content-Type".to_vec(), b"text/plain".to_vec())];
                self.answer_scripted(pair_key, Answer { status: 200, headers, body: Body::new(text) })
            }
            None => self.start_without_challenge(pair_key),
        }
    }

    /// There is no such token: the request is one like any other.
    fn start_without_challenge(&mut self, pair_key: PairKey) -> Step {
        let pair = &mut self.pairs[pair_key];
        let Some(handlers) = &pair.handlers else {
            return self.fail(pair_key, Failure::Internal);
        };
        let (x, routes) = (&mut pair.exchange, &pair.site.routes);
        let decision = admit_further(x, routes, &mut handlers.borrow_mut(), self.tools.now);
        self.apply_decision(pair_key, decision)
    }
}
