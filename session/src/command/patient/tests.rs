use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;
use crate::error::Error;
use crate::testing::FakeGuest;

const SHORT: Duration = Duration::from_millis(100);

fn guest() -> Arc<dyn Guest> {
    Arc::new(FakeGuest::new(|_, _| ()).patience(SHORT))
}

/// A guest that stands still for as long as the test wants.
#[derive(Debug)]
struct Paused(Arc<AtomicBool>);

impl Guest for Paused {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        panic!("nobody connects")
    }

    fn listen(&self) -> Result<Arc<dyn super::super::Incoming>, Error> {
        panic!("nobody listens")
    }

    fn close_at_end(&self, _: std::sync::Weak<dyn super::super::Close>) -> Result<(), Error> {
        panic!("nothing is open")
    }

    fn patience(&self) -> Duration {
        SHORT
    }

    fn stands_still(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn explain(&self, error: Error) -> Error {
        error
    }
}

fn read_in_background(mut patient: Patient) -> Receiver<io::Result<usize>> {
    let (sender, result) = channel();
    thread::spawn(move || sender.send(patient.read(&mut [0])));
    result
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn drips_make_an_answer_no_longer_but_keep_a_copy_going() {
    for (is_answer, expected) in [(true, false), (false, true)] {
        let (host, mut other) = UnixStream::pair().unwrap();
        let mut patient = match is_answer {
            true => Patient::for_answer(&guest(), Box::new(host)),
            false => Patient::while_it_goes_on(&guest(), Box::new(host)),
        };
        let drip = thread::spawn(move || {
            for _ in 0..100 {
                drop(other.write_all(b"x"));
                thread::sleep(SHORT / 25);
            }
        });
        let came = (0..100).all(|_| patient.read(&mut [0]).is_ok());
        assert_eq!(came, expected);
        drop(patient);
        drip.join().unwrap();
    }
}

#[test]
fn a_guest_that_takes_nothing_is_given_up() {
    let (host, _other) = UnixStream::pair().unwrap();
    let mut patient = Patient::for_answer(&guest(), Box::new(host));
    let error = patient.write_all(&vec![0; 8 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_pause_does_not_count() {
    let is_paused = Arc::new(AtomicBool::new(true));
    let guest: Arc<dyn Guest> = Arc::new(Paused(Arc::clone(&is_paused)));
    let (host, _other) = UnixStream::pair().unwrap();
    let result = read_in_background(Patient::for_answer(&guest, Box::new(host)));
    assert!(result.recv_timeout(SHORT * 3).is_err());
    is_paused.store(false, Ordering::SeqCst);
    let error = result.recv_timeout(LONG).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn an_answer_is_not_due_before_all_was_said() {
    let is_sent = Arc::new(AtomicBool::new(false));
    let (host, _other) = UnixStream::pair().unwrap();
    let result = read_in_background(Patient::after(&guest(), Box::new(host), &is_sent));
    assert!(result.recv_timeout(SHORT * 7).is_err());
    is_sent.store(true, Ordering::SeqCst);
    let error = result.recv_timeout(LONG).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn what_follows_an_answer_waits_as_long_as_it_takes() {
    let (host, mut other) = UnixStream::pair().unwrap();
    other.write_all(b"x").unwrap();
    let mut patient = Patient::for_answer(&guest(), Box::new(host.try_clone().unwrap()));
    patient.read_exact(&mut [0]).unwrap();
    patient.end().unwrap();
    let late = thread::spawn(move || {
        thread::sleep(SHORT * 2);
        other.write_all(b"y").unwrap();
    });
    (&host).read_exact(&mut [0]).unwrap();
    late.join().unwrap();
}
