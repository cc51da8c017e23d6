use std::os::fd::AsRawFd;

use super::*;

/// How many of a mapping's pages the host has spent.
fn resident(mapping: &Mapping) -> usize {
    let mut pages = vec![0u8; mapping.length / 4096];
    let start = mapping.start.as_ptr().cast();
    // SAFETY: the range is a mapping, and there is a byte for each of its pages.
    let answer = unsafe { libc::mincore(start, mapping.length, pages.as_mut_ptr()) };
    assert_eq!(answer, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

#[test]
fn a_mapping_that_is_populated_has_all_of_its_pages() {
    let mapping = Mapping::new(4 << 20, 0).unwrap();
    assert_eq!(resident(&mapping), 0);
    mapping.populate().unwrap();
    assert_eq!(resident(&mapping), 1024);
}

#[test]
fn pages_whose_touch_would_be_a_fault_are_an_error() {
    let mapping = Mapping::new(4096, 0).unwrap();
    let empty = tempfile::tempfile().unwrap();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let (flags, descriptor) = (libc::MAP_PRIVATE | libc::MAP_FIXED, empty.as_raw_fd());
    let start = mapping.start.as_ptr().cast();
    // SAFETY: the page is this mapping's, and nobody reads or writes it.
    let mapped = unsafe { libc::mmap(start, 4096, protection, flags, descriptor, 0) };
    assert_ne!(mapped, libc::MAP_FAILED);
    let error = mapping.populate().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
}
