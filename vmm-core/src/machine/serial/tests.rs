use std::thread;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

const NONE_PENDING: u8 = 1;
const SOON: Duration = Duration::from_secs(10);

/// A driver's side of a port, and the embedder's.
struct Bench {
    port: Arc<SerialPort>,
    input: ConsoleInput,
    line: Arc<EventFd>,
}

impl Bench {
    fn new() -> Self {
        let line = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let port = SerialPort::new(Box::new(io::sink()), Arc::clone(&line));
        Self {
            input: ConsoleInput::new(Arc::clone(&port)),
            port,
            line,
        }
    }

    /// A port whose driver takes input.
    fn listening() -> Self {
        let bench = Self::new();
        bench.listen();
        bench
    }

    fn listen(&self) {
        self.port.write(MODEM_CONTROL, &[REQUEST_TO_SEND]);
        self.port.write(INTERRUPT_ENABLE, &[RECEIVED_DATA]);
    }

    fn get(&self, register: u8) -> u8 {
        let mut value = [0];
        self.port.read(register, &mut value);
        value[0]
    }

    /// What there is to read, at most `most` bytes.
    fn read(&self, most: usize) -> Vec<u8> {
        (0..most)
            .map_while(|_| (self.get(LINE_STATUS) & DATA_READY != 0).then(|| self.get(DATA)))
            .collect()
    }
}

#[test]
fn input_raises_an_interrupt_and_is_read_in_order() {
    let bench = Bench::listening();
    assert!(bench.line.read().is_err());
    assert_eq!(bench.input.try_write(b"hello").unwrap(), 5);
    assert!(bench.line.read().is_ok());
    assert_eq!(bench.read(100), b"hello");
}

#[test]
fn input_waits_for_a_driver_that_listens() {
    let bench = Bench::new();
    bench.input.try_write(b"early").unwrap();
    assert_eq!(bench.read(100), b"");
    // What drivers do before they listen: they read the port empty, try the loop, set the divisor.
    bench
        .port
        .write(MODEM_CONTROL, &[REQUEST_TO_SEND | LOOPBACK]);
    bench.port.write(INTERRUPT_ENABLE, &[RECEIVED_DATA]);
    assert_eq!(bench.read(100), b"");
    bench.port.write(INTERRUPT_ENABLE, &[0]);
    bench.port.write(LINE_CONTROL, &[DIVISOR_LATCH]);
    bench.port.write(INTERRUPT_ENABLE, &[RECEIVED_DATA]);
    bench.port.write(MODEM_CONTROL, &[REQUEST_TO_SEND]);
    bench.port.write(LINE_CONTROL, &[0]);
    assert_eq!(bench.read(100), b"");
    bench.listen();
    assert!(bench.line.read().is_ok());
    assert_eq!(bench.read(100), b"early");
}

#[test]
fn a_driver_that_is_not_ready_stops_the_flow() {
    let bench = Bench::listening();
    let text = vec![b'x'; 1000];
    bench.input.try_write(&text).unwrap();
    bench.port.write(MODEM_CONTROL, &[0]);
    let in_the_fifo = bench.read(5000).len();
    assert!((1..200).contains(&in_the_fifo), "{in_the_fifo}");
    bench.port.write(MODEM_CONTROL, &[REQUEST_TO_SEND]);
    assert_eq!(bench.read(5000).len(), 1000 - in_the_fifo);
}

#[test]
fn a_full_buffer_takes_no_more_until_the_guest_reads() {
    let bench = Bench::new();
    let kept = bench
        .input
        .write_timeout(&[b'x'; 9000], Duration::from_millis(10));
    assert_eq!(kept.unwrap(), 4096);
    let refused = bench.input.try_write(b"y").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(bench.input.try_write(b"").unwrap(), 0);
    bench.listen();
    bench.read(64);
    assert!(bench.input.try_write(b"y").unwrap() > 0);
}

#[test]
fn no_byte_is_lost_or_swapped_however_both_sides_hurry() {
    let bench = Bench::listening();
    let sent: Vec<u8> = (0..100_000u32)
        .map(|i| i.to_le_bytes()[i as usize % 3])
        .collect();
    let mut input = bench.input.clone();
    let to_send = sent.clone();
    let sender = thread::spawn(move || {
        for piece in to_send.chunks(777) {
            input.write_all(piece).unwrap();
        }
    });
    let mut got = Vec::new();
    let begun = Instant::now();
    while got.len() < sent.len() {
        assert!(
            begun.elapsed() < SOON,
            "{} bytes of {}",
            got.len(),
            sent.len()
        );
        // Only an interrupt makes this driver look.
        if bench.line.read().is_err() {
            thread::yield_now();
            continue;
        }
        // As Linux does: some bytes at once, as long as the interrupt is pending.
        while bench.get(INTERRUPT_IDENTIFICATION) & NONE_PENDING == 0 {
            got.extend(bench.read(100));
        }
    }
    sender.join().unwrap();
    assert!(got == sent);
}

#[test]
fn the_interrupt_stays_pending_until_the_fifo_is_empty() {
    const NONE: u8 = NONE_PENDING;
    const RECEIVED: u8 = 4;
    let bench = Bench::listening();
    assert_eq!(bench.get(INTERRUPT_IDENTIFICATION) & 0xf, NONE);
    bench.input.try_write(b"ab").unwrap();
    assert_eq!(bench.get(INTERRUPT_IDENTIFICATION) & 0xf, RECEIVED);
    assert_eq!(bench.get(DATA), b'a');
    assert_eq!(bench.get(INTERRUPT_IDENTIFICATION) & 0xf, RECEIVED);
    assert_eq!(bench.get(DATA), b'b');
    assert_eq!(bench.get(INTERRUPT_IDENTIFICATION) & 0xf, NONE);
}

#[test]
fn the_end_of_the_vm_breaks_writes_and_flushes_the_console() {
    struct Flushed(Arc<Mutex<bool>>);
    impl Write for Flushed {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            *self.0.lock().unwrap() = true;
            Ok(())
        }
    }
    let flushed = Arc::new(Mutex::new(false));
    let line = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let port = SerialPort::new(Box::new(Flushed(Arc::clone(&flushed))), line);
    let mut input = ConsoleInput::new(Arc::clone(&port));
    let waiting = thread::spawn(move || input.write_all(&[0; 9000]).unwrap_err().kind());
    thread::sleep(Duration::from_millis(10));
    assert!(!*flushed.lock().unwrap());
    port.close();
    assert_eq!(waiting.join().unwrap(), io::ErrorKind::BrokenPipe);
    assert!(*flushed.lock().unwrap());
    let gone = ConsoleInput::new(port).try_write(b"x").unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
}
