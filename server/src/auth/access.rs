//! Who may do what: grants, and the decision on one request. Pure.
//!
//! Invariants: what no grant allows is refused; the tenants of a request are those that it names and
//! a grant covers, or the only one that it can mean; a grant with matchers lets see what meets them
//! and no more, and allows nothing that cannot be confined to them.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::{MatchOp, Matcher, Tenant};

use super::class::Class;
use super::identity::Identity;
use crate::config::{GrantConfig, Role};
use crate::enforced::Enforced;

/// Tenants that one request may name.
const TENANTS_MAX: usize = 64;

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// Who has shown who they are.
    Anyone,
    User(String),
    Group(String),
    Claims(BTreeMap<String, String>),
}

impl Subject {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(name) => *name == identity.name,
            Self::Group(name) => identity.groups.contains(name),
            Self::Claims(claims) => claims.iter().all(|(name, value)| {
                let of_name = identity.claims.iter().filter(|(n, _)| n == name);
                of_name.into_iter().any(|(_, v)| v == value)
            }),
        }
    }
}

/// Somebody may do something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grant {
    subject: Subject,
    /// All where absent.
    tenants: Option<Vec<Tenant>>,
    roles: Vec<Role>,
    matchers: Vec<Matcher>,
}

impl Grant {
    /// Whoever has shown who they are may do everything: as Prometheus' users.
    pub(crate) fn everything() -> Self {
        Self {
            subject: Subject::Anyone,
            tenants: None,
            roles: vec![Role::Admin],
            matchers: Vec::new(),
        }
    }

    fn covers(&self, tenant: &Tenant) -> bool {
        self.tenants.as_ref().is_none_or(|all| all.contains(tenant))
    }

    fn has(&self, role: Role) -> bool {
        self.roles.contains(&Role::Admin) || self.roles.contains(&role)
    }
}

impl TryFrom<&GrantConfig> for Grant {
    type Error = String;

    fn try_from(config: &GrantConfig) -> Result<Self, String> {
        let subject = match (&config.user, &config.group, &config.claim) {
            (Some(user), None, None) => Subject::User(user.clone()),
            (None, Some(group), None) => Subject::Group(group.clone()),
            (None, None, Some(claims)) => {
                // A JWT that is taken claims the issuer that signed it.
                let issuer = config
                    .issuer
                    .iter()
                    .map(|one| ("iss".to_owned(), one.clone()));
                Subject::Claims(claims.clone().into_iter().chain(issuer).collect())
            }
            _ => return Err("expected one of user, group and claim".to_owned()),
        };
        let tenants = match config.tenants.iter().any(|name| name == "*") {
            true => None,
            false => {
                let named = config.tenants.iter().map(|name| Tenant::new(name));
                Some(named.collect::<Result<_, _>>().map_err(|e| e.to_string())?)
            }
        };
        Ok(Self {
            subject,
            tenants,
            roles: config.role.clone(),
            matchers: config.matchers.clone(),
        })
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// What it names is none: 400.
    Malformed(String),
    /// 403.
    Forbidden(String),
}

/// What a request that is let in may touch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admitted {
    /// The tenants, with `|` between: what `X-Scope-OrgID` says from here on.
    pub(crate) tenants: String,
    /// What of them may be seen.
    pub(crate) enforced: Enforced,
}

/// Decides on one request; `named` is its `X-Scope-OrgID`.
pub(crate) fn decide(
    grants: &[Grant],
    identity: &Identity,
    class: Class,
    named: Option<&str>,
) -> Result<Admitted, Denied> {
    let own: Vec<&Grant> = grants.iter().filter(|g| g.subject.is(identity)).collect();
    match class {
        Class::ServerRead | Class::ServerAdmin => return of_server(&own, identity, class),
        Class::Public | Class::Read | Class::Write | Class::Edit | Class::Admin => {}
    }
    let tenants = match named {
        Some(named) => tenants(named)?,
        None => vec![meant(&own, identity, class)?],
    };
    if let Some(tenant) = tenants.iter().find(|tenant| !may(&own, class, tenant)) {
        let (who, verb) = (&identity.name, verb(class));
        let text = format!("{who} may not {verb} tenant {tenant}");
        return Err(Denied::Forbidden(text));
    }
    let seen = tenants.iter().map(|tenant| {
        let matchers = match class {
            Class::Read => matchers(&own, tenant)?,
            _ => Vec::new(),
        };
        Ok((tenant.clone(), matchers))
    });
    let seen: Vec<_> = seen.collect::<Result<_, Denied>>()?;
    let names: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
    Ok(Admitted {
        tenants: names.join("|"),
        enforced: Enforced::to_tenants(seen),
    })
}

/// What is of the server is nobody's: it is seen by who sees all of the tenant that the server's own
/// scrapes go to, and changed by who may change every tenant.
fn of_server(own: &[&Grant], identity: &Identity, class: Class) -> Result<Admitted, Denied> {
    let home = Tenant::anonymous();
    let allowed = own.iter().any(|grant| match class {
        Class::ServerAdmin => grant.tenants.is_none() && grant.has(Role::Admin),
        _ => grant.covers(&home) && grant.has(Role::Read) && grant.matchers.is_empty(),
    });
    if !allowed {
        let (who, verb) = (&identity.name, verb(class));
        return Err(Denied::Forbidden(format!(
            "{who} may not {verb} the server"
        )));
    }
    Ok(Admitted {
        tenants: home.as_str().to_owned(),
        enforced: Enforced::to_tenants([(home, Vec::new())]),
    })
}

fn verb(class: Class) -> &'static str {
    match class {
        Class::Public | Class::Read | Class::ServerRead => "read",
        Class::Write => "write to",
        Class::Edit => "change dashboards, rules and silences of",
        Class::Admin | Class::ServerAdmin => "administer",
    }
}

/// Whether grants allow something on a tenant, be it on a part of what can be seen.
fn may(own: &[&Grant], class: Class, tenant: &Tenant) -> bool {
    let has = |role: Role, whole: bool| {
        own.iter().any(|grant| {
            let whole = !whole || grant.matchers.is_empty();
            whole && grant.covers(tenant) && grant.has(role)
        })
    };
    match class {
        Class::Read => has(Role::Read, false),
        Class::Write => has(Role::Write, true),
        Class::Edit => has(Role::Read, true) && has(Role::Write, true),
        Class::Admin => has(Role::Admin, true),
        Class::Public | Class::ServerRead | Class::ServerAdmin => false,
    }
}

/// Tenants that a header names.
fn tenants(named: &str) -> Result<Vec<Tenant>, Denied> {
    let mut found = Vec::new();
    for name in named.split('|') {
        let tenant = Tenant::new(name);
        let tenant = tenant.map_err(|why| Denied::Malformed(format!("X-Scope-OrgID: {why}")))?;
        if !found.contains(&tenant) {
            found.push(tenant);
        }
        if found.len() > TENANTS_MAX {
            let text = format!("X-Scope-OrgID: more than {TENANTS_MAX} tenants");
            return Err(Denied::Malformed(text));
        }
    }
    Ok(found)
}

/// The tenant of a request that names none: the only one that its grants name, else `anonymous`.
fn meant(own: &[&Grant], identity: &Identity, class: Class) -> Result<Tenant, Denied> {
    let named = own.iter().filter_map(|grant| grant.tenants.as_ref());
    let named: BTreeSet<&Tenant> = named.flatten().collect();
    let allowed: Vec<&Tenant> = named.into_iter().filter(|t| may(own, class, t)).collect();
    let home = Tenant::anonymous();
    if may(own, class, &home) {
        return Ok(home);
    }
    match allowed.as_slice() {
        [] => {
            let (who, verb) = (&identity.name, verb(class));
            Err(Denied::Forbidden(format!(
                "{who} may not {verb} any tenant"
            )))
        }
        [only] => Ok((*only).clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|tenant| tenant.as_str()).collect();
            let text = format!(
                "say in X-Scope-OrgID which tenant is meant: {}",
                names.join(", ")
            );
            Err(Denied::Forbidden(text))
        }
    }
}

/// What may be seen of a tenant: everything where one grant says so.
fn matchers(own: &[&Grant], tenant: &Tenant) -> Result<Vec<Matcher>, Denied> {
    let of_tenant = own.iter().filter(|g| g.covers(tenant) && g.has(Role::Read));
    let mut sets: Vec<&[Matcher]> = Vec::new();
    for grant in of_tenant {
        if grant.matchers.is_empty() {
            return Ok(Vec::new());
        }
        if !sets.contains(&grant.matchers.as_slice()) {
            sets.push(&grant.matchers);
        }
    }
    match sets.as_slice() {
        [only] => Ok(only.to_vec()),
        several => together(several).map(|one| vec![one]).ok_or_else(|| {
            Denied::Forbidden(format!(
                "several grants of {tenant} have matchers that are not of one label with = or =~: \
                 they cannot be joined"
            ))
        }),
    }
}

/// One condition for what meets any of several, where each is one on the same label.
fn together(sets: &[&[Matcher]]) -> Option<Matcher> {
    let mut name = None;
    let mut values = Vec::new();
    for set in sets {
        let [one] = set else {
            return None;
        };
        if *name.get_or_insert(&one.name) != &one.name {
            return None;
        }
        values.push(match one.op {
            MatchOp::Equal => literal(&one.value),
            MatchOp::Regex => format!("(?:{})", one.value),
            MatchOp::NotEqual | MatchOp::NotRegex => return None,
        });
    }
    Matcher::new(name?.clone(), MatchOp::Regex, values.join("|")).ok()
}

fn literal(text: &str) -> String {
    regex::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn grants(list: &str) -> Vec<Grant> {
        if list.is_empty() {
            return Vec::new();
        }
        let text = format!(
            "obs: {{auth: {{tokens: [{{name: t, token: 0123456789abcdef}}], grants: [{list}]}}}}"
        );
        let auth = parse(&text).expect("valid").obs.auth.expect("there");
        let all = auth.grants.iter().map(Grant::try_from);
        all.collect::<Result<_, _>>().expect("valid")
    }

    fn decides(list: &str, class: Class, named: Option<&str>, expect: Result<&str, &str>) {
        let identity = Identity {
            name: "ann".to_owned(),
            groups: vec!["dev".to_owned()],
            claims: vec![("team".to_owned(), "shop".to_owned())],
            ..Identity::default()
        };
        let found = decide(&grants(list), &identity, class, named);
        let what = format!("{list} {class:?} {named:?}: {found:?}");
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found.tenants, expect, "{what}"),
            (Err(Denied::Forbidden(text) | Denied::Malformed(text)), Err(expect)) => {
                assert!(text.contains(expect), "{what}");
            }
            _ => panic!("{what}"),
        }
    }

    const READ: Class = Class::Read;

    #[test]
    fn tenants_come_from_grants() {
        let a = "{user: ann, tenants: a, role: read}";
        decides(a, READ, None, Ok("a"));
        decides(a, READ, Some("a"), Ok("a"));
        decides(a, READ, Some("b"), Err("ann may not read tenant b"));
        decides(a, READ, Some("a|b"), Err("ann may not read tenant b"));
        decides(a, READ, Some("a/b"), Err("X-Scope-OrgID: "));
        let both = "{user: ann, tenants: [a, b], role: read}";
        decides(both, READ, None, Err("a, b"));
        decides(both, READ, Some("b|a|b"), Ok("b|a"));
        let all = "{user: ann, tenants: '*', role: read}";
        decides(all, READ, None, Ok("anonymous"));
        decides(all, READ, Some("x"), Ok("x"));
        let with_home = "{user: ann, tenants: [a, anonymous], role: read}";
        decides(with_home, READ, None, Ok("anonymous"));
        decides("", READ, None, Err("any tenant"));
        decides(
            a,
            Class::Write,
            None,
            Err("ann may not write to any tenant"),
        );
    }

    #[test]
    fn subjects() {
        for subject in ["user: ann", "group: dev", "claim: {team: shop}"] {
            let list = format!("{{{subject}, tenants: a, role: read}}");
            decides(&list, READ, None, Ok("a"));
        }
        let others = [
            "user: dev",
            "group: ann",
            "claim: {team: x}",
            "claim: {team: shop, a: b}",
        ];
        for subject in others {
            let list = format!("{{{subject}, tenants: a, role: read}}");
            decides(&list, READ, None, Err("any tenant"));
        }
    }

    #[test]
    fn roles() {
        let allowed = |role: &str, class: Class, expect: bool| {
            let list = format!("{{user: ann, tenants: a, role: {role}}}");
            let expect = if expect { Ok("a") } else { Err("may not") };
            decides(&list, class, None, expect);
            decides(&list, class, Some("a"), expect);
        };
        let classes = [READ, Class::Write, Class::Edit, Class::Admin];
        for (role, expect) in [
            ("read", [true, false, false, false]),
            ("write", [false, true, false, false]),
            ("[read, write]", [true, true, true, false]),
            ("admin", [true, true, true, true]),
        ] {
            for (class, expect) in classes.into_iter().zip(expect) {
                allowed(role, class, expect);
            }
        }
    }

    #[test]
    fn what_is_of_the_server_is_for_who_sees_its_tenant_or_all() {
        let check = |list: &str, class: Class, expect: bool| {
            let expect = if expect {
                Ok("anonymous")
            } else {
                Err("the server")
            };
            decides(list, class, Some("whatever"), expect);
        };
        let read = Class::ServerRead;
        check("{user: ann, tenants: '*', role: read}", read, true);
        check("{user: ann, tenants: anonymous, role: read}", read, true);
        check("{user: ann, tenants: a, role: admin}", read, false);
        let confined = "{user: ann, tenants: '*', role: read, matchers: '{a=\"b\"}'}";
        check(confined, read, false);
        check("{user: ann, tenants: '*', role: write}", read, false);
        let admin = Class::ServerAdmin;
        check("{user: ann, tenants: '*', role: admin}", admin, true);
        check("{user: ann, tenants: anonymous, role: admin}", admin, false);
        check(
            "{user: ann, tenants: '*', role: [read, write]}",
            admin,
            false,
        );
    }

    #[test]
    fn matchers_confine_what_is_read() {
        let check = |list: &str, expect: Result<&str, &str>| {
            let own = grants(list);
            let own: Vec<&Grant> = own.iter().collect();
            let tenant = Tenant::new("a").expect("valid");
            let found = matchers(&own, &tenant).map(|all| {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                all.join(",")
            });
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{list}"),
                (Err(Denied::Forbidden(text)), Err(expect)) => assert!(text.contains(expect)),
                (found, _) => panic!("{list}: {found:?}"),
            }
        };
        let one = |matchers: &str| {
            format!("{{user: ann, tenants: a, role: read, matchers: '{matchers}'}}")
        };
        check(&one(r#"{n="x",m!="y"}"#), Ok(r#"n="x",m!="y""#));
        let two = |a: &str, b: &str| format!("{}, {}", one(a), one(b));
        check(&two(r#"{n="x"}"#, r#"{n="x"}"#), Ok(r#"n="x""#));
        check(
            &two(r#"{n="x.y"}"#, r#"{n=~"z.*"}"#),
            Ok(r#"n=~"x\\.y|(?:z.*)""#),
        );
        check(&two(r#"{n="x"}"#, r#"{m="x"}"#), Err("cannot be joined"));
        check(&two(r#"{n="x"}"#, r#"{n!="y"}"#), Err("cannot be joined"));
        let whole = format!(
            "{}, {{group: g, tenants: '*', role: admin}}",
            one(r#"{n="x"}"#)
        );
        check(&whole, Ok(""));
        // Who may see a part only may not change what is of all.
        let part = format!(
            "{}, {{user: ann, tenants: a, role: write}}",
            one(r#"{n="x"}"#)
        );
        decides(&part, Class::Edit, None, Err("may not change"));
    }
}
