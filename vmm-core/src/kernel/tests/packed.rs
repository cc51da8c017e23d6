//! Payloads, packed as builds of the kernel do.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::super::payload::unpack;
use super::*;

/// What a program makes of `kernel`.
fn by_program(program: &str, args: &[&str], kernel: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("install {program}: {error}"));
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut packed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(kernel).unwrap());
        output.read_to_end(&mut packed).unwrap();
    });
    assert!(child.wait().unwrap().success());
    packed
}

/// The size that gzip itself writes behind what it packed is the one that the kernel's build relies on.
fn gzip(kernel: &[u8]) -> Vec<u8> {
    by_program("gzip", &["-n", "-f", "-9"], kernel)
}

fn xz(kernel: &[u8]) -> Vec<u8> {
    let options = ["--check=crc32", "--x86", "--lzma2=preset=0,dict=32MiB"];
    with_size(by_program("xz", &options, kernel), kernel.len())
}

fn all(kernel: &[u8]) -> [Vec<u8>; 4] {
    [lz4(kernel), zstd(kernel), gzip(kernel), xz(kernel)]
}

/// Calls to near places, whose addresses the filter of x86 code changes, among other bytes.
fn calls(bytes: usize) -> Vec<u8> {
    let call = |at: usize| {
        let [a, b, c, d] = u32::try_from(at % 9973).unwrap().to_le_bytes();
        [0x90, 0xe8, a, b, c, d, a ^ b, 0xc3]
    };
    (0..bytes / 8).flat_map(call).collect()
}

fn is_refused(payload: &[u8]) -> bool {
    match unpack(payload) {
        Ok(_) => false,
        Err(
            KernelError::Malformed { .. } | KernelError::TooLarge | KernelError::WindowTooLarge,
        ) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_packed_kernel_is_unpacked_on_the_host() {
    let code = calls(9 << 20);
    let kernel = elf(&code, code.len() as u64);
    for payload in all(&kernel) {
        let (loaded, memory) = load(bzimage(&payload));
        assert_eq!(loaded.entry, CODE);
        assert!(loaded.setup_header.is_none());
        assert!(code_in(&memory, code.len()) == code);
    }
}

#[test]
fn damaged_payloads_are_refused() {
    let kernel = elf(b"x", 1);
    for payload in [lz4(&kernel), zstd(&kernel)] {
        let mut wrong_length = payload.clone();
        wrong_length[5] ^= 0x40;
        assert!(is_refused(&wrong_length));
    }
    for payload in all(&kernel) {
        assert_eq!(unpack(&payload).unwrap().as_deref(), Some(&*kernel));
        let mut wrong_size = payload.clone();
        *wrong_size.last_mut().unwrap() ^= 1;
        assert!(is_refused(&wrong_size));
        for length in 6..payload.len() - 4 {
            let cut = with_size(payload[..length].to_vec(), kernel.len());
            assert!(is_refused(&cut), "{length}");
        }
        assert!((6..8).all(|length| is_refused(&payload[..length])));
    }
}

#[test]
fn a_byte_that_is_wrong_changes_no_kernel() {
    let kernel = elf(&calls(256), 4096);
    for payload in [gzip(&kernel), xz(&kernel)] {
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut wrong = payload.clone();
                wrong[at] ^= 1 << bit;
                match unpack(&wrong) {
                    Ok(None) => assert!(at < 6, "the magic"),
                    Ok(Some(unpacked)) => assert!(unpacked == kernel, "byte {at}"),
                    Err(_) => assert!(is_refused(&wrong)),
                }
            }
        }
    }
}

#[test]
fn a_payload_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
    for mut payload in all(&elf(b"x", 1)) {
        let at = payload.len() - 4;
        payload[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(error(bzimage(&payload)), KernelError::TooLarge));
    }
}

#[test]
fn a_payload_that_goes_on_behind_its_size_is_refused() {
    for mut payload in all(&elf(&vec![0; 16 << 20], 16 << 20)) {
        let at = payload.len() - 4;
        payload[at..].copy_from_slice(&0x1000u32.to_le_bytes());
        assert!(is_refused(&payload));
    }
}

/// The dictionary sizes that xz's format has are numbered: two for each power of two.
fn with_dictionary(mut payload: Vec<u8>, number: u8) -> Vec<u8> {
    // The block's header lies behind the stream's, 12 bytes; it begins with its length and ends with its checksum.
    let header = &mut payload[12..];
    let (header, _) = header.split_at_mut((usize::from(header[0]) + 1) * 4);
    let (fields, checksum) = header.split_last_chunk_mut::<4>().unwrap();
    let filter = fields.windows(2).rposition(|it| it == [0x21, 1]);
    let filter = filter.unwrap();
    fields[filter + 2] = number;
    let mut sum = flate2::Crc::new();
    sum.update(fields);
    *checksum = sum.sum().to_le_bytes();
    payload
}

#[test]
fn a_dictionary_is_no_larger_than_builds_of_the_kernel_make_it() {
    let kernel = elf(&calls(256), 4096);
    let payload = xz(&kernel);
    let with = |number| unpack(&with_dictionary(payload.clone(), number));
    assert_eq!(with(30).unwrap().as_deref(), Some(&*kernel), "128 MiB");
    for number in [31, 40] {
        let error = with(number).unwrap_err();
        assert!(matches!(error, KernelError::WindowTooLarge), "{error}");
        assert!(error.to_string().contains("128 MiB"));
    }
}
