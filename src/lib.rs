//! rsp: an L7 load balancer. (The map is completed with the code.)

pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod exchange;
pub mod http;
pub mod script;
