//! DNS: a question to the target, which is the name server, over UDP, TCP or TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use obs_wire::dns::{Question, Reply, rcode_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::http::Stream;
use super::module::{Dns, RecordChecks, Transport};
use super::net::{self, Preference};
use super::report::Report;
use crate::clock;
use crate::http_client::handshake_for;

const DURATION: &str = "probe_dns_duration_seconds";
const DURATION_HELP: &str = "Duration of DNS request by phase";

pub(super) async fn probe(target: &str, config: &Dns, report: &mut Report) -> Result<bool, String> {
    for phase in ["resolve", "connect", "request"] {
        report.phase(DURATION, DURATION_HELP, phase, 0.0);
    }
    for (name, help) in COUNTS {
        report.set(name, help, 0.0);
    }
    let succeeded = "Displays whether or not the query was executed successfully";
    report.set("probe_dns_query_succeeded", succeeded, 0.0);
    let port = if config.dns_over_tls { 853 } else { 53 };
    let (host, port) = match target.parse::<IpAddr>() {
        Ok(_) => (target, port),
        Err(_) => net::split(target).unwrap_or((target, port)),
    };
    let preference = Preference {
        protocol: config.preferred_ip_protocol,
        fallback: config.ip_protocol_fallback.unwrap_or(true),
    };
    let (ip, took) = net::resolve(host, preference, report).await?;
    report.phase(DURATION, DURATION_HELP, "resolve", took);
    let question = Question {
        // Hard to guess is not needed: the socket is connected to the server.
        id: (clock::now().nanos() >> 10) as u16,
        name: config.query_name.clone(),
        kind: config.query_type,
        class: config.query_class,
        recursion: config.recursion_desired.unwrap_or(true),
    };
    let asked = question.encode();
    let asked = asked.ok_or_else(|| format!("{:?} cannot be asked for", config.query_name))?;
    let to = SocketAddr::new(ip, port);
    let reply = ask((config, host), to, &asked, report).await?;
    let reply = Reply::decode(&reply).filter(|r| r.is_reply && r.id == question.id);
    let reply = reply.ok_or("the answer is malformed")?;
    report.set("probe_dns_query_succeeded", succeeded, 1.0);
    Ok(judge(&reply, config, report))
}

const COUNTS: [(&str, &str); 3] = [
    (
        "probe_dns_answer_rrs",
        "Returns number of entries in the answer resource record list",
    ),
    (
        "probe_dns_authority_rrs",
        "Returns number of entries in the authority resource record list",
    ),
    (
        "probe_dns_additional_rrs",
        "Returns number of entries in the additional resource record list",
    ),
];

async fn ask(
    (config, host): (&Dns, &str),
    to: SocketAddr,
    question: &[u8],
    report: &mut Report,
) -> Result<Vec<u8>, String> {
    let lost = |e: std::io::Error| format!("error while sending a DNS query: {e}");
    let begin = Instant::now();
    if config.transport_protocol == Transport::Udp && !config.dns_over_tls {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = SocketAddr::new(config.source_ip_address.unwrap_or(any), 0);
        let socket = UdpSocket::bind(from).await.map_err(lost)?;
        socket.connect(to).await.map_err(lost)?;
        report.phase(
            DURATION,
            DURATION_HELP,
            "connect",
            begin.elapsed().as_secs_f64(),
        );
        let begin = Instant::now();
        socket.send(question).await.map_err(lost)?;
        let mut buffer = vec![0; 65_535];
        let count = socket.recv(&mut buffer).await.map_err(lost)?;
        buffer.truncate(count);
        report.phase(
            DURATION,
            DURATION_HELP,
            "request",
            begin.elapsed().as_secs_f64(),
        );
        return Ok(buffer);
    }
    let stream = net::connect(to, config.source_ip_address).await?;
    let mut stream: Box<dyn Stream> = if config.dns_over_tls {
        let stream = handshake_for(stream, (&config.tls_config, host), &[]).await?;
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    report.phase(
        DURATION,
        DURATION_HELP,
        "connect",
        begin.elapsed().as_secs_f64(),
    );
    let begin = Instant::now();
    let length = u16::try_from(question.len()).map_err(|e| e.to_string())?;
    stream
        .write_all(&length.to_be_bytes())
        .await
        .map_err(lost)?;
    stream.write_all(question).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let length = stream.read_u16().await.map_err(lost)?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await.map_err(lost)?;
    report.phase(
        DURATION,
        DURATION_HELP,
        "request",
        begin.elapsed().as_secs_f64(),
    );
    Ok(reply)
}

fn judge(reply: &Reply, config: &Dns, report: &mut Report) -> bool {
    let sections = [&reply.answers, &reply.authority, &reply.additional];
    for ((name, help), records) in COUNTS.into_iter().zip(sections) {
        report.set(name, help, records.len() as f64);
    }
    if let Some(serial) = reply.serial {
        let help = "Returns the serial number of the zone";
        report.set("probe_dns_serial", help, f64::from(serial));
    }
    let code = rcode_name(reply.rcode);
    let valid = match config.valid_rcodes.as_slice() {
        [] => code == "NOERROR",
        codes => codes.contains(&code),
    };
    if !valid {
        report.note(format!("Rcode {code} is not one of the valid rcodes"));
        return false;
    }
    let checks = [
        &config.validate_answer_rrs,
        &config.validate_authority_rrs,
        &config.validate_additional_rrs,
    ];
    sections
        .into_iter()
        .zip(checks)
        .all(|(records, checks)| fits(records, checks, report))
}

fn fits(records: &[String], checks: &RecordChecks, report: &mut Report) -> bool {
    let failed = |text: &'static str, report: &mut Report| {
        report.note(format!("At least one record failed {text}"));
        false
    };
    for record in records {
        let text = record.as_bytes();
        if checks
            .fail_if_matches_regexp
            .iter()
            .any(|r| r.is_match(text))
        {
            return failed("fail_if_matches_regexp", report);
        }
        if checks
            .fail_if_not_matches_regexp
            .iter()
            .any(|r| !r.is_match(text))
        {
            return failed("fail_if_not_matches_regexp", report);
        }
    }
    let all = |rule: &super::module::Search| {
        !records.is_empty()
            && records
                .iter()
                .all(|record| rule.is_match(record.as_bytes()))
    };
    if checks.fail_if_all_match_regexp.iter().any(all) {
        return failed("fail_if_all_match_regexp", report);
    }
    let none = |rule: &super::module::Search| {
        !records
            .iter()
            .any(|record| rule.is_match(record.as_bytes()))
    };
    if checks.fail_if_none_matches_regexp.iter().any(none) {
        return failed("fail_if_none_matches_regexp", report);
    }
    true
}
