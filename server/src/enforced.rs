//! What a request may see: the tenants that were admitted, and of each the rows that meet label
//! matchers.
//!
//! Invariants: who authenticates puts an [`Enforced`] into the request's extensions, where there is
//! none everything of the tenant is seen; the stores are read only through a [`Visible`], so that a
//! route cannot forget the matchers; a tenant that an [`Enforced`] does not name is not read.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use http::Extensions;
use obs_collector::{ErrorKind, HttpError};
use obs_model::{Labels, Matcher, Tenant, matcher};

/// The label matchers that every read of a request is confined to, by tenant. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Enforced(Option<Arc<BTreeMap<Tenant, Arc<[Matcher]>>>>);

impl Enforced {
    /// Each of these tenants is seen as far as its matchers go, all of it where there are none; no
    /// other tenant is seen.
    pub(crate) fn to_tenants(tenants: impl IntoIterator<Item = (Tenant, Vec<Matcher>)>) -> Self {
        let tenants = tenants
            .into_iter()
            .map(|(tenant, matchers)| (tenant, matchers.into()));
        Self(Some(Arc::new(tenants.collect())))
    }

    /// What a request is confined to.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// What is seen of a tenant.
    pub(crate) fn admit(&self, tenant: Tenant) -> Result<Visible, HttpError> {
        let Some(tenants) = &self.0 else {
            return Ok(Visible::all_of(tenant));
        };
        match tenants.get(&tenant) {
            Some(matchers) => Ok(Visible {
                tenant,
                matchers: Arc::clone(matchers),
                enforced: self.clone(),
            }),
            None => Err(HttpError::new(
                ErrorKind::Forbidden,
                format!("tenant {tenant} may not be read with these credentials"),
            )),
        }
    }
}

/// What of one tenant is seen. It stands for the tenant where only that matters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visible {
    tenant: Tenant,
    matchers: Arc<[Matcher]>,
    /// What the request sees of other tenants.
    enforced: Enforced,
}

impl Visible {
    /// Everything: what obs reads for itself, and requests that nothing is enforced on.
    pub(crate) fn all_of(tenant: Tenant) -> Self {
        Self {
            tenant,
            matchers: Arc::default(),
            enforced: Enforced::default(),
        }
    }

    /// What the same request sees of another tenant.
    pub(crate) fn elsewhere(&self, tenant: Tenant) -> Result<Self, HttpError> {
        self.enforced.admit(tenant)
    }

    /// The tenant.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// What rows must meet; all are seen where it is empty.
    pub(crate) fn matchers(&self) -> &Arc<[Matcher]> {
        &self.matchers
    }

    /// Whether something may be hidden.
    pub(crate) fn is_confined(&self) -> bool {
        !self.matchers.is_empty()
    }

    /// Whether something with these labels is seen.
    pub(crate) fn sees(&self, labels: &Labels) -> bool {
        matcher::all_match(&self.matchers, labels)
    }

    /// Refuses who does not see everything: for what cannot be cut along labels.
    pub(crate) fn must_be_whole(&self, what: &str) -> Result<(), HttpError> {
        if !self.is_confined() {
            return Ok(());
        }
        let text = format!("{what} cannot be confined to the label matchers of these credentials");
        Err(HttpError::new(ErrorKind::Forbidden, text))
    }
}

impl Deref for Visible {
    type Target = Tenant;

    fn deref(&self) -> &Tenant {
        &self.tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tenants_that_are_named_are_seen() {
        let tenant = |name: &str| Tenant::new(name).unwrap();
        let mine = vec![Matcher::equal("namespace", "shop")];
        let enforced =
            Enforced::to_tenants([(tenant("a"), mine.clone()), (tenant("b"), Vec::new())]);
        let mut extensions = Extensions::new();
        let check = |extensions: &Extensions, name: &str, expect: Option<&[Matcher]>| {
            let seen = Enforced::of(extensions).admit(tenant(name));
            let matchers = seen.as_ref().ok().map(|seen| &**seen.matchers());
            assert_eq!(matchers, expect, "{name}");
        };
        check(&extensions, "c", Some(&[]));
        extensions.insert(enforced);
        check(&extensions, "a", Some(&mine));
        check(&extensions, "b", Some(&[]));
        check(&extensions, "c", None);
        let seen = Enforced::of(&extensions).admit(tenant("a")).unwrap();
        assert!(seen.elsewhere(tenant("c")).is_err() && seen.must_be_whole("it").is_err());
        assert!(!seen.elsewhere(tenant("b")).unwrap().is_confined());
    }
}
