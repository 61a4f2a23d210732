//! The shapes of lines and what varies in them.

use std::fmt::Write;

use crate::random::Random;

/// The time of a line as fields; worked out anew only when the second changes.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    second: i64,
    nanos: i64,
    /// `2026-11-21T12:00:00`
    iso: String,
    /// `21/Nov/2026:12:00:00`
    access: String,
    /// `1121 12:00:00`
    klog: String,
}

impl Calendar {
    pub(super) fn set(&mut self, time_ns: i64) {
        let second = time_ns.div_euclid(1_000_000_000);
        self.nanos = time_ns.rem_euclid(1_000_000_000);
        if second == self.second && !self.iso.is_empty() {
            return;
        }
        self.second = second;
        let time = jiff::Timestamp::from_second(second).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        self.iso = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.access = time.strftime("%d/%b/%Y:%H:%M:%S").to_string();
        self.klog = time.strftime("%m%d %H:%M:%S").to_string();
    }

    fn millis(&self) -> i64 {
        self.nanos / 1_000_000
    }
}

/// How an application writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Logfmt,
    Klog,
    Access,
    Java,
    Daemon,
}

const PATHS: &[&str] = &[
    "/",
    "/api/items",
    "/api/cart",
    "/static/app.js",
    "/api/checkout",
    "/login",
    "/health",
    "/api/search",
    "/api/orders",
    "/static/style.css",
];
const METHODS: &[&str] = &["GET", "GET", "POST", "PUT", "DELETE"];
const STATUS: &[&str] = &[
    "200", "200", "200", "201", "204", "304", "404", "302", "500", "503",
];
const MESSAGES: &[&str] = &[
    "request completed",
    "order placed",
    "cache miss",
    "cart updated",
    "payment authorised",
    "retrying upstream call",
    "session refreshed",
    "inventory reserved",
    "rate limit applied",
    "connection reset by peer",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
    "kube-probe/1.30",
    "curl/8.5.0",
    "Go-http-client/2.0",
];
const FRAMES: &[&str] = &[
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java",
    "com.example.worker.TaskRunner.run(TaskRunner.java",
    "com.example.worker.Shuffle.fetch(Shuffle.java",
    "com.example.store.Client.call(Client.java",
    "com.example.store.Retry.attempt(Retry.java",
    "io.netty.channel.AbstractChannelHandlerContext.invokeChannelRead(AbstractChannelHandlerContext.java",
];
const OBJECTS: &[&str] = &[
    "deployment",
    "replicaset",
    "pod",
    "node",
    "endpoint",
    "lease",
];
const USERS: &[&str] = &["root", "admin", "deploy", "ubuntu", "git", "oracle"];

impl Format {
    /// Writes a line; `request` stands in it where a request's id belongs.
    pub(super) fn write(
        self,
        at: &Calendar,
        pod: &str,
        request: Option<&str>,
        random: &mut Random,
        out: &mut String,
    ) {
        let id = match request {
            Some(id) => id.to_owned(),
            None => format!("{:016x}", random.next()),
        };
        let written = match self {
            Self::Json => json(at, &id, random, out),
            Self::Logfmt => logfmt(at, &id, random, out),
            Self::Klog => klog(at, &id, random, out),
            Self::Access => access(at, &id, random, out),
            Self::Java => java(at, &id, random, out),
            Self::Daemon => daemon(at, (pod, &id, request.is_some()), random, out),
        };
        written.expect("a string takes all");
    }
}

fn level(random: &mut Random) -> &'static str {
    match random.below(100) {
        0..80 => "INFO",
        80..92 => "DEBUG",
        92..98 => "WARN",
        _ => "ERROR",
    }
}

fn address(random: &mut Random) -> String {
    format!(
        "10.{}.{}.{}",
        random.popular(8),
        random.popular(64),
        random.below(256)
    )
}

fn json(at: &Calendar, id: &str, random: &mut Random, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "{{\"ts\":\"{}.{:03}Z\",\"level\":\"{}\",\"logger\":\"http.{}\",\"msg\":\"{}\",\"method\":\"{}\",\"path\":\"{}\",\"status\":{},\"duration_ms\":{:.1},\"user_id\":{},\"request_id\":\"{id}\"",
        at.iso,
        at.millis(),
        level(random),
        random.popular(6),
        random.pick(MESSAGES),
        random.pick(METHODS),
        random.pick(PATHS),
        random.pick(STATUS),
        random.skewed(12.0),
        random.popular(50_000),
    )?;
    if random.chance(0.4) {
        let (high, low) = (random.next(), random.next());
        write!(out, ",\"trace_id\":\"{high:016x}{low:016x}\"")?;
    }
    out.push('}');
    Ok(())
}

fn logfmt(at: &Calendar, id: &str, random: &mut Random, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "ts={}.{:06}Z level={} caller=handler.go:{} msg=\"{}\" method={} path={} status={} duration={:.3}ms bytes={} peer={}:{} request_id={id}",
        at.iso,
        at.nanos / 1000,
        level(random).to_ascii_lowercase(),
        100 + random.popular(20) * 7,
        random.pick(MESSAGES),
        random.pick(METHODS),
        random.pick(PATHS),
        random.pick(STATUS),
        random.skewed(8.0),
        random.skewed(4000.0) as u64,
        address(random),
        1024 + random.below(60_000),
    )
}

fn klog(at: &Calendar, id: &str, random: &mut Random, out: &mut String) -> std::fmt::Result {
    let severity = &level(random)[..1].replace('D', "I");
    write!(
        out,
        "{severity}{}.{:06} {:7} ",
        at.klog,
        at.nanos / 1000,
        1 + random.popular(4)
    )?;
    let object = random.pick(OBJECTS);
    let number = random.popular(400);
    match random.popular(4) {
        0 => write!(
            out,
            "reconciler.go:224] \"Reconciled object\" kind=\"{object}\" namespace=\"team-{}\" name=\"{object}-{number}\" reconcileID=\"{id}\" duration=\"{:.3}ms\"",
            random.popular(20),
            random.skewed(9.0)
        ),
        1 => write!(
            out,
            "httplog.go:132] \"HTTP\" verb=\"{}\" URI=\"/api/v1/namespaces/team-{}/{object}s/{object}-{number}\" latency=\"{:.3}ms\" resp={} audit-ID=\"{id}\"",
            random.pick(METHODS),
            random.popular(20),
            random.skewed(3.0),
            random.pick(STATUS)
        ),
        2 => write!(
            out,
            "kubelet.go:2410] \"SyncLoop (PLEG): event for pod\" pod=\"team-{}/pod-{number}\" event={{\"ID\":\"{id}\",\"Type\":\"ContainerStarted\"}}",
            random.popular(20)
        ),
        _ => write!(
            out,
            "trace.go:236] Trace[{}]: \"Update\" accept:application/vnd.kubernetes.protobuf,audit-id:{id},client:{},protocol:HTTP/2.0 (total time: {}ms)",
            random.below(2_000_000_000),
            address(random),
            500 + random.popular(900)
        ),
    }
}

fn access(at: &Calendar, id: &str, random: &mut Random, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "{} - - [{} +0000] \"{} {}?page={} HTTP/1.1\" {} {} \"-\" \"{}\" {:.3} {id}",
        address(random),
        at.access,
        random.pick(METHODS),
        random.pick(PATHS),
        random.popular(40),
        random.pick(STATUS),
        random.skewed(6000.0) as u64,
        random.pick(AGENTS),
        random.skewed(0.02),
    )
}

fn java(at: &Calendar, id: &str, random: &mut Random, out: &mut String) -> std::fmt::Result {
    let level = level(random);
    let time = at.iso.replace('T', " ");
    let thread = random.popular(32);
    write!(
        out,
        "{time},{:03} {level:<5} [executor-{thread}] ",
        at.millis()
    )?;
    if level == "ERROR" && random.chance(0.5) {
        write!(
            out,
            "c.e.worker.TaskRunner - Task failed, request {id}\njava.io.IOException: Connection to {}:{} closed",
            address(random),
            7000 + random.popular(40)
        )?;
        for _ in 0..8 + random.below(24) {
            write!(
                out,
                "\n\tat {}:{})",
                random.pick(FRAMES),
                20 + random.popular(60) * 9
            )?;
        }
        return Ok(());
    }
    let (task, stage) = (random.below(4000), random.popular(60));
    match random.popular(4) {
        0 => write!(
            out,
            "c.e.worker.TaskRunner - Finished task {task}.0 in stage {stage}.0 (TID {}). {} bytes result sent to driver",
            random.below(900_000),
            random.skewed(2200.0) as u64
        ),
        1 => write!(
            out,
            "c.e.storage.BlockManager - Found block rdd_{stage}_{task} locally"
        ),
        2 => write!(
            out,
            "c.e.storage.MemoryStore - Block broadcast_{task} stored as values in memory (estimated size {:.1} KB, free {:.1} MB)",
            random.skewed(40.0),
            random.between(300.0, 900.0)
        ),
        _ => write!(
            out,
            "c.e.http.Server - Served {} in {} ms for request {id}",
            random.pick(PATHS),
            random.skewed(14.0) as u64
        ),
    }
}

/// Daemons write no request ids, unless the line must hold one.
fn daemon(
    at: &Calendar,
    (pod, id, wanted): (&str, &str, bool),
    random: &mut Random,
    out: &mut String,
) -> std::fmt::Result {
    let process = 1000 + random.popular(3000);
    write!(out, "{} {pod} ", at.iso)?;
    if wanted {
        return write!(out, "agent[{process}]: INFO request {id} served");
    }
    match random.popular(5) {
        0 => write!(
            out,
            "dfs.DataNode$PacketResponder[{process}]: INFO Received block blk_{} of size {} from /{}",
            random.next().cast_signed(),
            1 + random.below(67_108_864),
            address(random)
        ),
        1 => write!(
            out,
            "sshd[{process}]: Failed password for invalid user {} from {} port {} ssh2",
            random.pick(USERS),
            address(random),
            1024 + random.below(60_000)
        ),
        2 => write!(
            out,
            "dfs.FSNamesystem[{process}]: INFO BLOCK* NameSystem.addStoredBlock: blockMap updated: {}:50010 is added to blk_{} size 67108864",
            address(random),
            random.next().cast_signed()
        ),
        3 => write!(
            out,
            "sshd[{process}]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={}",
            address(random)
        ),
        _ => write!(
            out,
            "systemd[1]: Started session-{}.scope - Session {} of User {}.",
            random.below(9000),
            random.below(9000),
            random.pick(USERS)
        ),
    }
}
