//! rsp: an L7 load balancer. (The map is completed with the code.)

pub mod base;
pub mod config;
pub mod exchange;
pub mod h1;
pub mod http;
pub mod script;
