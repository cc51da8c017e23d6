//! What an honest driver does: before, to leave something behind, and afterwards, to see that the device works.

use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

use super::driver::{Buffer, Driver};
use super::peer::{PORT, Peer};
use super::{BUFFERS, Device, FILL};
use crate::config::MIN_GUEST_CID;
use crate::memory::{Memory, PAGE_BYTES};
use crate::vsock::HOST_CID;

/// A byte that no hostile driver writes.
pub(super) const SECRET: u8 = 0xc7;
/// So many of them in a row are no chance.
const SECRET_RUN: usize = 16;
const SECRET_BYTES: usize = 1400;

const HEAD: u64 = BUFFERS;
const DATA: u64 = BUFFERS + 0x1000;
const ANSWER: u64 = BUFFERS + 0x3000;
const SECTOR_BYTES: u32 = 512;
const NET_HEADER: usize = 12;
const VSOCK_HEADER: usize = 44;
const SOON: Duration = Duration::from_secs(30);

fn given(address: u64, length: usize) -> Buffer {
    Buffer {
        address,
        length: u32::try_from(length).expect("buffers are small"),
        is_writable: false,
    }
}

fn wanted(address: u64, length: usize) -> Buffer {
    Buffer {
        is_writable: true,
        ..given(address, length)
    }
}

/// Has the device handle bytes that no later driver may see.
pub(super) fn send_secret(device: Device, driver: &mut Driver) {
    let secret = [SECRET; SECRET_BYTES];
    let (queue, header) = match device {
        Device::NetOnSwitch | Device::NetOnSocket => (1, vec![0; NET_HEADER]),
        // For a connection that there is not.
        Device::Vsock | Device::VsockWithSockets => (1, vsock_header(9, 5, SECRET_BYTES)),
        _ => return,
    };
    driver.set_up();
    driver.write(HEAD, &header);
    driver.write(DATA, &secret);
    let parts = [given(HEAD, header.len()), given(DATA, secret.len())];
    driver.request(queue, &parts);
    driver.reset();
}

pub(super) fn assert_no_secret(memory: &Memory) {
    for region in memory.iter() {
        let length = usize::try_from(region.len()).expect("pieces are small");
        let mut bytes = vec![0; length];
        let read = memory.read_slice(&mut bytes, region.start_addr());
        read.expect("the piece is there");
        let mut runs = bytes.chunk_by(|a, b| a == b);
        let leaks = runs.any(|run| run[0] == SECRET && run.len() >= SECRET_RUN);
        assert!(!leaks, "the device shows what an earlier driver sent");
    }
}

/// Sets the device up, and makes sure that it does what it is for.
pub(super) fn use_device(device: Device, driver: &mut Driver, peer: &mut Peer) {
    driver.set_up();
    match device {
        Device::Block => use_disk(driver),
        Device::ReadOnlyBlock => {
            assert_eq!(disk_request(driver, 1, 0, given(DATA, 512)), 1, "an error");
            assert_eq!(disk_request(driver, 0, 0, wanted(ANSWER, 512)), 0);
        }
        Device::NetOnSwitch | Device::NetOnSocket => use_network(driver, peer),
        Device::Vsock | Device::VsockWithSockets => use_vsock(driver),
        Device::Balloon => use_balloon(driver),
        Device::Entropy => use_entropy(driver),
    }
}

/// Makes a disk request on the second queue; returns its status.
fn disk_request(driver: &mut Driver, kind: u32, sector: u64, data: Buffer) -> u8 {
    driver.write(HEAD, &u64::from(kind).to_le_bytes());
    driver.write(HEAD + 8, &sector.to_le_bytes());
    driver.write(HEAD + 16, &[0xff]);
    let status = wanted(HEAD + 16, 1);
    driver.request(1, &[given(HEAD, 16), data, status]);
    driver.read(HEAD + 16, 1)[0]
}

fn use_disk(driver: &mut Driver) {
    let sector: Vec<u8> = (0..=u8::MAX).cycle().take(SECTOR_BYTES as usize).collect();
    driver.write(DATA, &sector);
    assert_eq!(disk_request(driver, 1, 5, given(DATA, sector.len())), 0);
    let answer = wanted(ANSWER, sector.len());
    assert_eq!(disk_request(driver, 0, 5, answer), 0);
    assert_eq!(driver.read(ANSWER, sector.len()), sector);
}

fn use_network(driver: &mut Driver, peer: &mut Peer) {
    let frame = |mark: u8| {
        let mut frame = vec![mark; 100];
        frame[..6].fill(0xff);
        frame
    };
    driver.write(HEAD, &[0; NET_HEADER]);
    driver.write(DATA, &frame(0x71));
    driver.request(1, &[given(HEAD, NET_HEADER), given(DATA, 100)]);
    let begun = Instant::now();
    while peer.receive_frame() != Some(frame(0x71)) {
        assert!(begun.elapsed() < SOON, "the frame arrives");
        std::thread::yield_now();
    }
    peer.drain();
    // Others may have waited before it.
    let mut sent = 0;
    loop {
        if sent == 0 {
            peer.send_frame(&frame(0x72));
            sent = 1;
        }
        assert!(begun.elapsed() < SOON, "the frame arrives");
        let length = driver.request(0, &[wanted(ANSWER, 2048)]) as usize;
        if driver.read(ANSWER + NET_HEADER as u64, length - NET_HEADER) == frame(0x72) {
            break;
        }
        // The socket's buffer may have been full.
        if matches!(peer, Peer::Socket(..)) {
            sent = 0;
        }
    }
}

fn vsock_header(port: u32, operation: u16, length: usize) -> Vec<u8> {
    let mut header = u64::from(MIN_GUEST_CID).to_le_bytes().to_vec();
    header.extend(u64::from(HOST_CID).to_le_bytes());
    header.extend(port.to_le_bytes());
    header.extend(PORT.to_le_bytes());
    let length = u32::try_from(length).expect("packets are short");
    header.extend(length.to_le_bytes());
    header.extend(1u16.to_le_bytes());
    header.extend(operation.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    header.extend(0x1_0000u32.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    header
}

/// Connects to the host.
fn use_vsock(driver: &mut Driver) {
    const REQUEST: u16 = 1;
    const RESPONSE: u8 = 2;
    const OUR_PORT: u32 = 77;
    driver.write(HEAD, &vsock_header(OUR_PORT, REQUEST, 0));
    driver.request(1, &[given(HEAD, VSOCK_HEADER)]);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < SOON, "the host answers");
        driver.request(0, &[wanted(ANSWER, 4096)]);
        let answer = driver.read(ANSWER, VSOCK_HEADER);
        // The host may have given up connections of its own to any port.
        let ports = [PORT.to_le_bytes(), OUR_PORT.to_le_bytes()].concat();
        if answer[16..24] == ports {
            assert_eq!(answer[30], RESPONSE);
            break;
        }
    }
}

fn use_balloon(driver: &mut Driver) {
    let page = ANSWER / PAGE_BYTES;
    let whole = usize::try_from(PAGE_BYTES).expect("pages are small");
    let full = vec![FILL; 3 * whole];
    driver.write(ANSWER - PAGE_BYTES, &full);
    let number = u32::try_from(page).expect("pages are low");
    driver.write(HEAD, &number.to_le_bytes());
    driver.request(0, &[given(HEAD, 4)]);
    for (at, value) in [(page - 1, FILL), (page, 0), (page + 1, FILL)] {
        let bytes = driver.read(at * PAGE_BYTES, whole);
        assert!(bytes.iter().all(|byte| *byte == value));
    }
}

fn use_entropy(driver: &mut Driver) {
    const BYTES: usize = 64;
    driver.write(ANSWER, &[FILL; BYTES + 1]);
    let written = driver.request(0, &[wanted(ANSWER, BYTES)]);
    assert_eq!(written as usize, BYTES);
    let bytes = driver.read(ANSWER, BYTES + 1);
    assert_ne!(bytes[..BYTES], [FILL; BYTES]);
    assert_eq!(bytes[BYTES], FILL);
}
