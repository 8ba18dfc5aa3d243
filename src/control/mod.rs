//! Floor 6: the control thread. It loads the config, binds the listeners, starts the workers, waits for signals and
//! runs the logs; names of servers are resolved on threads beside it. Nothing here is in the data path: workers report
//! through bounded queues, and a log that cannot be written costs lines, not requests.

pub mod access;
mod by_hand;
pub mod certificates;
mod challenges;
pub mod clock;
mod dashboard;
pub mod errors;
pub mod escape;
pub mod explain;
mod haproxy;
pub mod lines;
pub mod names;
pub mod notify;
pub mod privileges;
pub mod resolve;
pub mod run;
pub mod run_error;

mod descriptors;
pub mod event_loop;
mod fresh_vms;
mod jobs;
mod listeners;
mod lookups;
mod output;
mod permissions;
mod process;
mod reload;
mod signals;
mod sockets;
mod stalls;
mod startup;
mod stats;
mod supervise;
pub mod syslog;
pub mod upgrade;
mod warnings;
