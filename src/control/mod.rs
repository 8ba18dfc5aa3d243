//! Floor 6: the control thread. It loads the config, binds the listeners, starts the workers, waits for signals
//! and sees to the logs. Nothing here is ever in the data path: what a worker has to say comes through bounded
//! queues, and a log that cannot be written costs lines, not requests.

pub mod access;
pub mod clock;
pub mod errors;
pub mod escape;
pub mod lines;
pub mod run;
pub mod run_error;

mod output;
mod signals;
mod socket_warnings;
mod startup;
mod supervise;
