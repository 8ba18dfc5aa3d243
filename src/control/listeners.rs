//! The listening sockets of the process. Workers accept from them; here they are bound, and kept for as long as a
//! config has them, so that a reload closes none that stays.

use std::io;
use std::os::fd::OwnedFd;

use crate::base::os_error::os_error;
use crate::config::{Config, ListenerConfig};
use crate::control::run_error::RunError;
use crate::net::{self, Inherited, Listener};
use crate::worker::NextListener;

/// In the order of the config.
#[derive(Default)]
pub struct Listeners {
    open: Vec<Open>,
    /// Sockets that the process was started with.
    pub inherited: Inherited,
}

struct Open {
    config: ListenerConfig,
    /// A descriptor of each worker's socket.
    sockets: Vec<Listener>,
}

/// The listeners of a config that may take the place of the present one. Dropping it closes the new sockets.
pub struct Prepared {
    next: Vec<Next>,
}

enum Next {
    /// The one at this position, with these options.
    Kept(usize, ListenerConfig),
    /// With a descriptor for each worker.
    New(Open, Vec<Listener>),
}

impl Listeners {
    pub fn new(inherited: Inherited) -> Listeners {
        Listeners { open: Vec::new(), inherited }
    }

    /// Binds what the config has beyond the present listeners: all or none.
    pub fn prepare(&self, config: &Config, workers: usize) -> Result<Prepared, RunError> {
        let mut taken = vec![false; self.open.len()];
        let mut next = Vec::new();
        for (position, wanted) in config.listeners.iter().enumerate() {
            // Several may leave the port to the kernel: the first stays the first.
            let same = |at: &usize| !taken[*at] && self.open[*at].config.address == wanted.address;
            let kept = (0..self.open.len()).find(same);
            next.push(match kept {
                Some(at) => {
                    taken[at] = true;
                    Next::Kept(at, wanted.clone())
                }
                None => self.bind(wanted, number(&config.listeners[..position], wanted), workers)?,
            });
        }
        Ok(Prepared { next })
    }

    fn bind(&self, wanted: &ListenerConfig, number: usize, workers: usize) -> Result<Next, RunError> {
        let bound = || {
            let for_workers = net::open_for(wanted, number, workers, &self.inherited)?;
            let sockets = for_workers.iter().map(Listener::share).collect::<io::Result<_>>()?;
            Ok((Open { config: wanted.clone(), sockets }, for_workers))
        };
        bound().map(|(open, for_workers)| Next::New(open, for_workers)).map_err(|error: io::Error| match self
            .in_the_way(wanted)
            .filter(|_| error.kind() == io::ErrorKind::AddrInUse)
        {
            Some(own) => RunError::Start(format!(
                "cannot listen on {}: {} (rsp itself still listens on {own}: remove that in a reload before)",
                wanted.address,
                os_error(&error),
            )),
            None => RunError::Listen(wanted.address.clone(), error),
        })
    }

    /// A present listener on the same port, as written.
    fn in_the_way(&self, wanted: &ListenerConfig) -> Option<String> {
        let port = wanted.address.ip_and_port()?.port();
        let own = self.open.iter().map(|open| &open.config.address);
        let same =
            own.into_iter().find(|address| address.ip_and_port().is_some_and(|own| own.port() == port));
        same.map(ToString::to_string)
    }

    /// Makes these the present listeners. Returns what each worker has to do.
    pub fn switch(&mut self, prepared: Prepared, workers: usize) -> Vec<Vec<NextListener>> {
        // What is left of them closes here: only the workers' descriptors keep a removed socket open, until they have
        // accepted what waits in its queue.
        let mut before: Vec<_> = std::mem::take(&mut self.open).into_iter().map(Some).collect();
        let mut each: Vec<Vec<NextListener>> = (0..workers).map(|_| Vec::new()).collect();
        for next in prepared.next {
            match next {
                Next::Kept(at, config) => {
                    let Some(mut open) = before[at].take() else { continue };
                    open.set_options(config);
                    each.iter_mut().for_each(|worker| worker.push(NextListener::Kept(at)));
                    self.open.push(open);
                }
                Next::New(open, for_workers) => {
                    let sockets = each.iter_mut().zip(for_workers);
                    sockets.for_each(|(worker, socket)| worker.push(NextListener::New(socket)));
                    self.open.push(open);
                }
            }
        }
        each
    }

    /// The addresses, with the kernel's choice for port 0. Several sockets may have one address.
    pub fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for open in &self.open {
            let mut own: Vec<String> = open.sockets.iter().take(1).flat_map(Listener::addresses).collect();
            own.dedup();
            addresses.extend(own);
        }
        addresses
    }

    /// Descriptors of all sockets, each with the name under which the next process gets it.
    pub fn handles(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut handles = self.inherited.unused_of_systemd()?;
        let configs: Vec<ListenerConfig> = self.open.iter().map(|open| open.config.clone()).collect();
        for (position, open) in self.open.iter().enumerate() {
            let key = net::key(&open.config.address, number(&configs[..position], &open.config));
            for socket in &open.sockets {
                handles.extend(socket.handles()?.into_iter().map(|handle| (key.clone(), handle)));
            }
        }
        Ok(handles)
    }

    /// Lets go of all sockets: the workers close them.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

/// The number of this listener among those with its address, from 1.
fn number(before: &[ListenerConfig], of: &ListenerConfig) -> usize {
    1 + before.iter().filter(|other| other.address == of.address).count()
}

impl Open {
    /// Takes over the options of another config.
    fn set_options(&mut self, config: ListenerConfig) {
        if self.config != config {
            let mut lines = Vec::new();
            for socket in &self.sockets {
                match socket.change_options(&self.config, &config) {
                    Ok(line) => lines.extend(line),
                    Err(error) => {
                        lines.push(format!("cannot set the socket's options: {}", os_error(&error)))
                    }
                }
            }
            lines.dedup();
            lines.iter().for_each(|line| log::warn!("{}: {line}", config.address));
        }
        self.config = config;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn config(addresses: &[&str]) -> Config {
        let at = |address: &&str| ListenerConfig::at(Address::Ip(address.parse().unwrap()));
        Config { listeners: addresses.iter().map(at).collect(), ..Config::default() }
    }

    fn kinds(workers: &[Vec<NextListener>]) -> Vec<Option<usize>> {
        let kind = |next: &NextListener| match next {
            NextListener::Kept(at) => Some(*at),
            NextListener::New(_) => None,
        };
        workers[0].iter().map(kind).collect()
    }

    #[test]
    fn listeners_that_stay_keep_their_sockets_in_whatever_order() {
        let mut listeners = Listeners::default();
        let first = listeners.prepare(&config(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]), 2).unwrap();
        let first = listeners.switch(first, 2);
        assert_eq!((kinds(&first), first.len()), (vec![None; 3], 2));
        let addresses = listeners.addresses();
        let second = listeners.prepare(&config(&["[::1]:0", "127.0.0.1:0", "127.0.0.2:0"]), 2).unwrap();
        let second = listeners.switch(second, 2);
        assert_eq!(kinds(&second), [Some(2), Some(0), None]);
        assert_eq!(listeners.addresses()[..2], [addresses[2].clone(), addresses[0].clone()]);
    }

    #[test]
    fn one_that_cannot_be_bound_leaves_the_others_as_they_are() {
        let mut listeners = Listeners::default();
        let first = listeners.prepare(&config(&["127.0.0.1:0"]), 1).unwrap();
        let _workers = listeners.switch(first, 1);
        let other = net::bind(&config(&["127.0.0.1:0"]).listeners[0]).unwrap();
        let error = listeners.prepare(&config(&["127.0.0.3:0", &other.address()]), 1).err().unwrap();
        assert!(error.to_string().contains("another program listens there"), "{error}");
        assert_eq!(listeners.addresses().len(), 1);
    }

    #[test]
    fn an_own_listener_in_the_way_is_named() {
        let mut listeners = Listeners::default();
        let port = net::bind(&config(&["0.0.0.0:0"]).listeners[0]).unwrap().address().replace("0.0.0.0:", "");
        let first = listeners.prepare(&config(&[&format!("0.0.0.0:{port}")]), 1).unwrap();
        let _workers = listeners.switch(first, 1);
        let error = listeners.prepare(&config(&[&format!("127.0.0.1:{port}")]), 1).err().unwrap().to_string();
        assert!(error.contains(&format!("(rsp itself still listens on 0.0.0.0:{port}:")), "{error}");
    }
}
