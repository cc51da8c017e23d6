//! A driver that breaks every rule there is, for tests and fuzz targets.
//!
//! It reaches its device as a guest does, by registers and by memory, and what it does follows from bytes. Now and then
//! its machine is suspended, and another one goes on from there. Afterwards it resets the device, and an honest driver
//! takes over. Checked are: nothing panicked; each state was taken back, and is the same to the driver; the reset came
//! in time; what the device was not given to write is as it was; nothing that an earlier driver sent is to be seen; and
//! the honest driver's request gets the right answer.
//!
//! Memory has three pieces, two of them side by side and one above the hole for devices.

mod choices;
mod driver;
mod honest;
mod machine;
mod operations;
mod peer;
mod shadow;

use std::time::{Duration, Instant};

use self::choices::Choices;
use self::driver::Driver;
use self::machine::Machine;
use self::operations::{Hostile, Notes};
use self::shadow::Shadow;

/// What a device may take for a turn, however busy the machine is.
const MAX_TURN: Duration = Duration::from_secs(20);
/// The most operations of a driver.
const MAX_OPERATIONS: usize = 256;
/// How many of them come, more or less, before the machine is another one.
const OPERATIONS_A_MOVE: u16 = 24;

/// End of the first piece of memory, where the next begins.
const BORDER: u64 = 0x2_0000;
/// End of the memory below the hole.
const LOW_END: u64 = 0x3_0000;
/// Bytes of memory above the hole.
const HIGH_BYTES: u64 = 0x1_0000;
/// Start of the part of memory that holds buffers; below are rings and tables of descriptors.
const BUFFERS: u64 = 0x1_0000;
/// What each byte of memory is at first.
const FILL: u8 = 0xa5;

/// Which device there is, beside the entropy device that every VM has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A disk with two queues.
    Block,
    /// A disk that the guest may not write.
    ReadOnlyBlock,
    /// A network device at a switch.
    NetOnSwitch,
    /// A network device at a socket.
    NetOnSocket,
    /// A vsock device whose embedder takes the guest's connections.
    Vsock,
    /// A vsock device that other processes reach, and are reached by, over Unix sockets.
    VsockWithSockets,
    /// A balloon.
    Balloon,
    /// The entropy device alone.
    Entropy,
}

impl Device {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Block,
        Self::ReadOnlyBlock,
        Self::NetOnSwitch,
        Self::NetOnSocket,
        Self::Vsock,
        Self::Balloon,
        Self::Entropy,
        Self::VsockWithSockets,
    ];
}

/// Has a hostile driver do what `bytes` say to a device, and an honest one use it afterwards.
///
/// # Panics
/// If the device does anything that it should not, or the host has no descriptors, threads or memory.
pub(crate) fn attack(device: Device, bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut machine = Machine::start(device);
    honest::send_secret(device, &mut Driver::new(&machine.bare, 0));
    machine.peer.drain();
    let is_accounted = choices.below(4) != 0;
    let mut shadow = Shadow::new(&machine.bare.memory);
    let mut notes = Notes::new(is_accounted);
    for _ in 0..MAX_OPERATIONS {
        if choices.is_empty() {
            break;
        }
        if choices.once_in(OPERATIONS_A_MOVE) {
            machine = machine.move_on();
        }
        let Machine { bare, peer, .. } = &mut machine;
        Hostile::new(device, bare, &mut shadow, &mut notes).operate(&mut choices, peer);
    }
    let Machine { bare, mut peer, .. } = machine.move_on();
    let mut driver = Driver::new(&bare, 0);
    let begun = Instant::now();
    driver.reset();
    assert!(begun.elapsed() < MAX_TURN, "a turn ends");
    let failure = bare.failure();
    assert!(failure.is_none(), "{failure:?}");
    if is_accounted {
        shadow.check(&bare.memory, device == Device::Balloon);
    }
    honest::assert_no_secret(&bare.memory);
    honest::use_device(device, &mut driver, &mut peer);
    let failure = bare.failure();
    assert!(failure.is_none(), "{failure:?}");
}

#[cfg(test)]
mod tests;
