//! What an upgrade does to the running process: see `control::upgrade` for its steps.

use std::io;
use std::os::fd::AsRawFd;

use super::{CHANNEL, Running, Stage};
use crate::base::os_error::os_error;
use crate::control::notify;
use crate::control::upgrade::{Upgrade, Wanted};
use crate::net;
use crate::worker::Drain;

impl Running<'_> {
    pub(super) fn begin_upgrade(&mut self) {
        let refused = match (self.stage, &self.upgrade) {
            (Stage::Serving, None) if self.reload.is_idle() => None,
            (Stage::Serving, None) => Some("a reload is under way: send it again after that"),
            (Stage::Serving, Some(_)) => Some("a new process is starting already"),
            _ => Some("rsp is stopping"),
        };
        if let Some(why) = refused {
            return log::warn!("USR2 ignored: {why}");
        }
        match self.start_upgrade() {
            Ok(upgrade) => {
                log::info!("Upgrade: process {} is starting", upgrade.process());
                self.upgrade = Some(upgrade);
            }
            Err(error) => log::error!("Not upgraded, this process goes on: {}", os_error(&error)),
        }
    }

    pub(super) fn start_upgrade(&self) -> io::Result<Upgrade> {
        let mut handles = self.process.handles()?;
        handles.extend(self.sockets.handles()?);
        let sockets: Vec<_> = handles.iter().map(|(key, handle)| (key.clone(), handle.as_raw_fd())).collect();
        Upgrade::start(&sockets, &self.control.registry()?, CHANNEL)
    }

    /// Does what the new process wants.
    pub(super) fn serve_upgrade(&mut self) {
        while let Some(upgrade) = &mut self.upgrade {
            match upgrade.wanted() {
                Wanted::Nothing => return,
                Wanted::State => upgrade.send_state(&self.process.handover()),
                Wanted::TakeOver(unused) => self.hand_over(&unused),
                Wanted::Failed(why) => self.give_up_upgrade(&why),
            }
        }
    }

    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        if let Some(upgrade) = self.upgrade.take() {
            log::error!("Not upgraded, this process goes on: process {}: {why}", upgrade.process());
            upgrade.give_up();
        }
    }

    /// The new process accepts already. This one drains, and leaves it the rest.
    pub(super) fn hand_over(&mut self, unused: &[String]) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let process = upgrade.process();
        notify::main_pid(process);
        if let Err(error) = upgrade.hand_over() {
            notify::main_pid(std::process::id());
            return self.give_up_upgrade(&os_error(&error));
        }
        self.upgrade = None;
        net::leave_socket_files(true);
        self.sockets.close();
        self.process.stop_names();
        let settings = &self.process.config.settings;
        let within = self.drain_timeout.or(settings.upgrade_drain_timeout).unwrap_or(settings.drain_timeout);
        log::info!("Handed over to process {process}: what runs here may finish within {within:?}");
        // Of a socket that the new one does not have, nobody else would accept what waits in its queue.
        self.drain_workers(Drain { within, handed_over: unused.is_empty() });
    }
}
