//! Commands over vsock, as an agent answers them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

use crate::Outcome;
use crate::compare::{Args, Figures};
use crate::process::{Machine, PATIENCE};
use crate::spec::{Spec, Vmm};
use crate::{exits, memory, qemu};

/// The port that the guest listens on.
pub(crate) const PORT: u32 = 52;
/// Round trips of each kind.
const ROUNDS: u32 = 100;

/// The seconds to the first answer, for an answer, and for a program that starts and ends; exits of the vCPU until the
/// first answer; memory beside the guest's own.
pub(crate) fn measure(args: &Args, vmm: Vmm) -> Outcome<Figures> {
    let spec = Spec {
        has_vsock: true,
        ..Spec::new(&args.kernel, &args.initrd, "commands")
    };
    let mut machine = Machine::start(spec.command(vmm)?)?;
    if vmm == Vmm::Ours {
        // The process does the same as below, and reports it.
        let answered = machine.wait_for("answered")?;
        let mut figures = exits::count()?;
        machine.go_on()?;
        let (_, results) = machine.end()?;
        figures.push(("boot-to-answer-s".to_owned(), answered.as_secs_f64()));
        figures.extend(results);
        return Ok(figures);
    }
    let mut stream = first_answer(dial_host)?;
    let answered = machine.age();
    let mut figures = exits::count()?;
    figures.push(("boot-to-answer-s".to_owned(), answered.as_secs_f64()));
    figures.extend(round_trips(&mut stream)?);
    let used = memory::of_peer(machine.id())?;
    figures.push(("memory-first-vm-mib".to_owned(), used));
    figures.push(("memory-next-vm-mib".to_owned(), used));
    stream.write_all(b"q")?;
    machine.end()?;
    Ok(figures)
}

/// Connects until the guest answers.
pub(crate) fn first_answer<S: Read + Write>(mut dial: impl FnMut() -> io::Result<S>) -> Outcome<S> {
    let begun = Instant::now();
    loop {
        match dial() {
            Ok(mut stream) => {
                round_trip(&mut stream, b'p')?;
                return Ok(stream);
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The seconds that an answer takes, and those of a program.
pub(crate) fn round_trips(stream: &mut (impl Read + Write)) -> Outcome<Figures> {
    let mut figures = Figures::new();
    for (what, name) in [(b'p', "ping-s"), (b'e', "exec-s")] {
        // Once to warm up.
        round_trip(stream, what)?;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            round_trip(stream, what)?;
        }
        let each = begun.elapsed().as_secs_f64() / f64::from(ROUNDS);
        figures.push((name.to_owned(), each));
    }
    Ok(figures)
}

fn round_trip(stream: &mut (impl Read + Write), what: u8) -> io::Result<()> {
    stream.write_all(&[what])?;
    stream.read_exact(&mut [0])
}

/// A connection to QEMU's guest, through the host's kernel.
fn dial_host() -> io::Result<File> {
    let (family, kind) = (AddressFamily::Vsock, SockType::Stream);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &VsockAddr::new(qemu::GUEST_CID, PORT))?;
    Ok(File::from(socket))
}
