//! rsp with real programs: nginx, Varnish, haproxy, curl, load tools. A missing program fails the test in CI and
//! skips it elsewhere (`support::have`).

#[path = "../corpus/case.rs"]
mod case;
#[path = "../support/mod.rs"]
mod support;

mod acme;
mod applications;
mod browser;
mod corpus;
mod dashboard;
mod goaccess;
mod log_readers;
mod logrotate;
mod monitoring;
mod packages;
mod proxy_protocol;
mod python;
mod real_servers;
mod scripts;
mod slow_clients;
mod supervisors;
mod tls;
