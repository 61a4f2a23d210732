//! `obs backup`: copies of everything that a server keeps, in a folder or a bucket. Bytes that an
//! earlier backup has are not copied again. `docs/formats/backup.md` specifies what is written.
//!
//! Invariants: a backup is whole or is none, its manifest comes last; what a manifest names is
//! there as long as the manifest is; a backup that fails changes no other one.

mod copy;
mod location;
mod manifest;
mod place;
mod prune;
mod restore;
mod s3;
#[cfg(test)]
mod simulation;
mod source;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::arguments::ServerOptions;
use crate::shape::{note, pretty, write};
use crate::table::Table;
use crate::top::bytes;
use copy::{drafts, manifests};
use location::{Location, PlaceOptions};
use manifest::Manifest;

pub(crate) use restore::{RestoreOptions, run as restore};

/// How a command tells what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupOptions {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    #[command(flatten)]
    make: MakeOptions,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// List the backups of a place, oldest first
    #[command(after_help = "Examples:\n  obs backup list --from /mnt/backups\n  \
        obs backup list --from s3://backups/obs -o json")]
    List(ListOptions),
    /// Remove old backups, and the bytes that no other backup has
    #[command(
        after_help = "Examples:\n  obs backup prune --from /mnt/backups --keep 14\n  \
        obs backup prune --from s3://backups/obs --keep 30 --dry-run"
    )]
    Prune(PruneOptions),
}

#[derive(Debug, Args)]
struct MakeOptions {
    /// Where to: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE", required = true, value_parser = location::parse,
          env = "OBS_BACKUP_PLACE")]
    to: Option<Location>,
    /// Take this data directory, of a server that is stopped, instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "context", "tenant"])]
    data: Option<PathBuf>,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    place: PlaceOptions,
    /// How the summary is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX
    #[arg(long, alias = "to", value_name = "PLACE", value_parser = location::parse,
          env = "OBS_BACKUP_PLACE")]
    from: Location,
    #[command(flatten)]
    place: PlaceOptions,
    /// How the list is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Args)]
struct PruneOptions {
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX
    #[arg(long, alias = "to", value_name = "PLACE", value_parser = location::parse,
          env = "OBS_BACKUP_PLACE")]
    from: Location,
    /// How many backups stay, the newest ones
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Remove nothing, say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: PlaceOptions,
    /// How the summary is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(crate) async fn run(options: BackupOptions) -> anyhow::Result<()> {
    match options.command {
        None => make(&options.make).await,
        Some(BackupCommand::List(options)) => list(&options).await,
        Some(BackupCommand::Prune(options)) => remove_old(&options).await,
    }
}

async fn make(options: &MakeOptions) -> anyhow::Result<()> {
    let to = options.to.as_ref().expect("clap requires it");
    let place = options.place.open(to)?;
    let shown = place.shown();
    let made = copy::make(place, options.data.as_deref(), &options.server).await?;
    let told = json!({
        "backup": made.json(),
        "place": shown,
        "reused_bytes": made.bytes().saturating_sub(made.new_bytes),
    });
    tell(options.output, &told, || {
        format!(
            "backup {} in {shown}: {} files, {}; {} new in {} objects, {} reused; {:.1} s\n",
            made.id,
            made.files.len(),
            size(made.bytes()),
            size(made.new_bytes),
            made.new_objects,
            size(made.bytes().saturating_sub(made.new_bytes)),
            made.seconds,
        )
    })
}

async fn list(options: &ListOptions) -> anyhow::Result<()> {
    let place = options.place.open(&options.from)?;
    let whole = manifests(&place).await?;
    let drafts = drafts(&place).await?;
    for fault in whole.faults.iter().chain(&drafts.faults) {
        note(fault)?;
    }
    let state = |draft: &Manifest| if draft.failed { "failed" } else { "running" };
    let mut rows: Vec<(&str, &Manifest)> = whole.all.iter().map(|m| ("complete", m)).collect();
    rows.extend(drafts.all.iter().map(|(draft, _)| (state(draft), draft)));
    let told = |(state, manifest): &(&str, &Manifest)| {
        let mut one = manifest.json();
        one["state"] = (*state).into();
        one
    };
    let all: Value = rows.iter().map(told).collect();
    tell(options.output, &all, || {
        let head = [
            "id", "begun", "state", "files", "size", "new", "seconds", "version", "host",
        ];
        let mut table = Table::new(head);
        for (state, manifest) in &rows {
            table.push(vec![
                manifest.id.clone(),
                manifest.begun.to_string(),
                (*state).to_owned(),
                manifest.files.len().to_string(),
                size(manifest.bytes()),
                size(manifest.new_bytes),
                format!("{:.1}", manifest.seconds),
                manifest.version.clone(),
                manifest.host.clone(),
            ]);
        }
        table.text()
    })
}

async fn remove_old(options: &PruneOptions) -> anyhow::Result<()> {
    let place = options.place.open(&options.from)?;
    let keep = usize::try_from(options.keep).unwrap_or(usize::MAX);
    let done = prune::prune(&place, keep, options.dry_run).await?;
    let told = json!({
        "dry_run": options.dry_run,
        "removed": done.removed,
        "kept": done.kept,
        "objects": done.objects,
        "bytes": done.bytes,
        "running": done.running,
    });
    tell(options.output, &told, || {
        let would = if options.dry_run {
            "would remove"
        } else {
            "removed"
        };
        let mut text = format!(
            "{would} {} backups and {} objects, {}; {} backups stay\n",
            done.removed.len(),
            done.objects,
            size(done.bytes),
            done.kept.len(),
        );
        if !done.running.is_empty() {
            text.push_str(&format!(
                "objects stay for now: a backup runs ({}); prune again when it is done\n",
                done.running.join(", ")
            ));
        }
        text
    })
}

/// Writes what was done to standard output.
fn tell(output: Output, json: &Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match output {
        Output::Json => write(&pretty(json)?),
        Output::Table => write(&text()),
    }
}

/// Bytes for people.
fn size(count: u64) -> String {
    bytes(Some(count as f64))
}

/// Hard to guess: the hasher of the standard library is seeded by the operating system.
pub(crate) fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(crate::client::now().nanos());
    (random >> 32) as u32
}
