//! `dns_sd_configs`: records of names, asked of the name servers of the system.
//!
//! Invariants: a name that does not exist has no targets; one that no server answers for keeps
//! those it had, and so do all others of the entry.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use obs_model::{Labels, TargetGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::poll::{Feed, Meta, every, host_port};
use super::provider::Groups;
use crate::config::{DnsSettings, RecordType};

mod message;

use message::{Answer, Data};

/// Where the name servers of the system stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long a server may take, as the resolver of the system.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer over UDP that is taken in; others come over TCP.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// Runs until nobody listens.
pub(super) async fn run(settings: DnsSettings, groups: Groups) {
    let mut feed = Feed::new("dns", groups);
    let mut ticks = every(settings.refresh);
    loop {
        ticks.tick().await;
        let resolver = tokio::fs::read_to_string(RESOLV_CONF).await;
        let found = match resolver {
            Ok(text) => ask(&settings, &Resolver::read(&text)).await,
            Err(error) => Err(format!("{RESOLV_CONF}: {error}")),
        };
        if !feed.tell(found).await {
            return;
        }
    }
}

async fn ask(settings: &DnsSettings, resolver: &Resolver) -> Result<Vec<TargetGroup>, String> {
    let mut groups = Vec::new();
    for name in &settings.names {
        let records = resolver.look_up(name, settings.kind).await;
        let records = records.map_err(|fault| format!("{name}: {fault}"))?;
        let targets = records.iter();
        groups.push(TargetGroup {
            source: name.as_str().into(),
            labels: Labels::empty(),
            targets: targets
                .filter_map(|data| target(settings, name, data))
                .collect(),
        });
    }
    Ok(groups)
}

fn target(settings: &DnsSettings, name: &str, data: &Data) -> Option<Labels> {
    let mut meta = Meta::default();
    meta.set("__meta_dns_name", name);
    let unrooted = |name: &str| name.trim_end_matches('.').to_owned();
    let (host, port) = match data {
        Data::Address(address) => (address.to_string(), settings.port),
        Data::Service { target, port } => {
            meta.set("__meta_dns_srv_record_target", target.as_str());
            meta.set("__meta_dns_srv_record_port", port.to_string());
            (unrooted(target), *port)
        }
        Data::Mail(target) => {
            meta.set("__meta_dns_mx_record_target", target.as_str());
            (unrooted(target), settings.port)
        }
        Data::NameServer(target) => {
            meta.set("__meta_dns_ns_record_target", target.as_str());
            (unrooted(target), settings.port)
        }
        Data::Other => return None,
    };
    Some(meta.set("__address__", host_port(&host, port)).labels())
}

/// Who is asked, and what is tried for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Resolver {
    /// Of the text of `resolv.conf`.
    fn read(text: &str) -> Self {
        let mut own = Self {
            dots: 1,
            ..Self::default()
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    own.servers
                        .extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => own.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    own.dots = dots.unwrap_or(own.dots);
                }
                _ => {}
            }
        }
        own
    }

    /// The names that are tried, in order.
    fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let below = |suffix: &String| format!("{name}.{}.", suffix.trim_matches('.'));
        let mut names: Vec<String> = self.search.iter().map(below).collect();
        let plain = format!("{name}.");
        match name.matches('.').count() >= self.dots {
            true => names.insert(0, plain),
            false => names.push(plain),
        }
        names
    }

    /// The records of a name; none where all servers that answer say that it does not exist.
    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Vec<Data>, String> {
        let mut last = None;
        for name in self.names(name) {
            match self.ask(&name, kind).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => {}
                Err(fault) => last = Some(fault),
            }
        }
        match last {
            None => Ok(Vec::new()),
            Some(fault) => Err(format!("could not resolve: {fault}")),
        }
    }

    /// The records of one full name; `None` where it does not exist.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Option<Vec<Data>>, String> {
        let mut last = "no name server is configured".to_owned();
        for server in &self.servers {
            match exchange(*server, name, kind).await {
                Ok(Answer {
                    code: 0, records, ..
                }) => return Ok(Some(records)),
                Ok(Answer { code: 3, .. }) => return Ok(None),
                Ok(answer) => last = format!("{server} answers with code {}", answer.code),
                Err(fault) => last = format!("{server}: {fault}"),
            }
        }
        Err(last)
    }
}

/// Asks over UDP, and over TCP where the answer is too long for that.
async fn exchange(server: SocketAddr, name: &str, kind: RecordType) -> Result<Answer, String> {
    // Whoever can see the question can answer it anyhow; the port is the system's random choice.
    let id = {
        use std::hash::{BuildHasher, RandomState};
        (RandomState::new().hash_one(name) & 0xffff) as u16
    };
    let question = message::question(id, name, kind)?;
    let answer = within(over_udp(server, &question, id)).await?;
    match answer {
        Some(answer) if !answer.cut => Ok(answer),
        _ => {
            let bytes = within(over_tcp(server, &question)).await?;
            message::read(&bytes, id)
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// `None` where the answer does not fit.
async fn over_udp(server: SocketAddr, question: &[u8], id: u16) -> Result<Option<Answer>, String> {
    let fault = |e: std::io::Error| e.to_string();
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(fault)?;
    socket.connect(server).await.map_err(fault)?;
    socket.send(question).await.map_err(fault)?;
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut bytes).await.map_err(fault)?;
        if length == bytes.len() {
            return Ok(None);
        }
        // What answers another question is not for us.
        if bytes.get(..2) == Some(&id.to_be_bytes()[..]) {
            return message::read(&bytes[..length], id).map(Some);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, String> {
    let fault = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(server).await.map_err(fault)?;
    let length = u16::try_from(question.len()).map_err(|e| e.to_string())?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await.map_err(fault)?;
    let length = stream.read_u16().await.map_err(fault)?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.map_err(fault)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
