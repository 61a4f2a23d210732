//! What spans are about: calls, queries, queues; each with ten attributes.

use crate::protobuf;
use crate::random::Random;

/// Name and kind of a span.
pub(super) struct Kind {
    pub(super) name: String,
    /// OTLP's number: 1 internal, 2 server, 3 client, 4 producer.
    pub(super) kind: u64,
}

const ROUTES: &[&str] = &[
    "/api/items/{id}",
    "/api/cart",
    "/api/checkout",
    "/api/search",
    "/api/orders/{id}",
    "/api/users/{id}",
    "/health",
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
    inside: bool,
    request: Option<&str>,
    random: &mut Random,
    out: &mut Vec<u8>,
) -> Kind {
    let id = match request {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", random.next()),
    };
    attribute_text(FIELD, "request.id", &id, out);
    let tenant = format!("tenant-{}", random.popular(40));
    attribute_text(FIELD, "tenant", &tenant, out);
    attribute_int(FIELD, "thread.id", random.popular(64) as u64, out);
    attribute_text(FIELD, "code.function", random.pick(FUNCTIONS), out);
    match (inside, random.below(10)) {
        (false, _) => server(random, out),
        (true, 0..4) => database(random, out),
        (true, 4..5) => queue(random, out),
        (true, _) => internal(random, out),
    }
}

fn server(random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let (method, route) = (random.pick(METHODS), random.pick(ROUTES));
    let status = match random.below(100) {
        0..94 => 200,
        94..98 => 404,
        _ => 503,
    };
    let address = format!("10.0.{}.{}", random.popular(16), random.below(256));
    let url = format!(
        "http://shop.internal{}",
        route.replace("{id}", &random.popular(20_000).to_string())
    );
    attribute_text(FIELD, "http.request.method", method, out);
    attribute_text(FIELD, "http.route", route, out);
    attribute_int(FIELD, "http.response.status_code", status, out);
    attribute_text(FIELD, "url.full", &url, out);
    attribute_text(FIELD, "client.address", &address, out);
    attribute_text(FIELD, "user_agent.original", random.pick(AGENTS), out);
    Kind {
        name: format!("{method} {route}"),
        kind: 2,
    }
}

fn database(random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let table = random.pick(TABLES);
    let statement = format!(
        "SELECT id, name, price FROM {table} WHERE id = $1 LIMIT {}",
        10 + random.popular(9) * 10
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

fn queue(random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let queue = random.pick(QUEUES);
    attribute_text(FIELD, "messaging.system", "kafka", out);
    attribute_text(FIELD, "messaging.destination.name", queue, out);
    attribute_int(
        FIELD,
        "messaging.message.body.size",
        random.skewed(900.0) as u64,
        out,
    );
    attribute_int(FIELD, "messaging.kafka.partition", random.below(12), out);
    attribute_text(FIELD, "server.address", "kafka.shop.svc", out);
    attribute_int(FIELD, "server.port", 9092, out);
    Kind {
        name: format!("publish {queue}"),
        kind: 4,
    }
}

fn internal(random: &mut Random, out: &mut Vec<u8>) -> Kind {
    let function = random.pick(FUNCTIONS);
    attribute_text(FIELD, "code.namespace", "com.example.shop.domain", out);
    attribute_bool(FIELD, "cache.hit", random.chance(0.8), out);
    attribute_int(FIELD, "items.count", random.popular(50) as u64, out);
    let user = format!("user-{}", random.popular(30_000));
    attribute_text(FIELD, "enduser.id", &user, out);
    attribute_text(
        FIELD,
        "feature.flag",
        random.pick(&["off", "on", "canary"]),
        out,
    );
    attribute_int(
        FIELD,
        "code.lineno",
        10 + random.popular(80) as u64 * 3,
        out,
    );
    Kind {
        name: function.to_owned(),
        kind: 1,
    }
}
