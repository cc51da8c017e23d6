//! What pages a guest's memory is made of.

use std::fs;

use vmm_core::{Exit, Kernel, Pages, StartError, Vm};

use super::initramfs::env;
use super::machine::{Screen, config, end};

const SETTING: &str = "/proc/sys/vm/nr_hugepages";
const MEMORY_MIB: u32 = 256;
const NEEDED: u64 = MEMORY_MIB as u64 / 2;

/// Pages of 2 MiB that the host sets aside for as long as this lives.
struct SetAside {
    before: u64,
}

impl SetAside {
    fn new(pages: u64) -> Self {
        let before = number(&fs::read_to_string(SETTING).unwrap());
        fs::write(SETTING, (before + pages).to_string()).unwrap();
        Self { before }
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        fs::write(SETTING, self.before.to_string()).unwrap();
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap()
}

fn count(name: &str) -> u64 {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
    number(&fs::read_to_string(path).unwrap())
}

/// Those that nobody has and that nobody was promised.
fn free_pages() -> u64 {
    count("free_hugepages") - count("resv_hugepages")
}

/// KiB of this process that are in large pages which were not set aside.
fn in_large_pages() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("AnonHugePages:"));
    number(line.unwrap().trim_matches(|c: char| !c.is_ascii_digit()))
}

#[test]
fn a_stock_kernel_boots_in_huge_pages_which_the_host_then_has_back() {
    let _pages = SetAside::new(NEEDED + 8);
    let before = free_pages();
    assert!(before >= NEEDED, "the host could only set {before} aside");
    let screen = Screen::default();
    let mut first = config("echo here; sleep 1000", &screen);
    // One that others might share, which these pages don't allow.
    first.kernel = Kernel::open(env("VM_TEST_KERNEL")).unwrap().into();
    first.memory_mib = MEMORY_MIB;
    first.pages = Pages::Huge2M;
    let vm = Vm::start(first).unwrap();
    assert_eq!(free_pages(), before - NEEDED, "all are taken at once");
    assert_eq!(count("resv_hugepages"), 0, "and not only promised");
    screen.wait_for("here\n");
    let mut second = config("poweroff -f", &Screen::default());
    second.pages = Pages::Huge2M;
    second.memory_mib = MEMORY_MIB;
    let error = Vm::start(second).unwrap_err();
    let StartError::HugePages { needed, free, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((u64::from(needed), free), (NEEDED, Some(before - NEEDED)));
    vm.stop();
    assert!(matches!(end(&vm, &screen), Exit::Stopped));
    drop(vm);
    assert_eq!(free_pages(), before);
}

#[test]
fn a_guest_that_asks_for_large_pages_has_some() {
    let screen = Screen::default();
    let script = "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; echo filled; sleep 1000";
    let mut config = config(script, &screen);
    config.pages = Pages::TransparentHuge;
    let before = in_large_pages();
    let vm = Vm::start(config).unwrap();
    screen.wait_for("filled\n");
    let large = in_large_pages() - before;
    println!("{large} KiB in large pages");
    assert!(large > 32 << 10, "{large} KiB");
    vm.stop();
    assert!(matches!(end(&vm, &screen), Exit::Stopped));
}
