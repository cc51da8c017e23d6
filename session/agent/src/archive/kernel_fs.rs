//! File systems whose files are no files, but the kernel's own words.

use std::path::Path;

use nix::sys::statfs::statfs;

/// Their magic numbers (linux/magic.h).
const MAGICS: [i64; 16] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinux
];

/// Whether `folder` is on such a file system; what can't be told is none.
pub(super) fn is_kernels(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| MAGICS.contains(&found.filesystem_type().0))
}
