//! A file of users and passwords, as `htpasswd` writes it, and checks against it. A check may take tenths of a second:
//! it runs on threads of its own, of which only so many checks may wait, and what it found is known for a short while.
//!
//! - `hash`  the kinds of hashes, and whether a password has one
//! - `users` the file
//! - `pool`  the threads
//! - `check` who asks at one time, and what is known

mod check;
mod hash;
mod pool;
mod users;

pub use check::{BasicAuth, Begun};
