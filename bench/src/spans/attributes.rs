//! What spans say of themselves: each ten attributes, of which the code fixes some, the trace
//! some, and the rest varies.

use super::plan::{Call, SERVICES, Work};
use crate::protobuf;
use crate::random::Random;

/// Name and kind of a span.
pub(super) struct Kind {
    pub(super) name: String,
    /// OTLP's number.
    pub(super) kind: u64,
}

/// What the spans of one trace have in common.
pub(super) struct Common {
    pub(super) tenant: usize,
    pub(super) user: usize,
    pub(super) client: u64,
}

const ROUTES: &[&str] = &[
    "/api/items/{id}",
    "/api/cart",
    "/api/checkout",
    "/api/search",
    "/api/orders/{id}",
    "/api/users/{id}",
    "/api/prices",
    "/api/stock/{id}",
    "/api/reviews/{id}",
];
const METHODS: &[&str] = &["GET", "POST", "PUT"];
const TABLES: &[&str] = &["items", "orders", "users", "carts", "payments", "stock"];
const FUNCTIONS: &[&str] = &[
    "handle", "validate", "load", "store", "price", "render", "notify",
];
const QUEUES: &[&str] = &["orders", "mail", "audit", "refunds"];
const AGENTS: &[&str] = &[
    "okhttp/4.12.0",
    "Go-http-client/2.0",
    "python-requests/2.32.3",
];

/// Appends a `KeyValue` of text as a field.
pub(super) fn attribute_text(field: u32, key: &str, value: &str, out: &mut Vec<u8>) {
    let any = 1 + protobuf::varint_length(value.len() as u64) + value.len();
    key_of(field, key, any, out);
    protobuf::bytes(1, value.as_bytes(), out);
}

/// Appends a `KeyValue` of a number as a field.
pub(super) fn attribute_int(field: u32, key: &str, value: u64, out: &mut Vec<u8>) {
    key_of(field, key, 1 + protobuf::varint_length(value), out);
    protobuf::varint(3 << 3, out);
    protobuf::varint(value, out);
}

fn attribute_bool(field: u32, key: &str, value: bool, out: &mut Vec<u8>) {
    key_of(field, key, 2, out);
    out.extend_from_slice(&[2 << 3, u8::from(value)]);
}

fn key_of(field: u32, key: &str, any: usize, out: &mut Vec<u8>) {
    let key_bytes = 1 + protobuf::varint_length(key.len() as u64) + key.len();
    let any_bytes = 1 + protobuf::varint_length(any as u64) + any;
    protobuf::header(field, key_bytes + any_bytes, out);
    protobuf::bytes(1, key.as_bytes(), out);
    protobuf::header(2, any, out);
}

/// Field of `Span.attributes`.
const FIELD: u32 = 9;

/// Appends ten attributes.
pub(super) fn fill(
    call: &Call,
    common: &Common,
    request: Option<&str>,
    random: &mut Random,
    out: &mut Vec<u8>,
) -> Kind {
    let mut code = Random::new(call.code);
    let id = match request {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", random.next()),
    };
    attribute_text(FIELD, "request.id", &id, out);
    attribute_text(FIELD, "tenant", &format!("tenant-{}", common.tenant), out);
    attribute_int(FIELD, "thread.id", random.popular(64) as u64, out);
    let function = *FUNCTIONS
        .get(code.below(FUNCTIONS.len() as u64) as usize)
        .unwrap_or(&"handle");
    attribute_text(FIELD, "code.function", function, out);
    match call.work {
        Work::Server => server(common, &mut code, random, out),
        Work::Client => client(call, &mut code, random, out),
        Work::Database => database(&mut code, random, out),
        Work::Producer => queue(("publish", 4), &mut code, random, out),
        Work::Consumer => queue(("process", 5), &mut code, random, out),
        Work::Internal => internal(function, common, &mut code, random, out),
    }
}

fn status(random: &mut Random) -> u64 {
    match random.below(100) {
        0..95 => 200,
        95..98 => 404,
        _ => 503,
    }
}

fn path(route: &str, random: &mut Random) -> String {
    let id = random.below(20_000).to_string();
    let visit = random.next() >> 32;
    format!("{}?visit={visit:08x}", route.replace("{id}", &id))
}

fn server(common: &Common, code: &mut Random, random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let (method, route) = (code.pick(METHODS), code.pick(ROUTES));
    let url = format!("http://shop.internal{}", path(route, random));
    let address = format!("10.0.{}.{}", common.client >> 8 & 15, common.client & 255);
    attribute_text(FIELD, "http.request.method", method, out);
    attribute_text(FIELD, "http.route", route, out);
    attribute_int(FIELD, "http.response.status_code", status(random), out);
    attribute_text(FIELD, "url.full", &url, out);
    attribute_text(FIELD, "client.address", &address, out);
    attribute_text(FIELD, "user_agent.original", code.pick(AGENTS), out);
    Kind {
        name: format!("{method} {route}"),
        kind: 2,
    }
}

fn client(call: &Call, code: &mut Random, random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let (method, route) = (code.pick(METHODS), code.pick(ROUTES));
    let host = format!("{}.shop.svc", SERVICES[call.peer]);
    let url = format!("http://{host}{}", path(route, random));
    attribute_text(FIELD, "http.request.method", method, out);
    attribute_text(FIELD, "url.full", &url, out);
    attribute_int(FIELD, "http.response.status_code", status(random), out);
    attribute_text(FIELD, "server.address", &host, out);
    attribute_int(FIELD, "server.port", 8080, out);
    attribute_text(FIELD, "network.protocol.version", "1.1", out);
    Kind {
        name: method.to_owned(),
        kind: 3,
    }
}

fn database(code: &mut Random, random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let table = code.pick(TABLES);
    let statement = format!(
        "SELECT id, name, price FROM {table} WHERE id = $1 LIMIT {}",
        10 + code.popular(9) * 10
    );
    attribute_text(FIELD, "db.system", "postgresql", out);
    attribute_text(FIELD, "db.name", "shop", out);
    attribute_text(FIELD, "db.statement", &statement, out);
    attribute_int(FIELD, "db.rows", random.popular(200) as u64, out);
    attribute_text(FIELD, "server.address", "postgres.shop.svc", out);
    attribute_int(FIELD, "server.port", 5432, out);
    Kind {
        name: format!("SELECT {table}"),
        kind: 3,
    }
}

fn queue(
    (does, kind): (&str, u64),
    code: &mut Random,
    random: &mut Random,
    out: &mut Vec<u8>,
) -> Kind {
    let queue = code.pick(QUEUES);
    attribute_text(FIELD, "messaging.system", "kafka", out);
    attribute_text(FIELD, "messaging.destination.name", queue, out);
    let size = random.skewed(900.0) as u64;
    attribute_int(FIELD, "messaging.message.body.size", size, out);
    attribute_int(FIELD, "messaging.kafka.partition", random.below(12), out);
    attribute_text(FIELD, "server.address", "kafka.shop.svc", out);
    attribute_int(FIELD, "server.port", 9092, out);
    Kind {
        name: format!("{does} {queue}"),
        kind,
    }
}

fn internal(
    function: &str,
    common: &Common,
    code: &mut Random,
    random: &mut Random,
    out: &mut Vec<u8>,
) -> Kind {
    let line = 10 + code.popular(80) as u64 * 3;
    attribute_text(FIELD, "code.namespace", "com.example.shop.domain", out);
    attribute_bool(FIELD, "cache.hit", random.chance(0.8), out);
    attribute_int(FIELD, "items.count", random.popular(50) as u64, out);
    attribute_text(FIELD, "enduser.id", &format!("user-{}", common.user), out);
    let flag = random.pick(&["off", "on", "canary"]);
    attribute_text(FIELD, "feature.flag", flag, out);
    attribute_int(FIELD, "code.lineno", line, out);
    Kind {
        name: function.to_owned(),
        kind: 1,
    }
}

/// What failed spans have more: a status, and an event with the exception.
pub(super) fn failure(time_ns: i64, out: &mut Vec<u8>) {
    let mut event = Vec::new();
    protobuf::fixed64(1, time_ns.cast_unsigned(), &mut event);
    protobuf::bytes(2, b"exception", &mut event);
    attribute_text(3, "exception.type", "UpstreamTimeout", &mut event);
    let message = "upstream timed out after 300 ms";
    attribute_text(3, "exception.message", message, &mut event);
    protobuf::bytes(11, &event, out);
    let mut status = Vec::new();
    protobuf::bytes(2, b"upstream timed out", &mut status);
    protobuf::number(3, 2, &mut status);
    protobuf::bytes(15, &status, out);
}
