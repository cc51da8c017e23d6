//! TCP to the host over the first network device.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use crate::{Outcome, appear, report, run};

const DEVICE: &str = "/sys/class/net/eth0";
/// The host's end: a byte says what it is to do.
const HOST: &str = "10.77.0.1:5201";
const ADDRESS: &str = "10.77.0.2/24";
/// The host takes all that comes, then answers with a byte.
const TAKE: u8 = b't';
/// The host sends as much.
const GIVE: u8 = b'g';
/// The host sends each byte back.
const ECHO: u8 = b'e';
/// What goes one way, in bytes.
const BYTES: u32 = 32 << 20;
/// Bytes that go to the host and back one by one.
const ECHOES: u32 = 500;

/// Reports bytes a second each way, and seconds for a byte to the host and back.
pub(crate) fn measure() -> Outcome {
    appear(Path::new(DEVICE))?;
    run(
        "/bin/busybox",
        &["ip", "addr", "add", ADDRESS, "dev", "eth0"],
    )?;
    run("/bin/busybox", &["ip", "link", "set", "eth0", "up"])?;
    // Once to warm up: addresses are resolved, buffers grow.
    send()?;
    report("net-send-bytes-per-s", f64::from(BYTES) / send()?);
    report("net-receive-bytes-per-s", f64::from(BYTES) / receive()?);
    report("net-echo-s", echo()? / f64::from(ECHOES));
    Ok(())
}

fn connect(what: u8) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(HOST)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[what])?;
    Ok(stream)
}

fn send() -> std::io::Result<f64> {
    let mut stream = connect(TAKE)?;
    let buffer = vec![0x5a; 1 << 18];
    let begun = Instant::now();
    let mut left = BYTES as usize;
    while left > 0 {
        let some = left.min(buffer.len());
        stream.write_all(&buffer[..some])?;
        left -= some;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed().as_secs_f64())
}

fn receive() -> std::io::Result<f64> {
    let mut stream = connect(GIVE)?;
    let mut buffer = vec![0; 1 << 18];
    let begun = Instant::now();
    let mut left = BYTES as usize;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            some => left = left.saturating_sub(some),
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn echo() -> std::io::Result<f64> {
    let mut stream = connect(ECHO)?;
    let mut byte = [0];
    let begun = Instant::now();
    for _ in 0..ECHOES {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
