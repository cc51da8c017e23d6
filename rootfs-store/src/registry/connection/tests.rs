use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::super::least_rate::Slow;
use super::super::options::RegistryOptions;
use super::super::wanted::Wanted;
use super::*;

/// Much longer than it takes to see the end of a transfer, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn limit(after: Duration) -> NextTimeout {
    NextTimeout {
        after: after.into(),
        reason: Timeout::PerRead,
        ..NextTimeout::default()
    }
}

/// Both ends of a connection whose server says nothing.
fn silent() -> (Connection, TcpStream) {
    measured(&RegistryOptions::default())
}

/// The same, with what must pass by `options`.
fn measured(options: &RegistryOptions) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = connect_any(&[listener.local_addr().unwrap()], limit(LONG)).unwrap();
    stream.set_read_timeout(Some(SLICE)).unwrap();
    stream.set_write_timeout(Some(SLICE)).unwrap();
    let buffers = LazyBuffers::new(4096, 1 << 20);
    let (peer, _) = listener.accept().unwrap();
    (
        Connection::new(stream, buffers, LeastRate::of(options)),
        peer,
    )
}

/// Much more must pass in a moment than a test's other side lets pass.
fn demanding() -> RegistryOptions {
    RegistryOptions {
        idle_timeout: 3 * SLICE,
        least_rate: 1 << 30,
        ..RegistryOptions::default()
    }
}

/// Does it again and again until it fails, as too little passes.
fn becomes_too_slow(mut once: impl FnMut() -> Result<(), ureq::Error>) {
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        match once() {
            Ok(()) => {}
            Err(ureq::Error::Io(error)) => {
                assert!(error.get_ref().is_some_and(|error| error.is::<Slow>()));
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("it goes on");
}

/// How long `waits` takes if its transfer ends a moment after it began.
fn time_to_end(waits: impl FnOnce() + Send) -> Duration {
    let (transfer, begun) = (Wanted::default(), Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| transfer.during(waits));
        thread::sleep(2 * SLICE);
        transfer.end();
    });
    begun.elapsed()
}

#[test]
fn read_that_stalls_ends_with_its_transfer() {
    let (mut connection, _peer) = silent();
    let took = time_to_end(|| {
        connection.await_input(limit(LONG)).unwrap_err();
    });
    assert!(took < LONG / 4, "{took:?}");
}

#[test]
fn write_that_stalls_ends_with_its_transfer() {
    let (mut connection, _peer) = silent();
    let took = time_to_end(
        || {
            while connection.transmit_output(1 << 20, limit(LONG)).is_ok() {}
        },
    );
    assert!(took < LONG / 4, "{took:?}");
}

#[test]
fn silence_that_is_wanted_ends_at_the_timeout() {
    let (mut connection, _peer) = silent();
    let begun = Instant::now();
    let error = connection.await_input(limit(3 * SLICE)).unwrap_err();
    assert!(
        matches!(error, ureq::Error::Timeout(Timeout::PerRead)),
        "{error:?}"
    );
    assert!(begun.elapsed() >= 3 * SLICE);
}

#[test]
fn bytes_pass_though_the_other_side_is_slower_than_a_slice() {
    let (mut connection, peer) = silent();
    let expected: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    connection.buffers.output().copy_from_slice(&expected);
    let reads = thread::spawn(move || {
        let mut all = Vec::new();
        let mut piece = vec![0; 256 << 10];
        while all.len() < 4 << 20 {
            thread::sleep(2 * SLICE);
            let len = (&peer).read(&mut piece).unwrap();
            all.extend_from_slice(&piece[..len]);
        }
        (&peer).write_all(b"done").unwrap();
        all
    });
    for _ in 0..4 {
        connection.transmit_output(1 << 20, limit(LONG)).unwrap();
    }
    assert!(connection.await_input(limit(LONG)).unwrap());
    assert_eq!(connection.buffers.input(), b"done");
    assert!(reads.join().unwrap() == expected.repeat(4));
}

#[test]
fn answer_that_drips_is_too_slow_but_may_take_its_time_to_begin() {
    let (mut connection, peer) = measured(&demanding());
    connection.transmit_output(1, limit(LONG)).unwrap();
    let drips = thread::spawn(move || {
        thread::sleep(5 * SLICE);
        while (&peer).write_all(b".").is_ok() {
            thread::sleep(SLICE / 2);
        }
    });
    assert!(connection.await_input(limit(LONG)).unwrap());
    becomes_too_slow(|| connection.await_input(limit(LONG)).map(drop));
    drop(connection);
    drips.join().unwrap();
}

#[test]
fn request_that_is_taken_in_drips_is_too_slow() {
    let (mut connection, peer) = measured(&demanding());
    let drips = thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while (&peer).read(&mut piece).is_ok_and(|len| len > 0) {
            thread::sleep(SLICE / 2);
        }
    });
    becomes_too_slow(|| connection.transmit_output(1 << 20, limit(LONG)));
    drop(connection);
    drips.join().unwrap();
}

#[test]
fn connection_is_open_until_the_other_side_speaks_or_goes() {
    let (mut connection, peer) = silent();
    assert!(connection.is_open());
    (&peer).write_all(b"?").unwrap();
    thread::sleep(SLICE);
    assert!(!connection.is_open());
    let (mut connection, peer) = silent();
    drop(peer);
    thread::sleep(SLICE);
    assert!(!connection.is_open());
}

#[test]
fn next_address_is_tried_and_the_last_failure_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let gone = {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        closed.local_addr().unwrap()
    };
    let stream = connect_any(&[gone, there], limit(LONG)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), there);
    let error = connect_any(&[gone], limit(LONG)).unwrap_err();
    let ureq::Error::Io(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
