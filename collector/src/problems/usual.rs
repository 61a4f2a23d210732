//! The rules of our own on the kernel's ring buffer.
//!
//! Invariant: they are a monitor as any other, in the same format; reasons and conditions are
//! node-problem-detector's where it has them, so that alerts on them go on.

use super::definition::Definition;

/// Patterns are of the kernel's own messages: `mm/oom_kill.c`, `kernel/hung_task.c`,
/// `kernel/watchdog.c`, `fs/ext4/super.c`, `fs/xfs/xfs_fsops.c`, `block/blk-core.c`,
/// `drivers/{ata,nvme,scsi}`, `net/sched/sch_generic.c`, `arch/x86/kernel/cpu/mce`.
const KERNEL: &str = r#"{
  "plugin": "kmsg",
  "logPath": "/dev/kmsg",
  "lookback": "5m",
  "bufferSize": 10,
  "source": "kernel-monitor",
  "conditions": [
    {"type": "KernelDeadlock", "reason": "KernelHasNoDeadlock", "message": "kernel has no deadlock"},
    {"type": "ReadonlyFilesystem", "reason": "FilesystemIsNotReadOnly", "message": "Filesystem is not read-only"},
    {"type": "XfsShutdown", "reason": "XfsHasNotShutDown", "message": "XFS has not shutdown"},
    {"type": "CperHardwareErrorFatal", "reason": "CperHardwareHasNoFatalError", "message": "hardware has no fatal error"}
  ],
  "rules": [
    {"type": "temporary", "reason": "OOMKilling", "pattern": "(?:Out of memory: |Memory cgroup out of memory: )?Killed process \\d+ \\(.+\\),? .*total-vm:\\d+kB, anon-rss:\\d+kB, file-rss:\\d+kB.*"},
    {"type": "temporary", "reason": "TaskHung", "pattern": "task [\\S ]+:\\w+ blocked for more than \\w+ seconds\\."},
    {"type": "temporary", "reason": "SoftLockup", "pattern": "(?:watchdog: )?BUG: soft lockup - CPU#\\d+ stuck for \\d+s!.*"},
    {"type": "temporary", "reason": "HardLockup", "pattern": "(?:.*Watchdog detected hard LOCKUP on cpu \\d+.*)"},
    {"type": "temporary", "reason": "RCUStall", "pattern": "rcu: INFO: rcu_\\w+ (?:self-)?detected (?:expedited )?stalls? on.*"},
    {"type": "temporary", "reason": "UnregisterNetDevice", "pattern": "unregister_netdevice: waiting for \\w+ to become free\\. Usage count = \\d+"},
    {"type": "temporary", "reason": "KernelOops", "pattern": "BUG: (?:unable to handle (?:kernel )?(?:NULL pointer dereference|paging request|page fault)|kernel NULL pointer dereference).*"},
    {"type": "temporary", "reason": "KernelOops", "pattern": "(?:divide error|Oops|general protection fault|invalid opcode)[:,].*"},
    {"type": "temporary", "reason": "KernelBug", "pattern": "kernel BUG at .*!"},
    {"type": "temporary", "reason": "Ext4Error", "pattern": "EXT4-fs error .*"},
    {"type": "temporary", "reason": "Ext4Warning", "pattern": "EXT4-fs warning .*"},
    {"type": "temporary", "reason": "XfsError", "pattern": "XFS \\([^)]+\\): (?:Metadata (?:corruption|CRC error) detected|Internal error|Corruption detected|log I/O error|metadata I/O error).*"},
    {"type": "temporary", "reason": "BtrfsError", "pattern": "BTRFS (?:error|critical) \\(device [^)]+\\).*"},
    {"type": "temporary", "reason": "IOError", "pattern": "(?:Buffer )?I/O error,? (?:on )?dev(?:ice)? .*"},
    {"type": "temporary", "reason": "DiskError", "pattern": "(?:critical (?:medium|target|space allocation) error, dev|ata\\d+(?:\\.\\d+)?: (?:failed command|exception Emask)|nvme nvme\\d+: (?:I/O .*timeout|controller is down|Abort status)|sd [\\d:]+: \\[\\w+\\] .*(?:Medium Error|Hardware Error)).*"},
    {"type": "temporary", "reason": "NetworkDeviceError", "pattern": "(?:NETDEV WATCHDOG: .*transmit queue \\d+ timed out.*|.*(?:Detected Tx Unit Hang|tx hang \\d+ detected|Reset adapter|NIC Link is Down|firmware (?:error|crash)).*)"},
    {"type": "temporary", "reason": "ConntrackFull", "pattern": "nf_conntrack: (?:nf_conntrack: )?table full, dropping packet.*"},
    {"type": "temporary", "reason": "MemoryReadError", "pattern": "(?:EDAC .*)?CE memory read error .*"},
    {"type": "temporary", "reason": "MachineCheck", "pattern": "mce: \\[Hardware Error\\]: .*"},
    {"type": "temporary", "reason": "CperHardwareErrorCorrected", "pattern": ".*\\[Hardware Error\\]: event severity: corrected$"},
    {"type": "temporary", "reason": "CperHardwareErrorRecoverable", "pattern": ".*\\[Hardware Error\\]: event severity: recoverable$"},
    {"type": "temporary", "reason": "ThermalThrottling", "pattern": ".*(?:Core|Package) temperature (?:is )?above threshold, cpu clock (?:is )?throttled.*"},
    {"type": "permanent", "condition": "CperHardwareErrorFatal", "reason": "CperHardwareErrorFatal", "pattern": ".*\\[Hardware Error\\]: event severity: fatal$"},
    {"type": "permanent", "condition": "XfsShutdown", "reason": "XfsHasShutdown", "pattern": "XFS \\([^)]+\\): (?:.*Shutting down filesystem.*|xfs_do_force_shutdown.*|.*Filesystem has been shut down.*)"},
    {"type": "permanent", "condition": "ReadonlyFilesystem", "reason": "FilesystemIsReadOnly", "pattern": "(?:.*Remounting filesystem read-only|BTRFS info \\(device [^)]+\\): forced readonly)"},
    {"type": "permanent", "condition": "KernelDeadlock", "reason": "DockerHung", "pattern": "task (?:docker|dockerd|containerd|runc):\\w+ blocked for more than \\w+ seconds\\."}
  ]
}"#;

/// The monitor of the kernel.
pub(super) fn kernel() -> Definition {
    Definition::parse(KERNEL).expect("our own rules are right, which a test shows")
}

/// The same as a file.
#[cfg(test)]
pub(super) fn kernel_text() -> &'static str {
    KERNEL
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;

    use super::*;
    use crate::problems::rules::Monitor;

    /// The reasons of what a line of the kernel means.
    fn check(line: &str, expect: &[&str]) {
        let mut monitor = Monitor::new(kernel(), Timestamp::from_nanos(0));
        let report = monitor.take_line(Timestamp::from_nanos(1), line);
        let found: Vec<_> = report.events.iter().map(|e| e.reason.as_str()).collect();
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one story from start to end")]
    fn messages_of_the_kernel() {
        for (line, expect) in [
            (
                "Out of memory: Killed process 1012 (heapster) total-vm:327128kB, anon-rss:306328kB, file-rss:11132kB, shmem-rss:12kB, UID:0 pgtables:144kB oom_score_adj:0",
                "OOMKilling",
            ),
            (
                "Memory cgroup out of memory: Killed process 7 (stress ng) total-vm:9kB, anon-rss:8kB, file-rss:1kB, shmem-rss:0kB, UID:1000 pgtables:1kB oom_score_adj:999",
                "OOMKilling",
            ),
            (
                "Killed process 1012 (heapster) total-vm:327128kB, anon-rss:306328kB, file-rss:11132kB",
                "OOMKilling",
            ),
            (
                "Killed process 1012 (heapster), UID 0, total-vm:327128kB, anon-rss:306328kB, file-rss:11132kB, shmem-rss:12kB",
                "OOMKilling",
            ),
            (
                "task jbd2/sda1-8:317 blocked for more than 120 seconds.",
                "TaskHung",
            ),
            (
                "INFO: task java:8123 blocked for more than 120 seconds.",
                "TaskHung",
            ),
            (
                "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:123]",
                "SoftLockup",
            ),
            (
                "NMI watchdog: Watchdog detected hard LOCKUP on cpu 5",
                "HardLockup",
            ),
            (
                "rcu: INFO: rcu_sched self-detected stall on CPU",
                "RCUStall",
            ),
            (
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                "RCUStall",
            ),
            (
                "unregister_netdevice: waiting for eth0 to become free. Usage count = 3",
                "UnregisterNetDevice",
            ),
            (
                "BUG: unable to handle kernel NULL pointer dereference at 0000000000000010",
                "KernelOops",
            ),
            (
                "BUG: kernel NULL pointer dereference, address: 0000000000000008",
                "KernelOops",
            ),
            (
                "BUG: unable to handle page fault for address: ffff888000000000",
                "KernelOops",
            ),
            ("divide error: 0000 [#0] SMP", "KernelOops"),
            ("Oops: 0002 [#1] PREEMPT SMP NOPTI", "KernelOops"),
            (
                "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
                "KernelOops",
            ),
            ("kernel BUG at mm/slub.c:305!", "KernelBug"),
            (
                "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",
                "Ext4Error",
            ),
            (
                "EXT4-fs warning (device sda1): ext4_dx_add_entry:2461: Directory (ino: 2) index full",
                "Ext4Warning",
            ),
            (
                "XFS (dm-0): Metadata corruption detected at xfs_agi_verify+0x52/0x1b0, xfs_agi block 0x2",
                "XfsError",
            ),
            (
                "BTRFS error (device sdb): bdev /dev/sdb errs: wr 0, rd 1, flush 0, corrupt 0, gen 0",
                "BtrfsError",
            ),
            (
                "Buffer I/O error on dev sdb, logical block 32538648, async page read",
                "IOError",
            ),
            (
                "Buffer I/O error on device sdb1, logical block 0",
                "IOError",
            ),
            (
                "I/O error, dev sda, sector 123456 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
                "IOError",
            ),
            (
                "blk_update_request: I/O error, dev sda, sector 1",
                "IOError",
            ),
            (
                "critical medium error, dev sda, sector 976 op 0x0:(READ) flags 0x0",
                "DiskError",
            ),
            ("ata1.00: failed command: READ FPDMA QUEUED", "DiskError"),
            ("nvme nvme0: I/O 123 QID 4 timeout, aborting", "DiskError"),
            (
                "nvme nvme1: I/O tag 23 (1017) opcode 0x2 (Read) QID 4 timeout, aborting req_op:READ(0) size:4096",
                "DiskError",
            ),
            (
                "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10",
                "DiskError",
            ),
            (
                "sd 0:0:0:0: [sda] tag#0 Sense Key : Medium Error [current]",
                "DiskError",
            ),
            (
                "NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out",
                "NetworkDeviceError",
            ),
            (
                "NETDEV WATCHDOG: CPU: 3: transmit queue 7 timed out 5017 ms",
                "NetworkDeviceError",
            ),
            (
                "e1000e 0000:00:1f.6 eth0: NIC Link is Down",
                "NetworkDeviceError",
            ),
            (
                "nf_conntrack: nf_conntrack: table full, dropping packet",
                "ConntrackFull",
            ),
            (
                "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0",
                "MemoryReadError",
            ),
            (
                "mce: [Hardware Error]: Machine check events logged",
                "MachineCheck",
            ),
            (
                "{1}[Hardware Error]: event severity: corrected",
                "CperHardwareErrorCorrected",
            ),
            (
                "{1}[Hardware Error]: event severity: recoverable",
                "CperHardwareErrorRecoverable",
            ),
            (
                "{1}[Hardware Error]: event severity: fatal",
                "CperHardwareErrorFatal",
            ),
            (
                "CPU3: Package temperature above threshold, cpu clock throttled (total events = 5)",
                "ThermalThrottling",
            ),
            (
                "XFS (sdb1): Please unmount the filesystem and rectify the problem(s)",
                "",
            ),
            (
                "XFS (sdb1): Corruption of in-memory data (0x8) detected at xfs_defer_finish (fs/xfs/x.c:1).  Shutting down filesystem.",
                "XfsHasShutdown",
            ),
            (
                "EXT4-fs (sda1): Remounting filesystem read-only",
                "FilesystemIsReadOnly",
            ),
            (
                "BTRFS info (device sdb): forced readonly",
                "FilesystemIsReadOnly",
            ),
            (
                "EXT4-fs (sda1): mounted filesystem with ordered data mode. Quota mode: none.",
                "",
            ),
            ("device eth0 entered promiscuous mode", ""),
        ] {
            let expect: Vec<&str> = [expect].into_iter().filter(|e| !e.is_empty()).collect();
            check(line, &expect);
        }
        check(
            "task docker:20744 blocked for more than 120 seconds.",
            &["TaskHung", "DockerHung"],
        );
    }
}
