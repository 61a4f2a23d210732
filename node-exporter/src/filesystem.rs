//! filesystem: space and inodes of mounted file systems, from `/proc/1/mountinfo` and `statvfs(2)`.

use std::path::Path;

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};
use obs_model::Labels;

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    mount_point: String,
    fs_type: String,
    read_only: bool,
}

pub(crate) fn collect(source: &Source, options: &Options) -> Result<Vec<Family>, CollectError> {
    // The init process sees the host's mounts; a container may not look at it.
    let table = source
        .proc("1/mountinfo")
        .or_else(|_| source.proc("self/mountinfo"))?;
    let gauge = |name: &str, help: &str| {
        Family::new(format!("node_filesystem_{name}"), MetricKind::Gauge, help)
    };
    let mut size = gauge("size_bytes", "Filesystem size in bytes.");
    let mut free = gauge("free_bytes", "Filesystem free space in bytes.");
    let mut avail = gauge(
        "avail_bytes",
        "Filesystem space available to non-root users in bytes.",
    );
    let mut files = gauge("files", "Filesystem total file nodes.");
    let mut files_free = gauge("files_free", "Filesystem total free file nodes.");
    let mut read_only = gauge("readonly", "Filesystem read-only status.");
    let mut error = gauge(
        "device_error",
        "Whether an error occurred while getting statistics for the given device.",
    );
    for mount in mounts(&table, source, options)? {
        let labels = |device_error: &str| {
            Labels::from_pairs([
                ("device", mount.device.as_str()),
                ("mountpoint", mount.mount_point.as_str()),
                ("fstype", mount.fs_type.as_str()),
                ("device_error", device_error),
            ])
        };
        let path = source.rootfs(&mount.mount_point);
        match rustix::fs::statvfs(Path::new(&path)) {
            Err(errno) => {
                error.push(labels(&errno.to_string()), 1.0);
            }
            Ok(stat) => {
                let labels = labels("");
                let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
                size.push(labels.clone(), bytes(stat.f_blocks));
                free.push(labels.clone(), bytes(stat.f_bfree));
                avail.push(labels.clone(), bytes(stat.f_bavail));
                files.push(labels.clone(), stat.f_files as f64);
                files_free.push(labels.clone(), stat.f_ffree as f64);
                read_only.push(labels.clone(), f64::from(u8::from(mount.read_only)));
                error.push(labels, 0.0);
            }
        }
    }
    Ok(vec![size, free, avail, files, files_free, read_only, error])
}

/// The mounts that are asked for, each mount point once.
fn mounts(table: &str, source: &Source, options: &Options) -> Result<Vec<Mount>, CollectError> {
    let mut found: Vec<Mount> = Vec::new();
    for (index, line) in table.lines().enumerate() {
        let fault = || CollectError::form("/proc/1/mountinfo", index, "a mount");
        let (left, right) = line.split_once(" - ").ok_or_else(fault)?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([_, _, _, _, mount_point, flags, ..], [fs_type, device, ..]) = (&left[..], &right[..])
        else {
            return Err(fault());
        };
        let mount_point = unescape(mount_point);
        let Some(mount_point) = source.host_path(&mount_point) else {
            continue;
        };
        let excluded = options
            .mount_points_exclude
            .is_match(mount_point.as_bytes())
            || options.fs_types_exclude.is_match(fs_type.as_bytes());
        if excluded || found.iter().any(|m| m.mount_point == mount_point) {
            continue;
        }
        found.push(Mount {
            device: unescape(device),
            mount_point: mount_point.to_owned(),
            fs_type: (*fs_type).to_owned(),
            read_only: flags.split(',').any(|f| f == "ro"),
        });
    }
    Ok(found)
}

/// The kernel writes blank, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_are_asked_for() {
        let table = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            28 27 254:1 / /mnt/my\\040disk ro - xfs /dev/vdb ro\n";
        let found = mounts(table, &Source::default(), &Options::default()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].mount_point, "/");
        assert_eq!(found[1].mount_point, "/mnt/my disk");
        assert!(found[1].read_only && !found[0].read_only);
        let inside = Source::new("/host/proc", "/host/sys", "/host");
        let table = "27 1 254:0 / /host rw - ext4 /dev/vda rw\n28 27 0:1 / /x rw - ext4 b rw\n";
        let found = mounts(table, &inside, &Options::default()).unwrap();
        assert_eq!(
            found
                .iter()
                .map(|m| m.mount_point.as_str())
                .collect::<Vec<_>>(),
            ["/"]
        );
        assert!(mounts("nonsense", &Source::default(), &Options::default()).is_err());
    }
}
