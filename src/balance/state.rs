//! The state of a server: what operators, checks and traffic say about it, and what that comes to.
//!
//! ```text
//!   by hand      ready ◄──► drain ◄──► maint          not set: ready or disabled, as the config says
//!
//!   by checks    unchecked ──passed──► up ──fall──► down       without `health`: always up
//!                    └─────failed───────────────────►┘ ──rise──► up
//!
//!   by traffic   in use ──failures──► ejected ──pause over──► probed ──passed──► in use
//!                                        ▲                      │
//!                                        └──failed, pause × 2───┘
//!
//!   by name      without an address yet: down
//!
//!   what counts, first match: disabled, maint, no address, drain, down or unchecked, ejected, up
//! ```

use crate::config::Eject;

/// What a server is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ServerState {
    Up,
    /// It has checks, and none has ended yet.
    Unchecked,
    Down,
    /// Out of use for a while, after failures of real requests.
    Ejected,
    /// Only sticky requests, and those that a script sends there.
    Drain,
    Maint,
    /// Not used until it is enabled.
    Disabled,
}

impl ServerState {
    pub const ALL: [ServerState; 7] = [
        ServerState::Up,
        ServerState::Unchecked,
        ServerState::Down,
        ServerState::Ejected,
        ServerState::Drain,
        ServerState::Maint,
        ServerState::Disabled,
    ];

    pub fn text(self) -> &'static str {
        match self {
            ServerState::Up => "up",
            ServerState::Unchecked => "not checked yet",
            ServerState::Down => "down",
            ServerState::Ejected => "ejected",
            ServerState::Drain => "drain",
            ServerState::Maint => "maint",
            ServerState::Disabled => "disabled",
        }
    }

    /// In one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            ServerState::Unchecked => "unchecked",
            other => other.text(),
        }
    }

    /// Whether a request that names the server may go there.
    pub fn takes_named(self) -> bool {
        matches!(self, ServerState::Up | ServerState::Ejected | ServerState::Drain)
    }
}

impl ServerState {
    /// Whether idle connections are kept.
    pub fn keeps_connections(self) -> bool {
        matches!(self, ServerState::Up | ServerState::Drain)
    }
}

/// Set by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Administrative {
    Ready,
    Drain,
    Maint,
}

impl Administrative {
    pub const ALL: [Administrative; 3] =
        [Administrative::Ready, Administrative::Drain, Administrative::Maint];

    pub fn text(self) -> &'static str {
        match self {
            Administrative::Ready => "ready",
            Administrative::Drain => "drain",
            Administrative::Maint => "maint",
        }
    }

    pub fn from_text(text: &str) -> Option<Administrative> {
        Administrative::ALL.into_iter().find(|state| state.text() == text)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Checked {
    /// There are no checks.
    #[default]
    Never,
    Unchecked,
    /// With the number of failures in a row.
    Up(u32),
    /// With the number of successes in a row.
    Down(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Traffic {
    #[default]
    InUse,
    /// Until then, after a pause of this length; both in microseconds.
    Ejected { until: u64, pause: u64 },
    /// One request finds out.
    Probed { pause: u64 },
}

/// The lengths of ejections, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pauses {
    pub first: u64,
    pub longest: u64,
}

impl Pauses {
    pub fn of(eject: &Eject) -> Pauses {
        let longest = eject.longest_pause().as_micros() as u64;
        Pauses { first: eject.pause.as_micros() as u64, longest }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct States {
    by_hand: Option<Administrative>,
    /// In the config.
    disabled: bool,
    /// Its name has no address yet.
    unresolved: bool,
    checked: Checked,
    traffic: Traffic,
}

impl States {
    pub fn state(&self) -> ServerState {
        match (self.by_hand, self.checked, self.traffic) {
            (None, ..) if self.disabled => ServerState::Disabled,
            (Some(Administrative::Maint), ..) => ServerState::Maint,
            _ if self.unresolved => ServerState::Down,
            (Some(Administrative::Drain), ..) => ServerState::Drain,
            (_, Checked::Down(_), _) => ServerState::Down,
            (_, Checked::Unchecked, _) => ServerState::Unchecked,
            (_, _, Traffic::Ejected { .. } | Traffic::Probed { .. }) => ServerState::Ejected,
            (_, Checked::Never | Checked::Up(_), Traffic::InUse) => ServerState::Up,
        }
    }

    /// `None`: as the config says.
    pub fn set_by_hand(&mut self, state: Option<Administrative>) {
        self.by_hand = state;
    }

    /// Sets what the config says.
    pub fn set_disabled(&mut self, disabled: bool) {
        self.disabled = disabled;
    }

    pub fn set_unresolved(&mut self, unresolved: bool) {
        self.unresolved = unresolved;
    }

    pub fn is_unresolved(&self) -> bool {
        self.unresolved
    }

    /// The config gains or loses its checks.
    pub fn set_checks(&mut self, on: bool) {
        match (on, self.checked) {
            (false, _) => self.checked = Checked::Never,
            (true, Checked::Never) => self.checked = Checked::Unchecked,
            (true, _) => {}
        }
    }

    /// Whether the last checks passed; `None` before the first has ended, and without checks.
    pub fn checked(&self) -> Option<bool> {
        match self.checked {
            Checked::Never | Checked::Unchecked => None,
            Checked::Up(_) => Some(true),
            Checked::Down(_) => Some(false),
        }
    }

    /// A check has ended.
    pub fn check(&mut self, passed: bool, rise: u32, fall: u32) {
        self.checked = match (self.checked, passed) {
            (Checked::Never, _) => Checked::Never,
            (Checked::Unchecked, true) => Checked::Up(0),
            (Checked::Unchecked, false) => Checked::Down(0),
            (Checked::Up(_), true) => Checked::Up(0),
            (Checked::Up(failures), false) if failures + 1 >= fall => Checked::Down(0),
            (Checked::Up(failures), false) => Checked::Up(failures + 1),
            (Checked::Down(_), false) => Checked::Down(0),
            (Checked::Down(passes), true) if passes + 1 >= rise => Checked::Up(0),
            (Checked::Down(passes), true) => Checked::Down(passes + 1),
        };
    }

    /// Too many requests failed. Returns the length of the pause, or `None` if the server is ejected already.
    pub fn eject(&mut self, now: u64, pauses: Pauses) -> Option<u64> {
        match self.traffic {
            Traffic::InUse => {
                let pause = pauses.first;
                self.traffic = Traffic::Ejected { until: now + pause, pause };
                Some(pause)
            }
            Traffic::Ejected { .. } | Traffic::Probed { .. } => None,
        }
    }

    pub fn is_ejected(&self) -> bool {
        self.traffic != Traffic::InUse
    }

    /// When a probe is due; `None` if none will be.
    pub fn probe_at(&self) -> Option<u64> {
        match self.traffic {
            Traffic::Ejected { until, .. } => Some(until),
            Traffic::InUse | Traffic::Probed { .. } => None,
        }
    }

    /// Begins a probe if one is due. Returns the pause that was before it.
    pub fn begin_probe(&mut self, now: u64) -> Option<u64> {
        match self.traffic {
            Traffic::Ejected { until, pause } if now >= until => {
                self.traffic = Traffic::Probed { pause };
                Some(pause)
            }
            _ => None,
        }
    }

    /// The probe has ended. `None`: it tells nothing, another one may begin at once.
    pub fn end_probe(&mut self, passed: Option<bool>, now: u64, pauses: Pauses) {
        let Traffic::Probed { pause } = self.traffic else { return };
        self.traffic = match passed {
            Some(true) => Traffic::InUse,
            Some(false) => {
                let pause = (pause * 2).clamp(pauses.first, pauses.longest);
                Traffic::Ejected { until: now + pause, pause }
            }
            None => Traffic::Ejected { until: now, pause },
        };
    }

    /// The config does not eject any more.
    pub fn set_in_use(&mut self) {
        self.traffic = Traffic::InUse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { first: 10, longest: 60 };

    #[test]
    fn what_counts_is_said_by_hand_then_by_checks_then_by_traffic() {
        use ServerState as S;
        let hand = [
            (None, false, None),
            (None, true, Some(S::Disabled)),
            (Some(Administrative::Ready), true, None),
            (Some(Administrative::Drain), true, Some(S::Drain)),
            (Some(Administrative::Maint), false, Some(S::Maint)),
        ];
        let checks = [
            (Checked::Never, None),
            (Checked::Up(2), None),
            (Checked::Unchecked, Some(S::Unchecked)),
            (Checked::Down(1), Some(S::Down)),
        ];
        let traffic = [
            (Traffic::InUse, S::Up),
            (Traffic::Ejected { until: 1, pause: 1 }, S::Ejected),
            (Traffic::Probed { pause: 1 }, S::Ejected),
        ];
        for (by_hand, disabled, state) in hand {
            for (checked, by_check) in checks {
                for (traffic, by_traffic) in traffic {
                    let states = States { by_hand, disabled, unresolved: false, checked, traffic };
                    assert_eq!(states.state(), state.or(by_check).unwrap_or(by_traffic), "{states:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_check_decides_alone_and_rise_and_fall_count_afterwards() {
        let run = |results: &[bool]| {
            let mut states = States::default();
            states.set_checks(true);
            for passed in results {
                states.check(*passed, 2, 3);
            }
            states.state()
        };
        use ServerState::{Down, Unchecked, Up};
        for (results, state) in [
            (&[][..], Unchecked),
            (&[true], Up),
            (&[false], Down),
            (&[true, false, false], Up),
            (&[true, false, false, true, false, false], Up),
            (&[true, false, false, false], Down),
            (&[false, true], Down),
            (&[false, true, false, true], Down),
            (&[false, true, true], Up),
            (&[false, true, true, false, false], Up),
        ] {
            assert_eq!(run(results), state, "{results:?}");
        }
    }

    #[test]
    fn a_server_without_checks_is_up_whatever_a_late_one_says() {
        let mut states = States::default();
        states.check(false, 1, 1);
        assert_eq!(states.state(), ServerState::Up);
        states.set_checks(true);
        states.check(false, 1, 1);
        states.set_checks(true);
        assert_eq!(states.state(), ServerState::Down, "a reload that keeps the checks keeps what they say");
        states.set_checks(false);
        assert_eq!(states.state(), ServerState::Up);
    }

    #[test]
    fn an_ejection_doubles_with_every_failed_probe_and_ends_with_one_that_passes() {
        let mut states = States::default();
        assert_eq!(states.begin_probe(0), None);
        assert_eq!(states.eject(100, PAUSES), Some(10));
        assert_eq!(states.eject(101, PAUSES), None, "it is ejected already");
        let mut now = 100;
        for pause in [10, 20, 40, 60, 60] {
            assert_eq!(states.probe_at(), Some(now + pause));
            assert_eq!(states.begin_probe(now + pause - 1), None);
            now += pause;
            assert_eq!([(); 2].map(|()| states.begin_probe(now)), [Some(pause), None], "one at a time");
            assert_eq!((states.state(), states.probe_at()), (ServerState::Ejected, None));
            states.end_probe(Some(false), now, PAUSES);
        }
        assert!(states.begin_probe(now + 60).is_some());
        states.end_probe(None, now + 61, PAUSES);
        assert!(states.begin_probe(now + 61).is_some(), "one that told nothing is followed by another");
        states.end_probe(Some(true), now + 62, PAUSES);
        assert_eq!(states.state(), ServerState::Up);
        assert_eq!(states.eject(now + 70, PAUSES), Some(10), "the next one begins anew");
    }

    #[test]
    fn only_maint_down_and_unchecked_servers_take_no_request_that_names_them() {
        let taking: Vec<_> = ServerState::ALL.into_iter().filter(|state| state.takes_named()).collect();
        assert_eq!(taking, [ServerState::Up, ServerState::Ejected, ServerState::Drain]);
    }
}
