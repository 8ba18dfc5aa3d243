//! rsp: an L7 load balancer. (The map is completed with the code.)

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod exchange;
pub mod h1;
pub mod http;
pub mod net;
pub mod route;
pub mod script;
pub mod worker;
