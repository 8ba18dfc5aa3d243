//! Floor 1: plain data structures on `std` alone. Nothing here knows HTTP, sockets or configuration.

pub mod batch;
mod blocks;
pub mod buffer;
pub mod buffer_memory;
pub mod cells;
pub mod counted;
pub mod ip_port;
pub mod log_limit;
pub mod named_values;
pub mod os_error;
pub mod wheel;
