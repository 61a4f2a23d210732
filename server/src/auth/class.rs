//! What a route asks of who calls it, decided on the route that matched and never on the address.
//!
//! Invariant: a route that is not in `routes.txt` has no class and is closed; a test holds the file
//! against the routers, so that nobody forgets one.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Nothing: health, and files that come with the binary.
    Public,
    /// To read a tenant.
    Read,
    /// To send to a tenant.
    Write,
    /// To change what people made: dashboards, rules, silences. Who may both read and write may.
    Edit,
    /// To delete of a tenant, and the like.
    Admin,
    /// To see what is of the server and not of a tenant: its targets, configuration, metrics.
    ServerRead,
    /// To change the server.
    ServerAdmin,
}

impl Class {
    /// As `routes.txt` and the audit log say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Admin => "admin",
            Self::ServerRead => "server-read",
            Self::ServerAdmin => "server-admin",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Public,
            Self::Read,
            Self::Write,
            Self::Edit,
            Self::Admin,
            Self::ServerRead,
            Self::ServerAdmin,
        ];
        all.into_iter().find(|class| class.name() == name)
    }

    /// Whether whoever does it is noted.
    pub(crate) fn is_noted(self) -> bool {
        matches!(self, Self::Edit | Self::Admin | Self::ServerAdmin)
    }

    /// Whether it changes something.
    pub(crate) fn changes(self) -> bool {
        self.is_noted() || self == Self::Write
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is asked for.
    pub(crate) class: Class,
    /// Methods, with commas between; `*` for any.
    pub(crate) methods: &'static str,
    /// The route as the router has it.
    pub(crate) path: &'static str,
}

impl Entry {
    fn has(&self, method: &str) -> bool {
        self.methods == "*" || self.methods.split(',').any(|one| one == method)
    }
}

/// The table.
pub(crate) fn entries() -> impl Iterator<Item = Entry> {
    let lines = include_str!("routes.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut words = line.split(' ');
        Some(Entry {
            class: Class::of_name(words.next()?)?,
            methods: words.next()?,
            path: words.next()?,
        })
    })
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Entry>>> = LazyLock::new(|| {
    let mut table = HashMap::<_, Vec<_>>::new();
    for entry in entries() {
        table.entry(entry.path).or_default().push(entry);
    }
    table
});

/// What a route asks for; `None` where the table does not know it.
pub(crate) fn class(method: &Method, path: &str) -> Option<Class> {
    let of_path = TABLE.get(path)?;
    let method = match *method {
        Method::HEAD => "GET",
        ref method => method.as_str(),
    };
    let found = of_path.iter().find(|entry| entry.has(method));
    // Answered before any handler: what browsers ask before they ask.
    let asked = || (method == "OPTIONS").then_some(Class::Public);
    found.map(|entry| entry.class).or_else(asked)
}

/// Whether the table knows the route, by whatever method.
pub(crate) fn is_known(path: &str) -> bool {
    TABLE.contains_key(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_says_something_new() {
        let lines = include_str!("routes.txt").lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.count(), entries().count());
        let mut seen = BTreeSet::new();
        for entry in entries() {
            for method in entry.methods.split(',') {
                assert!(
                    seen.insert((entry.path, method)),
                    "{entry:?} is there twice"
                );
            }
        }
    }

    #[test]
    fn routes_have_classes() {
        let check = |method: &str, path: &str, expect: Option<Class>| {
            let method = method.parse().expect("a method");
            assert_eq!(class(&method, path), expect, "{method} {path}");
        };
        check("GET", "/-/healthy", Some(Class::Public));
        check("HEAD", "/api/v1/query", Some(Class::Read));
        check("OPTIONS", "/api/v1/query", Some(Class::Public));
        check("OPTIONS", "/elastic/{*path}", Some(Class::Write));
        check("PATCH", "/elastic/{*path}", Some(Class::Write));
        check("DELETE", "/api/v1/query", None);
        check("PUT", "/api/v1/dashboards/{uid}", Some(Class::Edit));
        check("GET", "/api/v1/dashboards/{uid}", Some(Class::Read));
        check("GET", "/api/v1/nothing", None);
        check("OPTIONS", "/api/v1/nothing", None);
    }
}
