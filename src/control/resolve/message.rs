//! One question and its answer as bytes. The format is `simple_dns`'s business; here is what makes an answer ours
//! and which of its records belong to the question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, ResourceRecord, TYPE, header_buffer};

use crate::control::resolve::ResolveError;

/// The answer over UDP that we are ready for: it passes every usual path without fragments.
const UDP_SIZE: u16 = 1232;
const HEADER: usize = 12;
/// The shortest question and the shortest record.
const MIN_QUESTION: usize = 5;
const MIN_RECORD: usize = 11;
/// How many CNAMEs may lead from one name to another.
const MAX_ALIASES: usize = 16;

const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    Srv,
}

#[derive(Clone, Debug)]
pub struct Question {
    /// Without a dot at its end.
    pub name: String,
    pub kind: Kind,
}

impl Question {
    fn type_code(&self) -> TYPE {
        match self.kind {
            Kind::V4 => TYPE::A,
            Kind::V6 => TYPE::AAAA,
            Kind::Srv => TYPE::SRV,
        }
    }

    pub fn encode(&self, id: u16, edns: bool) -> Result<Vec<u8>, ResolveError> {
        let name = Name::new(&self.name).map_err(|_| ResolveError::BadName)?;
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let question = simple_dns::Question::new(name, self.type_code().into(), CLASS::IN.into(), false);
        packet.questions.push(question);
        if edns {
            *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_SIZE, version: 0 });
        }
        packet.build_bytes_vec().map_err(|_| ResolveError::BadName)
    }
}

/// What some bytes are to a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Not an answer to it.
    NotOurs,
    Malformed,
    /// Not whole: to be asked for over TCP.
    Truncated,
    Failure(u16),
    Reply(Reply),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// False for NXDOMAIN.
    pub exists: bool,
    answers: Vec<Record>,
    additional: Vec<Record>,
}

#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// In lower case.
    owner: String,
    ttl: u32,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Address(IpAddr),
    Alias(String),
    Service { priority: u16, weight: u16, port: u16, target: String },
}

/// The records that a name has, with the least TTL on the way to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub data: Vec<Data>,
    pub ttl: Option<u32>,
}

/// Reads what came from the server that was asked.
pub fn decode(bytes: &[u8], id: u16, question: &Question) -> Decoded {
    let flag = |flag| header_buffer::has_flags(bytes, flag).unwrap_or(false);
    if bytes.len() < HEADER || header_buffer::id(bytes) != Ok(id) || !flag(PacketFlag::RESPONSE) {
        return Decoded::NotOurs;
    }
    match is_asked(bytes, question) {
        None => Decoded::Malformed,
        Some(false) => Decoded::NotOurs,
        // Where it was cut, it may end within a record.
        Some(true) if flag(PacketFlag::TRUNCATION) => Decoded::Truncated,
        Some(true) => read(bytes),
    }
}

/// Whether the message repeats the question; `None` if it cannot be read so far. Some servers leave it out when they
/// fail.
fn is_asked(bytes: &[u8], question: &Question) -> Option<bool> {
    let count = header_buffer::questions(bytes).ok()?;
    if usize::from(count) * MIN_QUESTION > bytes.len() - HEADER {
        return None;
    }
    let mut without_records = bytes.to_vec();
    without_records[6..HEADER].fill(0);
    let packet = Packet::parse(&without_records).ok()?;
    let [asked] = &packet.questions[..] else {
        let code = packet.rcode() as u16;
        return Some(packet.questions.is_empty() && code != NO_ERROR && code != NO_SUCH_NAME);
    };
    let name = Name::new(&question.name).ok()?;
    let class = asked.qclass == QCLASS::CLASS(CLASS::IN);
    Some(asked.qname == name && asked.qtype == QTYPE::TYPE(question.type_code()) && class)
}

fn read(bytes: &[u8]) -> Decoded {
    let counts = [header_buffer::answers(bytes), header_buffer::name_servers(bytes)];
    let counts = counts.into_iter().chain([header_buffer::additional_records(bytes)]);
    let records: usize = counts.map(|count| usize::from(count.unwrap_or(u16::MAX))).sum();
    // The crate makes room for as many records as the header names.
    if records * MIN_RECORD > bytes.len() {
        return Decoded::Malformed;
    }
    let Ok(packet) = Packet::parse(bytes) else { return Decoded::Malformed };
    match packet.rcode() as u16 {
        code @ (NO_ERROR | NO_SUCH_NAME) => Decoded::Reply(Reply {
            exists: code == NO_ERROR,
            answers: packet.answers.iter().filter_map(record).collect(),
            additional: packet.additional_records.iter().filter_map(record).collect(),
        }),
        code => Decoded::Failure(code),
    }
}

/// `None` for a record that we have no use for.
fn record(record: &ResourceRecord) -> Option<Record> {
    let data = match &record.rdata {
        RData::A(a) => Data::Address(Ipv4Addr::from(a.address).into()),
        RData::AAAA(aaaa) => Data::Address(Ipv6Addr::from(aaaa.address).to_canonical()),
        RData::CNAME(name) => Data::Alias(lower(&name.0)),
        RData::SRV(srv) => Data::Service {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: lower(&srv.target),
        },
        _ => return None,
    };
    (record.class == CLASS::IN).then(|| Record { owner: lower(&record.name), ttl: record.ttl, data })
}

fn lower(name: &Name) -> String {
    name.to_string().to_ascii_lowercase()
}

impl Reply {
    /// The records of this name, through its CNAMEs.
    pub fn of(&self, name: &str) -> Found {
        follow(&self.answers, name)
    }

    /// The addresses that came along for a name that nobody asked for.
    pub fn additional(&self, name: &str) -> Found {
        follow(&self.additional, name)
    }
}

fn follow(records: &[Record], name: &str) -> Found {
    let mut owner = name.to_ascii_lowercase();
    let mut found = Found::default();
    for _ in 0..MAX_ALIASES {
        let mut alias = None;
        for record in records.iter().filter(|record| record.owner == owner) {
            found.ttl = Some(found.ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)));
            match &record.data {
                Data::Alias(target) => alias = Some(target.clone()),
                data => found.data.push(data.clone()),
            }
        }
        match alias {
            Some(target) if found.data.is_empty() => owner = target,
            _ => break,
        }
    }
    found
}
