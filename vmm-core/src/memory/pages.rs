//! The sizes of pages that guest memory can be made of.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::StartError;

/// What pages of the host's a guest's memory is made of: larger ones are fewer for the processor to look up,
/// and are taken from the host in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pages {
    /// As the host does for all programs: pages of 4 KiB, or larger ones if
    /// `/sys/kernel/mm/transparent_hugepage/enabled` says `always`.
    #[default]
    Default,
    /// Pages of 2 MiB where the host has some when the guest touches memory, and 4 KiB where not (transparent
    /// huge pages, unless the file named above says `never`). A balloon takes such pages apart. A kernel that
    /// several VMs share stays in pages of 4 KiB.
    TransparentHuge,
    /// Pages of 2 MiB that the host has set aside (`hugetlbfs`), all of which the VM takes when it starts; that
    /// fills them with zeroes, so the start takes longer the more there are. Kernels before 5.14 promise them at
    /// the start and give them as the guest touches memory: should a limit (a cgroup, a NUMA policy) keep the
    /// promise from being kept, the process gets a `SIGBUS`. The memory must be a multiple of 2 MiB. It is never
    /// given back while the VM runs, so there can be no balloon, and each VM has a copy of its kernel.
    Huge2M,
    /// The same with pages of 1 GiB.
    Huge1G,
}

impl Pages {
    /// log2 of the size of pages that the host must have set aside.
    fn reserved_shift(self) -> Option<u8> {
        match self {
            Self::Default | Self::TransparentHuge => None,
            Self::Huge2M => Some(21),
            Self::Huge1G => Some(30),
        }
    }

    /// Whether these are pages that the host sets aside.
    pub(crate) fn are_reserved(self) -> bool {
        self.reserved_shift().is_some()
    }

    /// What to tell `mmap(2)` so that it takes pages that are set aside.
    pub(super) fn mapping_flags(self) -> Option<libc::c_int> {
        self.reserved_shift()
            .map(|shift| libc::MAP_HUGETLB | libc::c_int::from(shift) << libc::MAP_HUGE_SHIFT)
    }

    /// Checks that memory of `mib` MiB can be made of such pages.
    pub(crate) fn check(self, mib: u32) -> Result<(), StartError> {
        let page_mib = self.reserved_shift().map_or(1, |shift| 1 << (shift - 20));
        if mib.is_multiple_of(page_mib) {
            return Ok(());
        }
        Err(StartError::OddMemory {
            asked_mib: mib,
            page_mib,
        })
    }

    /// The error of memory of `mib` MiB that the host would not give.
    pub(super) fn failure(self, mib: u32, source: io::Error) -> StartError {
        let Some(shift) = self.reserved_shift() else {
            return match self {
                Self::TransparentHuge if source.raw_os_error() == Some(libc::EINVAL) => {
                    StartError::NoTransparentHugePages { source }
                }
                _ => StartError::MapMemory {
                    asked_mib: mib,
                    source,
                },
            };
        };
        let folder = format!(
            "/sys/kernel/mm/hugepages/hugepages-{}kB",
            1u64 << (shift - 10)
        );
        let folder = PathBuf::from(folder);
        let count = |file| -> Option<u64> {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            text.trim().parse().ok()
        };
        let promised = count("resv_hugepages").unwrap_or(0);
        let free = count("free_hugepages").map(|free| free.saturating_sub(promised));
        StartError::HugePages {
            asked_mib: mib,
            page_mib: 1 << (shift - 20),
            needed: mib >> (shift - 20),
            free,
            setting: folder.join("nr_hugepages"),
            source,
        }
    }
}
