//! One of the three stores with its oracle: writes, jobs and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::{Tenant, TimeRange, Timestamp};
use obs_storage::{
    AppendError, BackupError, Corrupt, DeleteError, Force, Job, JobError, OpenError, Snapshot,
    Store,
};

use super::below::Below;
use super::model::Model;
use super::signal::{Found, MEMBERS, Row, SLOT, Signal, TENANTS, WINDOW};
use super::world::Shared;

/// A snapshot that is kept while the store goes on, and what it held.
struct Held<S: Signal> {
    tenant: u8,
    snapshot: Snapshot<S>,
    rows: Vec<Row>,
}

/// Where rows lie: what damage to a file may take.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    parts: BTreeMap<String, BTreeSet<Row>>,
    memory: BTreeSet<Row>,
}

/// A store and what must be in it.
pub(crate) struct Side<S: Signal> {
    store: Option<Store<S>>,
    pub(crate) model: Model,
    /// Groups so far, by tenant.
    groups: [i64; TENANTS.len()],
    held: Option<Held<S>>,
}

/// The tenant of an index.
pub(crate) fn tenant(index: u8) -> Tenant {
    Tenant::new(TENANTS[usize::from(index)]).expect("the names are well-formed")
}

impl<S: Signal> Side<S> {
    pub(crate) fn new() -> Self {
        Self {
            store: None,
            model: Model::default(),
            groups: [0; TENANTS.len()],
            held: None,
        }
    }

    fn store(&self) -> &Store<S> {
        self.store.as_ref().expect("the store is open")
    }

    pub(crate) fn poisoned(&self) -> bool {
        self.store().poisoned().is_some()
    }

    /// Opens the store; the caller restarts everything when that fails.
    pub(crate) fn open(&mut self, shared: &mut Shared) -> Result<(), OpenError> {
        let disk = Arc::new(shared.disk.clone());
        let store = Store::open(disk, shared.options.clone(), &|_| {})?;
        let found = store.quarantined();
        assert!(
            found.is_empty() || self.model.damaged,
            "{}: {found:?}",
            S::NAME
        );
        let set = store.set_retention_rules(&shared.retention_rules::<S>(), shared.now);
        assert!(set.is_ok(), "{}: {set:?}", S::NAME);
        self.store = Some(store);
        Ok(())
    }

    /// The process ends.
    pub(crate) fn close(&mut self, shared: &mut Shared) {
        self.held = None;
        if let Some(store) = self.store.take() {
            for of in TENANTS
                .iter()
                .map(|name| Tenant::new(name).expect("well-formed"))
            {
                let snapshot = store.snapshot(&of);
                let tiers = snapshot.tags.iter().filter(|tag| tag.tier != 0);
                shared.seen.tiers += tiers.count() as u64;
            }
            let stats = store.stats();
            let seen = &mut shared.seen;
            seen.flushes += stats.flushes;
            seen.merges += stats.merges;
            seen.drops += stats.drops;
            seen.failed_jobs += stats.failed_jobs;
            seen.poisoned += u64::from(stats.poisoned.is_some());
            seen.torn += u64::from(stats.torn_bytes > 0);
        }
    }

    /// One group commit: rows of one or several tenants.
    pub(crate) fn append(&mut self, shared: &mut Shared) {
        let mut rows = Vec::new();
        let mut writes: Vec<(Tenant, Vec<Row>, usize)> = Vec::new();
        let mut bad_rows = 0;
        for _ in 0..1 + shared.random.below(5) / 3 {
            let of = shared.random.below(TENANTS.len() as u64) as u8;
            if writes.iter().any(|(known, ..)| *known == tenant(of)) {
                continue;
            }
            let mut some = self.some_rows(shared, of);
            if shared.random.once_in(3) {
                shuffle(&mut some, shared);
            }
            let bad = usize::from(!some.is_empty() && shared.random.once_in(8));
            bad_rows += bad as u64;
            rows.extend_from_slice(&some);
            writes.push((tenant(of), some, bad));
        }
        let rows = self.model.arrive(&rows);
        let count = rows.len();
        let (refused, result) = S::append(self.store(), &writes);
        assert_eq!(refused, bad_rows, "{}: refused by admit", S::NAME);
        shared.seen.refused += refused;
        shared.log(|| format!("{}: append {count} rows: {result:?}", S::NAME));
        let kept = shared.kept::<S>();
        match result {
            Ok(()) => self.model.acknowledge::<S>(rows, &kept),
            Err(AppendError::DiskFull) => {
                shared.seen.full += 1;
                self.model.refuse(rows);
            }
            Err(AppendError::MemoryFull { .. }) => self.model.refuse(rows),
            Err(AppendError::Poisoned(_) | AppendError::Disk(_)) => self.model.doubt(rows),
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Record(_))) => {
                panic!("{}: {error}", S::NAME)
            }
        }
    }

    /// Deletes the rows of some members of a tenant inside some range.
    pub(crate) fn delete(&mut self, shared: &mut Shared) {
        let of = shared.random.below(TENANTS.len() as u64) as u8;
        let members = shared.random.draw() as u8;
        let end = shared.now.millis() - shared.random.below(2 * WINDOW as u64) as i64;
        let start = end - shared.random.below(2 * WINDOW as u64) as i64;
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        let Some(result) = S::delete(self.store(), &tenant(of), members, range) else {
            return;
        };
        shared.log(|| format!("{}: delete {members:b} of {of}: {result:?}", S::NAME));
        let doubt = match result {
            Ok(()) => false,
            Err(DeleteError::Job(JobError::DiskFull(_))) => return,
            Err(DeleteError::Job(JobError::Poisoned(_) | JobError::Disk(_))) => true,
            Err(error) => panic!("{}: {error}", S::NAME),
        };
        let count = self.model.delete::<S>(of, members, range, doubt);
        shared.seen.deleted += count as u64;
    }

    /// New rows, or rows that were sent before.
    fn some_rows(&mut self, shared: &mut Shared, of: u8) -> Vec<Row> {
        let pick = shared.random.draw();
        let mut rows = match shared.random.below(12) {
            0 => self.model.take_again(of),
            1 => self.model.some_known(of, pick),
            // Where retention takes the first of two, the second one is found.
            2 if !shared.has_retention() => self.rivals(of, pick, shared),
            _ => self.new_rows(shared, of),
        };
        if shared.random.once_in(4) {
            let again = self.model.some_known(of, pick >> 8);
            shared.seen.repeated += again.len() as u64;
            rows.extend(again);
        }
        if shared.random.once_in(6) {
            rows.extend_from_within(rows.len() / 2..);
        }
        rows
    }

    /// The identities of rows that are there, with other content.
    fn rivals(&mut self, of: u8, pick: u64, shared: &mut Shared) -> Vec<Row> {
        let mut rows = self.model.some_known(of, pick);
        rows.retain(|row| row.variant == 0);
        for row in &mut rows {
            row.variant = 1;
            if S::FIRST_WINS {
                self.model.expect_rival(*row);
            }
        }
        shared.seen.rivals += rows.len() as u64;
        rows
    }

    fn new_rows(&mut self, shared: &mut Shared, of: u8) -> Vec<Row> {
        let mut rows = Vec::new();
        for _ in 0..1 + shared.random.below(3) {
            let late = match shared.random.below(4) {
                0 => shared.random.below(3 * WINDOW as u64),
                _ => shared.random.below(SLOT as u64),
            };
            let slot = (shared.now.millis() - late as i64).div_euclid(SLOT);
            let group = &mut self.groups[usize::from(of)];
            let at = slot * SLOT + *group;
            *group += 1;
            let members = match shared.random.below(3) {
                0 => 0xff,
                _ => shared.random.draw() | 1,
            };
            let some = (0..MEMBERS).filter(|member| members >> member & 1 == 1);
            rows.extend(some.map(|member| Row {
                tenant: of,
                at,
                member,
                variant: 0,
            }));
        }
        rows
    }

    /// One job, as the upkeep thread or an administrator would.
    pub(crate) fn upkeep(&mut self, shared: &mut Shared) {
        let job = match shared.random.below(10) {
            0 => self.store().forced(Force::Flush),
            1 => self.store().forced(Force::Merge),
            2 => self.store().forced(Force::Clean),
            _ => self.store().next_job(shared.now),
        };
        if let Some(job) = job {
            self.run(shared, job);
        }
    }

    /// Jobs of one kind until there is none.
    pub(crate) fn force(&mut self, shared: &mut Shared, force: Force) {
        while let Some(job) = self.store().forced(force) {
            self.run(shared, job);
        }
    }

    /// Jobs that failed since the store was opened.
    pub(crate) fn failed_jobs(&self) -> u64 {
        self.store().stats().failed_jobs
    }

    /// Jobs until there is none.
    pub(crate) fn drain(&mut self, shared: &mut Shared) {
        for force in [Force::Flush, Force::Clean, Force::Merge] {
            let mut jobs = 0;
            while let Some(job) = self.store().forced(force) {
                self.run(shared, job);
                jobs += 1;
                assert!(jobs < 1000, "{}: {force:?} does not end", S::NAME);
            }
        }
    }

    fn run(&mut self, shared: &mut Shared, job: Job) {
        let text = format!("{}: {job:?}", S::NAME);
        if let Job::Drop { tenant, parts } = &job {
            self.expect_drop(shared, tenant, parts);
        }
        let result = self.store().run(job);
        shared.log(|| format!("{text}: {result:?}"));
        match result {
            Ok(()) | Err(JobError::DiskFull(_) | JobError::Poisoned(_) | JobError::Disk(_)) => {}
            Err(JobError::Corrupt(error)) => panic!("{}: {error}", S::NAME),
        }
    }

    /// Retention takes only what is too old, or the oldest windows of too many bytes.
    fn expect_drop(&mut self, shared: &Shared, of: &Tenant, parts: &[u64]) {
        let snapshot = self.store().snapshot(of);
        let kept = shared.options.kept(of, shared.now);
        let young = snapshot.parts.iter().map(|part| &part.reader);
        let young = young.filter(|reader| reader.range().end >= kept.start);
        let going = |name: &str| parts.contains(&number_of(name));
        let (going, staying): (Vec<_>, Vec<_>) = young.partition(|reader| going(reader.name()));
        if going.is_empty() {
            return;
        }
        let limit = shared.options.retention_of(of).bytes;
        let limit = limit.expect("only a limit of bytes takes parts that are not too old");
        let stay: u64 = staying.iter().map(|reader| reader.bytes()).sum();
        let largest = going.iter().map(|reader| reader.bytes()).max();
        assert!(stay + largest.unwrap_or(0) > limit, "dropped too much");
        let window = |at: Timestamp| shared.options.window_of(at).start;
        let oldest = staying.iter().map(|reader| window(reader.range().start));
        let oldest = oldest.min().expect("the newest part stays");
        let index = TENANTS.iter().position(|name| *name == of.as_str());
        let index = index.expect("one of the tenants") as u8;
        let ranges: Vec<_> = going.iter().map(|reader| reader.range()).collect();
        for range in ranges {
            assert!(window(range.start) <= oldest, "a young part goes first");
            self.model.loosen::<S>(index, range);
        }
    }

    /// Reads everything of every tenant.
    fn find(&self, way: u64) -> Result<Found, Corrupt> {
        Self::find_in(self.store(), way)
    }

    /// A copy of the running store opens and holds what the store holds.
    pub(crate) fn copy(&mut self, shared: &mut Shared) {
        let folder = format!("copies/{}", shared.random.draw());
        let copied = self.store().snapshot_to(&folder);
        shared.log(|| format!("{}: copy: {copied:?}", S::NAME));
        match copied {
            Ok(()) => {}
            Err(BackupError::Job(_)) => return,
            Err(error) => panic!("{}: {error}", S::NAME),
        }
        let below = Arc::new(Below::new(&shared.disk, &folder));
        let mut options = shared.options.clone();
        options.reserve_bytes = 0;
        let copy = match Store::<S>::open(Arc::<Below>::clone(&below), options, &|_| {}) {
            Ok(copy) => copy,
            Err(error @ OpenError::Manifest(_)) => panic!("{}: {error}", S::NAME),
            // Power was lost in between.
            Err(OpenError::Disk(_) | OpenError::Replay(_)) => return,
        };
        let rules = shared.retention_rules::<S>();
        let told = copy.set_retention_rules(&rules, shared.now);
        assert!(told.is_ok(), "{}: {told:?}", S::NAME);
        let told = self.store().set_retention_rules(&rules, shared.now);
        assert!(told.is_ok(), "{}: {told:?}", S::NAME);
        let rows = |store| match Self::find_in(store, 0) {
            Ok(found) => found.rows.into_iter().collect::<BTreeSet<Row>>(),
            Err(error) => panic!("{}: {error:?}", S::NAME),
        };
        assert_eq!(rows(&copy), rows(self.store()), "{}: a copy", S::NAME);
        shared.seen.copies += 1;
        drop(copy);
        let removed = below.remove_all();
        shared.log(|| format!("{}: remove the copy: {removed:?}", S::NAME));
    }

    fn find_in(store: &Store<S>, way: u64) -> Result<Found, Corrupt> {
        let known: BTreeSet<Tenant> = (0..TENANTS.len() as u8).map(tenant).collect();
        let strange = store.tenants().into_iter().find(|t| !known.contains(t));
        assert_eq!(strange, None, "{}: a tenant from nowhere", S::NAME);
        let mut all = Found::default();
        for index in 0..TENANTS.len() as u8 {
            let found = S::find(&store.snapshot(&tenant(index)), way)?;
            let foreign = found.rows.iter().find(|row| row.tenant != index);
            assert_eq!(foreign, None, "{}: a row of another tenant", S::NAME);
            all.rows.extend(found.rows);
            all.exemplars.extend(found.exemplars);
        }
        Ok(all)
    }

    /// Compares everything with the oracle.
    pub(crate) fn check(&mut self, shared: &mut Shared, reopened: bool) {
        let way = shared.random.draw();
        let rules = shared.retention_rules::<S>();
        // The clock of ages is told by upkeep, which may not have run for a while.
        let told = self.store().set_retention_rules(&rules, shared.now);
        assert!(told.is_ok(), "{}: {told:?}", S::NAME);
        let found = match self.find(way) {
            Ok(found) => found,
            Err(error) => panic!("{}: {error:?}", S::NAME),
        };
        shared.log(|| format!("{}: {} rows found", S::NAME, found.rows.len()));
        shared.seen.found += found.rows.len() as u64;
        self.model.check::<S>(&found, &shared.kept::<S>(), reopened);
        if !shared.has_retention() && !self.model.damaged {
            self.model.check_order::<S>(&found);
        }
        self.check_held(way);
        if shared.random.once_in(2) {
            let of = shared.random.below(TENANTS.len() as u64) as u8;
            let rows = found.rows.into_iter().filter(|row| row.tenant == of);
            self.held = Some(Held {
                tenant: of,
                snapshot: self.store().snapshot(&tenant(of)),
                rows: rows.collect(),
            });
        }
    }

    /// A snapshot stays readable whatever jobs did meanwhile. Its active memory goes on growing.
    fn check_held(&self, way: u64) {
        let Some(held) = &self.held else { return };
        let found = match S::find(&held.snapshot, way) {
            Ok(found) => found.rows,
            Err(error) => panic!("{}: an older snapshot: {error:?}", S::NAME),
        };
        let set: BTreeSet<Row> = found.iter().copied().collect();
        assert_eq!(set.len(), found.len(), "{}: twice in a snapshot", S::NAME);
        let lost = held.rows.iter().find(|row| !set.contains(row));
        let of = held.tenant;
        assert_eq!(lost, None, "{}: tenant {of} lost it in a snapshot", S::NAME);
    }

    /// What each part holds, and memory.
    pub(crate) fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        let rows = |snapshot: &Snapshot<S>| match S::find(snapshot, 0) {
            Ok(found) => found.rows,
            Err(error) => panic!("{}: {error:?}", S::NAME),
        };
        for index in 0..TENANTS.len() as u8 {
            let mut all = self.store().snapshot(&tenant(index));
            for (index, part) in all.parts.iter().enumerate() {
                let name = part.reader.name().to_owned();
                // A tier has no row that is not elsewhere.
                let found = match all.tag(index).tier {
                    0 => rows(&all.part_alone(index)).into_iter().collect(),
                    _ => BTreeSet::new(),
                };
                holdings.parts.insert(name, found);
            }
            (all.parts, all.tags) = (Vec::new(), Vec::new());
            holdings.memory.extend(rows(&all));
        }
        holdings
    }

    /// After bits of files were flipped: nothing wrong is served, the damage is told, and all that
    /// lay elsewhere is there.
    pub(crate) fn check_damage(
        &mut self,
        shared: &mut Shared,
        holdings: &Holdings,
        flipped: &[String],
    ) {
        self.model.damaged = true;
        if let Ok(found) = self.find(shared.random.draw()) {
            let set: BTreeSet<Row> = found.rows.iter().copied().collect();
            assert_eq!(set.len(), found.rows.len(), "{}: twice", S::NAME);
            self.model.check_nothing_else::<S>(&set);
        }
        let scrubbed = self.store().scrub();
        shared.log(|| format!("{}: scrub: {scrubbed:?}", S::NAME));
        assert!(scrubbed.is_ok(), "{}: {scrubbed:?}", S::NAME);
        let told = self.store().quarantined();
        let is_told = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            told.iter().any(|finding| finding.path.ends_with(name))
        };
        let mut may_lose = BTreeSet::new();
        let mut journals = 0;
        for path in flipped {
            if let Some(rows) = holdings.parts.get(path) {
                assert!(is_told(path), "{path} is damaged, told is {told:?}");
                may_lose.extend(rows.iter().copied());
                shared.seen.damaged_parts += 1;
            }
            journals += usize::from(path.contains("/journal/"));
        }
        let found = match self.find(shared.random.draw()) {
            Ok(found) => found,
            Err(error) => panic!("{}: not set aside: {error:?}", S::NAME),
        };
        let set: BTreeSet<Row> = found.rows.iter().copied().collect();
        assert_eq!(set.len(), found.rows.len(), "{}: twice", S::NAME);
        self.model.check_nothing_else::<S>(&set);
        let lost = self.model.lost::<S>(&set, &shared.kept::<S>());
        let (of_parts, others): (Vec<_>, Vec<_>) = lost
            .iter()
            .copied()
            .partition(|(row, _)| may_lose.contains(row));
        let writes: BTreeSet<u64> = others.iter().map(|(_, write)| *write).collect();
        let strange = others
            .iter()
            .find(|(row, _)| !holdings.memory.contains(row));
        assert_eq!(strange, None, "{}: lost beside the damage", S::NAME);
        assert!(
            writes.len() <= journals || (S::LEANS && journals > 0),
            "{}: {journals} flipped bits took the writes {writes:?}",
            S::NAME
        );
        let torn = self.store().stats().torn_bytes > 0;
        let silent = !others.is_empty() && !torn && !flipped.iter().any(|path| is_told(path));
        assert!(
            !silent,
            "{}: {} rows lost in silence",
            S::NAME,
            others.len()
        );
        shared.seen.damaged_journals += u64::from(!others.is_empty());
        shared.log(|| format!("{}: lost {} and {}", S::NAME, of_parts.len(), others.len()));
        self.model.forgive(lost.into_iter().map(|(row, _)| row));
    }
}

/// The number in a part's name: `…/00000000000000000042.part`.
fn number_of(name: &str) -> u64 {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = file.strip_suffix(".part").expect("the name of a part");
    digits.parse().expect("parts have numbers")
}

fn shuffle(rows: &mut [Row], shared: &mut Shared) {
    for index in (1..rows.len()).rev() {
        rows.swap(index, shared.random.below(index as u64 + 1) as usize);
    }
}
