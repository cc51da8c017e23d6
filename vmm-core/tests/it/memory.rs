//! How much memory a guest has, and of what pages.

use std::time::{Duration, Instant};

use vmm_core::{Exit, Pages, StartError, Vm, VmConfig};

use super::guest::{Screen, config, elf, file, out, print, spin, write32};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);

fn run(change: impl FnOnce(&mut VmConfig)) -> Result<String, StartError> {
    let parts = [
        write32(0x300_0000, 1),
        print("hello"),
        out(0x600, 5 << 2 | 1 << 5),
        spin(),
    ];
    let (_dir, path) = file(&elf(&parts));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    change(&mut config);
    let _turn = TURN.lock();
    let vm = Vm::start(config)?;
    let exit = vm.wait_timeout(SOON);
    assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
    Ok(screen.text())
}

fn start_error(change: impl FnOnce(&mut VmConfig)) -> StartError {
    run(change).expect_err("the VM must not start")
}

/// How many pages of 2 MiB this host has free and has promised to nobody.
fn free_pages() -> u32 {
    let count = |name| {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
        let text = std::fs::read_to_string(path).unwrap();
        text.trim().parse::<u32>().unwrap()
    };
    count("free_hugepages") - count("resv_hugepages")
}

#[test]
fn a_guest_may_have_more_memory_than_its_host() {
    let begun = Instant::now();
    let text = run(|config| config.memory_mib = 64 << 10).unwrap();
    assert_eq!(text, "hello");
    println!("64 GiB in {:?}", begun.elapsed());
}

#[test]
fn a_guest_runs_in_large_pages_where_the_host_has_some() {
    let text = run(|config| config.pages = Pages::TransparentHuge).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn huge_pages_that_the_host_does_not_have_are_counted_in_the_error() {
    let free = free_pages();
    let memory_mib = 2 * (free + 32);
    let error = start_error(|config| {
        config.pages = Pages::Huge2M;
        config.memory_mib = memory_mib;
    });
    let StartError::HugePages {
        needed,
        free: told,
        page_mib: 2,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((needed, told), (free + 32, Some(free.into())));
    let text = error.to_string();
    assert!(text.contains("/proc/sys/vm/nr_hugepages"), "{text}");
    assert!(text.contains(&format!("has {free} free")), "{text}");
    let error = start_error(|config| {
        config.pages = Pages::Huge1G;
        config.memory_mib = 1 << 20;
    });
    let text = error.to_string();
    assert!(text.contains("1024 pages of 1024 MiB"), "{text}");
    assert!(text.contains("hugepages-1048576kB/nr_hugepages"), "{text}");
}

#[test]
fn memory_that_is_no_multiple_of_its_pages_is_refused() {
    for (pages, memory_mib, multiple) in [
        (Pages::Huge2M, 65, "2 MiB"),
        (Pages::Huge1G, 1025, "1024 MiB"),
    ] {
        let error = start_error(|config| {
            config.pages = pages;
            config.memory_mib = memory_mib;
        });
        assert!(matches!(error, StartError::OddMemory { .. }));
        let text = error.to_string();
        assert!(text.contains(multiple), "{text}");
        assert!(text.contains(&memory_mib.to_string()), "{text}");
    }
}

#[test]
fn a_balloon_that_could_not_give_is_refused() {
    let error = start_error(|config| {
        config.pages = Pages::Huge2M;
        config.balloon = true;
    });
    assert!(matches!(error, StartError::BalloonOfHugePages));
}

#[test]
fn memory_that_no_address_reaches_is_refused() {
    let error = start_error(|config| config.memory_mib = u32::MAX);
    assert!(matches!(error, StartError::MemoryOutOfReach { .. }));
    let text = error.to_string();
    assert!(text.contains("4294967295 MiB"), "{text}");
    assert!(text.contains(" bits"), "{text}");
}
