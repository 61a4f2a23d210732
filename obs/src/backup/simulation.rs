//! Backups, prunes and crashes in every order that a seed gives: what a manifest names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use obs_model::Timestamp;
use obs_server::backup::{Listed, hex};
use ring::digest::{SHA256, digest};

use super::copy::{STALE_NANOS, begin, copy_file, finish, unique};
use super::manifest::{Entry, Manifest};
use super::place::{Object, Place};
use super::prune::prune;
use super::source::Source;

/// What is written, and when.
type Objects = BTreeMap<String, (Vec<u8>, i64)>;

/// A place whose every request takes a turn before it happens and one after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<(Objects, i64)>>);

/// Lets others go first.
async fn turn() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Memory {
    async fn act<T>(&self, act: impl FnOnce(&mut Objects, i64) -> T) -> T {
        turn().await;
        let done = {
            let mut state = self.0.lock().unwrap();
            let clock = state.1;
            act(&mut state.0, clock)
        };
        turn().await;
        done
    }

    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.act(|all, clock| drop(all.insert(key.to_owned(), (bytes, clock))))
            .await;
        Ok(())
    }

    pub(crate) async fn read(&self, key: &str, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let cut = |all: &Vec<u8>| {
            let rest = all.iter().skip(offset as usize);
            rest.take(bytes).copied().collect()
        };
        self.act(|all, _| all.get(key).map(|(all, _)| cut(all)))
            .await
    }

    pub(crate) async fn list(&self, folder: &str) -> Vec<Object> {
        let below = format!("{folder}/");
        self.act(|all, clock| {
            let found = all.iter().filter(|(key, _)| key.starts_with(&below));
            let object = |(key, (bytes, written)): (&String, &(Vec<u8>, i64))| Object {
                key: key.clone(),
                bytes: bytes.len() as u64,
                age_nanos: clock - written,
            };
            found.map(object).collect()
        })
        .await
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.act(|all, _| drop(all.remove(key))).await;
    }

    fn later(&self, nanos: i64) {
        self.0.lock().unwrap().1 += nanos;
    }

    /// All manifests, each of which must name only what is there.
    fn check(&self, what: &str) -> BTreeSet<String> {
        let state = self.0.lock().unwrap();
        let mut named = BTreeSet::new();
        for (key, (bytes, _)) in &state.0 {
            if !key.starts_with("backups/") {
                continue;
            }
            let manifest = Manifest::decode(bytes).unwrap();
            for file in manifest.files {
                let object = state.0.get(&file.object);
                let (object, _) =
                    object.unwrap_or_else(|| panic!("{what}: {key} has lost {}", file.object));
                assert_eq!(hex(digest(&SHA256, object).as_ref()), file.sha256, "{what}");
                named.insert(file.object);
            }
        }
        named
    }

    fn keys(&self, begin: &str) -> BTreeSet<String> {
        let state = self.0.lock().unwrap();
        let keys = state.0.keys().filter(|key| key.starts_with(begin));
        keys.cloned().collect()
    }
}

/// Files that are backed up.
#[derive(Clone, Debug)]
pub(crate) struct Contents(BTreeMap<String, Vec<u8>>);

impl Contents {
    pub(crate) async fn read(&self, path: &str, offset: u64, bytes: usize) -> Vec<u8> {
        turn().await;
        let rest = self.0[path].iter().skip(offset as usize);
        rest.take(bytes).copied().collect()
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |(path, bytes): (&String, &Vec<u8>)| Listed {
            path: path.clone(),
            bytes: bytes.len() as u64,
            tag: format!("f{}", hex(digest(&SHA256, bytes).as_ref())),
        };
        self.0.iter().map(listed).collect()
    }
}

/// A backup as `copy` makes it, one object after the other.
async fn back_up(place: Arc<Place>, contents: Contents, id: String) {
    let files = contents.list();
    let source = Source::Memory(contents);
    let mut manifest = Manifest {
        id: id.clone(),
        begun: Timestamp::from_nanos(0),
        seconds: 0.0,
        version: String::new(),
        host: String::new(),
        new_bytes: 0,
        new_objects: 0,
        failed: false,
        files: Vec::new(),
    };
    let known = begin(&place, &manifest).await.unwrap();
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for file in unique(&files) {
        let entry = match known.find(&file) {
            Some(entry) => entry.clone(),
            None => copy_file(&place, &source, &id, &file).await.unwrap(),
        };
        entries.insert(file.tag, entry);
    }
    for file in files {
        manifest.files.push(Entry {
            path: file.path,
            ..entries[&file.tag].clone()
        });
    }
    finish(&place, &manifest).await.unwrap();
}

/// Numbers that depend on a seed alone.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % sides as u64) as usize
    }

    /// Some of eight files.
    fn contents(&mut self) -> Contents {
        let files = (0..8).filter(|_| self.throw(2) == 0).collect::<Vec<_>>();
        let file = |i: usize| (format!("metrics/parts/{i}.part"), vec![i as u8; i % 3 + 1]);
        Contents(files.into_iter().map(file).collect())
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

fn run(seed: u64) {
    let memory = Memory::default();
    let place = Arc::new(Place::Memory(memory.clone()));
    let mut dice = Dice(seed);
    let mut tasks: Vec<Task> = Vec::new();
    let (mut left, mut steps) = (10, 0);
    while left > 0 || !tasks.is_empty() {
        steps += 1;
        if left > 0 && (tasks.is_empty() || dice.throw(12) == 0) {
            left -= 1;
            let place = Arc::clone(&place);
            tasks.push(if dice.throw(3) > 0 {
                let id = format!("{left:02}-{seed}");
                Box::pin(back_up(place, dice.contents(), id))
            } else {
                let keep = dice.throw(3) + 1;
                Box::pin(async move {
                    prune(&place, keep, false).await.unwrap();
                })
            });
        }
        let chosen = dice.throw(tasks.len());
        let mut context = Context::from_waker(Waker::noop());
        let ended = tasks[chosen].as_mut().poll(&mut context).is_ready();
        // Some are killed where they are.
        if ended || dice.throw(150) == 0 {
            drop(tasks.swap_remove(chosen));
        }
        memory.check(&format!("seed {seed}, step {steps}"));
    }
    // When those who were killed are forgotten, what is left is what the newest backup names.
    memory.later(STALE_NANOS);
    let mut last: Task = Box::pin(async move {
        prune(&place, 1, false).await.unwrap();
    });
    let mut context = Context::from_waker(Waker::noop());
    while last.as_mut().poll(&mut context).is_pending() {}
    let named = memory.check(&format!("seed {seed}, the end"));
    assert_eq!(memory.keys("objects/"), named, "seed {seed}");
    assert!(memory.keys("backups/").len() <= 1, "seed {seed}");
    for begin in ["garbage/", "running/"] {
        assert_eq!(memory.keys(begin), BTreeSet::new(), "seed {seed}");
    }
}

#[test]
fn prunes_never_take_what_a_backup_names() {
    for seed in 0..400 {
        run(seed);
    }
}
