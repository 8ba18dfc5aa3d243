//! A name server for tests: UDP on a port of 127.0.0.1, with answers that a test changes while it runs.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use simple_dns::rdata::{A, AAAA, RData, SRV};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE};

/// What it says to every question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answers,
    Silent,
    Fails,
}

/// A record of a name: an address, or priority, weight, port and target.
#[derive(Clone)]
pub enum Record {
    A([u8; 4]),
    Aaaa(&'static str),
    Srv([u16; 3], &'static str),
}

struct Zone {
    mood: Mood,
    records: HashMap<String, Vec<Record>>,
}

pub struct NameServer {
    pub address: String,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Knows no name yet.
    pub fn new() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address").to_string();
        let zone = Arc::new(Mutex::new(Zone { mood: Mood::Answers, records: HashMap::new() }));
        let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_zone, count, ends) = (zone.clone(), asked.clone(), over.clone());
        let serving = std::thread::spawn(move || serve(&socket, &its_zone, &count, &ends));
        NameServer { address, zone, asked, over, serving: Some(serving) }
    }

    /// One that knows this name with addresses 127.0.0.N.
    pub fn with(name: &str, last: &[u8]) -> NameServer {
        let server = NameServer::new();
        server.set(name, last);
        server
    }

    /// Sets the addresses of a name: 127.0.0.N.
    pub fn set(&self, name: &str, last: &[u8]) {
        self.set_records(name, last.iter().map(|last| Record::A([127, 0, 0, *last])).collect());
    }

    pub fn set_records(&self, name: &str, records: Vec<Record>) {
        self.zone.lock().expect("no panic").records.insert(name.into(), records);
    }

    /// The name does not exist any more.
    pub fn remove(&self, name: &str) {
        self.zone.lock().expect("no panic").records.remove(name);
    }

    pub fn set_mood(&self, mood: Mood) {
        self.zone.lock().expect("no panic").mood = mood;
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", &self.address));
        if let (Ok(_), Some(serving)) = (woken, self.serving.take()) {
            let _ = serving.join();
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>, asked: &AtomicUsize, over: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok((size, from)) = socket.recv_from(&mut bytes) {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let answer = answer(&bytes[..size], &zone.lock().expect("no panic"));
        asked.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let query = Packet::parse(question).ok()?;
    let asked = query.questions.first()?;
    let QTYPE::TYPE(kind) = asked.qtype else { return None };
    let mut reply = Packet::new_reply(query.id());
    match (zone.mood, zone.records.get(&asked.qname.to_string())) {
        (Mood::Silent, _) => return None,
        (Mood::Fails, _) => *reply.rcode_mut() = RCODE::ServerFailure,
        (Mood::Answers, None) => *reply.rcode_mut() = RCODE::NameError,
        (Mood::Answers, Some(records)) => {
            let data = records.iter().filter_map(|record| data(record, kind));
            let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, 1, data);
            reply.answers = data.map(record).collect();
        }
    }
    reply.questions.push(asked.clone());
    reply.build_bytes_vec().ok()
}

fn data(record: &Record, kind: TYPE) -> Option<RData<'static>> {
    match (record, kind) {
        (Record::A(address), TYPE::A) => Some(RData::A(A { address: Ipv4Addr::from(*address).into() })),
        (Record::Aaaa(address), TYPE::AAAA) => {
            let address: Ipv6Addr = address.parse().expect("an address");
            Some(RData::AAAA(AAAA { address: address.into() }))
        }
        (Record::Srv([priority, weight, port], target), TYPE::SRV) => Some(RData::SRV(SRV {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: Name::new(target).expect("a name"),
        })),
        _ => None,
    }
}
