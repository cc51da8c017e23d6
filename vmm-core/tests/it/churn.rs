//! Many VMs in one process, treated in random order: what they do, what they take, and what they leave behind.
//!
//! Each test runs in a process of its own, so that it can count everything that is there.

mod measure;
mod model;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use self::measure::{Possessions, pss_kib};
use self::model::{Model, Supplies};
use super::lifecycle::TURN;

/// Names the test that runs in this process.
const ROLE: &str = "VMM_TEST_CHURN";
/// Chooses the order of what happens.
const SEED: &str = "VMM_TEST_CHURN_SEED";

const VMS: usize = 200;
const OPERATIONS: usize = 1000;
/// VMs that are measured.
const MEASURED_VMS: u64 = 50;
const MAX_ADDED_KIB_A_VM: u64 = 4 << 10;

/// Runs a test of this module in a new process. Freed memory and stacks of ended threads go back to the kernel there,
/// so that mappings can be counted.
fn run_alone(test: &str) {
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 8192 && exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(ROLE, test)
        .env(
            "GLIBC_TUNABLES",
            "glibc.malloc.arena_max=1:glibc.pthread.stack_cache_size=0:glibc.malloc.mmap_threshold=33554432",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{complained}");
    assert!(said.contains("1 passed"), "{test} is there");
}

fn is_role(test: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == test)
}

#[test]
fn two_hundred_vms_do_what_they_are_told_and_leave_nothing() {
    let _turn = TURN.lock();
    run_alone("churn::random_treatment");
}

#[test]
fn a_vm_takes_little_memory_beside_that_of_its_guest() {
    let _turn = TURN.lock();
    run_alone("churn::added_memory");
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    given.unwrap_or_else(|| u64::from(now().subsec_nanos()))
}

/// The other process's part of the first test.
#[test]
fn random_treatment() {
    if !is_role("churn::random_treatment") {
        return;
    }
    let seed = seed();
    eprintln!("{SEED}={seed}");
    let supplies = Supplies::new();
    // What is made once for the process, and what tables grow to.
    let mut warm_up = Model::new(&supplies, seed, 4);
    warm_up.fill();
    drop(warm_up);
    let before = Possessions::settled();
    for half in 0..2 {
        let mut model = Model::new(&supplies, seed.wrapping_add(half), VMS);
        model.fill();
        before.assert_less_than(&Possessions::now(), VMS);
        for _ in 0..OPERATIONS / 2 {
            model.step();
        }
        model.end_all();
        model.report();
        drop(model);
        before.assert_left();
    }
}

/// The other process's part of the second test.
#[test]
fn added_memory() {
    if !is_role("churn::added_memory") {
        return;
    }
    let supplies = Supplies::new();
    let start = |number| supplies.start_with_all_devices(number);
    // Buffers and code that all VMs share are no VM's.
    drop(start(0));
    let (before, guests_before) = pss_kib();
    let vms: Vec<_> = (0..MEASURED_VMS).map(start).collect();
    let (after, guests_after) = pss_kib();
    let guests = guests_after - guests_before;
    let added = (after - before).saturating_sub(guests) / MEASURED_VMS;
    println!(
        "a VM with all devices adds {added} KiB, and its guest touched {} KiB",
        guests / MEASURED_VMS
    );
    assert!(guests > 0, "guests have touched memory");
    assert!(added < MAX_ADDED_KIB_A_VM);
    drop(vms);
}
