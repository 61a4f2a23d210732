//! Which instance has an object, where several share the work.
//!
//! Invariant: the choice is kube-state-metrics' own (FNV-1a of the object's uid, jump consistent
//! hash), so that instances of both can share one cluster while one replaces the other.

use serde_json::Value;

use super::object::{flag, items, number, text};

/// One of several instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 0.
    pub ordinal: u32,
    /// How many there are; one takes all.
    pub total: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            ordinal: 0,
            total: 1,
        }
    }
}

impl Shard {
    /// Whether an object is this instance's.
    pub(super) fn keeps(self, object: &Value) -> bool {
        self.total <= 1 && self.ordinal == 0
            || jump(fnv1a(text(object, "metadata.uid").as_bytes()), self.total)
                == i64::from(self.ordinal)
    }

    /// The place of a pod in its stateful set.
    pub(super) fn of_stateful_set(set: &Value, pod: &str) -> Option<Self> {
        let name = text(set, "metadata.name");
        let ordinal = pod.strip_prefix(name)?.strip_prefix('-')?;
        let total = number(set, "spec.replicas").unwrap_or(1.0) as u32;
        Some(Self {
            ordinal: ordinal.parse().ok()?,
            total,
        })
    }
}

/// The stateful set that controls a pod.
pub(super) fn stateful_set_of(pod: &Value) -> Option<&str> {
    let owners = items(pod, "metadata.ownerReferences").iter();
    let mut sets = owners.filter(|owner| {
        text(owner, "kind") == "StatefulSet"
            && text(owner, "apiVersion") == "apps/v1"
            && flag(owner, "controller")
    });
    sets.next().map(|owner| text(owner, "name"))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Jump consistent hash (Lamping and Veach, 2014): the bucket of a key.
fn jump(mut key: u64, buckets: u32) -> i64 {
    let (mut bucket, mut next) = (-1i64, 0i64);
    while next < i64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let scale = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * scale) as i64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes() {
        // Vectors of the FNV and of the jump hash's publications.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        for (key, buckets, expect) in [
            (1, 1, 0),
            (42, 57, 43),
            (0xdead_10cc, 1, 0),
            (0xdead_10cc, 666, 361),
            (256, 1024, 520),
        ] {
            assert_eq!(jump(key, buckets), expect, "{key} {buckets}");
        }
    }

    #[test]
    fn each_object_has_one_shard() {
        for number in 0..100 {
            let object = json!({"metadata": {"uid": format!("uid-{number}")}});
            let kept = (0..3).filter(|ordinal| {
                let shard = Shard {
                    ordinal: *ordinal,
                    total: 3,
                };
                shard.keeps(&object)
            });
            assert_eq!(kept.count(), 1);
            assert!(Shard::default().keeps(&object));
        }
    }

    #[test]
    fn a_pod_knows_its_shard() {
        let set = json!({"metadata": {"name": "ksm"}, "spec": {"replicas": 3}});
        let of = |pod| Shard::of_stateful_set(&set, pod).map(|s| (s.ordinal, s.total));
        assert_eq!(of("ksm-2"), Some((2, 3)));
        assert_eq!(of("ksm-x"), None);
        assert_eq!(of("other-1"), None);
        let pod = json!({"metadata": {"ownerReferences": [
            {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "no"},
            {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "ksm", "controller": true},
        ]}});
        assert_eq!(stateful_set_of(&pod), Some("ksm"));
    }
}
