//! What guests find when they ask what processors they have.

use std::time::Duration;

use vmm_core::{Exit, Vm};

use super::guest::{Screen, config, elf, file, out, spin};
use super::lifecycle::TURN;
use super::processors;

const SOON: Duration = Duration::from_secs(20);

/// `eax`, `ebx`, `ecx` and `edx`.
type Registers = [u32; 4];

/// Prints the four registers that CPUID answers with.
fn ask(leaf: u32, index: u32) -> Vec<u8> {
    // mov eax, leaf; mov ecx, index; cpuid.
    let mut code = vec![0xb8];
    code.extend(leaf.to_le_bytes());
    code.push(0xb9);
    code.extend(index.to_le_bytes());
    code.extend([0x0f, 0xa2]);
    // mov r8d, eax; mov r9d, ebx; mov r10d, ecx; mov r11d, edx; mov dx, 0x3f8.
    code.extend([0x41, 0x89, 0xc0, 0x41, 0x89, 0xd9]);
    code.extend([0x41, 0x89, 0xca, 0x41, 0x89, 0xd3]);
    code.extend([0x66, 0xba, 0xf8, 0x03]);
    for register in [0xc0, 0xc8, 0xd0, 0xd8] {
        // mov eax, r8d and so on; then out dx, al; shr eax, 8 for each byte.
        code.extend([0x44, 0x89, register]);
        code.extend([0xee, 0xc1, 0xe8, 0x08].repeat(4));
    }
    code
}

/// What the first of so many processors hears.
fn answers<const N: usize>(vcpus: u8, questions: [(u32, u32); N]) -> [Registers; N] {
    heard(
        vcpus,
        questions.map(|(leaf, index)| ask(leaf, index)).into(),
    )
}

/// What another one of them hears.
fn answers_of<const N: usize>(number: u8, vcpus: u8, questions: [(u32, u32); N]) -> [Registers; N] {
    let questions = (0..).zip(questions);
    let asked: Vec<_> = questions
        .map(|(at, (leaf, index))| processors::ask(at, leaf, index))
        .collect();
    let shown = processors::show_answers(u16::try_from(N).unwrap());
    let parts = [
        processors::put(&asked),
        processors::start(number),
        processors::wait_for_one(),
        shown,
    ];
    heard(vcpus, parts.into())
}

/// Runs `parts`, which print answers.
fn heard<const N: usize>(vcpus: u8, mut parts: Vec<Vec<u8>>) -> [Registers; N] {
    parts.extend([out(0x600, 5 << 2 | 1 << 5), spin()]);
    let (_dir, path) = file(&elf(&parts));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    config.vcpus = vcpus;
    let _turn = TURN.lock();
    let vm = Vm::start(config).unwrap();
    let exit = vm.wait_timeout(SOON);
    assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
    let bytes = screen.bytes();
    let (words, rest) = bytes.as_chunks();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    assert!(rest.is_empty() && words.len() == 4 * N, "{bytes:?}");
    std::array::from_fn(|at| words[at * 4..at * 4 + 4].try_into().unwrap())
}

#[test]
fn processors_are_cores_of_one_package() {
    for (vcpus, bits) in [(1, 0), (3, 2), (32, 5)] {
        let count = u32::from(vcpus);
        let questions = [(0, 0), (1, 0), (0xb, 0), (0xb, 1), (0xb, 2)];
        let [highest, first, threads, cores, end] = answers(vcpus, questions);
        assert!(highest[0] >= 0xb);
        assert_eq!(first[1] >> 16, count, "of which this is number 0");
        assert_eq!(threads, [0, 1, 0x100, 0]);
        assert_eq!(cores, [bits, count, 0x201, 0]);
        assert_eq!(end, [0, 0, 2, 0]);
    }
}

#[test]
fn each_processor_has_a_number_of_its_own_in_the_same_package() {
    for (number, vcpus, bits) in [(1, 2, 1), (2, 3, 2), (31, 32, 5)] {
        let count = u32::from(vcpus);
        let own = u32::from(number);
        let questions = [(1, 0), (0xb, 0), (0xb, 1), (0xb, 2)];
        let [first, threads, cores, end] = answers_of(number, vcpus, questions);
        assert_eq!(first[1] >> 16, own << 8 | count);
        assert_eq!(threads, [0, 1, 0x100, own]);
        assert_eq!(cores, [bits, count, 0x201, own]);
        assert_eq!(end, [0, 0, 2, own]);
    }
}

#[test]
fn the_machine_says_that_it_is_kvms_and_how_fast_its_clocks_are() {
    let [first, base, features, timing] = answers(
        1,
        [(1, 0), (0x4000_0000, 0), (0x4000_0001, 0), (0x4000_0010, 0)],
    );
    assert_eq!(first[2] >> 31, 1);
    assert_eq!(
        base[1..],
        [*b"KVMK", *b"VMKV", *b"M\0\0\0"].map(u32::from_le_bytes)
    );
    assert_eq!(features[0] >> 3 & 1, 1, "the clock");
    assert!(timing[0] > 100_000, "{} kHz", timing[0]);
    assert_eq!(timing[1], 1_000_000);
}

#[test]
fn guests_are_offered_neither_guests_nor_counters_nor_waits() {
    let questions = [
        (1, 0),
        (5, 0),
        (7, 0),
        (0xa, 0),
        (0x8000_0001, 0),
        (0x8000_0022, 0),
    ];
    let [first, monitor, seventh, counters, extended, more_counters] = answers(1, questions);
    assert_eq!(first[2] & (1 << 3 | 1 << 5), 0, "MONITOR, VMX");
    assert_eq!(monitor, [0; 4]);
    assert_eq!(seventh[1] & (1 << 2 | 1 << 4 | 1 << 11), 0, "SGX, HLE, RTM");
    assert_eq!(counters, [0; 4]);
    assert_eq!(
        extended[2] & (1 << 2 | 1 << 23 | 1 << 29),
        0,
        "SVM, PERFCTR, MWAITX"
    );
    assert_eq!(more_counters, [0; 4]);
}
