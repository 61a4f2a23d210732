//! filesystem: space and files of mounted file systems, from `/proc/1/mountinfo` and `statfs(2)`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::mounts::Answer;
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    major: String,
    minor: String,
    mount_point: String,
    fs_type: String,
    read_only: bool,
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    // The init process sees the host's mounts; a container may not look at it.
    let table = source
        .read("proc/1/mountinfo")
        .or_else(|_| source.read("proc/self/mountinfo"))?;
    let mounts = parse(&table, source, options)?;
    let paths: Vec<PathBuf> = mounts
        .iter()
        .map(|mount| source.rootfs(&mount.mount_point))
        .collect();
    let asked = Arc::clone(&source.state().mounts);
    let answers = asked.ask(&paths, options.mount_timeout, source.ask_mount());
    for (mount, answer) in mounts.iter().zip(answers) {
        write(mount, &answer, sheet);
    }
    Ok(())
}

fn write(mount: &Mount, answer: &Answer, sheet: &mut Sheet) {
    let (error, read_only) = match answer {
        Answer::Space(_) => ("", mount.read_only),
        Answer::Failed(reason) => (reason.as_str(), mount.read_only),
        Answer::Stuck => ("mountpoint timeout", false),
    };
    let labels = [
        ("device", mount.device.as_str()),
        ("mountpoint", mount.mount_point.as_str()),
        ("fstype", mount.fs_type.as_str()),
        ("device_error", error),
    ];
    let mut gauge = |name: &str, help: &str, value: f64| {
        let name = format!("node_filesystem_{name}");
        sheet.gauge(&name, help, &labels, value);
    };
    gauge(
        "device_error",
        "Whether an error occurred while getting statistics for the given device.",
        flag(!error.is_empty()),
    );
    gauge("readonly", "Filesystem read-only status.", flag(read_only));
    let Answer::Space(space) = answer else {
        return;
    };
    gauge("size_bytes", "Filesystem size in bytes.", space.size);
    gauge("free_bytes", "Filesystem free space in bytes.", space.free);
    gauge(
        "avail_bytes",
        "Filesystem space available to non-root users in bytes.",
        space.available,
    );
    gauge("files", "Filesystem total file nodes.", space.files);
    gauge(
        "files_free",
        "Filesystem total free file nodes.",
        space.files_free,
    );
    sheet.gauge(
        "node_filesystem_mount_info",
        "Filesystem mount information.",
        &[
            ("device", &mount.device),
            ("major", &mount.major),
            ("minor", &mount.minor),
            ("mountpoint", &mount.mount_point),
        ],
        1.0,
    );
}

/// The mounts that are asked for, each device at a mount point once.
fn parse(table: &str, source: &Source, options: &Options) -> Result<Vec<Mount>, CollectError> {
    let mut found: Vec<Mount> = Vec::new();
    for (index, line) in table.lines().enumerate() {
        let fault = || CollectError::form("/proc/1/mountinfo", index, "a mount");
        let (left, right) = line.split_once(" - ").ok_or_else(fault)?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let [_, _, numbers, _, mount_point, flags, ..] = left[..] else {
            return Err(fault());
        };
        let [fs_type, device, ref more @ ..] = right[..] else {
            return Err(fault());
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(fault)?;
        let mount_point = unescape(mount_point);
        let mount_point = source.host_path(&mount_point);
        if options.mount_points.ignores(mount_point) || options.fs_types.ignores(fs_type) {
            continue;
        }
        let device = unescape(device);
        let super_flags = more.first().copied().unwrap_or_default();
        let read_only = flags.split(',').any(|flag| flag == "ro")
            || super_flags
                .split(',')
                .any(|flag| flag == "ro" || flag == "emergency_ro");
        let again = |other: &Mount| {
            (&*other.mount_point, &other.device, &*other.fs_type) == (mount_point, &device, fs_type)
        };
        if !found.iter().any(again) {
            found.push(Mount {
                device,
                major: major.to_owned(),
                minor: minor.to_owned(),
                mount_point: mount_point.to_owned(),
                fs_type: fs_type.to_owned(),
                read_only,
            });
        }
    }
    Ok(found)
}

/// The kernel writes blank, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`.
pub(super) fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_seen_from_a_container() {
        let inside = Source::new("/host/proc", "/host/sys", "/host");
        let table = "27 1 254:0 / /host rw - ext4 /dev/vda rw\n\
            28 1 254:1 / /host/data rw - xfs /dev/vdb ro\n\
            29 1 0:1 / /hostess rw - ext4 b rw\n";
        let found = parse(table, &inside, &Options::default()).unwrap();
        let points: Vec<&str> = found.iter().map(|m| m.mount_point.as_str()).collect();
        assert_eq!(points, ["/", "/data", "/hostess"]);
        assert_eq!(inside.rootfs("/data"), PathBuf::from("/host/data"));
        assert!(found[1].read_only && !found[0].read_only);
        assert!(parse("nonsense", &inside, &Options::default()).is_err());
    }
}
