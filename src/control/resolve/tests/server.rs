//! A name server for tests, over UDP and TCP at one port of 127.0.0.1: a function answers each question.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use simple_dns::rdata::{A, AAAA, CNAME, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// One question.
pub struct Asked {
    pub id: u16,
    pub name: String,
    pub kind: TYPE,
    pub tcp: bool,
    pub edns: bool,
}

impl Asked {
    fn of(bytes: &[u8], tcp: bool) -> Option<Asked> {
        let packet = Packet::parse(bytes).ok()?;
        let question = packet.questions.first()?;
        let QTYPE::TYPE(kind) = question.qtype else { return None };
        let edns = packet.opt().is_some();
        Some(Asked { id: packet.id(), name: question.qname.to_string(), kind, tcp, edns })
    }

    pub fn reply(&self) -> Reply {
        Reply::new(self.id, &self.name, self.kind)
    }

    pub fn fails(&self, code: RCODE) -> Vec<Vec<u8>> {
        self.reply().code(code).sent()
    }
}

/// An answer in the making.
pub struct Reply(Packet<'static>);

fn name(text: &str) -> Name<'static> {
    Name::new(text).expect("a name").into_owned()
}

impl Reply {
    pub fn new(id: u16, asked: &str, kind: TYPE) -> Reply {
        let mut packet = Packet::new_reply(id);
        packet.questions.push(Question::new(name(asked), kind.into(), CLASS::IN.into(), false));
        Reply(packet)
    }

    pub fn code(mut self, code: RCODE) -> Reply {
        *self.0.rcode_mut() = code;
        self
    }

    pub fn truncated(mut self) -> Reply {
        self.0.set_flags(PacketFlag::TRUNCATION);
        self
    }

    /// Without the question.
    pub fn bare(mut self) -> Reply {
        self.0.questions.clear();
        self
    }

    pub fn answer(mut self, owner: &str, ttl: u32, data: RData<'static>) -> Reply {
        self.0.answers.push(ResourceRecord::new(name(owner), CLASS::IN, ttl, data));
        self
    }

    pub fn a(self, owner: &str, ttl: u32, address: [u8; 4]) -> Reply {
        self.answer(owner, ttl, a(address))
    }

    pub fn aaaa(self, owner: &str, ttl: u32, address: &str) -> Reply {
        let address: Ipv6Addr = address.parse().expect("an address");
        self.answer(owner, ttl, RData::AAAA(AAAA { address: address.into() }))
    }

    pub fn cname(self, owner: &str, ttl: u32, target: &str) -> Reply {
        self.answer(owner, ttl, RData::CNAME(CNAME(name(target))))
    }

    pub fn srv(self, owner: &str, ttl: u32, [priority, weight, port]: [u16; 3], target: &str) -> Reply {
        self.answer(owner, ttl, RData::SRV(SRV { priority, weight, port, target: name(target) }))
    }

    pub fn additional_a(mut self, owner: &str, ttl: u32, address: [u8; 4]) -> Reply {
        let record = ResourceRecord::new(name(owner), CLASS::IN, ttl, a(address));
        self.0.additional_records.push(record);
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.build_bytes_vec_compressed().expect("a message")
    }

    pub fn sent(self) -> Vec<Vec<u8>> {
        vec![self.bytes()]
    }
}

fn a(address: [u8; 4]) -> RData<'static> {
    RData::A(A { address: Ipv4Addr::from(address).into() })
}

/// The messages to send in return, none for silence.
type Answers = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

pub struct Server {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(answers: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("an address");
        let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(answers) as Arc<Answers>);
        let threads = vec![
            thread::spawn({
                let (over, answers) = (over.clone(), answers.clone());
                move || serve_udp(&udp, &over, &*answers)
            }),
            thread::spawn({
                let over = over.clone();
                move || serve_tcp(&tcp, &over, &*answers)
            }),
        ];
        Server { address, over, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        udp.send_to(b"", self.address).expect("a wake-up");
        drop(TcpStream::connect(self.address));
        self.threads.drain(..).for_each(|thread| thread.join().expect("a name server that ends well"));
    }
}

/// Both at one port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")) {
            return (udp, tcp);
        }
    }
}

fn serve_udp(socket: &UdpSocket, over: &AtomicBool, answers: &Answers) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if over.load(Ordering::Acquire) {
            return;
        }
        if let Some(asked) = Asked::of(&buffer[..length], false) {
            for answer in answers(&asked) {
                // Gone clients are fine.
                let _ = socket.send_to(&answer, client);
            }
        }
    }
}

fn serve_tcp(listener: &TcpListener, over: &AtomicBool, answers: &Answers) {
    while let Ok((stream, _)) = listener.accept() {
        if over.load(Ordering::Acquire) {
            return;
        }
        let _ = serve_stream(stream, answers);
    }
}

fn serve_stream(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    for answer in Asked::of(&bytes, true).map(|asked| answers(&asked)).unwrap_or_default() {
        stream.write_all(&(answer.len() as u16).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}
