//! What the commands of the control socket do.

use std::sync::Arc;
use std::time::Instant;

use super::Running;
use crate::balance::{PoolState, Server};
use crate::config::ServerConfig;
use crate::control::by_hand::{self, Change, Unknown};
use crate::control::errors;
use crate::control::haproxy;
use crate::control::sockets::Asker;
use crate::control::sockets::commands::{Command, Show, Weight};
use crate::control::sockets::console::Answer;
use crate::control::stats::{Cleared, Peaks};
use crate::worker::Malformed;

/// The answer to a command that does something and has nothing to say.
const DONE: &str = "";

impl Running<'_> {
    /// Answers the command, now or later.
    pub(super) fn obey(&mut self, asker: Asker, command: Command) {
        let answer = match command {
            Command::Reload => return self.ask_reload(Some(asker)),
            Command::Show(Show::Sessions(id)) => return self.list_sessions(asker, id),
            Command::ShutdownSession(id) => return self.shut_session(asker, id),
            Command::Explain { question, json } => return self.explain(asker, *question, json),
            Command::Show(what) => self.show(what),
            other => self.change_by_command(other).unwrap_or_else(Answer::error),
        };
        self.sockets.answer(asker, &answer);
    }

    fn show(&mut self, what: Show) -> Answer {
        let now = Instant::now();
        Answer::data(match what {
            Show::Info(format) => haproxy::info::text(&self.view(), format, now),
            Show::Stat(wanted) => match haproxy::stat::text(&self.view(), &wanted, now) {
                Some(text) => text,
                None => return Answer::error("No such proxy."),
            },
            Show::ServersState(pool) => match haproxy::servers::state(self.process, pool.as_deref()) {
                Some(text) => text,
                None => return Answer::error("Can't find backend."),
            },
            Show::Backends => haproxy::servers::backends(self.process),
            Show::Pools => haproxy::servers::pools(self.process),
            Show::Changes => haproxy::servers::changes(self.process),
            Show::Errors => {
                let name = |one: &Malformed| self.listener_of(one);
                haproxy::errors::text(&self.shared.malformed().all(), name)
            }
            Show::Sessions(_) => String::new(),
        })
    }

    fn change_by_command(&mut self, command: Command) -> Result<Answer, String> {
        match command {
            Command::State(path, state) => {
                let (pool, server) = self.find(&path)?;
                by_hand::change(&pool, &server, Change { state: Some(state), weight: None })?;
            }
            Command::Weight(path, weight) => {
                let (pool, server) = self.find(&path)?;
                let weight = absolute(weight, server.configured_weight())?;
                by_hand::change(&pool, &server, Change { state: None, weight: Some(weight) })?;
            }
            Command::GetWeight(path) => {
                let (_, server) = self.find(&path)?;
                let (weight, initial) = (server.weight(), server.configured_weight());
                return Ok(Answer::data(format!("{weight} (initial {initial})")));
            }
            Command::AddServer(path, options) => {
                let (pool, name) = path.split_once('/').unwrap_or((&path, ""));
                let pool = self.process.pool(pool).ok_or("No such backend.")?;
                by_hand::add(pool, name, &options)?;
                return Ok(Answer::info("New server registered."));
            }
            Command::DeleteServer(path) => {
                let (pool, server) = self.find(&path)?;
                by_hand::delete(&pool, &server)?;
                return Ok(Answer::info("Server deleted."));
            }
            Command::ClearCounters { all } => self.clear_counters(all),
            Command::LogLevel(None) => return Ok(Answer::data(errors::level())),
            Command::LogLevel(Some(level)) => {
                errors::set_level(level);
                log::warn!("log level {} by hand", level.as_str().to_lowercase());
            }
            Command::Reload | Command::Show(_) | Command::ShutdownSession(_) | Command::Explain { .. } => {}
        }
        Ok(Answer::data(DONE))
    }

    fn listener_of(&self, one: &Malformed) -> String {
        let names = self.stats.counters.get(one.worker).map(|counters| counters.listener_names());
        let found = names.into_iter().flatten().find(|(number, _)| *number == one.listener);
        found.map_or("<removed>".into(), |(_, name)| name)
    }

    fn find(&self, path: &str) -> Result<(Arc<PoolState>, Arc<Server>), String> {
        let (pool, server) = path.split_once('/').unwrap_or((path, ""));
        by_hand::find(self.process, pool, server).map_err(|unknown| match unknown {
            Unknown::Pool => "No such backend.".into(),
            Unknown::Server => "No such server.".into(),
        })
    }

    /// Of `show stat`; what /metrics tells stays as it is.
    fn clear_counters(&mut self, all: bool) {
        match all {
            true => {
                let sample = self.view().sample();
                self.stats.peaks = Peaks::since(&sample);
                self.stats.cleared = Cleared::at(sample);
            }
            false => self.stats.peaks.clear(),
        }
        let pools = self.process.pools().iter();
        pools.for_each(|pool| pool.members().iter().for_each(|server| server.forget_longest()));
    }
}

fn absolute(weight: Weight, configured: u32) -> Result<u32, String> {
    const MOST: u32 = ServerConfig::MOST_WEIGHT;
    match weight {
        Weight::Absolute(weight) if weight > MOST => {
            Err(format!("Absolute weight can only be between 0 and {MOST} inclusive."))
        }
        Weight::Absolute(weight) => Ok(weight),
        Weight::Percent(percent) => match configured.saturating_mul(percent) / 100 {
            weight if weight > MOST => {
                Err("Relative weight can only be between 0 and 100% inclusive.".into())
            }
            weight => Ok(weight),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_absolute_or_a_share_of_the_configs() {
        assert_eq!(absolute(Weight::Absolute(256), 1), Ok(256));
        assert!(absolute(Weight::Absolute(257), 1).unwrap_err().starts_with("Absolute weight"));
        assert_eq!(absolute(Weight::Percent(50), 5), Ok(2));
        assert!(absolute(Weight::Percent(300), 100).is_err());
    }
}
