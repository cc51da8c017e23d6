//! Processors beside the first, which starts them as the architecture has it: an INIT and a start-up interrupt.

use std::time::Duration;

use vmm_core::{Exit, MAX_VCPUS, Vm};

use super::guest::{Screen, config, elf, file, out, spin, wait_for, write32};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);

/// Registers of the processor's own local APIC (Intel SDM volume 3, "Local APIC Register Address Map").
const SPURIOUS_VECTOR: u64 = 0xfee0_00f0;
const COMMAND_LOW: u64 = 0xfee0_0300;
const COMMAND_HIGH: u64 = 0xfee0_0310;
const APIC_ENABLED: u32 = 1 << 8;
const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4600;

/// Where processors start in real mode, and the number of that page.
const START: u64 = 0x3_0000;
const START_PAGE: u32 = 0x30;
/// Offset from there of the count of processors that are done, two bytes.
const COUNT: u16 = 0x1000;
/// Offset of what they have to say.
const WORDS: u16 = 0x1100;

/// Puts code where processors start, which counts them up when they have run it, and halts them.
pub(crate) fn put(code: &[Vec<u8>]) -> Vec<u8> {
    // mov ax, cs; mov ds, ax.
    let mut all = vec![0x8c, 0xc8, 0x8e, 0xd8];
    all.extend(code.concat());
    // lock inc word [COUNT]; cli; hlt; and again.
    all.extend([0xf0, 0xff, 0x06]);
    all.extend(COUNT.to_le_bytes());
    all.extend([0xfa, 0xf4, 0xeb, 0xfc]);
    let (words, rest) = all.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    let at = (START..).step_by(4).zip(words);
    at.flat_map(|(at, word)| write32(at, u32::from_le_bytes(*word)))
        .collect()
}

/// Starts the processor whose local APIC has this number.
pub(crate) fn start(apic: u8) -> Vec<u8> {
    let destination = u32::from(apic) << 24;
    let mut code = write32(SPURIOUS_VECTOR, APIC_ENABLED | 0xff);
    for command in [INIT, START_UP | START_PAGE] {
        code.extend(write32(COMMAND_HIGH, destination));
        code.extend(write32(COMMAND_LOW, command));
    }
    code
}

/// Waits until a processor has counted itself.
pub(crate) fn wait_for_one() -> Vec<u8> {
    wait_for(START + u64::from(COUNT))
}

/// Asks a processor in real mode what CPUID says, as its part number `at`.
pub(crate) fn ask(at: u16, leaf: u32, index: u32) -> Vec<u8> {
    // mov eax, leaf; mov ecx, index; cpuid.
    let mut code = vec![0x66, 0xb8];
    code.extend(leaf.to_le_bytes());
    code.extend([0x66, 0xb9]);
    code.extend(index.to_le_bytes());
    code.extend([0x0f, 0xa2]);
    // mov [address], eax, and so on for ebx, ecx and edx.
    for (number, register) in (0..).zip([0x06, 0x1e, 0x0e, 0x16]) {
        code.extend([0x66, 0x89, register]);
        code.extend((WORDS + at * 16 + number * 4).to_le_bytes());
    }
    code
}

/// Sends bytes of what the processors have left in memory to the serial port.
pub(crate) fn show(offset: u16, bytes: u32) -> Vec<u8> {
    // mov rsi, address; mov ecx, bytes; mov dx, 0x3f8.
    let mut code = vec![0x48, 0xbe];
    code.extend((START + u64::from(offset)).to_le_bytes());
    code.push(0xb9);
    code.extend(bytes.to_le_bytes());
    code.extend([0x66, 0xba, 0xf8, 0x03]);
    // lodsb; out dx, al; dec ecx; jnz to the lodsb.
    code.extend([0xac, 0xee, 0xff, 0xc9, 0x75, 0xfa]);
    code
}

/// Sends so many answers of [`ask`].
pub(crate) fn show_answers(count: u16) -> Vec<u8> {
    show(WORDS, u32::from(count) * 16)
}

#[test]
fn every_processor_starts_when_its_own_apic_is_told_to() {
    // What it has in bits 24 and up of ebx is its APIC's number: it marks the byte of that number.
    let mark = {
        // mov eax, 1; cpuid; shr ebx, 24; lock inc byte [bx + WORDS].
        let mut code = vec![0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0xc1, 0xeb, 0x18];
        code.extend([0xf0, 0xfe, 0x87]);
        code.extend(WORDS.to_le_bytes());
        code
    };
    let mut parts = vec![put(&[mark])];
    for apic in 1..MAX_VCPUS {
        parts.push(start(apic));
        // cmp byte [rbx], 0; je to the cmp: until the one with this number has come.
        parts.push([0x48, 0xbb].to_vec());
        parts.push(
            (START + u64::from(WORDS) + u64::from(apic))
                .to_le_bytes()
                .to_vec(),
        );
        parts.push(vec![0x80, 0x3b, 0x00, 0x74, 0xfb]);
    }
    // The last one's mark comes before its count.
    parts.push(wait_until(u16::from(MAX_VCPUS) - 1));
    parts.push(show(WORDS, u32::from(MAX_VCPUS)));
    parts.extend([out(0x600, 5 << 2 | 1 << 5), spin()]);
    let (_dir, path) = file(&elf(&parts));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    config.vcpus = MAX_VCPUS;
    let _turn = TURN.lock();
    let vm = Vm::start(config).unwrap();
    let exit = vm.wait_timeout(SOON);
    assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
    let mut all = vec![1; usize::from(MAX_VCPUS)];
    all[0] = 0;
    assert_eq!(screen.bytes(), all, "once each, but for the first");
}

/// Waits until so many processors have counted themselves.
fn wait_until(count: u16) -> Vec<u8> {
    // mov rbx, address; cmp word [rbx], count; jne to the cmp.
    let mut code = vec![0x48, 0xbb];
    code.extend((START + u64::from(COUNT)).to_le_bytes());
    code.extend([0x66, 0x81, 0x3b]);
    code.extend(count.to_le_bytes());
    code.extend([0x75, 0xf9]);
    code
}
