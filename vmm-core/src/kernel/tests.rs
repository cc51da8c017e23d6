mod addresses;
mod packed;

use proptest::prelude::*;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory::Memory;

const CODE: u64 = 0x100_0000;

/// An ELF kernel of one segment with `code`, which takes `memory_bytes` in memory.
fn elf(code: &[u8], memory_bytes: u64) -> Vec<u8> {
    let mut file = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(24, &CODE.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(72, &0x1000u64.to_le_bytes());
    put(88, &CODE.to_le_bytes());
    put(96, &(code.len() as u64).to_le_bytes());
    put(104, &memory_bytes.to_le_bytes());
    file.extend(code);
    file
}

/// A bzImage around `payload`.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let start = 2 * 512;
    let mut file = vec![0; start + 0x400];
    let length = (0x400 + payload.len()).next_multiple_of(16);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &u32::try_from(length / 16).unwrap().to_le_bytes());
    put(0x202, b"HdrS");
    put(0x206, &0x020fu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &(1u32 << 20).to_le_bytes());
    put(0x236, &1u16.to_le_bytes());
    put(0x248, &0x400u32.to_le_bytes());
    put(0x24c, &u32::try_from(payload.len()).unwrap().to_le_bytes());
    put(0x258, &CODE.to_le_bytes());
    put(0x260, &(4u32 << 20).to_le_bytes());
    file.extend(payload);
    file.resize(start + length, 0);
    file
}

fn with_size(mut packed: Vec<u8>, size: usize) -> Vec<u8> {
    packed.extend(u32::try_from(size).unwrap().to_le_bytes());
    packed
}

fn lz4(kernel: &[u8]) -> Vec<u8> {
    let mut packed = 0x184c_2102_u32.to_le_bytes().to_vec();
    for block in kernel.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
    }
    with_size(packed, kernel.len())
}

fn zstd(kernel: &[u8]) -> Vec<u8> {
    with_size(::zstd::encode_all(kernel, 1).unwrap(), kernel.len())
}

fn memory() -> Memory {
    crate::memory::map(32).unwrap()
}

fn load(file: Vec<u8>) -> (KernelImage, Memory) {
    let memory = memory();
    let image = KernelImage::parse(&file).unwrap();
    image.place(&memory, 32 << 20, Placement::Copied).unwrap();
    (image, memory)
}

fn code_in(memory: &Memory, length: usize) -> Vec<u8> {
    let mut code = vec![0; length];
    memory.read_slice(&mut code, GuestAddress(CODE)).unwrap();
    code
}

fn error(file: Vec<u8>) -> KernelError {
    KernelImage::parse(&file).err().unwrap()
}

#[test]
fn an_elf_kernel_is_loaded_where_it_says() {
    let (loaded, memory) = load(elf(b"the code", 0x3000));
    assert_eq!((loaded.entry, loaded.end), (CODE, CODE + 0x3000));
    assert!(loaded.setup_header.is_none());
    assert_eq!(code_in(&memory, 8), b"the code");
}

#[test]
fn a_kernel_in_an_unknown_packing_unpacks_itself() {
    let (loaded, memory) = load(bzimage(b"BZh9 and so on"));
    assert_eq!((loaded.entry, loaded.end), (CODE + 0x200, CODE + (4 << 20)));
    assert!(loaded.setup_header.is_some());
    assert_eq!(code_in(&memory, 0x402)[0x400..], *b"BZ");
}

#[test]
fn truncated_files_are_told_from_other_files() {
    assert!(matches!(error(vec![]), KernelError::NotAKernel));
    assert!(matches!(error(vec![0; 4096]), KernelError::NotAKernel));
    let file = bzimage(&lz4(&elf(b"x", 1)));
    for length in [0x210, 0x250, 0x400, file.len() - 1] {
        let error = error(file[..length].to_vec());
        assert!(matches!(error, KernelError::Truncated { .. }), "{error}");
    }
}

#[test]
fn a_bzimage_that_ends_before_its_entry_point_is_truncated() {
    let mut file = bzimage(b"BZh9 and so on");
    file.truncate(2 * 512 + 0x200);
    file[0x1f4..0x1f8].fill(0);
    file[0x248..0x250].fill(0);
    file[0x260..0x264].fill(0);
    assert!(matches!(error(file), KernelError::Truncated { .. }));
}

#[test]
fn kernels_without_a_64_bit_entry_are_refused() {
    let mut old = bzimage(b"");
    old[0x206] = 0x02;
    assert!(matches!(error(old), KernelError::No64BitEntry));
    let mut thirty_two = elf(b"x", 1);
    thirty_two[4] = 1;
    assert!(matches!(error(thirty_two), KernelError::No64BitEntry));
}

#[test]
fn segments_must_make_sense() {
    let broken = |at: usize, value: u64| {
        let mut file = elf(b"code", 4);
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        matches!(error(file), KernelError::Malformed { .. })
    };
    assert!(broken(24, CODE + 4), "entry behind the segment");
    assert!(broken(88, u64::MAX), "address that wraps");
    assert!(broken(104, 3), "less memory than file");
    assert!(broken(104, u64::MAX), "memory that wraps");
    assert!(broken(72, u64::MAX), "offset that wraps");
    assert!(broken(32, 8), "table inside the header");
}

#[test]
fn programs_are_not_kernels() {
    let mut low = elf(b"code", 4);
    low[88..96].copy_from_slice(&0x1000u64.to_le_bytes());
    assert!(matches!(error(low), KernelError::NotAKernel));
    let mut linked = with_second_segment(3, 0x1000, 4);
    linked[24..32].copy_from_slice(&CODE.to_le_bytes());
    assert!(matches!(error(linked), KernelError::NotAKernel));
}

/// An ELF kernel with another segment, of type `kind`, whose bytes are anywhere in the file.
fn with_second_segment(kind: u32, offset: u64, length: u64) -> Vec<u8> {
    let mut file = elf(b"the code", 0x3000);
    file[56..58].copy_from_slice(&2u16.to_le_bytes());
    file[120..124].copy_from_slice(&kind.to_le_bytes());
    file[128..136].copy_from_slice(&offset.to_le_bytes());
    file[152..160].copy_from_slice(&length.to_le_bytes());
    file
}

#[test]
fn a_kernel_boots_whatever_its_notes_are() {
    // A Xen note that is cut off, a note that passes the segment's end, and a segment past the file's end.
    let mut xen = with_second_segment(4, 0x800, 16);
    xen[0x800..0x80c].copy_from_slice(&[4, 0, 0, 0, 1, 0, 0, 0, 18, 0, 0, 0]);
    xen[0x80c..0x810].copy_from_slice(b"Xen\0");
    let mut long = with_second_segment(4, 0x800, 0x700);
    long[0x800..0x80c].fill(0xff);
    let outside = with_second_segment(4, u64::MAX - 4, 64);
    for file in [xen, long, outside] {
        let (loaded, memory) = load(file);
        assert_eq!(loaded.entry, CODE);
        assert_eq!(code_in(&memory, 8), b"the code");
    }
}

#[test]
fn guests_share_a_kernel_and_change_only_their_own() {
    let image = KernelImage::parse(&elf(b"the code", 0x3000)).unwrap();
    let (one, other) = (memory(), memory());
    for memory in [&one, &other] {
        image.place(memory, 32 << 20, Placement::Shared).unwrap();
    }
    one.write_slice(b"patched!", GuestAddress(CODE)).unwrap();
    assert_eq!(code_in(&other, 8), b"the code");
    let third = memory();
    image.place(&third, 32 << 20, Placement::Shared).unwrap();
    assert_eq!(code_in(&third, 8), b"the code");
}

#[test]
fn guests_that_start_at_once_all_get_a_copy() {
    let code: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    let image = KernelImage::parse(&elf(&code, code.len() as u64)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let memory = memory();
                image.place(&memory, 32 << 20, Placement::Copied).unwrap();
                assert!(code_in(&memory, code.len()) == code);
            });
        }
    });
}

#[test]
fn a_segment_without_bytes_of_the_file_is_zeroes() {
    let mut file = elf(b"the code", 0x3000);
    file[96..104].copy_from_slice(&0u64.to_le_bytes());
    assert!(matches!(error(file), KernelError::Malformed { .. }));
    let (_, memory) = load(elf(b"the code", 0x3000));
    assert!(code_in(&memory, 0x3000)[8..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_pvh_entry_point_is_found_among_the_notes() {
    let with_notes = |entry: u32| {
        let mut file = with_second_segment(4, 0x800, 0x24 + 0x14);
        let mut notes = vec![3, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0];
        notes.extend(b"GN\0\0\x01\x02\x03\x04\x05\0\0\0");
        notes.extend([4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]);
        notes.extend(b"Xen\0");
        notes.extend(entry.to_le_bytes());
        file[0x800..0x800 + notes.len()].copy_from_slice(&notes);
        load(file).0.pvh_entry
    };
    let code = u32::try_from(CODE).unwrap();
    assert_eq!(with_notes(code + 4), Some(code + 4));
    assert_eq!(with_notes(code + 0x3000), None, "behind the kernel");
    assert_eq!(load(elf(b"the code", 0x3000)).0.pvh_entry, None);
}

#[test]
fn a_kernel_larger_than_memory_says_how_much_it_needs() {
    let image = KernelImage::parse(&elf(b"x", 100 << 20)).unwrap();
    let error = image
        .place(&memory(), 32 << 20, Placement::Shared)
        .err()
        .unwrap();
    assert!(error.to_string().contains("116 MiB"), "{error}");
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(at in 0usize..0x1100, value: u8, packed: bool) {
        let mut file = elf(&[0x90; 256], 4096);
        if packed {
            file = bzimage(&lz4(&file));
        }
        let at = at % file.len();
        file[at] = value;
        if let Ok(image) = KernelImage::parse(&file) {
            let _refused_or_not = image.place(&memory(), 32 << 20, Placement::Shared);
        }
    }
}
