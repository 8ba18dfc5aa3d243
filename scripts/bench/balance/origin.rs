//! A server of the simulation: so many requests at a time, the others in order of their arrival.

use std::collections::VecDeque;

use rsp::balance::algorithm::Random;

/// A request on its way to a server and back: its place, and which of its tries this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    pub place: usize,
    pub serial: u64,
    pub attempt: u32,
}

#[derive(Clone, Copy)]
pub struct Spec {
    pub speed: f64,
    /// Requests served at a time.
    pub lanes: usize,
    pub weight: u32,
    pub max_connections: Option<u32>,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec { speed: 1.0, lanes: 1, weight: 1, max_connections: None }
    }
}

#[derive(Clone, Copy)]
pub enum Fault {
    /// As after SIGKILL: what runs is closed, new connections are refused.
    Refuses,
    /// As after SIGSTOP: connections are accepted and nothing is answered.
    Freezes,
    /// So many times slower.
    Slow(f64),
}

pub struct Origin {
    pub spec: Spec,
    waiting: VecDeque<Job>,
    running: Vec<Job>,
    /// Would have been answered if it were not frozen.
    held: Vec<Job>,
    pub refuses: bool,
    frozen: bool,
    slow: f64,
    /// Tries that came here.
    pub received: u64,
    /// The most requests in flight that the balancer had here.
    pub peak: u32,
}

impl Origin {
    pub fn new(spec: Spec) -> Origin {
        Origin {
            spec,
            waiting: VecDeque::new(),
            running: Vec::new(),
            held: Vec::new(),
            refuses: false,
            frozen: false,
            slow: 1.0,
            received: 0,
            peak: 0,
        }
    }

    pub fn accept(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// The next one to serve, if there is one and a lane for it.
    pub fn start(&mut self) -> Option<Job> {
        if self.frozen || self.running.len() >= self.spec.lanes {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.running.push(job);
        Some(job)
    }

    /// How long it takes for what a server of speed 1 does in this time.
    pub fn service(&self, work: f64) -> u64 {
        (work / self.spec.speed * self.slow) as u64
    }

    /// A request is served. Returns whether its answer leaves.
    pub fn finish(&mut self, job: Job) -> bool {
        let Some(at) = self.running.iter().position(|running| *running == job) else { return false };
        if self.frozen {
            self.held.push(job);
            return false;
        }
        self.running.swap_remove(at);
        true
    }

    /// Returns the requests whose connections close.
    pub fn begin(&mut self, fault: Fault) -> Vec<Job> {
        match fault {
            Fault::Refuses => {
                self.refuses = true;
                return self.running.drain(..).chain(self.waiting.drain(..)).collect();
            }
            Fault::Freezes => self.frozen = true,
            Fault::Slow(factor) => self.slow = factor,
        }
        Vec::new()
    }

    /// Returns the requests that are answered now.
    pub fn end(&mut self, fault: Fault) -> Vec<Job> {
        match fault {
            Fault::Refuses => self.refuses = false,
            Fault::Freezes => self.frozen = false,
            Fault::Slow(_) => self.slow = 1.0,
        }
        let held = std::mem::take(&mut self.held);
        self.running.retain(|job| !held.contains(job));
        held
    }
}

/// Exponentially distributed with a mean of 1.
pub fn exponential(random: &mut Random) -> f64 {
    -(1.0 - unit(random)).ln()
}

/// From 0 to below 1.
pub fn unit(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / (1_u64 << 53) as f64
}
